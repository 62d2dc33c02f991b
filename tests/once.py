"""Real networks that compute each tile once for all tests of a process."""

from __future__ import annotations

from weakref import WeakKeyDictionary


class PredictedOnce:
    """Stands in for `fast_copy`: the same outputs, remembered as long as the weights stay.

    Most tests of the dock segment the same few pixels with the starter, and the network
    takes most of their time.
    """

    def __init__(self, fast_copy):
        self.fast_copy = fast_copy
        self.copies = WeakKeyDictionary()

    def __call__(self, network, compute):
        # torch counts the changes of a tensor in place.
        state = compute, tuple(p._version for p in network.state_dict().values())
        known = self.copies.get(network)
        if known is None or known[0] != state:
            known = state, _Network(self.fast_copy(network, compute))
            self.copies[network] = known
        return known[1]


class _Network:
    def __init__(self, network):
        self.network, self.outputs = network, {}

    def __call__(self, images):
        key = images.shape, images.float().numpy().tobytes()
        if key not in self.outputs:
            self.outputs[key] = self.network(images)
        return self.outputs[key].clone()
