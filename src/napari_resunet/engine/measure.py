"""Measures objects: size, place, intensities, and shape, as columns of a table.

What is counted and summed over pixels is computed for all objects at once: with
`regionprops_table` it takes more than three times as long (`benchmarks/measure.py`).
Shapes come from `regionprops`, except those of the convex hull, for which it compares all
points of an outline with each other: several gigabytes for one large object.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress
from napari_resunet.types import Index, MeasureGroup

Table = dict[str, npt.NDArray[Any]]
"""Columns by name, all of one length."""

Read = Callable[[Index], npt.NDArray[Any]]
"""Reads the pixels at a position of the stack: one plane, or one volume."""

OBJECTS_PER_STEP = 200
PARTS = 1000
"""Progress is told in this many parts."""

SQUARE = 1e-3
"""Sides of a pixel that differ by less, as a fraction, count as equal."""

ALIKE = 1e-9
"""Variances along two directions that differ by less, as a fraction, count as equal."""

POINTS_AT_ONCE = 500
COORDINATES = "zyx"


@dataclass(frozen=True, eq=False)
class ToMeasure:
    """Labels, and what belongs to them.

    Attributes
    ----------
    labels : integer array, shape (*stack, Y, X) or (*stack, Z, Y, X)
        0 and negative numbers are no objects.
    stack : tuple of str
        A name for each axis of the stack. What is left, two or three axes, are those of
        one object.
    channels : mapping of str to callable
        Reads the pixels of each channel, by its name; the name of an only channel may be
        empty.
    verified : callable or None
        Reads a bool array, the verified area; None if that is not known.
    pixel_size : tuple of float, or None
        Sides of a pixel along the axes of an object, in micrometres; None if not known.
    class_names : tuple of str
        Names of the classes, background first, if the labels are classes. Then each
        connected piece of a class is an object.
    origin : tuple of int
        Where the first pixel is in a larger image, along the axes of an object; empty if
        the labels are all there is.
    """

    labels: npt.NDArray[Any]
    stack: tuple[str, ...] = ()
    channels: Mapping[str, Read] = field(default_factory=dict)
    verified: Read | None = None
    pixel_size: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    origin: tuple[int, ...] = ()

    @property
    def n_axes(self) -> int:
        """Number of axes of an object: 2 or 3."""
        return self.labels.ndim - len(self.stack)


def measure_steps(
    what: ToMeasure, group: MeasureGroup = "basic", token: CancelToken | None = None
) -> Generator[Progress, None, Table]:
    """Measure all objects.

    Parameters
    ----------
    what : ToMeasure
        The labels, and what belongs to them.
    group : {"basic", "all"}
        "all" adds the shape, which takes longer.
    token : CancelToken or None
        Ends the work between planes, and between some hundred objects.

    Yields
    ------
    Progress

    Returns
    -------
    dict of str to array
        A row for each object and position of the stack; see `docs/how-to/measure.md` for
        the columns. What is not defined for an object is NaN.

    Raises
    ------
    Cancelled
        If the token was cancelled.
    """
    n_stack = len(what.stack)
    indices = list(np.ndindex(what.labels.shape[:n_stack])) or [(0,) * n_stack]
    tables: list[Table] = []
    n_objects = 0
    for number, index in enumerate(indices):
        block = what.labels[index] if what.labels.size else _nothing(what.n_axes)
        objects = _Objects.of(block, what.class_names)
        for fraction in _measured(objects, index, what, group, tables):
            if token is not None and token.cancelled:
                raise Cancelled
            done = round(PARTS * (number + fraction) / len(indices))
            counted = n_objects + round(fraction * len(objects.labels))
            yield Progress(done, PARTS, f"{counted:,} objects measured")
        n_objects += len(objects.labels)
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _nothing(n_axes: int) -> npt.NDArray[Any]:
    return np.zeros((1,) * n_axes, np.int32)


def _measured(
    objects: _Objects,
    index: Index,
    what: ToMeasure,
    group: MeasureGroup,
    tables: list[Table],
) -> Generator[float, None, None]:
    """Append the table of one plane or volume; yield the fraction that is done."""
    yield 0.0
    table = _names(objects, index, what)
    table |= _sizes(objects, what.pixel_size, what.origin)
    if group == "all":
        table |= yield from _shapes(objects, what.pixel_size)
    for name, read in what.channels.items():
        table |= _intensities(objects, read, index, f"_{name}" if name else "")
    if what.verified is not None:
        pixels = objects.pixels(what.verified, index)
        table["verified"] = objects.per_object(np.add, pixels) / objects.n_pixels
    tables.append(table)


@dataclass(frozen=True, eq=False)
class _Objects:
    """The objects of one plane or volume, and their pixels, one object after the other.

    Attributes
    ----------
    shape : tuple of int
        Of the plane or volume.
    labels, n_pixels : int arrays, shape (n,)
        The label of each object, and its number of pixels.
    starts : int array, shape (n,)
        Position of each object's first pixel in `where`.
    where : int array
        Flat positions of all pixels.
    classes : tuple of str
        Names of the classes; empty if the labels are objects.
    """

    shape: tuple[int, ...]
    labels: npt.NDArray[Any]
    n_pixels: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    where: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, block: npt.NDArray[Any], classes: tuple[str, ...]) -> _Objects:
        """Sort the pixels by object; nothing here grows with the largest label."""
        numbers = _pieces(block) if classes else block
        where = np.flatnonzero(numbers > 0)
        found = numbers.ravel()[where]
        order = np.argsort(found, kind="stable")
        where, found = where[order], found[order]
        starts = np.flatnonzero(np.diff(found, prepend=0))
        counts = np.diff(starts, append=len(found))
        labels = block.ravel()[where[starts]]
        return cls(block.shape, labels, counts, starts, where, classes)

    def pixels(self, read: Read, index: Index) -> npt.NDArray[np.float64]:
        """Read the pixels of all objects; a plane without objects is not read."""
        if not self.where.size:
            return np.empty(0)
        return np.asarray(read(index)).ravel()[self.where].astype(np.float64)

    def places(self, origin: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
        """Return the position of all pixels along each axis."""
        places = np.unravel_index(self.where, self.shape)
        return [n + o for n, o in zip(places, origin or (0,) * len(places), strict=True)]

    def per_object(self, sum_up: np.ufunc, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Reduce the pixels of each object to one number."""
        result: npt.NDArray[Any] = sum_up.reduceat(pixels, self.starts)
        return result

    def numbered(self) -> npt.NDArray[np.int32]:
        """Make a label image in which the objects are numbered from 1."""
        image = np.zeros(self.shape, np.int32)
        numbers = np.arange(1, len(self.labels) + 1, dtype=np.int32)
        image.ravel()[self.where] = np.repeat(numbers, self.n_pixels)
        return image


