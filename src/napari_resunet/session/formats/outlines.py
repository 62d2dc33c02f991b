"""Labels as named outlines, and back: what ROIs and GeoJSON have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import check_regular, shown
from napari_resunet.session.formats.layout import (
    LabelsLayout,
    guessed_axes,
    planes_of,
)
from napari_resunet.tiff_reader import PIXEL_AXES, STACK_AXES
from napari_resunet.types import LabelArray

Rings = tuple[npt.NDArray[Any], ...]
"""Closed lines, x and y in pixel edges; an even number around a pixel leaves it out."""

PLACE = r"(?:-[PTZ]\d{1,9})"
NUMBERED = re.compile(rf"0*(\d{{1,9}}){PLACE}*")
"""A name that we gave to an object: its number, and its place in a stack."""

PLACED = re.compile(rf"\d({PLACE}+)$")
"""The end of a name that we gave to an object or to a piece of a class in a stack."""

MAX_NAME = 200
"""A longer name counts as none: searching it could take long."""

FEWEST_DIGITS = 4
COUNTED = "I"
"""Axis of a place that counts all planes of a stack: Z first, then T, then P."""

MAX_EXTENT = 2**28
"""Pixels of labels whose image is not known."""

MAX_COORDINATE = 1e9
HARMLESS_COST, COST_PER_PIXEL = 2**24, 16
"""What filling outlines may cost: see `polygons.Filled`. Objects cost about 3 per pixel."""


@dataclass(frozen=True, eq=False)
class Outline:
    """One object of one plane, or one piece of a class.

    Attributes
    ----------
    name : str
        What names it in the file.
    label : int
        Its number, or that of its class; 0 if only `name` may tell it.
    polygons : tuple of Rings
        Its pieces, each an outer ring with holes.
    place : mapping of str to int
        Where its plane is along P, T, and Z, or along `COUNTED`, from 0; empty if unknown.
    class_name : str
        Name of its class; empty for objects.
    group : int
        Number of its class, if the file counts them; 0 for none.
    """

    name: str
    label: int
    polygons: tuple[Rings, ...]
    place: Mapping[str, int] = field(default_factory=dict)
    class_name: str = ""
    group: int = 0


def outlines_of(labels: npt.NDArray[Any], layout: LabelsLayout) -> Iterator[Outline]:
    """Trace all objects of labels, or all pieces of classes, plane by plane."""
    from napari_resunet.engine.polygons import shapes_of

    digits = max(FEWEST_DIGITS, len(str(int(labels.max(initial=0)))))
    for place, plane in planes_of(labels, layout.axes):
        suffix = "".join(f"-{axis}{n + 1}" for axis, n in place.items())
        for shape in shapes_of(plane):
            if not layout.class_names:
                name = f"{shape.label:0{digits}d}{suffix}"
                yield Outline(name, shape.label, shape.polygons, place)
                continue
            kind = layout.class_of(shape.label)
            for number, piece in enumerate(shape.polygons, start=1):
                name = f"{kind}-{number:0{FEWEST_DIGITS}d}{suffix}"
                yield Outline(name, shape.label, (piece,), place, kind)


@dataclass(frozen=True, eq=False)
class ReadLabels:
    """Labels made from outlines.

    Attributes
    ----------
    labels : int32 array
        Of the image's shape, or else as large as the outlines.
    axes : str
        One letter of "PTZYX" for each dimension.
    notices : tuple of str
        What was left out or changed, one sentence each.
    """

    labels: LabelArray
    axes: str
    notices: tuple[str, ...] = ()


def labels_from(
    outlines: Sequence[Outline],
    shape: tuple[int, ...] | None = None,
    axes: str | None = None,
    class_names: Sequence[str] = (),
) -> ReadLabels:
    """Fill outlines in the order of the file; a later one covers an earlier one.

    Parameters
    ----------
    outlines : sequence of Outline
        With finite coordinates.
    shape : tuple of int or None
        Shape of the image without channels; None makes it large enough for all outlines.
    axes : str or None
        One letter of "PTZYX" for each dimension; None takes those that the outlines name.
    class_names : sequence of str
        Names of classes, background first: the labels are then classes.

    Raises
    ------
    FileError
        If the outlines are far larger than objects in such an image can be, or their
        image is too large to guess.
    """
    if axes is None:
        axes = _axes_for(outlines, None if shape is None else len(shape))
    if shape is None:
        shape = _extent(outlines, axes)
    canvas = _Canvas(shape, axes, _numbers(outlines, class_names))
    for outline in outlines:
        canvas.draw(outline)
    return ReadLabels(canvas.labels, axes, tuple(canvas.notices()))


def _axes_for(outlines: Sequence[Outline], ndim: int | None) -> str:
    used = [a for a in STACK_AXES if any(outline.place.get(a) for outline in outlines)]
    if not used and any(outline.place.get(COUNTED) for outline in outlines):
        used = ["Z"]
    if ndim is None or len(used) == ndim - len(PIXEL_AXES):
        return "".join(used) + PIXEL_AXES
    return guessed_axes(ndim)


def _extent(outlines: Sequence[Outline], axes: str) -> tuple[int, ...]:
    """Return the shape of the smallest image that holds all outlines."""
    corners = [ring.max(axis=0) for o in outlines for rings in o.polygons for ring in rings]
    width, height = np.ceil(np.max(corners, axis=0, initial=1)).astype(int).tolist()
    sizes = {"Y": height, "X": width}
    for axis in axes:
        if axis not in sizes:
            sizes[axis] = 1 + max(_along(outline, axis) for outline in outlines)
    shape = tuple(sizes[axis] for axis in axes)
    if np.prod(shape, dtype=float) > MAX_EXTENT:
        raise FileError(
            f"Its outlines reach over {' × '.join(map(str, shape))} pixels: say what shape "
            "the image has, or select the image in the viewer first."
        )
    return shape


def _along(outline: Outline, axis: str) -> int:
    return outline.place.get(axis, outline.place.get(COUNTED, 0) if axis == "Z" else 0)


def _numbers(
    outlines: Sequence[Outline], class_names: Sequence[str]
) -> dict[Outline, int | None]:
    """Find the label of each outline: by its class, by its name, or the next free one."""
    if class_names:
        known = {name: number for number, name in enumerate(class_names)}
        groups = range(1, len(class_names))
        return {
            o: known.get(o.class_name, o.group if o.group in groups else None)
            for o in outlines
        }
    stated: dict[Outline, int | None] = {o: _number(o.name) for o in outlines}
    free = max((n for n in stated.values() if n), default=0)
    for outline, number in stated.items():
        if not number:
            free += 1
            stated[outline] = free
    return stated


def _number(name: str) -> int:
    match = NUMBERED.fullmatch(name)
    return int(match[1]) if match else 0


def place_in(name: str) -> dict[str, int]:
    """Read the place in a stack out of a name that we gave."""
    end = PLACED.search(name)
    found = end[1].removeprefix("-").split("-") if end else []
    return {part[0]: int(part[1:]) - 1 for part in found if int(part[1:]) > 0}


def as_ring(corners: Any) -> npt.NDArray[np.float64]:
    """Read corners, x and y first, without the last one if it is the first again.

    Raises
    ------
    ValueError, TypeError, OverflowError
        If they are no finite numbers, or no area.
    """
    points = np.array(corners, np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError("no list of corners")
    points = points[:, :2]
    if np.array_equal(points[0], points[-1]):
        points = points[:-1]
    if len(points) < 3 or not (np.abs(points) < MAX_COORDINATE).all():
        raise ValueError("no area, or far away")
    return points


def read_at_most(path: Path, most: int) -> bytes:
    """Read a file that may hold anything, up to a size.

    Raises
    ------
    FileError
        If it is missing, larger, or cannot be read.
    """
    check_regular(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except OSError as error:
        raise FileError(
            f"{shown(path)} cannot be read ({error.strerror or error}): check the drive."
        ) from error
    if len(data) > most:
        raise FileError(
            f"{shown(path)} is larger than {most // 2**20} MB: save fewer objects at once."
        )
    return data


class _Canvas:
    """Labels that are being drawn, and what could not be drawn as it was."""

    def __init__(
        self, shape: tuple[int, ...], axes: str, numbers: Mapping[Outline, int | None]
    ) -> None:
        self.labels = np.zeros(shape, np.int32)
        self._axes, self._numbers = axes, numbers
        self._left = HARMLESS_COST + COST_PER_PIXEL * self.labels.size
        self._cut = self._outside = self._unplaced = self._unknown = self._covering = 0

    def draw(self, outline: Outline) -> None:
        """Fill an outline with its number."""
        from napari_resunet.engine.polygons import fill

        number = self._numbers[outline]
        if number is None:
            self._unknown += 1
            return
        plane = self._plane(outline)
        if plane is None:
            self._outside += 1
            return
        rings = [ring for rings in outline.polygons for ring in rings]
        filled = fill(rings, (plane.shape[0], plane.shape[1]), self._left)
        self._left -= filled.cost
        self._count_cut(rings, plane.shape, bool(filled.mask.any()))
        there = plane[filled.window]
        covered = filled.mask & (there != 0) & (there != number)
        self._covering += bool(covered.any())
        there[filled.mask] = number

    def _plane(self, outline: Outline) -> npt.NDArray[Any] | None:
        """Return the plane of an outline, rows first; None if there is no such plane."""
        stack = [axis for axis in STACK_AXES if axis in self._axes]
        order = [self._axes.index(axis) for axis in (*stack, *PIXEL_AXES)]
        ordered: npt.NDArray[Any] = self.labels.transpose(order)
        place = dict(outline.place)
        self._unplaced += bool(stack and not place)
        counted = place.pop(COUNTED, 0)
        if not place and counted < math.prod(ordered.shape[:-2]):
            return np.asarray(ordered[np.unravel_index(counted, ordered.shape[:-2])])
        sizes = dict(zip(stack, ordered.shape, strict=False))
        if counted or any(n >= sizes.get(axis, 1) for axis, n in place.items()):
            return None
        return np.asarray(ordered[tuple(place.get(axis, 0) for axis in stack)])

    def _count_cut(
        self, rings: Sequence[npt.NDArray[Any]], shape: tuple[int, ...], any_inside: bool
    ) -> None:
        points = np.concatenate(rings)
        reaches_out = (points < 0).any() or (points > (shape[1], shape[0])).any()
        self._outside += bool(reaches_out and not any_inside)
        self._cut += bool(reaches_out and any_inside)

    def notices(self) -> Iterator[str]:
        """Yield what was changed."""
        for n, what in (
            (self._cut, "reach out of the image: they were cut off at its edge"),
            (self._outside, "lie outside of the image: they were left out"),
            (self._unplaced, "name no slice: they were drawn into the first one"),
            (self._unknown, "are of none of the classes: they were left out"),
            (self._covering, "overlap others: each covers those before it in the file"),
        ):
            if n:
                yield f"{n} of the {len(self._numbers)} outlines {what}."
