"""What is measured of an image: all of its channels, in planes, volumes, or frames.

Importing this module imports no torch and no scikit-image: the dock opens without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import ArgumentError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.files import plain_name
from napari_resunet.session.settings import Stack
from napari_resunet.types import Index, MeasureGroup, Window

if TYPE_CHECKING:
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.engine.measure import Read, Table

DEPTH = "Z"
TRACK = "track"
"""Column of a film: the number that an object has in all frames."""

COLOURS = ("red", "green", "blue")
LONGEST_NAME = 40

ReadPlane = Callable[[Index], npt.NDArray[Any]]
"""Reads one plane, shape (Y, X), at its index along all stack axes."""


@dataclass(frozen=True, eq=False)
class MeasureRequest:
    """What to measure.

    Attributes
    ----------
    labels : integer array, shape (*stack, Y, X)
        Objects or classes; 0 is background.
    stack_axes : tuple of str
        One letter for each axis of the stack.
    levels : tuple of arrays
        The image at full resolution, or nothing to measure no intensities.
    axes : str
        One letter of "PTZCYXS" for each dimension of the image.
    channel_names : tuple of str
        Names of all channels; without them, they are numbered from 0.
    verified : callable or None
        Reads the verified area of a plane.
    pixel_size : tuple of float, or None
        Sides of a pixel in micrometres: (y, x), or (z, y, x) if there is a `depth`.
    class_names : tuple of str
        Names of the classes, background first; empty if the labels are objects.
    stack : {"separate", "volume", "film"}
        What the slices are. An object of a volume goes through all slices, and one of a
        film through all frames.
    group : {"basic", "all"}
        Which columns.
    """

    labels: npt.NDArray[Any]
    stack_axes: tuple[str, ...] = ()
    levels: tuple[Any, ...] = ()
    axes: str = "YX"
    channel_names: tuple[str, ...] = ()
    verified: ReadPlane | None = None
    pixel_size: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    stack: Stack = "separate"
    group: MeasureGroup = "basic"

    @property
    def depth(self) -> int | None:
        """Place in the stack of the axis that an object goes through; None in planes."""
        return depth_of(self.stack_axes, self.stack)

    @property
    def plane_columns(self) -> tuple[str, ...]:
        """Columns that say where in the stack an object is."""
        if len(self.stack_axes) == 1 and self.depth is None:
            return ("plane",)
        left = [a for i, a in enumerate(self.stack_axes) if i != self.depth]
        return tuple(f"plane_{axis.lower()}" for axis in left)


def depth_of(stack_axes: Sequence[str], stack: Stack) -> int | None:
    """Return the place of the axis along which objects are volumes; None in planes.

    In a volume, an only axis counts, whatever its letter; in a film, it is time.
    """
    if len(stack_axes) == 1:
        return 0 if stack == "volume" else None
    linked = stack != "separate" and DEPTH in stack_axes
    return stack_axes.index(DEPTH) if linked else None


def measure_image(
    request: MeasureRequest, token: CancelToken | None = None
) -> Generator[Progress, None, Table]:
    """Measure the objects of an image in all of its channels.

    Parameters
    ----------
    request : MeasureRequest
        What to measure.
    token : CancelToken or None
        Ends the work.

    Yields
    ------
    Progress

    Returns
    -------
    dict of str to array
        The columns.

    Raises
    ------
    ArgumentError
        If another number of channels is named than there is.
    ImageError, OutOfMemoryError
        If the image cannot be read.
    Cancelled
        If the token was cancelled.
    """
    from napari_resunet.engine.measure import ToMeasure, measure_steps

    yield Progress(0, 0, "measuring")
    channels = {n: _reading(reader) for n, reader in channel_readers(request).items()}
    what = ToMeasure(
        _with_depth_last(request.labels, request.depth),
        request.plane_columns,
        {name: _reads(plane, request) for name, plane in channels.items()},
        request.verified and _reads(request.verified, request),
        request.pixel_size,
        request.class_names,
    )
    table = yield from measure_steps(what, request.group, token)
    return with_tracks(table) if request.stack == "film" else table


def with_tracks(table: Table) -> Table:
    """Add a column with the name that others look for, next to the labels."""
    found: Table = {}
    for name, column in table.items():
        found[name] = column
        if name == "label":
            found[TRACK] = column
    return found


def channel_readers(request: MeasureRequest) -> dict[str, ImageReader]:
    """Make a reader for each channel of the image, by its name.

    Raises
    ------
    ArgumentError
        If another number of channels is named than there is.
    ImageError
        If the image cannot be used.
    """
    if not request.levels:
        return {}
    readers = _readers(request.levels[0], request.axes)
    return dict(zip(_channel_names(request, len(readers)), readers, strict=True))


def _readers(array: Any, axes: str) -> list[ImageReader]:
    """Make a reader for each channel, also for those that the network does not see."""
    from napari_resunet.engine.image_reader import CHANNEL_AXES, ImageReader

    sizes = dict(zip(axes, array.shape, strict=True))
    n = next((sizes[a] for a in CHANNEL_AXES if a in sizes), 1)
    n = min(n, len(COLOURS)) if "S" in sizes else n
    return [ImageReader([array], axes, (channel,)) for channel in range(n)]


def _reading(reader: ImageReader) -> ReadPlane:
    return lambda index: reader.read(index, *reader.window)[..., 0]


def _channel_names(request: MeasureRequest, n: int) -> list[str]:
    given: Sequence[str] = request.channel_names
    if given and len(given) != n:
        raise ArgumentError(
            f"The image has {n} channels, but {len(given)} names were given: give one for "
            "each."
        )
    numbered = [f"ch{i}" for i in range(n)] if n > 1 else [""]
    if "S" in request.axes and n == len(COLOURS):
        numbered = list(COLOURS)
    names = [_column_name(name) for name in given] or numbered
    names = [name or number for name, number in zip(names, numbered, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [f"{name}_{number}" for name, number in zip(names, numbered, strict=True)]


def _column_name(text: str) -> str:
    """Make a part of a column's name, without spaces and what cannot be printed."""
    return plain_name("_".join(text.split()))[:LONGEST_NAME]


