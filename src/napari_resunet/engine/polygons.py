"""Labels to outlines along the edges of their pixels, and back to the same pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from napari_resunet.errors import FileError
from napari_resunet.types import MaskArray, Window

Ring = npt.NDArray[np.floating | np.integer]
"""Corners of a closed line as x and y, shape (n, 2); the last is joined to the first."""

Polygon = tuple[Ring, ...]
"""An outer ring and its holes."""

Numbers = npt.NDArray[np.int64]

RIGHT, DOWN, LEFT, UP = range(4)
TURNS = {
    # Pixels around a corner: itself, beside it, above or below it, and diagonal to it.
    # Then the directions in which its outline comes and goes if it is alone there; if it
    # touches a pixel of its own piece diagonally; and if it lies between two of them.
    (3, 2, 1, 0): ((UP, RIGHT), (UP, LEFT), (RIGHT, UP)),
    (2, 3, 0, 1): ((RIGHT, DOWN), (RIGHT, UP), (DOWN, RIGHT)),
    (1, 0, 3, 2): ((LEFT, UP), (LEFT, DOWN), (UP, LEFT)),
    (0, 1, 2, 3): ((DOWN, LEFT), (DOWN, RIGHT), (LEFT, DOWN)),
}


@dataclass(frozen=True, eq=False)
class Shape:
    """The outline of one label of a plane.

    Attributes
    ----------
    label : int
        The label.
    polygons : tuple of Polygon
        One for each piece (pixels joined by their sides). Outer rings have a positive
        area in (x, y), holes a negative one; no ring touches itself.
    """

    label: int
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True, eq=False)
class _Corners:
    """Where outlines turn.

    Attributes
    ----------
    x, y : int array, shape (n,)
        Places, in pixel edges.
    piece : int array, shape (n,)
        The piece whose outline it is.
    comes, goes : int array, shape (n,)
        Directions of the outline before and after it.
    """

    x: Numbers
    y: Numbers
    piece: Numbers
    comes: Numbers
    goes: Numbers


def shapes_of(labels: npt.NDArray[np.integer]) -> Iterator[Shape]:
    """Trace the outline of each label of a plane, in the order of the labels.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        0 and below is background.

    Yields
    ------
    Shape
        Filled by `fill`, it gives the same pixels.
    """
    pieces, n = label(np.maximum(labels, 0), connectivity=1, return_num=True)
    numbers = np.zeros(n + 1, np.int64)
    numbers[pieces] = labels
    rings, of_piece, areas = _rings(_corners(pieces))
    of_label = numbers[of_piece]
    # The outer ring of a piece comes before its holes.
    order = np.lexsort((areas < 0, of_piece, of_label)).tolist()
    label_of, piece_of = of_label.tolist().__getitem__, of_piece.tolist().__getitem__
    for number, same in groupby(order, key=label_of):
        by_piece = groupby(same, key=piece_of)
        polygons = tuple(tuple(rings[k] for k in piece) for _, piece in by_piece)
        yield Shape(number, polygons)


def _corners(pieces: npt.NDArray[np.integer]) -> _Corners:
    padded = np.pad(pieces, 1)
    nw, ne = padded[:-1, :-1], padded[:-1, 1:]
    sw, se = padded[1:, :-1], padded[1:, 1:]
    turns = ((nw != sw) | (ne != se)) & ((nw != ne) | (sw != se))
    y, x = np.nonzero(turns)
    around = [view[y, x] for view in (nw, ne, sw, se)]
    found = []
    for places, directions in TURNS.items():
        own, beside, above, across = (around[place] for place in places)
        left = own != beside
        up = own != above
        apart = own != across
        cases = (left & up & apart, left & up & ~apart, ~left & ~up & apart)
        for case, (comes, goes) in zip(cases, directions, strict=True):
            here = np.flatnonzero(case & (own > 0))
            n = len(here)
            found.append((x[here], y[here], own[here], np.full(n, comes), np.full(n, goes)))
    return _Corners(*map(np.concatenate, zip(*found, strict=True)))


def _rings(corners: _Corners) -> tuple[list[Ring], Numbers, Numbers]:
    """Join corners to rings; also return the piece and the area of each."""
    following = _following(corners)
    order, starts = _cycles(following)
    if not len(starts):
        return [], starts, starts
    points = np.stack([corners.x, corners.y], axis=1)
    here, there = points[order], points[following[order]]
    cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    areas = np.add.reduceat(cross, starts)
    return np.split(here, starts[1:]), corners.piece[order[starts]], areas


def _following(corners: _Corners) -> Numbers:
    """Find the next corner of each: the edges of one row or column do not overlap."""
    following = np.zeros(len(corners.x), np.int64)
    for direction in (RIGHT, DOWN, LEFT, UP):
        line, place = corners.y, corners.x
        if direction in (DOWN, UP):
            line, place = place, line
        begin = np.flatnonzero(corners.goes == direction)
        end = np.flatnonzero(corners.comes == direction)
        begin = begin[np.lexsort((place[begin], line[begin]))]
        following[begin] = end[np.lexsort((place[end], line[end]))]
    return following


def _cycles(following: Numbers) -> tuple[Numbers, Numbers]:
    """Order corners ring by ring; also return where each ring starts."""
    after = following.tolist()
    order: list[int] = []
    starts: list[int] = []
    for current in range(len(after)):
        if after[current] >= 0:
            starts.append(len(order))
        while after[current] >= 0:
            order.append(current)
            after[current], current = -1, after[current]
    return np.array(order, np.int64), np.array(starts, np.int64)


@dataclass(frozen=True, eq=False)
class Filled:
    """The pixels inside of an outline.

    Attributes
    ----------
    window : (slice, slice)
        Rows and columns around them.
    mask : bool array
        Which pixels of the window they are.
    cost : int
        What it took: pixels of the window, and rows crossed by the edges.
    """

    window: Window
    mask: MaskArray
    cost: int


def fill(rings: Sequence[Ring], shape: tuple[int, int], most: float = np.inf) -> Filled:
    """Find the pixels whose centres are inside of an odd number of rings.

    Parameters
    ----------
    rings : sequence of Ring
        Finite numbers, in pixel edges: the first pixel's centre is at (0.5, 0.5).
    shape : (int, int)
        Rows and columns of the plane. What lies outside of it is cut off.
    most : float
        What it may cost, see `Filled`.

    Raises
    ------
    FileError
        If it would cost more.
    """
    here = np.concatenate([np.asarray(ring, float) for ring in rings])
    there = np.concatenate([np.roll(np.asarray(ring, float), -1, axis=0) for ring in rings])
    height, width = shape
    ends = np.sort([here[:, 1], there[:, 1]], axis=0)
    first, last = np.clip(np.ceil(ends - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if (n := int(counts.sum())) > most:
        raise FileError(
            "Its outlines are far longer than those of objects in such an image: give the "
            "file that belongs to this image."
        )
    edge = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (there[:, 0] - here[:, 0])[edge] / (there[:, 1] - here[:, 1])[edge]
    x = here[edge, 0] + (row + 0.5 - here[edge, 1]) * slope
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    window, mask = _between(row, column)
    return Filled(window, mask, n + mask.size)


def _between(row: Numbers, column: Numbers) -> tuple[Window, MaskArray]:
    """Fill each row from the first of its crossings to the second, and so on."""
    if not len(row):
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), bool)
    top, left = int(row.min()), int(column.min())
    bottom, right = int(row.max()) + 1, int(column.max())
    crossed = np.zeros((bottom - top, right - left + 1), bool)
    np.logical_xor.at(crossed, (row - top, column - left), True)
    mask = np.logical_xor.accumulate(crossed, axis=1)[:, :-1]
    return (slice(top, bottom), slice(left, right)), mask
