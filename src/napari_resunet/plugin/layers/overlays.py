"""Overlay lines on an image, all in one permanent Vectors layer.

The layer is never removed while the user works, because napari then deletes OpenGL objects
that are still in use, which crashed the process (see `gl_context`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Layer, Vectors
from napari.utils.color import ColorArray

from napari_resunet.plugin.layers.bound import Bound, Connection
from napari_resunet.plugin.layers.image_layers import (
    OURS,
    layer_id_of,
    plane_place,
    visible_window,
)
from napari_resunet.plugin.timers import Timers
from napari_resunet.types import Window

Line = npt.NDArray[Any]
"""Points in image pixels, shape (n, 2)."""

NAME = "guide lines"
LINE_WIDTH = 1 / 300
"""Width of a line as a fraction of the longer side of the window in view."""

TRANSFORM_EVENTS = "scale", "translate", "rotate", "shear", "affine", "units"
"""Events of an image whose lines must follow."""


def add_unselected(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer without changing the selection."""
    selection = viewer.layers.selection
    selected, active = set(selection), selection.active
    viewer.add_layer(layer)
    if active is None:
        selection.clear()
        selection.update(selected)
    else:
        selection.active = active


@dataclass(frozen=True)
class Drawing:
    """The lines of one overlay.

    Attributes
    ----------
    image : Image
        The image that they belong to.
    lines : list of float arrays, each of shape (n, 2)
        Rows and columns in image pixels.
    colour : str
        Name of a colour that napari knows.
    width : float
        Width of the lines in image pixels.
    """

    image: Image
    lines: list[Line]
    colour: str
    width: float

    def vectors(self) -> npt.NDArray[np.float64]:
        """Return the lines as vectors, shape (n, 2, 2): start and step."""
        starts = np.concatenate([line[:-1] for line in self.lines])
        steps = np.concatenate([np.diff(line, axis=0) for line in self.lines])
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        moving = length[:, 0] > 0
        starts, steps, length = starts[moving], steps[moving], length[moving]
        # Half a width longer at both ends, so that corners close.
        extra = steps / length * self.width / 2
        return np.stack([starts - extra, steps + 2 * extra], axis=1)


class Overlays(Bound):
    """The layer that all overlays of a viewer share.

    It is added when it is first needed and then stays, empty if there is nothing to show.
    Only the image that was drawn on last has overlays. The layer is updated when the viewer
    is idle, never during a change of layers.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer to add the layer to.
    timers : Timers
        Delay the update.
    """

    def __init__(self, viewer: ViewerModel, timers: Timers) -> None:
        self._viewer = viewer
        self._layer: Vectors | None = None
        self._drawings: dict[str, Drawing] = {}
        self._followed: Image | None = None
        self._timer = timers.once(0, self.update)

    @property
    def layer(self) -> Vectors | None:
        """The layer, if it is in the viewer."""
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._layer = None
        return self._layer

    def lines(self, name: str) -> list[Line]:
        """Return the lines of one overlay; empty if it shows nothing."""
        return self._drawings[name].lines if name in self._drawings else []

    def draw(self, name: str, drawing: Drawing) -> None:
        """Replace the drawing of one overlay."""
        self._drawings.pop(name, None)
        self._drawings[name] = drawing
        self._timer.start()

    def clear(self, name: str) -> None:
        """Remove the drawing of one overlay."""
        self._drawings.pop(name, None)
        self._timer.start()

    def shut_down(self) -> None:
        """Remove the layer and stop listening."""
        self._timer.stop()
        self._follow(None)
        self._drawings.clear()
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)

    def connections(self) -> Iterator[Connection]:
        """Yield the events of the image that the layer follows."""
        if self._followed is not None:
            for name in TRANSFORM_EVENTS:
                yield self._followed.events[name], self._moved

    def update(self) -> None:
        """Bring the layer up to date."""
        shown = self._shown()
        self._follow(shown[0].image if shown else None)
        if not shown:
            if self.layer is not None and len(self.layer.data):
                self.layer.data = np.zeros((0, 2, 2))
            return
        layer = self.layer or self._add_layer()
        for name, value in plane_place(shown[0].image).items():
            setattr(layer, name, value)
        vectors = [drawing.vectors() for drawing in shown]
        layer.data = np.concatenate(vectors)
        layer.edge_color = np.repeat(
            ColorArray([drawing.colour for drawing in shown]),
            [len(part) for part in vectors],
            axis=0,
        )
        layer.edge_width = shown[-1].width
        self._raise(layer)

    def _shown(self) -> list[Drawing]:
        """List the drawings on the image that was drawn on last; drop removed images."""
        there = {layer_id_of(layer) for layer in self._viewer.layers}
        self._drawings = {
            name: x for name, x in self._drawings.items() if layer_id_of(x.image) in there
        }
        drawings = list(self._drawings.values())
        return [
            x for x in drawings if layer_id_of(x.image) == layer_id_of(drawings[-1].image)
        ]

    def _add_layer(self) -> Vectors:
        self._layer = Vectors(
            ndim=2, name=NAME, vector_style="line", metadata={OURS: "guide"}
        )
        add_unselected(self._viewer, self._layer)
        return self._layer

    def _raise(self, layer: Vectors) -> None:
        """Move the layer above those that were added after it."""
        layers = self._viewer.layers
        position = layers.index(layer)
        if position < len(layers) - 1:
            layers.move(position, len(layers))

    def _follow(self, image: Image | None) -> None:
        self.unbind()
        self._followed = image
        self.bind()

    def _moved(self, event: Any = None) -> None:
        self._timer.start()


