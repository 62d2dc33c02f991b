"""The foreground probability of one plane as an Image layer, on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.overlays import add_unselected

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal

NAME = "probability of objects"


class ProbabilityMap:
    """A layer at network resolution that napari stretches over the image.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer to add the layer to.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Image | None = None
        self._shown: Proposal | None = None

    @property
    def layer(self) -> Image | None:
        """The layer, if it is in the viewer."""
        return None if self.gone else self._layer

    @property
    def gone(self) -> bool:
        """Whether the user removed the layer."""
        return self._layer is not None and self._layer not in self._viewer.layers

    def show(self, image: Image, proposal: Proposal | None) -> None:
        """Show the map of a proposal; without one, hide the layer."""
        if proposal is None:
            self.hide()
        elif self.layer is None or self._shown is not proposal:
            self.hide()
            self._shown = proposal
            self._layer = _as_layer(image, proposal)
            add_unselected(self._viewer, self._layer)

    def hide(self) -> None:
        """Remove the layer."""
        if self.layer is not None:
            layer, self._layer = self._layer, None
            self._viewer.layers.remove(layer)
        self._layer = self._shown = None


def _as_layer(image: Image, proposal: Proposal) -> Image:
    # Costs nothing here, because the proposal was made with torch.
    from napari_resunet.engine.uncertainty import foreground_of

    maps, axes = proposal.maps.maps.astype(np.float32), proposal.maps.axes
    place = image_layers.plane_place(image)
    factors = np.array([axis.scale for axis in axes])
    # The centre of the first network pixel, in image pixels.
    first = np.array([s.start for s in proposal.padded_roi]) + 0.5 / factors - 0.5
    place["translate"] = place["translate"] + first * place["scale"]
    place["scale"] = place["scale"] / factors
    return Image(
        foreground_of(maps, proposal.maps.info), name=NAME, colormap="magma",
        contrast_limits=(0, 1), blending="additive", opacity=0.6,
        metadata={image_layers.OURS: "map"}, **place,
    )  # fmt: skip
