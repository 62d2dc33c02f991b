"""What the user sees of an image: its pixels in view, and the shapes on its slice.

Only what is seen is verified or segmented: everything here refuses in a sentence where
that is nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_resunet.errors import CorrectionError
from napari_resunet.plugin.image_layers import plane_shape, visible_window
from napari_resunet.plugin.places import Places, plane_transform, to_pixels, to_world
from napari_resunet.types import MaskArray, Window

CLOSED = ("rectangle", "ellipse", "polygon")
"""Shapes that enclose something; lines and paths do not."""

SAME_SLICE = 0.5
"""Pixels by which a shape may be off the shown slice, as in napari."""

OUT_OF_VIEW = (
    "The image is out of view: bring it back first (the house button at the bottom left)."
)


def seen(layer: Image, viewer: ViewerModel) -> MaskArray:
    """Draw what of an image is in view as a mask over its rows and columns.

    Raises
    ------
    CorrectionError
        If nothing is.
    """
    mask = np.zeros(plane_shape(layer), bool)
    mask[seen_window(layer, viewer)] = True
    corners = _corners_of_view(layer, viewer)
    if not _is_upright(layer):
        inside = np.zeros_like(mask)
        _draw(inside, corners)
        mask &= inside
    if not mask.any():
        raise CorrectionError(OUT_OF_VIEW)
    return mask


def seen_window(layer: Image, viewer: ViewerModel) -> Window:
    """Find the smallest window with all of an image that is in view.

    Raises
    ------
    CorrectionError
        If nothing is.
    """
    corners = _corners_of_view(layer, viewer)
    # Pixel i reaches from i - 1/2 to i + 1/2.
    low = np.floor(corners.min(axis=0) + 0.5 + 1e-6).astype(int)
    high = np.ceil(corners.max(axis=0) + 0.5 - 1e-6).astype(int)
    rows, columns = (
        slice(max(0, int(a)), min(n, int(b)))
        for a, b, n in zip(low, high, plane_shape(layer), strict=True)
    )
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise CorrectionError(OUT_OF_VIEW)
    return rows, columns


def shapes_region(shapes: Shapes, layer: Image, viewer: ViewerModel) -> MaskArray:
    """Draw the closed shapes on the shown slice as a mask over rows and columns.

    Shapes of two dimensions are on every slice.

    Raises
    ------
    CorrectionError
        If there are none, or none of them on the image.
    """
    mask = np.zeros(plane_shape(layer), bool)
    shown = [
        (corners[:, -2:], kind)
        for corners, kind in zip(shapes.data, shapes.shape_type, strict=True)
        if _is_on_shown_slice(shapes, corners, viewer)
    ]
    closed = [shape for shape in shown if shape[1] in CLOSED]
    for corners, kind in closed:
        outline = _ellipse(corners) if kind == "ellipse" else corners
        _draw(mask, to_pixels(layer, to_world(shapes, outline)))
    if not mask.any():
        raise CorrectionError(_nothing_enclosed(shapes.name, len(shown), len(closed)))
    return mask


def _nothing_enclosed(name: str, n_shown: int, n_closed: int) -> str:
    if not n_shown:
        return f"No shape of '{name}' lies on the slice in view: draw one around the area."
    if not n_closed:
        return (
            f"The lines of '{name}' enclose nothing: draw a rectangle, an ellipse or a "
            "polygon around the area."
        )
    return f"The shapes of '{name}' lie outside the image: draw one on it."


def _is_on_shown_slice(
    shapes: Shapes, corners: npt.NDArray[Any], viewer: ViewerModel
) -> bool:
    point = np.asarray(viewer.dims.point)[-shapes.ndim :]
    here = np.round(np.asarray(shapes.world_to_data(point)))
    return bool((np.abs(corners[:, :-2] - here[:-2]) < SAME_SLICE).all())


def _ellipse(corners: npt.NDArray[Any], n: int = 64) -> npt.NDArray[Any]:
    """Trace an ellipse that napari describes by the corners of its box."""
    centre = corners.mean(0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    ring: npt.NDArray[Any] = centre + np.cos(angle) * one + np.sin(angle) * other
    return ring


def _corners_of_view(layer: Image, viewer: ViewerModel) -> Places:
    """Find the corners of the canvas in the image's rows and columns, one after another."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:  # before napari 0.9 only the layer knows
        rows, columns = visible_window(layer)
        top, left, bottom, right = rows.start, columns.start, rows.stop, columns.stop
        return np.array([(top, left), (top, right), (bottom, right), (bottom, left)]) - 0.5
    camera = viewer.scene.camera
    half = np.asarray(canvas.viewbox_size(viewer.layers)) / camera.zoom / 2
    around = half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    return to_pixels(layer, np.asarray(camera.center)[-2:] + around)


def _is_upright(layer: Image) -> bool:
    """Tell whether rows and columns run along the canvas, turned by 90 degrees or not."""
    linear = np.abs(plane_transform(layer)[0])
    small = linear < 1e-6 * linear.max()
    return bool((small.sum(axis=0) == 1).all())


def _draw(mask: MaskArray, corners: Places) -> None:
    """Mark the pixels within a polygon."""
    from skimage.draw import polygon

    mask[polygon(corners[:, 0], corners[:, 1], mask.shape)] = True
