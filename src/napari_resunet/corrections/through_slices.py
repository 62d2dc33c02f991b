"""Delete, merge, and split an object in all slices of a volume or a film.

Pure functions, as those of `object_edits`, which edit one plane. Nothing is searched beyond
the slices through which the object goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_resunet.corrections import object_edits
from napari_resunet.corrections.object_edits import (
    GAP,
    Edit,
    Labels,
    Path,
    Point,
    filled_from_nearest,
    find_object,
    join,
    label_at,
    objects_under,
)
from napari_resunet.types import Index, MaskArray, Window
from napari_resunet.windows import hull, relative

Edits = dict[Index, Edit]
"""What changes on each plane."""

MISSING = 1
"""Slices in which an object may be missing, as for linking."""

CORE = 0.5
"""How deep the cores of parts lie, as a fraction of the depth of the thinnest one."""


@dataclass(frozen=True, eq=False)
class _Section:
    """An object on one plane: the window around it, and which of its pixels are its own."""

    index: Index
    window: Window
    members: MaskArray
    source: Index
    """The plane from which it was found."""


def delete(labels: Labels, index: Index, point: Point, axes: Sequence[int]) -> Edits:
    """Remove the object at a point of a plane from all slices.

    Parameters
    ----------
    labels : integer array, shape (*stack, Y, X)
        One number for one object.
    index : tuple of int
        The plane.
    point : tuple of int
        Row and column.
    axes : sequence of int
        The axes of the stack along which objects go on.

    Returns
    -------
    dict
        The edit of each plane that changes.
    """
    edits = {}
    for section in _sections(labels, index, point, axes):
        part = labels[section.index][section.window]
        after = np.where(section.members, 0, part)
        edits[section.index] = Edit.between(part, after, section.window)
    return edits


def merge(labels: Labels, index: Index, path: Path, axes: Sequence[int]) -> Edits:
    """Give all objects under a path the label of the first, in all of their slices.

    Thin gaps between them are closed in each slice. Pieces of one object are joined along
    the path, which is possible in its own slice only. For parameters and result, see
    `delete`.
    """
    crossed = objects_under(labels[index], path)
    edits = {index: object_edits.merge(labels[index], path)}
    windows: dict[Index, list[Window]] = {}
    if len(crossed) > 1:
        for point in crossed.values():
            for section in _sections(labels, index, point, axes):
                windows.setdefault(section.index, []).append(section.window)
    for other in windows.keys() - edits.keys():
        edits[other] = join(labels[other], list(crossed), windows[other])
    return _changing(edits)


def split(
    labels: Labels, index: Index, path: Path, new_label: int, axes: Sequence[int]
) -> Edits:
    """Split the object that a line crosses most, in all of its slices.

    The line divides it in its own slice, as in `object_edits.split`. From there, slice by
    slice, the cores of the parts are the seeds of a watershed in the next one. So the cut
    follows the neck of the object as it leans or moves, and a slice that only one part
    reaches belongs to that part as a whole. The same cut in all slices would leave slivers
    of cells that lean, and in one watershed in three dimensions, a cell flows around the
    end of a smaller one: see docs/research/stacks.md.

    For parameters and result, see `delete`. `new_label` and those above it must be free in
    the whole stack.
    """
    plane = labels[index]
    first = object_edits.split(plane, path, new_label)
    if not len(first):
        return {}
    edits = {index: first}
    point = int(first.rows[0]), int(first.columns[0])
    parts = {index: _parts(plane, point, first)}
    for section in _sections(labels, index, point, axes):
        if section.index == index:
            continue
        pixels = _continued(*parts[section.source], section)
        parts[section.index] = section.window, pixels
        part = labels[section.index][section.window]
        after = np.where(section.members, pixels, part)
        edits[section.index] = Edit.between(part, after, section.window)
    return _changing(edits)


def _changing(edits: Mapping[Index, Edit]) -> Edits:
    return {index: edit for index, edit in edits.items() if len(edit)}


def _sections(
    labels: Labels, index: Index, point: Point, axes: Sequence[int]
) -> list[_Section]:
    """Find an object in all slices, from a plane outwards, as long as it goes on."""
    first = find_object(labels[index], point, GAP)
    if first is None:
        return []
    label = label_at(labels[index], point)
    found: dict[Index, _Section | None] = {index: _Section(index, *first, index)}
    waiting = deque([index])
    while waiting:
        here = waiting.popleft()
        section = found[here]
        for way in _ways(here, axes, labels.shape):
            for other in way:
                if other not in found and section is not None:
                    found[other] = _next_section(labels, other, label, section)
                    waiting.extend([other] if found[other] else [])
                if found[other]:
                    break
    return [section for section in found.values() if section]


def _ways(index: Index, axes: Sequence[int], shape: tuple[int, ...]) -> list[list[Index]]:
    """List, for each direction, the next planes where an object may go on."""
    return [
        [
            (*index[:axis], position, *index[axis + 1 :])
            for step in range(1, MISSING + 2)
            if 0 <= (position := index[axis] + sign * step) < shape[axis]
        ]
        for axis in axes
        for sign in (1, -1)
    ]


def _next_section(
    labels: Labels, index: Index, label: int, near: _Section
) -> _Section | None:
    """Find a label on a plane where it is in a slice near by: linked objects overlap."""
    plane, (rows, columns) = labels[index], near.window
    hits = plane[near.window] == label
    if not hits.any():
        return None
    row, column = divmod(int(hits.argmax()), hits.shape[1])
    found = find_object(plane, (row + rows.start, column + columns.start), GAP)
    return None if found is None else _Section(index, *found, near.index)


def _parts(plane: Labels, point: Point, cut: Edit) -> tuple[Window, npt.NDArray[np.int64]]:
    """Return the parts of an object that was just cut, each with its label."""
    rows, columns = (slice(int(n.min()), int(n.max()) + 1) for n in (cut.rows, cut.columns))
    found = find_object(plane, point, GAP)
    window = hull([(rows, columns), *([found[0]] if found else [])])
    label = label_at(plane, point)
    parts = np.where(plane[window] == label, label, 0).astype(np.int64)
    parts[cut.rows - window[0].start, cut.columns - window[1].start] = cut.after
    return window, parts


def _continued(
    window: Window, parts: npt.NDArray[np.int64], section: _Section
) -> npt.NDArray[np.int64]:
    """Divide an object among the parts that it has in a slice near by."""
    whole = hull([window, section.window])
    shape = whole[0].stop - whole[0].start, whole[1].stop - whole[1].start
    near, members = np.zeros(shape, np.int64), np.zeros(shape, bool)
    near[relative(window, whole)] = parts
    members[relative(section.window, whole)] = section.members
    seeds = np.where(members, _cores(near), 0)
    if not seeds.any():
        seeds = np.where(members, near, 0)
    if not seeds.any():
        seeds = near
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(members), 1)
    flooded = watershed(-depth, seeds, mask=members)
    divided = filled_from_nearest(flooded if flooded.any() else seeds, members)
    return divided[relative(section.window, whole)]


def _cores(parts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Shrink all parts by as many pixels."""
    names = np.unique(parts[parts > 0])
    depths = [ndimage.distance_transform_edt(parts == name) for name in names]
    least = CORE * min(depth.max() for depth in depths)
    cores = np.zeros_like(parts)
    for name, depth in zip(names, depths, strict=True):
        cores[depth >= least] = name
    return cores
