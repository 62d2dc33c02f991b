"""Measures labels that are larger than memory, block by block, each object once."""

from __future__ import annotations

import csv
import math
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.measure import Table, ToMeasure, boxes_of, measure_steps
from napari_resunet.errors import Cancelled, DiskFullError, FileError
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.files import atomic_path, check_folder, shown
from napari_resunet.ome_zarr.arrays import ZarrLevel
from napari_resunet.ome_zarr.image import open_level
from napari_resunet.ome_zarr.labels import NOTE, own_attributes
from napari_resunet.ome_zarr.metadata import read_metadata
from napari_resunet.session.api import OnEvent
from napari_resunet.session.image_files import check_image, read_image_file
from napari_resunet.session.large.object_store import ObjectStore
from napari_resunet.session.measurements import (
    MeasureRequest,
    channel_readers,
    depth_of,
    with_tracks,
)
from napari_resunet.session.segment_files import stack_in
from napari_resunet.session.settings import Stack
from napari_resunet.session.tables import (
    IMAGE,
    SUMMARIZED,
    header_of,
    no_formula,
    read_columns,
    rows_of,
    summary_of,
)
from napari_resunet.types import Index, MeasureGroup, Window

SIDE = 2048
"""Rows and columns of a block. Measuring takes some hundred bytes for each pixel."""

MAX_OBJECT = 2**25
"""Pixels of the largest box around an object that is measured."""

MAX_NAMED = 5


def measure_large(
    labels: Path,
    image: Path,
    target: Path,
    *,
    on_event: OnEvent,
    level: int = 0,
    axes: str | None = None,
    group: MeasureGroup = "basic",
    overwrite: bool = False,
    token: CancelToken | None = None,
    name: str | None = None,
) -> int:
    """Measure the objects of labels of any size, in all channels of their image.

    Parameters
    ----------
    labels : Path
        An OME-Zarr; its finest level is measured. Labels are objects, not classes.
    image : Path
        The image.
    target : Path
        The CSV file, with the columns of `measure_image`, by plane and label. It gets
        its name when all is measured.
    on_event : callable
        Called with each Progress and Notice.
    level : int
        Resolution level of the image that the labels lie on.
    axes : str or None
        One letter of "PTZCYXS" for each dimension of the image; None reads them from the
        file.
    group : {"basic", "all"}
        Which columns; of a film, also the track.
    overwrite : bool
        Whether to replace a file of that name.
    token : CancelToken or None
        Checked between blocks.
    name : str or None
        Of the image, which is then in the first column.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    FileError
        If labels or image cannot be read, or do not lie on each other, or if the table
        must not or cannot be written.
    ImageError
        If the image cannot be used as it is.
    Cancelled
        If the token requests it.
    """
    check_table(target, overwrite=overwrite)
    check_image(image)
    large = _open(labels, image, level, axes, group)
    check_folder(target.parent)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".measure-", dir=target.parent) as folder,
            closing(ObjectStore(Path(folder) / "objects")) as store,
        ):
            _find(large, store, on_event, token)
            n = _measure(large, store, on_event, token)
            check_table(target, overwrite=overwrite)  # once more, after minutes of work
            _write(large, store, target, name)
    except sqlite3.Error as error:
        raise DiskFullError(
            f"{shown(target)} cannot be written ({error}): choose another folder or free "
            "some space, and try again."
        ) from error
    return n


def check_table(target: Path, *, overwrite: bool) -> None:
    """Check, before long work, that a table may be written.

    Raises
    ------
    FileError
        If there is one that must not be replaced.
    """
    if target.exists() and not overwrite:
        raise FileError(f"{shown(target)} is there already: give --overwrite.")


