"""Lines over an image that only show something: one Vectors layer that stays in the viewer.

No layer of ours comes and goes while the user works: each removal has napari delete OpenGL
objects in the middle of things, and processes ended by that (`gl_context` has the cause).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Layer, Vectors
from napari.utils.color import ColorArray
from qtpy.QtCore import QTimer

from napari_resunet.plugin.image_layers import OURS, layer_id_of, plane_place
from napari_resunet.types import Window

Line = npt.NDArray[Any]
"""Places in image pixels, shape (n, 2)."""

NAME = "guide lines"
WIDTH_SHARE = 1 / 300
"""Width of a line as a share of the side of what is looked at."""

PLACED_BY = "scale", "translate", "rotate", "shear", "affine", "units"
"""Events of an image that moves or turns, and its lines with it."""


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


@dataclass(frozen=True)
class Drawing:
    """The lines of one guide.

    Attributes
    ----------
    image : Image
        Over which image.
    lines : list of float arrays, each of shape (n, 2)
        In image pixels.
    colour : str
        Of the lines.
    width : float
        Of the lines, in image pixels.
    """

    image: Image
    lines: list[Line]
    colour: str
    width: float

    def vectors(self) -> npt.NDArray[np.float64]:
        """Cut the lines into vectors, shape (n, 2, 2): start and step."""
        starts = np.concatenate([line[:-1] for line in self.lines])
        steps = np.concatenate([np.diff(line, axis=0) for line in self.lines])
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        moving = length[:, 0] > 0
        starts, steps, length = starts[moving], steps[moving], length[moving]
        # Half a width longer at both ends, so that corners close.
        more = steps / length * self.width / 2
        return np.stack([starts - more, steps + 2 * more], axis=1)


class Guides:
    """The layer that all guides of a viewer share.

    It is added when it is first needed and then stays, empty while there is nothing to
    show. Only one image has guides at a time: the one that was drawn on last. The layer
    follows as soon as the viewer is at rest, never in the middle of a change of layers.

    Parameters
    ----------
    viewer : ViewerModel
        Where.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Vectors | None = None
        self._drawings: dict[str, Drawing] = {}
        self._followed: Image | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.update)

    @property
    def layer(self) -> Vectors | None:
        """The layer, if it is in the viewer."""
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._layer = None
        return self._layer

    def lines(self, name: str) -> list[Line]:
        """Return the lines of one guide; empty if it shows nothing."""
        return self._drawings[name].lines if name in self._drawings else []

    def draw(self, name: str, drawing: Drawing) -> None:
        """Show a guide in place of its last drawing."""
        self._drawings.pop(name, None)
        self._drawings[name] = drawing
        self._timer.start(0)

    def clear(self, name: str) -> None:
        """Show a guide no longer."""
        self._drawings.pop(name, None)
        self._timer.start(0)

    def shut_down(self) -> None:
        """Take the layer away, with the dock."""
        self._timer.stop()
        self._follow(None)
        self._drawings.clear()
        if self.layer is not None:
            self._viewer.layers.remove(self.layer)

    def update(self) -> None:
        """Bring the layer up to date."""
        shown = self._shown()
        self._follow(shown[0].image if shown else None)
        if not shown:
            if self.layer is not None and len(self.layer.data):
                self.layer.data = np.zeros((0, 2, 2))
            return
        layer = self.layer or self._lay()
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
        """List what is drawn on the image that was drawn on last; forget removed images."""
        there = {layer_id_of(layer) for layer in self._viewer.layers}
        self._drawings = {
            name: x for name, x in self._drawings.items() if layer_id_of(x.image) in there
        }
        drawings = list(self._drawings.values())
        return [
            x for x in drawings if layer_id_of(x.image) == layer_id_of(drawings[-1].image)
        ]

    def _lay(self) -> Vectors:
        """Add the layer."""
        self._layer = Vectors(
            ndim=2, name=NAME, vector_style="line", metadata={OURS: "guide"}
        )
        add_unselected(self._viewer, self._layer)
        return self._layer

    def _raise(self, layer: Vectors) -> None:
        """Put the layer above those that came after it."""
        layers = self._viewer.layers
        position = layers.index(layer)
        if position < len(layers) - 1:
            layers.move(position, len(layers))

    def _follow(self, image: Image | None) -> None:
        """Hear of it when this image moves or turns."""
        old, self._followed = self._followed, image
        for name in PLACED_BY:
            if old is not None:
                getattr(old.events, name).disconnect(self._moved)
            if image is not None:
                getattr(image.events, name).connect(self._moved)

    def _moved(self, event: Any = None) -> None:
        self._timer.start(0)


class Guide:
    """One set of lines of one colour.

    Parameters
    ----------
    guides : Guides
        The layer that shows them.
    name, colour : str
        Of the lines.
    """

    def __init__(self, guides: Guides, name: str, colour: str) -> None:
        self._guides = guides
        self._name, self._colour = name, colour

    @property
    def lines(self) -> list[Line]:
        """What is shown, in image pixels."""
        return self._guides.lines(self._name)

    def draw(self, image: Image, lines: Sequence[Line], window: Window) -> None:
        """Show these lines in place of the last ones, fine for a look at a window."""
        lines = [line for line in lines if len(np.unique(line, axis=0)) > 1]
        if not lines:
            self.clear()
            return
        width = WIDTH_SHARE * max(s.stop - s.start for s in window)
        self._guides.draw(self._name, Drawing(image, lines, self._colour, width))

    def clear(self) -> None:
        """Show nothing."""
        if self.lines:
            self._guides.clear(self._name)
