"""What differs between two proposals, in one layer that flips between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.geometry import place_of
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.layers.overlays import add_unselected
from napari_resunet.session.workers import Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_resunet.engine.differences import Differences

COLOURS: Mapping[str, str] = {"more": "#00b7eb", "gone": "#ff4b3e", "changed": "#ffd60a"}
"""Colours of objects that differ, which people who see few colours tell apart."""

AREA_OPACITY = 0.6
"""Opacity of objects that differ; the contours of the others are opaque."""


class ComparedLayer:
    """A Labels layer that cannot be edited; the user's labels are hidden while it is shown.

    Objects that are the same are contours in their colour of the user's labels.

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
    labels : LabelsBinding or None
        The user's labels.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Image,
        comparison: Comparison,
        titles: tuple[str, str],
        labels: LabelsBinding | None,
    ) -> None:
        self._viewer = viewer
        self._titles = titles
        self._shown = 0
        self._covered = labels
        differences = comparison.differences
        colours = _colours(differences, None if labels is None else labels.layer)
        # Few colours, and one byte for each pixel, however many objects there are.
        palette, codes = np.unique(colours, axis=0, return_inverse=True)
        codes = codes.ravel().astype(np.min_scalar_type(len(palette)))
        leading = (1,) * (image.ndim - 2)
        self._data = [
            codes[picture].reshape(*leading, *picture.shape)
            for picture in differences.pictures
        ]
        self.layer = Labels(
            self._data[0].copy(), name=self._name(), opacity=1.0,
            colormap=_colormap(palette),
            metadata={image_layers.OURS: "comparison"}, **_place(image, comparison),
        )  # fmt: skip
        if labels is not None:
            labels.cover("comparison")
        add_unselected(viewer, self.layer)
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
        if self._covered is not None:
            self._covered.uncover("comparison")

    def _name(self) -> str:
        return f"compare {self._titles[self._shown]}"


def _colours(differences: Differences, own: Labels | None) -> npt.NDArray[np.float32]:
    """Return the colour of each number in the pictures, shape (n, 4)."""
    drawn = (int(picture.max(initial=0)) for picture in differences.pictures)
    labels = np.arange(max(*drawn, 0, *differences.names, *differences.kinds) + 1)
    for number, label in differences.names.items():
        labels[number] = label
    layer = Labels(np.zeros((1, 1), np.int32)) if own is None else own
    colours = np.asarray(layer.colormap.map(labels), np.float32).reshape(-1, 4)
    for number, kind in differences.kinds.items():
        colours[number] = _rgba(COLOURS[kind])
    colours[0] = 0
    return colours


def _colormap(palette: npt.NDArray[np.float32]) -> DirectLabelColormap:
    named: dict[int | None, Any] = dict(enumerate(palette))
    # The transparent background is the first colour.
    named[None] = np.zeros(4)
    return DirectLabelColormap(color_dict=named)


def _rgba(name: str) -> npt.NDArray[np.float32]:
    parts = [int(name[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([*parts, AREA_OPACITY], np.float32)


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
