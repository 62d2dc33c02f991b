"""A box that the user drags on an image, to mark an area.

While it is active, the image's layer is the selected one and does not pan. Selecting
another layer, as the tools and brushes of labels do, leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Layer

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.bound import (
    LEFT_BUTTON,
    Bound,
    Connection,
    MouseCallbacks,
)
from napari_resunet.plugin.layers.geometry import ring
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.types import Index, Window

MIN_SIDE = 3
"""A drag over fewer rows or columns is a click."""


@dataclass(frozen=True)
class Box:
    """A box on one plane of an image."""

    index: Index
    window: Window


Drawn = Callable[[Box | None], None]
"""Called with the box; with None if the user left the tool, or dragged no box."""


class BoxTool(Bound):
    """Lets the user drag one box.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    overlays : Overlays
        Show the box while it is dragged.
    """

    def __init__(self, viewer: ViewerModel, overlays: Overlays) -> None:
        self._viewer = viewer
        self._preview = Overlay(overlays, "box", "gold")
        self._image: Image | None = None
        self._drawn: Drawn | None = None
        self._before: Layer | None = None

    @property
    def is_active(self) -> bool:
        """Whether it waits for a box."""
        return self._image is not None

    def start(self, image: Image, drawn: Drawn) -> None:
        """Wait for a box on an image."""
        self._release()
        self._before = self._viewer.layers.selection.active
        self._viewer.layers.selection.active = image
        image.mode = "pan_zoom"
        image.mouse_pan = False
        image.cursor = "cross"
        self._image, self._drawn = image, drawn
        self.bind()
        image.bind_key("Escape", self._escape)

    def stop(self) -> None:
        """Leave the tool without a box."""
        self._end(None)

    def connections(self) -> Iterator[Connection]:
        """Yield what it listens to while it is active."""
        if self._image is not None:
            yield MouseCallbacks(self._image.mouse_drag_callbacks), self._drag
            yield self._image.events.mode, self._left
            yield self._viewer.layers.events.removed, self._removed
            yield self._viewer.layers.selection.events.active, self._left

    def _escape(self, layer: Image) -> None:
        self.stop()

    def _left(self, event: Any) -> None:
        # Between two layers, napari's active layer is None.
        active = self._viewer.layers.selection.active
        if active is None or image_layers.is_overlay(active) or self._image is None:
            return
        other = image_layers.layer_id_of(active) != image_layers.layer_id_of(self._image)
        if other or str(self._image.mode) != "pan_zoom":
            self._before = None
            self.stop()

    def _removed(self, event: Any) -> None:
        if event.value is self._image:
            self.stop()

    def _end(self, box: Box | None) -> None:
        drawn = self._release()
        if drawn is not None:
            drawn(box)

    def _release(self) -> Drawn | None:
        """Give the mouse back to napari; return who waits for the box."""
        image, drawn, before = self._image, self._drawn, self._before
        if image is None:
            return None
        self.unbind()
        self._image = self._drawn = self._before = None
        image.bind_key("Escape", None)
        image.mouse_pan = str(image.mode) == "pan_zoom"
        image.cursor = "standard"
        self._preview.clear()
        if before is not None and before in self._viewer.layers:
            self._viewer.layers.selection.active = before
        return drawn

    def _drag(self, layer: Image, event: Any) -> Iterator[None]:
        image = self._image
        if image is None or event.button != LEFT_BUTTON:
            return
        index = image_layers.shown_index(image, self._viewer)
        corners = [_place(image, event.position)] * 2
        yield
        while event.type == "mouse_move":
            corners[1] = _place(image, event.position)
            seen = image_layers.visible_window(image)
            self._preview.draw(image, [ring(*corners)], seen)
            yield
        self._preview.clear()
        window = _window(image, np.array(corners))
        if self._image is image and min(s.stop - s.start for s in window) >= MIN_SIDE:
            self._end(Box(index, window))


def _place(image: Image, position: Any) -> npt.NDArray[np.float64]:
    return np.asarray(image.world_to_data(position), float)[-2:]


def _window(image: Image, corners: npt.NDArray[np.float64]) -> Window:
    """Return the rows and columns whose centres are in the box, within the image."""
    shape = image_layers.plane_shape(image)
    low, high = np.ceil(corners.min(0)).astype(int), np.floor(corners.max(0)).astype(int)
    rows, columns = (
        slice(int(np.clip(a, 0, n)), int(np.clip(b + 1, 0, n)))
        for a, b, n in zip(low, high, shape, strict=True)
    )
    return rows, columns
