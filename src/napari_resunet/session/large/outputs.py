"""Where the labels of a run on a large image go: into a store of their own, or the image.

Both are written into the folder of the run, and get their place when they are whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from napari_resunet.errors import FileError, ImageError
from napari_resunet.files import cannot_write, check_folder, shown
from napari_resunet.ome_zarr.image_labels import Place
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.ome_zarr.labels import (
    check_place,
    describe_labels,
    labels_for,
    labels_path,
    own_attributes,
    place_labels,
    sync_files,
)
from napari_resunet.ome_zarr.metadata import INSTALL, is_ome_zarr, read_metadata
from napari_resunet.session.large.store_lock import beside
from napari_resunet.session.save_into import check_into
from napari_resunet.types import Index

CHUNK = 1024
"""Rows and columns of a chunk of the labels."""


class Levels(Protocol):
    """Labels at several resolution levels, which are written part by part."""

    @property
    def folder(self) -> Path:
        """Where they are written."""

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Of the levels; rows and columns last."""

    @property
    def base(self) -> int:
        """The level that is written first."""

    @property
    def chunk(self) -> int:
        """Rows and columns of a chunk."""

    def create(self, dtype: npt.DTypeLike) -> None:
        """Create the arrays, empty."""

    def write(self, level: int, where: Place, labels: npt.NDArray[Any]) -> None:
        """Write a part of a level; two parts of one chunk only one after the other."""

    def resample(self, level: int, index: Index, rows: slice, columns: slice) -> None:
        """Write a part of another level than `base`, in the order of the levels."""


@dataclass(frozen=True)
class Labelled:
    """What the labels of an image are like.

    Attributes
    ----------
    shape : tuple of int
        Of the level that is segmented; rows and columns last.
    axes : str
        One letter of "TZPYX" for each dimension.
    steps : mapping of str to float
        From pixel to pixel: see `LabelPyramid`.
    level : int
        Of the image.
    """

    shape: tuple[int, ...]
    axes: str
    steps: Mapping[str, float]
    level: int


class Output(Protocol):
    """A place for the labels of a run."""

    @property
    def place(self) -> Path:
        """Where the labels are when they are whole."""

    @property
    def unfinished(self) -> Path:
        """Where they are until then, on the same disk."""

    @property
    def lock(self) -> Path:
        """What is locked while they are written."""

    def check(self, *, overwrite: bool) -> None:
        """Check that labels can get their place; raise a FileError if not."""

    def levels(self, folder: Path, labelled: Labelled) -> Levels:
        """Return the levels to write; raise an ImageError if they do not fit the image."""

    def finish(self, levels: Levels, about: Mapping[str, Any]) -> None:
        """Write the metadata of labels whose levels are whole."""

    def take_place(self, new: Path, *, overwrite: bool) -> None:
        """Give labels that are whole their place."""


@dataclass(frozen=True)
class OwnStore:
    """An OME-Zarr of the labels alone.

    Attributes
    ----------
    source, place : Path
        The image and the labels.
    """

    source: Path
    place: Path

    @property
    def unfinished(self) -> Path:
        """See `Output`."""
        return self.place.with_name(f".{self.place.name}.unfinished")

    @property
    def lock(self) -> Path:
        """See `Output`."""
        return beside(self.place)

    def check(self, *, overwrite: bool) -> None:
        """See `Output`."""
        _check_zarr()
        check_folder(self.place.parent)
        if not self.place.exists():
            return
        if not overwrite:
            raise FileError(f"{shown(self.place)} is there already: give --overwrite.")
        if own_attributes(self.place) is None:
            raise FileError(
                f"{shown(self.place)} was not written by this program, so it is not "
                "replaced: give another name with -o."
            )

    def levels(self, folder: Path, labelled: Labelled) -> LabelPyramid:
        """See `Output`."""
        # Who reads the image then reads its labels, too.
        is_zarr = is_ome_zarr(self.source)
        version = read_metadata(self.source).version if is_zarr else "0.5"
        shape, axes, steps = labelled.shape, labelled.axes, labelled.steps
        return LabelPyramid(folder, shape, axes, CHUNK, version, steps)

    def finish(self, levels: Levels, about: Mapping[str, Any]) -> None:
        """See `Output`."""
        assert isinstance(levels, LabelPyramid)
        levels.finish(about)
        sync_files(levels.folder)

    def take_place(self, new: Path, *, overwrite: bool) -> None:
        """See `Output`."""
        self.check(overwrite=overwrite)  # once more, after hours of work
        aside = self.unfinished / "replaced"
        try:
            if self.place.exists():
                self.place.rename(aside)
            new.rename(self.place)
        except OSError as error:
            if aside.exists() and not self.place.exists():
                aside.rename(self.place)
            raise cannot_write(self.place, error) from error


@dataclass(frozen=True)
class InImage:
    """Labels of a name in the OME-Zarr of the image.

    Attributes
    ----------
    source : Path
        The image.
    name : str
        Name of the labels.
    """

    source: Path
    name: str

    @property
    def place(self) -> Path:
        """See `Output`."""
        return labels_path(self.source, self.name)

    @property
    def unfinished(self) -> Path:
        """See `Output`."""
        return self.source / f".{self.name}.unfinished"

    @property
    def lock(self) -> Path:
        """See `Output`."""
        return self.source / f".{self.name}.lock"

    def check(self, *, overwrite: bool) -> None:
        """See `Output`."""
        _check_zarr()
        check_into(self.source, self.name, overwrite=overwrite)
        check_place(self.source, self.name)

    def levels(self, folder: Path, labelled: Labelled) -> Levels:
        """See `Output`."""
        levels = labels_for(self.source, folder, labelled.level)
        wanted = levels.shapes[labelled.level]
        if labelled.shape != wanted:
            raise ImageError(
                f"Labels of shape {labelled.shape} do not fit into {shown(self.source)}, "
                f"which is of shape {wanted} without its channels: leave --axes out, or "
                "give -o."
            )
        return levels

    def finish(self, levels: Levels, about: Mapping[str, Any]) -> None:
        """See `Output`."""
        describe_labels(self.source, levels.folder, self.name, about)

    def take_place(self, new: Path, *, overwrite: bool) -> None:
        """See `Output`."""
        self.check(overwrite=overwrite)  # once more, after hours of work
        try:
            place_labels(self.source, self.name, new)
        except OSError as error:
            raise cannot_write(self.place, error) from error


def _check_zarr() -> None:
    try:
        import yaozarrs  # noqa: F401
        import zarr  # noqa: F401
    except ImportError as error:
        raise FileError(INSTALL) from error