def _pieces(classes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give each piece of a class a number; pixels that touch at a corner are one piece."""
    from skimage.measure import label

    pieces: npt.NDArray[Any] = label(np.maximum(classes, 0))
    return pieces


def _names(objects: _Objects, index: Index, what: ToMeasure) -> Table:
    n = len(objects.labels)
    table: Table = {
        name: np.full(n, position, np.int64)
        for name, position in zip(what.stack, index, strict=True)
    }
    table["label"] = objects.labels
    if objects.classes:
        known = dict(enumerate(objects.classes))
        names = [known.get(int(number), "") for number in objects.labels]
        table["class"] = np.array(names, object)
        table["piece"] = np.arange(1, n + 1)
    return table


def _sizes(
    objects: _Objects, sides: tuple[float, ...] | None, origin: tuple[int, ...]
) -> Table:
    """Compute size and place: sizes in micrometres if known, boxes always in pixels."""
    n_axes = len(objects.shape)
    axes, unit = COORDINATES[-n_axes:], _unit(sides)
    side = np.array(sides or (1.0,) * n_axes)
    what = "area" if n_axes == 2 else "volume"
    size = objects.n_pixels if sides is None else objects.n_pixels * side.prod()
    power = n_axes if sides else ""
    table: Table = {f"{what}_{unit}{power}": size}
    diameter = (2 * n_axes * size / np.pi) ** (1 / n_axes)
    table[f"equivalent_diameter_{unit}"] = diameter
    places = objects.places(origin)
    for axis, place, length in zip(axes, places, side, strict=True):
        mean = objects.per_object(np.add, place.astype(float)) / objects.n_pixels
        table[f"centroid_{axis}_{unit}"] = mean * length
    for axis, place in zip(axes, places, strict=True):
        table[f"box_{axis}_start_px"] = objects.per_object(np.minimum, place)
        table[f"box_{axis}_stop_px"] = objects.per_object(np.maximum, place) + 1
    return table


def boxes_of(
    labels: npt.NDArray[Any], origin: tuple[int, ...]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Find the box around each object.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        0 and negative numbers are no objects.
    origin : tuple of int
        Where the first pixel is in a larger image.

    Returns
    -------
    numbers : int array, shape (n,)
        The label of each object, ascending.
    boxes : int64 array, shape (n, 4)
        First row and column, and the row and column after the last.
    """
    objects = _Objects.of(labels, ())
    places = objects.places(origin)
    first = [objects.per_object(np.minimum, place) for place in places]
    last = [objects.per_object(np.maximum, place) + 1 for place in places]
    return objects.labels, np.stack([*first, *last], axis=-1)


def _unit(sides: Sequence[float] | None) -> str:
    return "px" if sides is None else "um"


def _intensities(objects: _Objects, read: Read, index: Index, name: str) -> Table:
    pixels = objects.pixels(read, index)
    with np.errstate(invalid="ignore", over="ignore"):  # images may hold NaN or infinity
        total = objects.per_object(np.add, pixels)
        mean = total / objects.n_pixels
        deviations = (pixels - np.repeat(mean, objects.n_pixels)) ** 2
        variance = objects.per_object(np.add, deviations) / objects.n_pixels
        lowest = objects.per_object(np.minimum, pixels)
        highest = objects.per_object(np.maximum, pixels)
    return {
        f"mean_intensity{name}": mean,
        f"std_intensity{name}": np.sqrt(variance),
        f"min_intensity{name}": lowest,
        f"max_intensity{name}": highest,
        f"sum_intensity{name}": total,
    }


# Shape ------------------------------------------------------------------------------

Region = Any
"""One of scikit-image's RegionProperties."""


def _shapes(
    objects: _Objects, sides: tuple[float, ...] | None
) -> Generator[float, None, Table]:
    from skimage.measure import regionprops

    n_axes = len(objects.shape)
    spacing = _spacing(sides, n_axes)
    columns = _solid if n_axes == 3 else _planar
    regions = regionprops(objects.numbered(), spacing=spacing)
    rows: list[dict[str, float]] = []
    n = len(regions)
    # Taken out one by one, because each region keeps what it computed.
    for region in (regions.pop() for _ in range(n)):
        if len(rows) % OBJECTS_PER_STEP == 0:
            yield len(rows) / n
        rows.append(columns(region, np.array(spacing), _unit(sides)))
    # A single pixel names the columns, also where there is no object.
    names = columns(_pixel(n_axes), np.ones(n_axes), _unit(sides))
    return {name: np.array([row[name] for row in rows[::-1]], float) for name in names}


def _pixel(n_axes: int) -> Region:
    from skimage.measure import regionprops

    return regionprops(np.ones((1,) * n_axes, np.int32))[0]


def _spacing(sides: tuple[float, ...] | None, n_axes: int) -> tuple[float, ...]:
    """Make nearly equal sides equal, because a perimeter needs square pixels."""
    if sides is None:
        return (1.0,) * n_axes
    if max(sides) / min(sides) > 1 + SQUARE:
        return sides
    return (float(np.prod(sides)) ** (1 / n_axes),) * n_axes


def _planar(region: Region, sides: npt.NDArray[Any], unit: str) -> dict[str, float]:
    """Measure the shape of an object in a plane; a single pixel has no direction."""
    single, square = region.image.size == 1, sides[0] == sides[1]
    return {
        f"perimeter_{unit}": region.perimeter if square and not single else np.nan,
        **_solid(region, sides, unit),
        "eccentricity": np.nan if single else region.eccentricity,
        "orientation_deg": _orientation(region),
    }


def _solid(region: Region, sides: npt.NDArray[Any], unit: str) -> dict[str, float]:
    single = region.image.size == 1
    feret, hull = _convex_hull(region.image, sides)
    return {
        f"major_axis_{unit}": np.nan if single else region.axis_major_length,
        f"minor_axis_{unit}": np.nan if single else region.axis_minor_length,
        f"feret_diameter_{unit}": feret,
        "solidity": region.area / hull,
        "extent": region.extent,
    }


def _convex_hull(image: npt.NDArray[Any], sides: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the largest distance within the hull of all pixels, and its area or volume."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    # The ends of each row of pixels, with their corners: no object is flat.
    first = np.argmax(image, axis=-1)
    last = image.shape[-1] - 1 - np.argmax(image[..., ::-1], axis=-1)
    rows = np.argwhere(image.any(-1))
    ends = [np.column_stack([rows, end[tuple(rows.T)]]) for end in (first, last)]
    corners = np.array(list(np.ndindex((2,) * image.ndim)))
    points = np.unique(
        (np.concatenate(ends)[:, None] + corners).reshape(-1, image.ndim), axis=0
    )
    hull = ConvexHull(points * sides)
    outer = hull.points[hull.vertices]
    parts = range(0, len(outer), POINTS_AT_ONCE)
    longest = max(cdist(outer[k : k + POINTS_AT_ONCE], outer).max() for k in parts)
    return float(longest), float(hull.volume)


def _orientation(region: Region) -> float:
    """Return the angle between the major axis and the x axis, counter-clockwise.

    In degrees, 0 to 180; NaN if no direction is longer than the others.
    """
    large, small = region.inertia_tensor_eigvals
    if large - small <= ALIKE * large:
        return np.nan
    from_rows = region.orientation
    angle = np.degrees(np.arctan2(-np.cos(from_rows), np.sin(from_rows)))
    # Rounded, so that 0 is not 180.
    return float(np.round(angle, 6) % 180)
