"""How labels look: contours or filled, classes or objects, hidden under something else."""

from __future__ import annotations

import math

import numpy as np
from napari.layers import Labels

from napari_resunet.plugin.layers.appearance import class_colours, layer_style
from napari_resunet.session.store.schema import LayerStyle

CONTOUR, LARGE_CONTOUR, LARGE_SIDE = 1, 2, 1024
"""Thickness of the contours, also of planes with a longer side than this: thin ones would
be dotted when the whole plane is in view. napari adds a pixel outside of the object."""

CONTOUR_OPACITY, FILLED_OPACITY = 1.0, 0.4
"""Contours hide nothing, and filled labels leave the image visible."""

MAX_CONTOUR_PIXELS = 2048 * 2048
"""Larger planes are filled at first. napari draws all contours again for each undo and each
slice, which takes 0.14 s for these, and 9 s for 8192² pixels."""


def prepare_labels() -> None:
    """Make a layer that nobody sees, so that napari loads pandas and numba for it.

    In the background: the first labels would keep the window waiting for half a second.
    """
    Labels(np.zeros((1, 1), np.int32))


class LabelsLook:
    """The look of a Labels layer.

    Parameters
    ----------
    layer : Labels
        The layer.
    plane : tuple of int
        Rows and columns of a plane.
    """

    def __init__(self, layer: Labels, plane: tuple[int, int]) -> None:
        self.layer = layer
        self._covers: set[str] = set()
        self._was_visible = True
        self._as_classes, self._other_colours = False, class_colours()
        self._flat_contour = 0
        """The thickness of the contours before the viewer showed 3D."""
        self._opacities = {True: CONTOUR_OPACITY, False: FILLED_OPACITY}
        self._thickness = LARGE_CONTOUR if max(plane) > LARGE_SIDE else CONTOUR
        self.show_contours(math.prod(plane) <= MAX_CONTOUR_PIXELS)

    @property
    def contours(self) -> bool:
        """Whether objects are shown by their contours."""
        return bool(self.layer.contour > 0)

    def show_contours(self, wanted: bool) -> None:
        """Show contours or filled labels, each with the opacity that it had last."""
        if self.contours != wanted:
            self._opacities[self.contours] = float(self.layer.opacity)
            self._thickness = int(self.layer.contour) or self._thickness
            self.layer.contour = self._thickness if wanted else 0
        self.layer.opacity = self._opacities[wanted]

    def show_as_classes(self, wanted: bool) -> None:
        """Show the colours of classes, or of objects, each as they were last."""
        if self._as_classes != wanted:
            others, self._other_colours = self._other_colours, self.layer.colormap
            self._as_classes, self.layer.colormap = wanted, others

    def show_in_3d(self, wanted: bool) -> None:
        """Fill the labels as long as they are shown in 3D, which has no contours."""
        if wanted and self.contours:
            self._flat_contour, self.layer.contour = int(self.layer.contour), 0
        elif not wanted and self._flat_contour:
            self.layer.contour, self._flat_contour = self._flat_contour, 0

    def cover(self, by: str) -> None:
        """Hide the labels under something else until `uncover`."""
        if not self._covers:
            self._was_visible = bool(self.layer.visible)
        self._covers.add(by)
        self.layer.visible = False

    def uncover(self, by: str) -> None:
        """Show the labels again if they were shown, and nothing else covers them."""
        if by in self._covers:
            self._covers.remove(by)
            if not self._covers and self._was_visible:
                self.layer.visible = True

    @property
    def covered(self) -> bool:
        """Whether the labels are hidden under something else."""
        return bool(self._covers) and not self.layer.visible

    def style(self) -> LayerStyle:
        """Describe how the labels look in 2D while nothing covers them."""
        style = layer_style(self.layer)
        visible = self._was_visible if self.covered else style.visible
        contour = self._flat_contour or style.contour
        return style.model_copy(update={"visible": visible, "contour": contour})
