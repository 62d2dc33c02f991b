"""Growing a new object from a scribble or a box with the prediction maps.

This is a watershed as in `engine.postprocess`, but the user's stroke is the marker, and
the threshold follows the maps under it: an object that the model saw only faintly is cut at
half its height. Without maps, or if they show nothing there, the scribble or the ellipse in
the box becomes the object. It is always one piece, on background only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.draw import ellipse
from skimage.morphology import isotropic_dilation, local_maxima, reconstruction
from skimage.segmentation import watershed

from napari_resunet.corrections.object_edits import Edit, Labels, Path, line_pixels
from napari_resunet.errors import CorrectionError
from napari_resunet.types import FloatArray, MaskArray, Window
from napari_resunet.windows import relative

FAINT = 0.05
"""Foreground probability below which the maps show no object."""

DIP = 0.7
"""A peak is of another object if the distance dips below this fraction of it before."""

LOW_PEAK = 0.3
"""Lower peaks, relative to the highest under the stroke, are noise."""

MOSTLY = 0.4
"""An object belongs to the stroke if more than this fraction of the stroke lies on it."""

MIN_THICKNESS = 3.0
"""Pixels; a thinner object is a sliver between others."""

TAKEN = "Object {} is there already: scribble beside it, or delete it (D) and add it anew."
NO_ROOM = (
    "Only a sliver fits here: scribble over more of the object, or delete (D) the objects "
    "in its way first."
)
OUTSIDE = "Nothing was added: scribble on the image."

ReadMaps = Callable[[Window], FloatArray | None]
"""From a window in image pixels to maps of shape (3, h, w), or None."""


def add_scribble(
    labels: Labels, path: Path, width: float, size: float, read: ReadMaps, new_label: int
) -> Edit:
    """Grow a scribble into an object.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        The plane.
    path : float array, shape (n, 2)
        The scribble.
    width : float
        Width of the stroke in pixels, used without maps. An area that the stroke encloses
        is filled.
    size : float
        Diameter of a typical object in image pixels: how far to look and to grow.
    read : callable
        Reads the maps of a window.
    new_label : int
        A free label.

    Returns
    -------
    Edit
        One piece of background pixels.

    Raises
    ------
    CorrectionError
        If most of the scribble lies on another object or outside, or if the other objects
        leave no room.
    """
    _check_free(labels, path)
    reach = max(round(size), 8)
    window = _window(path, max(reach, round(width)) + 2, labels.shape)
    part = labels[window]
    stroke = _stroke(path, 1.0, window, part.shape) & (part == 0)
    maps = read(window)
    if maps is None or not _has_signal(maps, stroke):
        wide = _stroke(path, width, window, part.shape)
        grown = ndimage.binary_fill_holes(wide) & (part == 0)
    else:
        near = isotropic_dilation(stroke, reach)
        level = min(0.5, 0.5 * float(np.median(maps[0][stroke])))
        grown = _watershed(maps, stroke, level, near, part)
    whole = _one_piece(grown, stroke, min(MIN_THICKNESS, width))
    return Edit.between(part, np.where(whole, new_label, part), window)


def add_box(
    labels: Labels, corners: Path, size: float, read: ReadMaps, new_label: int
) -> Edit:
    """Find the object in a box.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        The plane.
    corners : float array, shape (2, 2)
        Two opposite corners.
    size : float
        Diameter of a typical object in image pixels: how far around to look.
    read : callable
        Reads the maps of a window.
    new_label : int
        A free label.

    Returns
    -------
    Edit
        One piece of background pixels, in the box only.

    Raises
    ------
    CorrectionError
        If the box lies outside, or if the objects in it leave no room.
    """
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    if (high < 0).any() or (low > np.array(labels.shape) - 1).any():
        raise CorrectionError(OUTSIDE)
    box = _window(corners, 0, labels.shape)
    window = _window(corners, max(round(size / 2), 4), labels.shape)
    part = labels[window]
    inside = np.zeros(part.shape, bool)
    inside[relative(box, window)] = True
    oval = _oval(inside) & (part == 0)
    maps = read(window)
    if maps is None or not _has_signal(maps, oval):
        grown = oval
    else:
        level = min(0.5, 0.5 * float(np.percentile(maps[0][oval], 90)))
        middle = _oval(inside, 0.5) & (maps[0] >= level) & (part == 0)
        grown = _watershed(maps, middle, level, inside, part) if middle.any() else oval
    thin = min(MIN_THICKNESS, *(s.stop - s.start for s in box))
    whole = _one_piece(grown, grown, thin)
    return Edit.between(part, np.where(whole, new_label, part), window)


def _check_free(labels: Labels, path: Path) -> None:
    """Refuse a scribble that lies mostly on one or more objects, or outside."""
    under = labels[line_pixels(path, labels.shape)]
    if not len(under):
        raise CorrectionError(OUTSIDE)
    taken = under[under != 0]
    if 2 * len(taken) > len(under):
        found, counts = np.unique(taken, return_counts=True)
        raise CorrectionError(TAKEN.format(int(found[counts.argmax()])))


def _one_piece(grown: MaskArray, seed: MaskArray, thickness: float) -> MaskArray:
    """Return the piece with most of the seed; refuse a sliver."""
    pieces, n_pieces = ndimage.label(grown)
    held = np.bincount(pieces[seed & grown], minlength=n_pieces + 1)
    held[0] = 0
    if not held.any():
        raise CorrectionError(NO_ROOM)
    piece: MaskArray = pieces == held.argmax()
    deepest = ndimage.distance_transform_edt(np.pad(piece, 1)).max()
    if 2 * deepest < thickness:
        raise CorrectionError(NO_ROOM)
    return piece


def _watershed(
    maps: FloatArray, seed: MaskArray, level: float, within: MaskArray, part: Labels
) -> MaskArray:
    """Flood from the seed, against other objects and other peaks of the distance."""
    free = part == 0
    foreground = (maps[0] >= level) & free & within
    ridge = ndimage.gaussian_filter(maps[1].astype(np.float32), 1.0)
    visible = free & (maps[0] >= level)
    peaks = _peaks(np.where(visible, ridge, 0), seed)
    own = _own_peaks(peaks, watershed(-ridge, peaks, mask=visible), seed)
    markers = np.where((peaks > 0) & ~own[peaks], 2, 0)
    # Other objects keep the faint rim around them.
    markers[~free] = 2
    markers[seed | own[peaks]] = 1
    flooded = watershed(-ridge, markers, mask=foreground | (markers > 0))
    grown = ((flooded == 1) & foreground) | (seed & free)
    return _tidy(grown, seed) & free


def _peaks(ridge: FloatArray, seed: MaskArray) -> npt.NDArray[np.int32]:
    """Find the middles of objects, numbered: each peak that stands out.

    In crowds, the distance between touching objects stays high, and that of small ones
    stays low, so no single level separates them.
    """
    low = LOW_PEAK * float(ridge[seed].max(initial=0.0))
    filled = reconstruction(DIP * ridge, ridge)
    standing_out = local_maxima(filled) & (ridge > max(low, FAINT))
    peaks: npt.NDArray[np.int32] = ndimage.label(standing_out, np.ones((3, 3)))[0]
    return peaks


def _own_peaks(
    peaks: npt.NDArray[np.int32], basins: npt.NDArray[np.int32], seed: MaskArray
) -> MaskArray:
    """Return for each peak whether the stroke touches it, or lies largely around it."""
    own = np.bincount(basins[seed], minlength=int(peaks.max()) + 1) > MOSTLY * seed.sum()
    own[peaks[seed]] = True
    own[0] = False
    return own


def _tidy(grown: MaskArray, seed: MaskArray) -> MaskArray:
    """Drop thin spurs and fragments that do not touch the seed, and fill holes."""
    opened = ndimage.binary_opening(grown) | seed
    pieces, n_pieces = ndimage.label(opened)
    keep = np.zeros(n_pieces + 1, bool)
    keep[pieces[seed]] = True
    keep[0] = False
    tidy: MaskArray = ndimage.binary_fill_holes(keep[pieces])
    return tidy


def _has_signal(maps: FloatArray, where: MaskArray) -> bool:
    """Return whether the maps show an object there."""
    return bool(where.any()) and float(np.median(maps[0][where])) >= FAINT


def _stroke(path: Path, width: float, window: Window, shape: tuple[int, ...]) -> MaskArray:
    """Draw a path, `width` pixels wide, as a mask of a window."""
    mask = np.zeros(shape, bool)
    origin = np.array([s.start for s in window])
    mask[line_pixels(np.asarray(path, float) - origin, shape)] = True
    if width <= 1:
        return mask
    wide: MaskArray = isotropic_dilation(mask, width / 2)
    return wide


def _oval(inside: MaskArray, fraction: float = 1.0) -> MaskArray:
    """Draw the ellipse that fills a box, or this fraction of its width and height."""
    rows, columns = np.nonzero(inside)
    oval = np.zeros_like(inside)
    if len(rows):
        centre = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
        tall, wide = ((n[-1] - n[0] + 1) / 2 * fraction for n in (rows, columns))
        oval[ellipse(*centre, tall, wide, shape=inside.shape)] = True
    return oval & inside


def _window(path: Path, margin: int, shape: tuple[int, ...]) -> Window:
    """Return the window around a path, never empty."""
    low = np.floor(np.min(path, axis=0)).astype(int) - margin
    high = np.ceil(np.max(path, axis=0)).astype(int) + margin + 1
    rows, columns = (
        slice(int(np.clip(a, 0, n - 1)), int(np.clip(b, 1, n)))
        for a, b, n in zip(low, high, shape, strict=True)
    )
    return rows, columns
