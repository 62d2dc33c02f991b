"""The foreground probability of one plane as an Image layer, on demand.

The labels are hidden while it is shown: their colours would mix with those of the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.labels import LabelsBinding
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
        self._covered: LabelsBinding | None = None

    @property
    def layer(self) -> Image | None:
        """The layer, if it is in the viewer."""
        return None if self.gone else self._layer

    @property
    def gone(self) -> bool:
        """Whether the user removed the layer."""
        return self._layer is not None and self._layer not in self._viewer.layers

    def show(
        self, image: Image, proposal: Proposal | None, labels: LabelsBinding | None
    ) -> None:
        """Show the map of a proposal over the labels; without one, hide the layer."""
        if proposal is None:
            self.hide()
            return
        if self.layer is None or self._shown is not proposal:
            self._remove()
            self._shown = proposal
            self._layer = _as_layer(image, proposal)
            add_unselected(self._viewer, self._layer)
        self._cover(labels)

    def hide(self) -> None:
        """Remove the layer, and show the labels again."""
        self._remove()
        self._cover(None)

    def _remove(self) -> None:
        if self.layer is not None:
            layer, self._layer = self._layer, None
            self._viewer.layers.remove(layer)
        self._layer = self._shown = None

    def _cover(self, labels: LabelsBinding | None) -> None:
        if labels is self._covered:
            return
        if self._covered is not None:
            self._covered.uncover("map")
        self._covered = labels
        if labels is not None:
            labels.cover("map")


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
        contrast_limits=(0, 1), blending="translucent", opacity=0.8,
        metadata={image_layers.OURS: "map"}, **place,
    )  # fmt: skip
