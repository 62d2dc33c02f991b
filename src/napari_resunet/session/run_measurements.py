"""The tables of a run of `segment`: one for each image, and two for all of them.

A note next to them holds the hash of each, so that a later run replaces only tables that
nobody changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_resunet._package import library_versions
from napari_resunet.errors import FileError
from napari_resunet.events import drain
from napari_resunet.files import cannot_write, plain_name, shown, stated_axes
from napari_resunet.session.api import OnEvent
from napari_resunet.session.arguments import measure_request
from napari_resunet.session.measurements import measure_image
from napari_resunet.session.store.models import file_hash
from napari_resunet.session.store.tiff import write_text
from napari_resunet.session.tables import (
    join_csv,
    summary_of,
    table_of,
    with_image,
    write_table,
)
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import LabelArray, MeasureGroup, now

ALL_OBJECTS = "measurements.csv"
SUMMARY = "summary.csv"
NOTE = "measurements.json"
TABLES = "tables"
MAX_NOTE = 2**24
"""Bytes: about a hundred thousand images."""


@dataclass(frozen=True, eq=False)
class ImageToMeasure:
    """What is measured of an image.

    Attributes
    ----------
    array : array
        Its pixels.
    axes : str
        One letter of "PTZCYXS" for each dimension.
    pixel_size : float or None
        Side of a pixel in micrometres, if known.
    channel_names : tuple of str or None
        Names of its channels, if each has one.
    """

    array: Any
    axes: str
    pixel_size: float | None = None
    channel_names: tuple[str, ...] | None = None

    @classmethod
    def of_file(cls, path: Path, stored: StoredImage) -> ImageToMeasure:
        """Describe an image as it was read from a file, which may name the channels."""
        names = _channel_names(path, stored)
        return cls(stored.array, stored.axes, stored.pixel_size, names)


class RunMeasurements:
    """Measures the images of a run, and writes the tables.

    Parameters
    ----------
    folder : Path
        The output folder of the run.
    class_names : sequence of str
        Names of the classes, background first; empty if the labels are objects.
    group : {"basic", "all"}
        Which columns.
    overwrite : bool
        Whether to replace tables that somebody changed, and files of other programs.

    Raises
    ------
    FileError
        If a file of all images is there, and not as an earlier run wrote it.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        group: MeasureGroup,
        *,
        overwrite: bool = False,
    ) -> None:
        self._folder, self._group, self._overwrite = folder, group, overwrite
        self._classes = tuple(class_names)
        self._hashes = _hashes_in(folder / NOTE)
        self._parts: list[Path] = []
        self._rows: dict[str, dict[str, float]] = {}
        if self._hashes is None:
            self._refuse(folder / NOTE)
        for name in (ALL_OBJECTS, SUMMARY):
            self._check_free(folder / name)

    def check(self, labels: Path) -> None:
        """Check, before long work, that the table of an image can be written.

        Raises
        ------
        FileError
            If it is there, and not as an earlier run wrote it.
        """
        self._check_free(self._table_of(labels))

    def add(
        self,
        labels_path: Path,
        labels: LabelArray,
        image: ImageToMeasure,
        on_event: OnEvent,
    ) -> None:
        """Measure an image and write its table next to its labels.

        Parameters
        ----------
        labels_path : Path
            The file of its labels, ``NAME_labels.tif``.
        labels : int32 array
            The labels, with the axes of the image without channels.
        image : ImageToMeasure
            The image.
        on_event : callable
            Called with each Progress.

        Raises
        ------
        FileError
            If the table cannot be written, or must not be replaced.
        """
        size = image.pixel_size
        request = measure_request(
            labels, image.array, image.axes, image.channel_names, size, None,
            self._classes, False, self._group,
        )  # fmt: skip
        table = drain(measure_image(request), on_event)
        target = self._table_of(labels_path)
        name = plain_name(target.relative_to(self._folder).as_posix())
        name = name.removesuffix(f"_{ALL_OBJECTS}")
        self._check_free(target)  # once more, after minutes of work
        write_table(target, with_image(table, name))
        self._parts.append(target)
        self._rows[name] = summary_of(table, labels.size, size, self._classes)
        self._remember(target)

    def write(self) -> None:
        """Write the tables of all images, if there are any.

        Raises
        ------
        FileError
            If one of them cannot be written, or must not be replaced.
        """
        if not self._parts:
            return
        objects, summary = self._folder / ALL_OBJECTS, self._folder / SUMMARY
        for path in (objects, summary):
            self._check_free(path)
        join_csv(objects, self._parts)
        write_table(summary, table_of(self._rows))
        self._remember(objects, summary)

    @staticmethod
    def _table_of(labels: Path) -> Path:
        name = labels.stem.removesuffix("_labels")
        return labels.with_name(f"{name}_{ALL_OBJECTS}")

    def _check_free(self, path: Path) -> None:
        known = (self._hashes or {}).get(self._key(path))
        try:
            ours = not path.exists() or (path.is_file() and known == file_hash(path))
        except OSError as error:
            raise cannot_write(path, error) from error
        if not ours:
            self._refuse(path)

    def _refuse(self, path: Path) -> None:
        if not self._overwrite:
            raise FileError(
                f"{shown(path)} is there already, and not as an earlier run wrote it: give "
                "another folder with -o, or --overwrite."
            )

    def _key(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _remember(self, *paths: Path) -> None:
        hashes = (self._hashes or {}) | {self._key(path): file_hash(path) for path in paths}
        self._hashes = hashes
        note = {"created": now(), TABLES: hashes, "programs": library_versions()}
        write_text(self._folder / NOTE, json.dumps(note, indent=1))


def _hashes_in(note: Path) -> dict[str, str] | None:
    """Read the hashes of an earlier run, if there was one; None if it is another file."""
    try:
        if not note.exists():
            return {}
        if not note.is_file() or note.stat().st_size > MAX_NOTE:
            return None
        tables = json.loads(note.read_bytes())[TABLES]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return tables if isinstance(tables, dict) else None


def _channel_names(image: Path, stored: StoredImage) -> tuple[str, ...] | None:
    """Return the names that a TIFF gives to its channels, if it names each."""
    stated = stated_axes(image)
    sizes = dict(zip(stored.axes, stored.array.shape, strict=True))
    fit = stated is not None and len(stated.channels) == sizes.get("C")
    return stated.channels if stated is not None and fit else None