class Overlay:
    """One set of lines in one colour.

    Parameters
    ----------
    overlays : Overlays
        The layer that shows them.
    name : str
        Unique name of the overlay.
    colour : str
        Name of a colour that napari knows.
    """

    def __init__(self, overlays: Overlays, name: str, colour: str) -> None:
        self._overlays = overlays
        self._name, self._colour = name, colour

    @property
    def lines(self) -> list[Line]:
        """The shown lines, in image pixels."""
        return self._overlays.lines(self._name)

    def draw(self, image: Image, lines: Sequence[Line], window: Window) -> None:
        """Replace the lines.

        Parameters
        ----------
        image : Image
            The image to draw over.
        lines : sequence of float arrays, each of shape (n, 2)
            Rows and columns in image pixels; lines of a single point are left out.
        window : tuple of slice
            The rows and columns in view, which determine the width of the lines.
        """
        lines = [line for line in lines if len(np.unique(line, axis=0)) > 1]
        if not lines:
            self.clear()
            return
        width = LINE_WIDTH * max(s.stop - s.start for s in window)
        self._overlays.draw(self._name, Drawing(image, lines, self._colour, width))

    def clear(self) -> None:
        """Remove the lines."""
        if self.lines:
            self._overlays.clear(self._name)


SHOWN_FOR = 6000
"""Milliseconds: long enough to compare the circle with the objects."""

N_CORNERS = 64


class SizeCircle:
    """A circle in the middle of the view with the diameter of a typical object.

    Parameters
    ----------
    overlays : Overlays
        The layer to draw it in.
    timers : Timers
        Hide it after a while.
    """

    def __init__(self, overlays: Overlays, timers: Timers) -> None:
        self.overlay = Overlay(overlays, "object size", "cyan")
        self._shown: tuple[str, float] | None = None
        self._timer = timers.once(SHOWN_FOR, self.overlay.clear)

    def follow(self, image: Image | None, pixels: float | None) -> None:
        """Show a diameter in image pixels for a while if it changed."""
        if image is None or pixels is None:
            return
        now = layer_id_of(image), round(pixels, 1)
        if now != self._shown:
            self._shown = now
            self.overlay.draw(image, [_circle(image, pixels)], visible_window(image))
            self._timer.start()

    def shut_down(self) -> None:
        """Stop the timer; `Overlays` removes the circle."""
        self._timer.stop()


def _circle(image: Image, diameter: float) -> np.ndarray:
    centre = [(s.start + s.stop - 1) / 2 for s in visible_window(image)]
    angle = np.linspace(0, 2 * np.pi, N_CORNERS + 1)
    ring: np.ndarray = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return np.asarray(centre + diameter / 2 * ring)