def _with_depth_last(labels: npt.NDArray[Any], place: int | None) -> npt.NDArray[Any]:
    return labels if place is None else np.moveaxis(labels, place, -3)


def _reads(read: ReadPlane, request: MeasureRequest) -> Read:
    """Read a plane, or a volume as its slices."""
    place = request.depth
    if place is None:
        return read
    return partial(_volume, read, place, request.labels.shape[place])


def _volume(read: ReadPlane, place: int, n: int, index: Index) -> npt.NDArray[Any]:
    return np.stack([read((*index[:place], z, *index[place:])) for z in range(n)])


# For napari's table ------------------------------------------------------------------

MOST_BINS = 50
MAX_GAP = 10**6
"""So many rows of napari's table may belong to no object."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """A table, and the labels that it belongs to.

    Attributes
    ----------
    table : dict of str to array
        The columns.
    digest : str
        Of the labels.
    planes : tuple of str
        The columns that say in which plane, or which volume, an object is.
    depth : int or None
        Place in the stack of the axis that an object goes through; None in planes.
    sides : tuple of float, or None
        Sides of a pixel in micrometres, if known.
    """

    table: Table
    digest: str
    planes: tuple[str, ...] = ()
    depth: int | None = None
    sides: tuple[float, ...] | None = None

    def position(self, index: Index) -> Index:
        """Return where a slice is along `planes`."""
        return tuple(n for axis, n in enumerate(index) if axis != self.depth)

    def of_objects(self) -> Callable[[Index, int], dict[str, float]] | None:
        """Return what finds the values of an object by its slice and its label.

        None for classes: their pieces have no numbers that are known elsewhere.
        """
        if "class" in self.table:
            return None
        known = (*self.planes, "label")
        keys = zip(*(self.table[name].tolist() for name in known), strict=True)
        rows = {key: row for row, key in enumerate(keys)}
        names = [name for name in self.table if name not in known]

        def find(index: Index, label: int) -> dict[str, float]:
            row = rows.get((*self.position(index), label))
            return {} if row is None else {n: float(self.table[n][row]) for n in names}

        return find


def measurement_steps(
    request: MeasureRequest, token: CancelToken | None = None
) -> Generator[Progress, None, Measurement]:
    """Measure an image as `measure_image` does, and remember its labels."""
    table = yield from measure_image(request, token)
    where = request.plane_columns, request.depth
    return Measurement(table, digest_of(request.labels), *where, request.pixel_size)


def digest_of(labels: npt.NDArray[Any]) -> str:
    """Hash every pixel of labels."""
    return hashlib.blake2b(np.ascontiguousarray(labels).data, digest_size=16).hexdigest()


def rows_at(table: Table, position: dict[str, int]) -> Table:
    """Return the rows of one position of the stack."""
    here = np.ones(len(table["label"]), bool)
    for name, number in position.items():
        here &= table[name] == number
    return {name: column[here] for name, column in table.items()}


def row_of(table: Table, label: int) -> dict[str, Any] | None:
    """Return the first row of an object; None if the table does not have it."""
    places = np.flatnonzero(table["label"] == label)
    if not places.size:
        return None
    return {name: column[places[0]] for name, column in table.items()}


def box_of(row: Mapping[str, Any]) -> Window:
    """Return rows and columns of the object in a row."""
    rows, columns = (
        slice(int(row[f"box_{axis}_start_px"]), int(row[f"box_{axis}_stop_px"]))
        for axis in "yx"
    )
    return rows, columns


def is_ambiguous(table: Table) -> bool:
    """Return whether a label has several rows, in different slices or pieces."""
    return len(np.unique(table["label"])) < len(table["label"])


def columns_to_plot(table: Table) -> list[str]:
    """List the columns whose histogram says something, the size first."""
    places = ("plane", "label", TRACK, "class", "piece", "box_", "centroid_")
    return [name for name in table if not name.startswith(places)]


def histogram_of(column: npt.NDArray[Any]) -> tuple[list[float], list[int]]:
    """Count the values of a column in equal intervals.

    Returns
    -------
    edges : list of float
        Ends of the intervals, one more than there are counts.
    counts : list of int
        Empty if no value is finite.
    """
    # Halves, because the distance between the largest numbers would be infinite.
    values = column[np.isfinite(column)] / 2
    if not values.size:
        return [], []
    bins = min(MOST_BINS, max(1, round(float(np.sqrt(values.size)))))
    counts, edges = np.histogram(values, bins)
    return (2 * edges).tolist(), counts.tolist()


def by_label(table: Table) -> Table | None:
    """Put the row of each object at the position of its label, as napari's table needs it.

    Parameters
    ----------
    table : dict of str to array
        One row for each label.

    Returns
    -------
    dict of str to array, or None
        As many rows as the largest label, and one for the background; rows of no object
        are NaN, or empty. None if more than a million rows would be of no object.
    """
    labels = table["label"]
    last = int(labels.max(initial=0))
    if last - len(labels) > MAX_GAP:
        return None
    rows: Table = {}
    for name, column in table.items():
        if name != "label":
            empty = "" if column.dtype.kind == "O" else np.nan
            rows[name] = np.full(last + 1, empty, np.result_type(column, float))
            rows[name][labels] = column
    return rows
