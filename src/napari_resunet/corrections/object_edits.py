"""Edits of whole objects on one plane: delete, merge, split, smooth, copy.

Pure functions from labels and a position to an `Edit`, which the caller writes. Each looks
only at the window around its object. Growing a new object is in `grow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.draw import line
from skimage.morphology import disk
from skimage.segmentation import watershed

from napari_resunet.masks import numbers_in
from napari_resunet.types import LabelArray, MaskArray, Window
from napari_resunet.windows import bounding_window, grown, hull, moved, relative

Labels = npt.NDArray[np.integer[Any]]
Path = npt.NDArray[np.floating[Any]]
"""Positions on a plane in drawing order, rows and columns, shape (n, 2)."""
Point = tuple[int, int]


@dataclass(frozen=True)
class Edit:
    """Pixels of one plane that get another label.

    Attributes
    ----------
    rows, columns : int array, shape (n,)
        The pixels.
    after : int32 array, shape (n,)
        Their new labels.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    after: LabelArray

    @classmethod
    def between(cls, before: Labels, after: Labels, window: Window) -> Edit:
        """Compare the labels in a window of the plane before and after."""
        rows, columns = np.nonzero(before != after)
        labels = after[rows, columns].astype(np.int32)
        return cls(rows + window[0].start, columns + window[1].start, labels)

    def __len__(self) -> int:
        return len(self.rows)


MAX_LABEL = int(np.iinfo(np.int32).max)

SPARE_LABELS = 2**16
"""No edit or proposal adds more labels than this."""

