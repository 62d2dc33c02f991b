"""The tables of a run of `segment`: one for each image, and two for all of them.

A note next to them holds the hash of each, so that a later run replaces only tables that
nobody changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_resunet._package import library_versions
from napari_resunet.errors import FileError
from napari_resunet.events import drain
from napari_resunet.files import cannot_write, plain_name, shown, stated_axes
from napari_resunet.session.api import OnEvent
from napari_resunet.session.arguments.measure import measure_request
from napari_resunet.session.measurements import DEPTH, Measurement, measurement_steps
from napari_resunet.session.settings import Stack, TableFormat
from napari_resunet.session.store.models import file_hash
from napari_resunet.session.store.tiff import write_text
from napari_resunet.session.tables import (
    join_tables,
    summary_of,
    table_of,
    with_image,
    write_table,
)
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import LabelArray, MeasureGroup, now

ALL_OBJECTS, SUMMARY = "measurements", "summary"
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
    z_step : float or None
        Distance of its slices in micrometres, if known.
    stack : {"separate", "volume", "film"}
        What its slices are.
    """

    array: Any
    axes: str
    pixel_size: float | None = None
    channel_names: tuple[str, ...] | None = None
    z_step: float | None = None
    stack: Stack = "separate"

    @classmethod
    def of_file(cls, path: Path, stored: StoredImage, stack: Stack) -> ImageToMeasure:
        """Describe an image as it was read from a file, which may name the channels."""
        names, step = _channel_names(path, stored), stored.steps.get(DEPTH)
        return cls(stored.array, stored.axes, stored.pixel_size, names, step, stack)


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
    table_format : {"csv", "parquet"}
        Of all tables, and the end of their names.
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
        table_format: TableFormat = "csv",
        *,
        overwrite: bool = False,
    ) -> None:
        self._folder, self._group, self._overwrite = folder, group, overwrite
        self._classes, self._suffix = tuple(class_names), f".{table_format}"
        self._hashes = _hashes_in(folder / NOTE)
        self._parts: list[Path] = []
        self._rows: dict[str, dict[str, float]] = {}
        if self._hashes is None:
            self._refuse(folder / NOTE)
        for path in self._of_all_images():
            self._check_free(path)

    def check(self, labels: Path) -> None:
        """Check, before long work, that the table of an image can be written.

        Raises
        ------
        FileError
            If it is there, and not as an earlier run wrote it.
        """
        self._check_free(self._table_of(labels))

    def measure(
        self, labels: LabelArray, image: ImageToMeasure, on_event: OnEvent
    ) -> Measurement:
        """Measure an image.

        Parameters
        ----------
        labels : int32 array
            The labels, with the axes of the image without channels.
        image : ImageToMeasure
            The image.
        on_event : callable
            Called with each Progress.

        Raises
        ------
        ArgumentError, CorrectionError, ImageError
            If image and labels do not fit together.
        OutOfMemoryError
            If there is too little memory.
        """
        request = measure_request(
            labels, image.array, image.axes, channel_names=image.channel_names,
            pixel_size=image.pixel_size, z_step=image.z_step, class_names=self._classes,
            stack=image.stack, group=self._group,
        )  # fmt: skip
        return drain(measurement_steps(request), on_event)

    def add_written(
        self, labels_path: Path, measure: Callable[[Path, str], dict[str, float]]
    ) -> None:
        """Let the table of a large image be written next to its labels.

        Parameters
        ----------
        labels_path : Path
            The file that the labels of a small image would be in, ``NAME_labels.tif``.
        measure : callable
            Gets the path of the table and the name of the image, writes the table, and
            returns the summary of the image.

        Raises
        ------
        FileError
            If the table must not be replaced.
        """
        target = self._table_of(labels_path)
        name = self._name_of(target)
        self._check_free(target)
        self._rows[name] = measure(target, name)
        self._parts.append(target)
        self._remember(target)

    def add(self, labels_path: Path, found: Measurement, n_pixels: int) -> None:
        """Write the table of an image next to its labels.

        Parameters
        ----------
        labels_path : Path
            The file of its labels, ``NAME_labels.tif``.
        found : Measurement
            What was measured.
        n_pixels : int
            Number of pixels of all planes.

        Raises
        ------
        FileError
            If the table cannot be written, or must not be replaced.
        """
        target = self._table_of(labels_path)
        name = self._name_of(target)
        self._check_free(target)  # once more, after minutes of work
        write_table(target, with_image(found.table, name))
        self._parts.append(target)
        self._rows[name] = summary_of(found.table, n_pixels, found.sides, self._classes)
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
        objects, summary = self._of_all_images()
        for path in (objects, summary):
            self._check_free(path)
        join_tables(objects, self._parts)
        write_table(summary, table_of(self._rows))
        self._remember(objects, summary)

    def _of_all_images(self) -> tuple[Path, Path]:
        """Return the paths of the table of all objects, and of the summary."""
        objects, summary = (f"{name}{self._suffix}" for name in (ALL_OBJECTS, SUMMARY))
        return self._folder / objects, self._folder / summary

    def _table_of(self, labels: Path) -> Path:
        name = labels.stem.removesuffix("_labels")
        return labels.with_name(f"{name}_{ALL_OBJECTS}{self._suffix}")

    def _name_of(self, table: Path) -> str:
        """Return how the tables of all images name an image."""
        name = plain_name(table.relative_to(self._folder).as_posix())
        return name.removesuffix(f"_{ALL_OBJECTS}{self._suffix}")

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
