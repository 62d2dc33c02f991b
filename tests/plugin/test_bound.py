"""What is bound listens, and what is unbound leaves nothing behind."""

import numpy as np
import pytest
from napari.components import ViewerModel
from synchronous import ManualTimers

from napari_resunet.plugin.layers.bound import Bound, MouseCallbacks
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.layers.labels_watch import LabelsWatch
from napari_resunet.plugin.layers.overlays import Overlay, Overlays

LINE = np.array([(0, 0), (20, 0)], float)
WINDOW = slice(0, 20), slice(0, 30)


class Counter(Bound):
    """Counts how often a layer is renamed, and holds a mouse callback."""

    def __init__(self, layer):
        self.layer, self.n = layer, 0

    def connections(self):
        yield self.layer.events.name, self.count
        yield MouseCallbacks(self.layer.mouse_drag_callbacks), self.drag

    def count(self, event):
        self.n += 1

    def drag(self, layer, event):
        yield


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def image(viewer):
    return viewer.add_image(np.zeros((20, 30)))


def callbacks(viewer):
    """Count everything that is connected to a viewer and its layers."""
    groups = [viewer.dims.events, viewer.layers.events, viewer.layers.selection.events]
    groups += [layer.events for layer in viewer.layers]
    n = sum(len(emitter.callbacks) for group in groups for emitter in _emitters(group))
    return n + sum(len(layer.mouse_drag_callbacks) for layer in viewer.layers)


def _emitters(group):
    return [emitter for emitter in group.emitters.values() if hasattr(emitter, "callbacks")]


def test_a_method_is_called_from_bind_until_unbind(image):
    counter = Counter(image)
    image.name = "one"
    counter.bind()
    counter.bind()
    image.name = "two"
    assert counter.drag in image.mouse_drag_callbacks
    counter.unbind()
    counter.unbind()
    image.name = "three"
    assert counter.n == 1
    assert counter.drag not in image.mouse_drag_callbacks


def test_layers_that_came_and_went_leave_nothing_connected(viewer, image):
    before = callbacks(viewer)
    layers = Layers(viewer)
    binding = layers.make_binding(image)
    other = viewer.add_image(np.zeros((5, 5)))
    layers.make_binding(other)
    viewer.layers.remove(other)
    for layer in [x for x in viewer.layers if x is not image]:
        viewer.layers.remove(layer)
    layers.make_binding(image)
    assert layers.binding(layers.images()[0][0]) is not binding
    layers.unbind()
    viewer.layers.remove(viewer.layers[-1])
    assert callbacks(viewer) == before


def test_a_watch_leaves_nothing_connected(viewer, image):
    binding = LabelsBinding(image)
    viewer.add_layer(binding.layer)
    before = callbacks(viewer)
    watch = LabelsWatch(binding, viewer)
    assert callbacks(viewer) == before + 3
    watch.unbind()
    assert callbacks(viewer) == before


def test_overlays_follow_one_image_at_a_time(viewer, image):
    other = viewer.add_image(np.zeros((20, 30)))
    before = callbacks(viewer)
    overlays = Overlays(viewer, ManualTimers())
    overlay = Overlay(overlays, "line", "gold")
    for _ in range(2):
        for layer in (image, other):
            overlay.draw(layer, [LINE], WINDOW)
            overlays.update()
    overlays.shut_down()
    assert callbacks(viewer) == before