NOTHING = Edit(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
"""The edit that changes no pixel."""


def free_label(*planes: Labels) -> int:
    """Return a label that is unused on all planes, with many unused ones above it.

    This is the first above all labels in use. If too few are left above those, it is the
    first in the widest gap between them.
    """
    most = max(int(plane.max(initial=0)) for plane in planes)
    if most <= MAX_LABEL - SPARE_LABELS:
        return most + 1
    used = np.unique(np.concatenate([[0], *(np.unique(plane) for plane in planes)]))
    used = used[used >= 0]
    widest = int(np.argmax(np.diff(used)))
    return int(used[widest]) + 1


def count_objects(plane: Labels) -> int:
    """Count the positive labels in use."""
    return int((numbers_in(plane) > 0).sum())


def label_at(labels: Labels, point: Point) -> int:
    """Return the label at a point, 0 outside the plane."""
    inside = all(0 <= p < n for p, n in zip(point, labels.shape, strict=True))
    return int(labels[point]) if inside else 0


FIRST_REACH = 64
"""Pixels around a point that are searched first for its object."""

GAP = 8
"""A fragment within this many pixels still belongs to the object of its label."""

BRIDGE = 2
"""Radius in pixels of the closing that joins merged objects across a thin gap."""

EIGHT = np.ones((3, 3), bool)
"""Pixels that touch by a corner hang together."""

MIN_PART_PIXELS = 4
MIN_PART_FRACTION = 0.02
"""A part of a split object that is smaller than either does not become an object."""

COVERED = 1 / 3
"""A copied object replaces the objects of which it covers at least this fraction."""

SPECK_FRACTION = 0.1
"""Fragments smaller than this fraction of the largest one are specks."""


def find_object(
    labels: Labels, point: Point, margin: int = 1
) -> tuple[Window, MaskArray] | None:
    """Find the object at a point without scanning the whole plane.

    Returns
    -------
    (window, members) or None
        The window around the object plus `margin`, and which of its pixels belong to the
        object: all with its label, except fragments farther away than `GAP`. None on
        background or outside the plane.
    """
    label = label_at(labels, point)
    reach = FIRST_REACH
    while label:
        search = _around(point, reach, labels.shape)
        members = labels[search] == label
        box = bounding_window(members, GAP)
        if not _cut_off(box, search, labels.shape):
            tight = bounding_window(members, 0)
            window = grown(moved(tight, search), margin, labels.shape)
            return window, labels[window] == label
        reach *= 2
    return None


def delete(labels: Labels, point: Point) -> Edit:
    """Remove the object at a point."""
    found = find_object(labels, point)
    if found is None:
        return NOTHING
    window, members = found
    part = labels[window]
    return Edit.between(part, np.where(members, 0, part), window)


def merge(labels: Labels, path: Path) -> Edit:
    """Give all objects under a path the label of the first, and close thin gaps.

    Pieces of one object are joined along the path.
    """
    crossed = objects_under(labels, path)
    if len(crossed) < 2:
        return _bridge(labels, path, *crossed)
    windows = [found[0] for p in crossed.values() if (found := find_object(labels, p, GAP))]
    return join(labels, list(crossed), windows)


def join(labels: Labels, joined: Sequence[int], windows: Sequence[Window]) -> Edit:
    """Give some labels the first of them, within windows around them; close thin gaps."""
    window = hull(windows)
    part = labels[window]
    groups = [part == label for label in joined]
    members = np.logical_or.reduce(groups)
    after = np.where(members, joined[0], part)
    closed = [ndimage.binary_closing(g, disk(BRIDGE)) for g in (members, *groups)]
    bridge = closed[0] & ~np.logical_or.reduce(closed[1:]) & (part == 0)
    after[bridge] = joined[0]
    return Edit.between(part, after, window)


def split(labels: Labels, path: Path, new_label: int) -> Edit:
    """Split the object that a line crosses most.

    If the line meets several pieces of the object, these are the parts, and none is cut.
    A line that ends inside the object is extended straight to its edge. If that does not
    split it, as with a ring, each side of the line is flooded by geodesic distance. The
    largest part keeps its label; the others get `new_label`, `new_label` + 1, and so on.
    """
    rows, columns = line_pixels(path, labels.shape)
    under = labels[rows, columns]
    if not (under > 0).any():
        return NOTHING
    label = _most_common(under[under > 0])
    window, pieces, met = _pieces_under(labels, path, label)
    if len(met) > 1:
        return _apart(labels, window, pieces, met, new_label)
    first = int(np.flatnonzero(under == label)[0])
    found = find_object(labels, (int(rows[first]), int(columns[first])))
    if found is None:
        return NOTHING
    window, members = found
    origin = np.array([s.start for s in window])
    parts = _split_parts(members, np.asarray(path, float) - origin)
    after = labels[window].copy()
    after[parts > 1] = (parts[parts > 1] + (new_label - 2)).astype(after.dtype)
    return Edit.between(labels[window], after, window)


def smooth(labels: Labels, point: Point) -> Edit:
    """Fill the holes of an object, drop its specks, and smooth its outline.

    The outline follows a Gaussian of the object at the level that keeps the area. Other
    objects stay as they are.
    """
    found = find_object(labels, point, margin=2 * GAP)
    if found is None:
        return NOTHING
    window, members = found
    part = labels[window]
    allowed = members | (part == 0)
    whole = ndimage.binary_fill_holes(_without_specks(members)) & allowed
    area = int(whole.sum())
    sigma = float(np.clip(np.sqrt(area / np.pi) / 6, 0.7, GAP))
    soft = ndimage.gaussian_filter(whole.astype(np.float32), sigma, mode="nearest")
    soft[~allowed] = 0
    level = np.partition(soft.ravel(), -area)[-area]
    smoothed = ndimage.binary_fill_holes(soft >= level) & allowed
    after = np.where(members, 0, part)
    after[_without_specks(smoothed)] = label_at(labels, point)
    return Edit.between(part, after, window)


def copy(
    source: Labels, point: Point, target: Labels, protected: MaskArray | None = None
) -> Edit:
    """Copy the object at a point of `source` to `target`.

    There it takes background, and the place of the objects that it mostly covers, which
    are removed as a whole, unless a pixel of theirs is `protected`. It keeps its label
    unless another object of `target` has it.
    """
    found = find_object(source, point)
    if found is None:
        return NOTHING
    window, members = found
    label = label_at(source, point)
    replaced = _covered(target, window, members, protected)
    whole = hull([window, *(where for where, _ in replaced)])
    before = target[whole]
    after = before.copy()
    for where, mask in replaced:
        after[relative(where, whole)][mask] = 0
    gone = np.count_nonzero((before == label) & (after != label))
    if np.count_nonzero(target == label) > gone:
        label = free_label(target)
    part = after[relative(window, whole)]
    part[members & (part == 0)] = label
    return Edit.between(before, after, whole)


def _covered(
    labels: Labels, window: Window, members: MaskArray, protected: MaskArray | None
) -> list[tuple[Window, MaskArray]]:
    """Find the objects that a new one covers so far that their rest would be a sliver."""
    found = []
    part = labels[window]
    for label in np.unique(part[members & (part > 0)]):
        rows, columns = np.nonzero(members & (part == label))
        point = int(rows[0]) + window[0].start, int(columns[0]) + window[1].start
        where, mask = find_object(labels, point) or (window, members & False)
        mine = protected is not None and bool(protected[where][mask].any())
        if len(rows) >= COVERED * mask.sum() and not mine:
            found.append((where, mask))
    return found


def line_pixels(
    path: Path, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """List the pixels under a path in its order, without those outside the plane."""
    ends = np.round(np.asarray(path, float)).astype(np.int64)
    pieces = [line(*a, *b) for a, b in pairwise(ends)]
    pieces = pieces or [(ends[:1, 0], ends[:1, 1])]
    rows = np.concatenate([p[0] for p in pieces])
    columns = np.concatenate([p[1] for p in pieces])
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return rows[inside], columns[inside]


def objects_under(labels: Labels, path: Path) -> dict[int, Point]:
    """Return the objects under a path in its order, each with one of its pixels."""
    crossed: dict[int, Point] = {}
    rows, columns = line_pixels(path, labels.shape)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if label := int(labels[row, column]):
            crossed.setdefault(label, (row, column))
    return crossed


def far_pieces(labels: Labels, label: int) -> int:
    """Count the pieces of an object that lie more than about `GAP` pixels apart."""
    mask = labels == label
    if not mask.any():
        return 0
    rows, columns = np.nonzero(mask[bounding_window(mask, 0)])
    # Pixels up to `GAP` apart lie in the same square of this size, or in neighbours.
    squares = (rows - rows.min()) // GAP, (columns - columns.min()) // GAP
    grid = np.zeros((int(squares[0].max()) + 1, int(squares[1].max()) + 1), bool)
    grid[squares] = True
    pieces, n_pieces = ndimage.label(grid, EIGHT)
    areas = np.bincount(pieces[squares], minlength=n_pieces + 1)
    return int((areas >= MIN_PART_PIXELS).sum())


def _pieces_under(
    labels: Labels, path: Path, label: int
) -> tuple[Window, npt.NDArray[np.int32], list[int]]:
    """Find the pieces of an object around a path, numbered, and those that it meets."""
    rows, columns = line_pixels(path, labels.shape)
    on = labels[rows, columns] == label
    entered = np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))
    places = zip(rows[entered].tolist(), columns[entered].tolist(), strict=True)
    window = hull([found[0] for p in places if (found := find_object(labels, p, GAP))])
    pieces, _ = ndimage.label(labels[window] == label, EIGHT)
    areas = np.bincount(pieces.ravel())
    min_size = max(MIN_PART_PIXELS, SPECK_FRACTION * areas[1:].max(initial=0))
    under = pieces[rows[on] - window[0].start, columns[on] - window[1].start].tolist()
    return window, pieces, [p for p in dict.fromkeys(under) if areas[p] >= min_size]


