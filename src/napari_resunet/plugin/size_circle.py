"""The object size as a circle on the canvas, for a few seconds after it changed."""

from __future__ import annotations

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_resunet.plugin.guides import Guide, Guides
from napari_resunet.plugin.image_layers import layer_id_of, visible_window

SHOWN_FOR = 6000
"""Milliseconds: long enough to compare it with the objects, then out of the way."""

N_CORNERS = 64


class SizeCircle:
    """A circle in the middle of the view, as large as an object is taken to be.

    Parameters
    ----------
    guides : Guides
        Where it is drawn.
    """

    def __init__(self, guides: Guides) -> None:
        self.guide = Guide(guides, "object size", "cyan")
        self._shown: tuple[str, float] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SHOWN_FOR)
        self._timer.timeout.connect(self.guide.clear)

    def follow(self, image: Image | None, diameter: float | None) -> None:
        """Show the size, in image pixels, if it is another than was shown last."""
        if image is None or diameter is None:
            return
        now = layer_id_of(image), round(diameter, 1)
        if now != self._shown:
            self._shown = now
            self.guide.draw(image, [_circle(image, diameter)], visible_window(image))
            self._timer.start()

    def shut_down(self) -> None:
        """Change nothing more."""
        self._timer.stop()


def _circle(image: Image, diameter: float) -> np.ndarray:
    centre = [(s.start + s.stop - 1) / 2 for s in visible_window(image)]
    angle = np.linspace(0, 2 * np.pi, N_CORNERS + 1)
    ring: np.ndarray = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return np.asarray(centre + diameter / 2 * ring)
