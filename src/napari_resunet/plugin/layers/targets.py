"""What the user works on: the visible area, the slice, drawn shapes, the whole stack.

Areas are masks of an image's rows and columns; segmentation targets are windows of planes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_resunet.corrections.review import ReviewState
from napari_resunet.errors import CorrectionError
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.geometry import (
    Places,
    is_upright,
    ring,
    to_pixels,
    to_world,
)
from napari_resunet.plugin.layers.image_layers import plane_shape
from napari_resunet.types import Index, MaskArray, Target, Window
from napari_resunet.windows import bounding_window

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal

CLOSED = ("rectangle", "ellipse", "polygon")
"""Shapes that enclose an area, unlike lines and paths."""

SAME_SLICE = 0.5
"""Largest distance of a shape from the shown slice in pixels, as in napari."""

FILL = 0.9
"""Fraction of the canvas that is filled by what the camera looks at."""

OUT_OF_VIEW = (
    "The image is out of view: bring it back first (the house button at the bottom left)."
)


def targets_of(image: Image, viewer: ViewerModel, scope: str) -> list[Target]:
    """List the windows to segment for a scope.

    Parameters
    ----------
    image : Image
        The image to segment.
    viewer : ViewerModel
        The viewer, which knows the shown plane and the visible part of it.
    scope : {"visible", "slice", "stack"}
        The visible area, the whole shown slice, or all slices.

    Returns
    -------
    list of Target
        One window for each plane, the shown plane first.

    Raises
    ------
    CorrectionError
        If no part of the visible area or the slice is in view, or if what a stack is
        depends on an answer of the user.
    """
    index = image_layers.shown_index(image, viewer)
    window = image_layers.whole_window(image)
    if scope == "stack" and (n := image_layers.n_unclear(image)):
        raise CorrectionError(image_layers.UNCLEAR.format(n))
    if scope != "stack":
        if sentence := image_layers.not_shown(image, viewer):
            raise CorrectionError(sentence)
        if scope == "visible":
            window = seen_window(image, viewer)
        return [Target(index, window)]
    shape, channel = image_layers.full_shape(image)[:-2], image_layers.channel_axis(image)
    planes = product(*(range(n) for axis, n in enumerate(shape) if axis != channel))
    return [Target(i, window) for i in sorted(planes, key=lambda i: (i != index, i))]


def again(proposals: Sequence[Proposal]) -> list[Target]:
    """List the windows of earlier proposals."""
    return [Target(p.index, p.roi) for p in proposals]


def proposed_earlier(review: ReviewState, shown: Index) -> list[Target]:
    """List the windows of proposals from a restored session, the shown plane first."""
    masks = {i: p.proposed for i, p in review.planes.items() if p.proposed.any()}
    order = sorted(masks, key=lambda index: (index != shown, index))
    return [Target(index, bounding_window(masks[index], 0)) for index in order]


def seen(layer: Image, viewer: ViewerModel) -> MaskArray:
    """Return a mask of the part of an image that is in view, shape (Y, X).

    Raises
    ------
    CorrectionError
        If no part is.
    """
    mask = np.zeros(plane_shape(layer), bool)
    mask[seen_window(layer, viewer)] = True
    if not is_upright(layer):
        inside = np.zeros_like(mask)
        _draw(inside, _corners_of_view(layer, viewer))
        mask &= inside
    if not mask.any():
        raise CorrectionError(OUT_OF_VIEW)
    return mask


def seen_window(layer: Image, viewer: ViewerModel) -> Window:
    """Return the smallest window around the part of an image that is in view.

    Raises
    ------
    CorrectionError
        If no part is.
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


def frame_of(window: Window) -> npt.NDArray[np.float64]:
    """Return the outline of a window in image pixels, shape (5, 2)."""
    rows, columns = window
    return ring(
        (rows.start - 0.5, columns.start - 0.5), (rows.stop - 0.5, columns.stop - 0.5)
    )


def look_at(viewer: Any, image: Image, window: Window) -> None:
    """Move and zoom the camera so that a window fills most of the canvas."""
    camera, world = camera_of(viewer), to_world(image, frame_of(window)[:4])
    camera.center = (*camera.center[:-2], *world.mean(0).tolist())
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        fit = np.asarray(canvas.size) / np.ptp(world, axis=0)
        camera.zoom = FILL * float(fit.min())


def camera_of(viewer: Any) -> Any:
    """Return the camera, which belongs to the viewer itself before napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def show_plane(viewer: Any, image: Image, index: Index) -> None:
    """Move the sliders to a plane."""
    channel, position, stack = image_layers.channel_axis(image), [], list(index)
    now = np.asarray(image.world_to_data(viewer.dims.point[-image.ndim :]))
    for axis in range(image.ndim - 2):
        position.append(now[axis] if axis == channel else stack.pop(0))
    world = image.data_to_world((*position, 0, 0))
    for axis in range(image.ndim - 2):
        viewer.dims.set_point(viewer.dims.ndim - image.ndim + axis, world[axis])


def shapes_region(shapes: Shapes, layer: Image, viewer: ViewerModel) -> MaskArray:
    """Return a mask of the closed shapes on the shown slice, shape (Y, X).

    Shapes with two dimensions are on every slice.

    Raises
    ------
    CorrectionError
        If there are none, or none of them is on the image.
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
    """Trace an ellipse, which napari describes by the corners of its box."""
    centre = corners.mean(0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    ring: npt.NDArray[Any] = centre + np.cos(angle) * one + np.sin(angle) * other
    return ring


def _corners_of_view(layer: Image, viewer: ViewerModel) -> Places:
    """Return the corners of the canvas as rows and columns of the image, in a ring."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:  # before napari 0.9, only the layer knows the view
        rows, columns = image_layers.visible_window(layer)
        top, left, bottom, right = rows.start, columns.start, rows.stop, columns.stop
        return np.array([(top, left), (top, right), (bottom, right), (bottom, left)]) - 0.5
    camera = camera_of(viewer)
    half = np.asarray(canvas.viewbox_size(viewer.layers)) / camera.zoom / 2
    around = half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    return to_pixels(layer, np.asarray(camera.center)[-2:] + around)


def _draw(mask: MaskArray, corners: Places) -> None:
    """Mark the pixels inside a polygon."""
    from skimage.draw import polygon

    mask[polygon(corners[:, 0], corners[:, 1], mask.shape)] = True