def _apart(
    labels: Labels,
    window: Window,
    pieces: npt.NDArray[np.int32],
    met: list[int],
    new_label: int,
) -> Edit:
    """Give all pieces that were met but the largest labels of their own."""
    areas = np.bincount(pieces.ravel())
    after = labels[window].copy()
    for n, piece in enumerate(sorted(met, key=lambda p: -areas[p])[1:]):
        after[pieces == piece] = new_label + n
    return Edit.between(labels[window], after, window)


def _bridge(labels: Labels, path: Path, label: int = 0) -> Edit:
    """Connect the pieces of an object along a path, over background."""
    if not label:
        return NOTHING
    window, _, met = _pieces_under(labels, path, label)
    if len(met) < 2:
        return NOTHING
    part, origin = labels[window], np.array([s.start for s in window])
    line = np.zeros(part.shape, bool)
    line[line_pixels(np.asarray(path, float) - origin, part.shape)] = True
    wide = ndimage.binary_dilation(line, disk(BRIDGE)) & (part == 0)
    return Edit.between(part, np.where(wide, label, part), window)


def _most_common(values: Labels) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _split_parts(members: MaskArray, path: Path) -> npt.NDArray[np.int64]:
    """Label the parts of an object by size from 1; all 1 if the path does not split it."""
    cut = _cut(members, path)
    parts, n_parts = ndimage.label(members & ~cut)
    at_cut = np.unique(parts[ndimage.binary_dilation(cut)])
    at_cut = at_cut[at_cut > 0]
    if len(at_cut) == 1:
        parts = _geodesic_sides(members, cut, path)
        at_cut, n_parts = np.unique(parts[parts > 0]), int(parts.max(initial=0))
    areas = np.bincount(parts.ravel(), minlength=n_parts + 1)
    min_size = max(MIN_PART_PIXELS, MIN_PART_FRACTION * int(members.sum()))
    large = at_cut[areas[at_cut] >= min_size]
    if len(large) < 2:
        return members.astype(np.int64)
    names = np.ones(n_parts + 1, np.int64)  # the object keeps what the line does not touch
    names[0] = 0
    names[at_cut] = 0
    names[large[np.argsort(-areas[large], kind="stable")]] = np.arange(1, len(large) + 1)
    return filled_from_nearest(names[parts], members)


