"""Two proposals for one area, in one layer that flips between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.geometry import place_of
from napari_resunet.session.workers import Comparison


class ComparedLayer:
    """A Labels layer that cannot be edited; the user's labels are hidden while it is shown.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer to add the layer to.
    image : Image
        The image that was segmented.
    comparison : Comparison
        The two proposals.
    titles : tuple of str
        The titles of the two versions.
    hidden : Labels or None
        The user's labels.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        comparison: Comparison,
        titles: tuple[str, str],
        hidden: Labels | None,
    ) -> None:
        self._viewer = viewer
        self._titles = titles
        self._shown = 0
        self._hidden = hidden if hidden is not None and hidden.visible else None
        leading = (1,) * (image.ndim - 2)
        self._data = [
            labels.reshape(*leading, *labels.shape) for labels in comparison.labels
        ]
        self.layer = Labels(
            self._data[0].copy(), name=self._name(),
            metadata={image_layers.OURS: "comparison"}, **_place(image, comparison),
        )  # fmt: skip
        if self._hidden is not None:
            self._hidden.visible = False
        viewer.add_layer(self.layer)
        self.layer.editable = False

    @property
    def is_there(self) -> bool:
        """Whether the user has not removed the layer."""
        return self.layer in self._viewer.layers

    def flip(self) -> int:
        """Show the other proposal, and return its number, 0 or 1."""
        self._shown = 1 - self._shown
        self.layer.data = self._data[self._shown].copy()
        self.layer.name = self._name()
        self.layer.editable = False
        return self._shown

    def remove(self) -> None:
        """Remove the layer, and show the user's labels again."""
        if self.is_there:
            self._viewer.layers.remove(self.layer)
        if self._hidden is not None and self._hidden in self._viewer.layers:
            self._hidden.visible = True

    def _name(self) -> str:
        return f"compare {self._titles[self._shown]}"


def _place(image: Image, comparison: Comparison) -> dict[str, Any]:
    """Place the layer over the area, stretched along the channels."""
    (rows, columns), channel = comparison.target.window, image_layers.channel_axis(image)
    offset = [float(i) for i in comparison.target.index]
    zoom = np.ones(image.ndim)
    if channel is not None:
        n = image_layers.full_shape(image)[channel]
        offset.insert(channel, (n - 1) / 2)
        zoom[channel] = n
    return place_of(image, [*offset, rows.start, columns.start], zoom)
