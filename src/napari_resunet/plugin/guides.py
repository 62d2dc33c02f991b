"""Lines over an image that only show something: a Shapes layer nobody can edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from qtpy.QtCore import QTimer

from napari_resunet.plugin.image_layers import OURS, key_of, plane_place
from napari_resunet.types import Window

Line = npt.NDArray[Any]
"""Places in image pixels, shape (n, 2)."""

WIDTH_SHARE = 1 / 300
"""Width of a line as a share of the side of what is looked at."""


def add_unselected(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer of ours; what was selected stays selected."""
    selection = viewer.layers.selection
    selected, active = set(selection), selection.active
    viewer.add_layer(layer)
    if active is None:
        selection.clear()
        selection.update(selected)
    else:
        selection.active = active


class Guide:
    """One set of lines; its layer is there only while there are any.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    name, colour : str
        Of the layer.
    """

    def __init__(self, viewer: ViewerModel, name: str, colour: str) -> None:
        self._viewer = viewer
        self._name, self._colour = name, colour
        self._layer: Shapes | None = None
        self._image_key = ""

    @property
    def layer(self) -> Shapes | None:
        """The layer, if it is in the viewer."""
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._layer = None
        return self._layer

    def draw(self, image: Image, lines: Sequence[Line], window: Window) -> None:
        """Show these lines in place of the last ones, fine for a look at a window."""
        lines = [line for line in lines if len(np.unique(line, axis=0)) > 1]
        if not lines:
            self.clear()
            return
        layer = self.layer
        if layer is None or key_of(image) != self._image_key:
            self.remove()
            layer = self.lay(image)
        layer.data = []
        width = WIDTH_SHARE * max(s.stop - s.start for s in window)
        layer.add(
            list(lines), shape_type="path", edge_width=width, edge_color=self._colour,
            face_color="transparent",
        )  # fmt: skip

    def lay(self, image: Image) -> Shapes:
        """Put the empty layer over an image."""
        self._image_key = key_of(image)
        layer = Shapes(
            ndim=2, name=self._name, opacity=0.7, metadata={OURS: "guide"},
            **plane_place(image),
        )  # fmt: skip
        layer.editable = False
        # napari unlocks a layer with each change of its data or of the dimensions.
        layer.events.editable.connect(self._lock)
        self._layer = layer
        add_unselected(self._viewer, layer)
        return layer

    def _lock(self, event: Any) -> None:
        if event.source.editable:
            event.source.editable = False

    def clear(self) -> None:
        """Show nothing; the layer goes as soon as the viewer is at rest."""
        if self.layer is not None:
            self.layer.data = []
            # Layers may be on their way out just now: none is removed in between.
            QTimer.singleShot(0, self._remove_if_empty)

    def remove(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)
        self._layer = None

    def _remove_if_empty(self) -> None:
        if self.layer is not None and not len(self.layer.data):
            self.remove()