def _cut(members: MaskArray, path: Path) -> MaskArray:
    """Draw a line, extending each end inside the object to its edge."""
    ends = [_extension(members, path[::-1]), path, _extension(members, path)]
    cut = np.zeros_like(members)
    cut[line_pixels(np.concatenate([e for e in ends if len(e)]), members.shape)] = True
    return cut & members


def _extension(members: MaskArray, path: Path) -> Path:
    """Extend the end of a path straight until the object ends."""
    away = np.linalg.norm(path[-1] - path, axis=1)
    earlier = np.flatnonzero(away >= 3)
    earlier = earlier if len(earlier) else np.flatnonzero(away > 0)
    if not len(earlier):
        return path[:0]
    start = path[earlier[-1]]
    direction = (path[-1] - start) / np.linalg.norm(path[-1] - start)
    steps = path[-1] + np.arange(sum(members.shape))[:, None] * direction
    places = np.round(steps).astype(int)
    inside = ((places >= 0) & (places < members.shape)).all(1)
    inside[inside] = members[tuple(places[inside].T)]
    return steps[: int(np.argmin(inside)) + 1][-1:]


def _geodesic_sides(members: MaskArray, cut: MaskArray, path: Path) -> npt.NDArray[Any]:
    """Mark what is nearer, inside the object, to the left (1) or right (2) of a line."""
    markers = np.zeros(members.shape, np.int32)
    steps = np.diff(path, axis=0)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    normals = steps[:, ::-1] * (1, -1) / np.maximum(lengths, 1e-9)
    for side, sign in ((1, 2.0), (2, -2.0)):
        for begin, end, normal in zip(path[:-1], path[1:], normals, strict=True):
            offset = np.stack([begin, end]) + sign * normal
            markers[line_pixels(offset, members.shape)] = side
    inside = members & ~cut
    markers[~inside] = 0
    flat = np.zeros(members.shape, np.uint8)
    flooded: npt.NDArray[Any] = watershed(flat, markers, mask=inside)
    return flooded


def filled_from_nearest(
    names: npt.NDArray[np.int64], members: MaskArray
) -> npt.NDArray[np.int64]:
    """Give each member without a name, which is 0, that of the nearest pixel with one."""
    nearest = ndimage.distance_transform_edt(
        names == 0, return_distances=False, return_indices=True
    )
    filled: npt.NDArray[np.int64] = np.where(members, names[tuple(nearest)], 0)
    return filled


def _without_specks(mask: MaskArray) -> MaskArray:
    """Keep the fragments that are not much smaller than the largest."""
    pieces, _ = ndimage.label(mask)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    keep: MaskArray = (areas >= SPECK_FRACTION * areas.max(initial=0)) & (areas > 0)
    return keep[pieces]


def _around(point: Point, reach: int, shape: tuple[int, ...]) -> Window:
    rows, columns = (
        slice(max(0, p - reach), min(n, p + reach + 1))
        for p, n in zip(point, shape, strict=True)
    )
    return rows, columns


def _cut_off(box: Window, search: Window, shape: tuple[int, ...]) -> bool:
    """Return whether the searched window, but not the plane, may cut the object off."""
    return any(
        (b.start == 0 and s.start > 0) or (b.stop == s.stop - s.start and s.stop < n)
        for b, s, n in zip(box, search, shape, strict=True)
    )