@dataclass(frozen=True, eq=False)
class _Large:
    """Labels, their image, and how they are measured.

    Attributes
    ----------
    labels : ZarrLevel
        The labels, rows and columns last.
    channels : dict of str to ImageReader
        The channels of the image, by name.
    columns : tuple of str
        Those that say where in the stack an object is.
    sides : tuple of float, or None
        Of a pixel, in micrometres.
    group : {"basic", "all"}
        Which columns.
    is_film : bool
        Whether labels are tracks.
    """

    labels: ZarrLevel
    channels: dict[str, ImageReader]
    columns: tuple[str, ...]
    sides: tuple[float, ...] | None
    group: MeasureGroup
    is_film: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Number of blocks along rows and columns."""
        height, width = self.labels.shape[-2:]
        return -(-height // SIDE), -(-width // SIDE)

    def blocks(self) -> list[tuple[int, Index, int, Window]]:
        """List all blocks: plane, its index, number in the plane, and window."""
        height, width = self.labels.shape[-2:]
        rows, columns = (
            [slice(i, min(i + SIDE, n)) for i in range(0, n, SIDE)] for n in (height, width)
        )
        planes = enumerate(np.ndindex(self.labels.shape[:-2]))
        return [
            (plane, index, number, window)
            for plane, index in planes
            for number, window in enumerate(product(rows, columns))
        ]

    def read(self, index: Index, window: Window) -> npt.NDArray[Any]:
        """Read labels of a plane."""
        return self.labels[(*index, *window)]

    def table(self, labels: npt.NDArray[Any], index: Index, window: Window) -> Table:
        """Measure what is labelled in a window of a plane."""
        what = ToMeasure(
            labels=labels,
            channels={
                name: partial(_pixels, reader, index, window)
                for name, reader in self.channels.items()
            },
            pixel_size=self.sides,
            origin=(window[0].start, window[1].start),
        )
        table = drain(measure_steps(what, self.group))
        n = len(table["label"])
        places = zip(self.columns, index, strict=True)
        table = with_tracks(table) if self.is_film else table
        return {name: np.full(n, place) for name, place in places} | table


def _pixels(
    reader: ImageReader, index: Index, window: Window, _: Index
) -> npt.NDArray[Any]:
    return reader.read(index, *window)[..., 0]


def _open(
    labels: Path, image: Path, level: int, axes: str | None, group: MeasureGroup
) -> _Large:
    array = open_level(labels, read_metadata(labels), 0, sparse=True)
    if array.dtype.kind not in "iu":
        raise FileError(f"{shown(labels)} holds no labels, but {array.dtype} numbers.")
    stored = read_image_file(image, axes, level)
    reader = ImageReader([stored.array], stored.axes)
    if reader.shape != array.shape:
        raise FileError(
            f"The labels in {shown(labels)} are {_by(array.shape)} pixels, and the image "
            f"{shown(image)} is {_by(reader.shape)}: give the image that was segmented."
        )
    stack = stack_in((own_attributes(labels) or {}).get(NOTE, {}))
    check_flat(image, reader.stack_axes, stack)
    side = stored.pixel_size
    request = MeasureRequest(
        labels=np.zeros((1,) * array.ndim, np.int32),
        stack_axes=tuple(reader.stack_axes),
        levels=(stored.array,),
        axes=stored.axes,
    )
    sides = None if side is None else (side, side)
    columns = request.plane_columns
    readers = channel_readers(request)
    return _Large(array, readers, columns, sides, group, stack == "film")


def check_flat(image: Path, stack_axes: Sequence[str], stack: Stack | None) -> None:
    """Check that objects have no depth, which is not measured block by block.

    Raises
    ------
    FileError
        If they have.
    """
    if stack is not None and depth_of(stack_axes, stack) is not None:
        raise FileError(
            f"{shown(image)} is measured block by block, which is for objects without "
            "depth: give --stack separate, or leave --measure out."
        )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _find(
    large: _Large, store: ObjectStore, on_event: OnEvent, token: CancelToken | None
) -> None:
    """Find the boxes of all objects, which may lie in several blocks."""
    blocks = large.blocks()
    for n, (plane, index, number, window) in enumerate(blocks):
        _check(token)
        on_event(Progress(n, 2 * len(blocks), "finding the objects"))
        origin = window[0].start, window[1].start
        store.add_parts(plane, number, *boxes_of(large.read(index, window), origin))
    store.join(SIDE, large.grid[1])


def _measure(
    large: _Large, store: ObjectStore, on_event: OnEvent, token: CancelToken | None
) -> int:
    """Measure the objects that each block owns; return how many."""
    blocks = large.blocks()
    n_rows, too_large = 0, list[int]()
    for n, (plane, index, number, window) in enumerate(blocks, start=len(blocks)):
        _check(token)
        on_event(Progress(n, 2 * len(blocks), f"{n_rows:,} objects measured"))
        for part, objects in _windows(store.owned_by(plane, number), window):
            if len(objects) == 1 and _area(part) > MAX_OBJECT:
                too_large.append(int(objects[0]))
                continue
            here = large.read(index, part)
            table = large.table(np.where(np.isin(here, objects), here, 0), index, part)
            lines = map(",".join, rows_of(table))
            store.add_lines(plane, zip(table["label"].tolist(), lines, strict=True))
            n_rows += len(objects)
    if too_large:
        on_event(Notice(_left_out(too_large)))
    on_event(Progress(2 * len(blocks), 2 * len(blocks), f"{n_rows:,} objects measured"))
    return n_rows


def _left_out(too_large: list[int]) -> str:
    named = ", ".join(map(str, too_large[:MAX_NAMED]))
    n_more = len(too_large) - MAX_NAMED
    more = f", and {n_more} more" if n_more > 0 else ""
    return f"Objects that lie in pieces far apart are not in the table: {named}{more}."


def _windows(
    owned: npt.NDArray[np.int64], block: Window
) -> Iterator[tuple[Window, npt.NDArray[np.int64]]]:
    """Yield windows, and labels of the objects that are whole there: large ones alone."""
    ends = block[0].stop + SIDE // 2, block[1].stop + SIDE // 2
    usual = (owned[:, 3:] <= ends).all(axis=1)
    if usual.any():
        yield _around(owned[usual]), owned[usual, 0]
    for one in owned[~usual]:
        yield _around(one[None]), one[:1]


def _around(owned: npt.NDArray[np.int64]) -> Window:
    top, left = owned[:, 1:3].min(axis=0).tolist()
    bottom, right = owned[:, 3:].max(axis=0).tolist()
    return slice(top, bottom), slice(left, right)


def _area(window: Window) -> int:
    height, width = (span.stop - span.start for span in window)
    area: int = height * width
    return area


def _check(token: CancelToken | None) -> None:
    if token is not None and token.cancelled:
        raise Cancelled


def _write(large: _Large, store: ObjectStore, target: Path, name: str | None) -> None:
    """Write the table, a line at a time."""
    nothing = np.zeros((1, 1), np.int32)
    index = (0,) * len(large.columns)
    pixel = slice(0, 1), slice(0, 1)
    header = header_of(large.table(nothing, index, pixel))
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([*([] if name is None else [IMAGE]), *header])
        first = [] if name is None else [no_formula(name)]
        # Lines hold numbers only, so their commas are those between columns.
        writer.writerows([*first, *line.split(",")] for line in store.lines())


def summary_of_store(labels: Path, table: Path) -> dict[str, float]:
    """Summarize the objects of labels; see `tables.summary_of`.

    Parameters
    ----------
    labels : Path
        An OME-Zarr.
    table : Path
        What `measure_large` measured of it.
    """
    metadata = read_metadata(labels)
    side = metadata.pixel_size(0)
    n_pixels = math.prod(open_level(labels, metadata, 0, sparse=True).shape)
    columns = read_columns(table, lambda name: name.startswith(SUMMARIZED))
    return summary_of(columns, n_pixels, None if side is None else (side, side))
