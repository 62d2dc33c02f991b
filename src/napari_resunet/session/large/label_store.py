"""Labels of a large image on the disk: a part of them is read, corrected, written back.

A part is first written whole into a folder of its own beside the labels, then to all
levels, and what a kill left there is written again when the labels are opened. So each
part has its old labels or its new ones. Only labels of ours are changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from napari_resunet.corrections.object_edits import MAX_LABEL, SPARE_LABELS
from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.files import cannot_write, shown
from napari_resunet.masks import numbers_in
from napari_resunet.ome_zarr.arrays import ZarrLevel
from napari_resunet.ome_zarr.image import open_levels
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.ome_zarr.labels import NOTE, write_group
from napari_resunet.ome_zarr.metadata import damaged, read_json, read_metadata
from napari_resunet.session.large.numbering import number_part
from napari_resunet.session.large.store_lock import beside, locked, only_writer
from napari_resunet.session.large.store_note import StoreNote, read_document, read_note
from napari_resunet.session.store.tiff import (
    read_tiff,
    store_text,
    sync_folder,
    write_tiff,
)
from napari_resunet.types import Index, LabelArray, Window
from napari_resunet.windows import grown, relative

MAX_SIDE = 8192
"""Rows and columns of a part that is corrected, at most."""

MAX_CHUNK_SIDE = 4096
WRITING = ".writing"
"""Folder beside the levels with the part that is being written."""

PLACE, PIXELS = "place.json", "labels.tif"


class _Place(BaseModel):
    """Where the labels that are being written belong, and what the note says after that."""

    index: tuple[int, ...] = Field(max_length=3)
    rows: tuple[int, int]
    columns: tuple[int, int]
    n_objects: int = Field(ge=0, lt=2**32)
    highest: int = Field(ge=0, lt=2**32)

    @property
    def window(self) -> Window:
        return slice(*self.rows), slice(*self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = (s.stop - s.start for s in self.window)
        return rows, columns


@dataclass(frozen=True)
class _Counted:
    """A part as it will be, and what is counted in all labels after that."""

    labels: npt.NDArray[Any]
    n_objects: int
    highest: int


class LabelStore:
    """Labels of a large image that this program wrote.

    Parameters
    ----------
    folder : Path
        The OME-Zarr.

    Raises
    ------
    FileError
        If they are missing, damaged, or not ours, or if what a kill left cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open()
        if self._is_unfinished():
            with locked(beside(folder)) as mine:
                if mine:  # else another window is writing it right now
                    self._finish_writing()

    def _open(self) -> None:
        folder = self.folder
        self.note = read_note(folder)
        metadata = read_metadata(folder)
        self._version = metadata.version
        self.levels = open_levels(folder, metadata)
        self._pyramid = LabelPyramid(
            folder=folder,
            shape=self.levels[0].shape,
            axes=metadata.axes,
            chunk=max(self.levels[0].chunks[-2:]),
            version=metadata.version,
        )
        self._check(metadata.paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the finest level; rows and columns last."""
        return self.levels[0].shape

    def read(self, index: Index, window: Window) -> LabelArray:
        """Read a part of a plane.

        Returns
        -------
        int32 array, shape of the window

        Raises
        ------
        FileError
            If it is larger than `MAX_SIDE`, or cannot be read.
        """
        self._check_part(index, window)
        labels = self.levels[0][(*index, *window)]
        if self.note.highest > MAX_LABEL - SPARE_LABELS:
            raise FileError(
                f"{shown(self.folder)} has numbers of objects above "
                f"{MAX_LABEL - SPARE_LABELS:,}, which cannot be corrected here: segment "
                "parts of the image on their own."
            )
        if labels.max(initial=0) > MAX_LABEL - SPARE_LABELS:
            raise damaged(self.folder, "its labels are numbers larger than any object's")
        return labels.astype(np.int32)

    def write(self, index: Index, window: Window, labels: LabelArray) -> int:
        """Write a part back, at all levels.

        Objects that the part had before keep their numbers, so one that lies partly outside
        stays whole. Others get new numbers.

        Parameters
        ----------
        index : tuple of int
            The plane.
        window : tuple of slice
            Rows and columns.
        labels : int32 array, shape of the window
            What was `read` there, corrected.

        Returns
        -------
        int
            How many objects there are now in all labels.

        Raises
        ------
        CorrectionError
            If a label is negative, or the labels are of another shape than the part.
        FileError
            If the labels cannot be written, or another window or run writes them.
        """
        self._check_part(index, window)
        if labels.shape != tuple(s.stop - s.start for s in window):
            raise CorrectionError(
                "The labels have another shape than the part that they belong to: close it "
                "and click Work here again."
            )
        if labels.min(initial=0) < 0:
            raise CorrectionError("There are labels below 0: erase them first.")
        with only_writer(self.folder):
            self._open()  # another window may have written since
            self._finish_writing()
            self._write(index, window, labels)
        return self.note.n_objects

    def _write(self, index: Index, window: Window, labels: LabelArray) -> None:
        chunks = self._whole_chunks(window, self.shape)
        part = self.levels[0][(*index, *chunks)]
        counted = self._counted(index, window, labels, part[relative(window, chunks)])
        part[relative(window, chunks)] = counted.labels
        rows, columns = ((s.start, s.stop) for s in chunks)
        place = _Place(
            index=index,
            rows=rows,
            columns=columns,
            n_objects=counted.n_objects,
            highest=counted.highest,
        )
        self._stage(place, part)
        self._apply(place, part)

    # Numbers ------------------------------------------------------------------------

    def _counted(
        self, index: Index, window: Window, labels: LabelArray, before: npt.NDArray[Any]
    ) -> _Counted:
        """Give the objects of a part their numbers, and count all objects."""
        n_objects, highest = self.note.n_objects, self.note.highest
        numbered: npt.NDArray[Any] = labels
        if self.note.run.objects:
            numbered, highest = number_part(labels, before, highest)
            around = self._around(index, window)
            old, new = (
                set(numbers_in(part).tolist()) - around for part in (before, numbered)
            )
            n_objects = max(0, n_objects + len(new) - len(old))
        most = max(highest, int(numbered.max(initial=0)))
        if most > np.iinfo(self.levels[0].dtype).max:
            raise FileError(
                f"{shown(self.folder)} has no numbers left for new objects: segment the "
                "whole image again."
            )
        return _Counted(numbered, n_objects, highest)

    def _around(self, index: Index, window: Window) -> set[int]:
        """List the objects that touch a part from outside."""
        rows, columns = grown(window, 1, self.shape[-2:])
        found: set[int] = set()
        strips = (
            (slice(rows.start, window[0].start), columns),
            (slice(window[0].stop, rows.stop), columns),
            (rows, slice(columns.start, window[1].start)),
            (rows, slice(window[1].stop, columns.stop)),
        )
        for strip in strips:
            if all(s.stop > s.start for s in strip):
                found.update(numbers_in(self.levels[0][(*index, *strip)]).tolist())
        return found

    # Writing ------------------------------------------------------------------------

    def _stage(self, place: _Place, part: npt.NDArray[Any]) -> None:
        """Write a part beside the labels; its place last, which makes it count."""
        folder = self.folder / WRITING
        shutil.rmtree(folder, ignore_errors=True)
        write_tiff(folder / PIXELS, part)
        store_text(folder / PLACE, place.model_dump_json())

    def _apply(self, place: _Place, part: npt.NDArray[Any]) -> None:
        """Write a staged part to all levels; done twice, it is the same."""
        try:
            self._pyramid.write(0, (*place.index, *place.window), part)
            self._sync(0, place.index, place.window)
            window = place.window
            for level, shape in enumerate(self._pyramid.shapes[1:], start=1):
                half = (slice(s.start // 2, -(-s.stop // 2)) for s in window)
                rows, columns = window = self._whole_chunks(tuple(half), shape)
                self._pyramid.resample(level, place.index, rows, columns)
                self._sync(level, place.index, window)
            self._write_note(place)
            (self.folder / WRITING / PLACE).unlink()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        shutil.rmtree(self.folder / WRITING, ignore_errors=True)

    def _write_note(self, place: _Place) -> None:
        counts = {"n_objects": place.n_objects, "highest": place.highest}
        attributes = read_document(self.folder)
        attributes[NOTE] |= counts
        write_group(self.folder, self._version, attributes)
        self.note = self.note.model_copy(update=counts)

    def _is_unfinished(self) -> bool:
        """Return whether there is a part that is not yet in all levels."""
        return (self.folder / WRITING / PLACE).is_file()

    def _finish_writing(self) -> None:
        """Write what a kill left to all levels, if it is whole."""
        folder = self.folder / WRITING
        if not self._is_unfinished():
            return
        try:
            place = _Place.model_validate(read_json(folder / PLACE))
            self._check_part(place.index, place.window, 2 * self._pyramid.chunk)
            part = read_tiff(folder / PIXELS, place.shape)
        except (ValidationError, FileError) as error:
            raise self._unusable() from error
        if part.max(initial=0) > np.iinfo(self.levels[0].dtype).max:
            raise self._unusable()
        self._apply(place, part.astype(self.levels[0].dtype))

    def _unusable(self) -> FileError:
        return FileError(
            f"The correction in {shown(self.folder / WRITING)}, which was not written to "
            "its end, is damaged: delete that folder, and correct the part again."
        )

    def _sync(self, level: int, index: Index, window: Window) -> None:
        """Sync the chunks of a part to the disk."""
        folders = set()
        for path in self._chunk_files(level, index, window):
            if path.exists():  # a chunk of background has no file
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
                folders.add(path.parent)
        for folder in folders:
            sync_folder(folder)

    def _chunk_files(self, level: int, index: Index, window: Window) -> Iterator[Path]:
        names = [str(level), *(["c"] if self._version == "0.5" else []), *map(str, index)]
        rows, columns = (
            range(s.start // n, -(-s.stop // n))
            for s, n in zip(window, self.levels[level].chunks[-2:], strict=True)
        )
        for row in rows:
            for column in columns:
                yield self.folder.joinpath(*names, str(row), str(column))

    def _whole_chunks(self, window: Sequence[slice], shape: tuple[int, ...]) -> Window:
        """Grow a window to whole chunks, which are written without reading them before."""
        n = self._pyramid.chunk
        rows, columns = (
            slice(s.start // n * n, min(-(-s.stop // n) * n, most))
            for s, most in zip(window, shape[-2:], strict=True)
        )
        return rows, columns

    # Checks -------------------------------------------------------------------------

    def _check(self, paths: Sequence[str]) -> None:
        """Refuse levels that are not as we write them."""
        expected = [str(i) for i in range(len(self._pyramid.shapes))]
        same = [level.shape for level in self.levels] == self._pyramid.shapes
        kinds = {level.dtype.kind for level in self.levels}
        if list(paths) != expected or not same or kinds != {"u"}:
            raise damaged(self.folder, "its levels are not as this program writes them")
        if self._pyramid.chunk > MAX_CHUNK_SIDE:
            raise damaged(self.folder, "its chunks are larger than this program's")
        if any((self.folder / name).is_symlink() for name in (*expected, WRITING)):
            raise damaged(self.folder, "a level is a link to another place")

    def _check_part(self, index: Index, window: Window, spare: int = 0) -> None:
        """Refuse a part that is too large or not inside the labels."""
        places = [slice(i, i + 1) for i in index] + list(window)
        inside = len(places) == len(self.shape) and all(
            0 <= s.start < s.stop <= n for s, n in zip(places, self.shape, strict=True)
        )
        if not inside or any(s.stop - s.start > MAX_SIDE + spare for s in window):
            raise FileError(
                f"There is no such part in {shown(self.folder)}: choose one inside it, of "
                f"at most {MAX_SIDE} × {MAX_SIDE} pixels."
            )


@dataclass(frozen=True, eq=False)
class StoreReady:
    """Labels of a large image, which can be shown.

    Attributes
    ----------
    folder : Path
        The OME-Zarr.
    levels : tuple of ZarrLevel
        Its levels, the finest first.
    note : StoreNote
        How they were made.
    """

    folder: Path
    levels: tuple[ZarrLevel, ...]
    note: StoreNote


def open_store(folder: Path) -> StoreReady:
    """Open labels of ours, after what a kill left is written to its end.

    Raises
    ------
    FileError
        If they are missing, damaged, or not ours.
    """
    store = LabelStore(folder)
    return StoreReady(folder, tuple(store.levels), store.note)
