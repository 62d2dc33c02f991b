"""Saves labels into the OME-Zarr image that they belong to, and guards what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet._package import library_versions
from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.errors import ArgumentError, CorrectionError, FileError
from napari_resunet.files import cannot_write, shown
from napari_resunet.ome_zarr.labels import (
    HASH,
    fitting_shape,
    labels_hash,
    labels_path,
    read_label_note,
    write_labels,
)
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.session.export import VERIFIED
from napari_resunet.session.settings import LABELS_NAME, LABELS_NAME_WANTED
from napari_resunet.types import now

DEFAULT_NAME = "resunet"


def save_labels_into(
    store: str | Path,
    labels: npt.ArrayLike,
    name: str = DEFAULT_NAME,
    *,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Save labels into the OME-Zarr image that they belong to, as ``labels/NAME``.

    Other labels of the image stay. If the program is stopped, the old labels are there.

    Parameters
    ----------
    store : str or Path
        The folder of the image (NGFF 0.4 or 0.5); of a plate, the folder of one field.
    labels : integer array
        Shape of the image, or of one of its coarser levels, without channels; 0 is
        background. Each level of the image gets the nearest label.
    name : str
        Name of the labels.
    about : mapping or None
        How the labels were made, as JSON can hold it; saved with them.
    overwrite : bool
        Whether to replace labels that this program did not write, or that somebody
        corrected.

    Returns
    -------
    Path
        The folder of the labels.

    Raises
    ------
    ArgumentError
        If the name cannot be used.
    CorrectionError
        If the labels are not whole numbers from 0, or have another size than the image.
    FileError
        If the store is no image that can be read and written, or the labels must not be
        replaced.
    """
    image, array = _image_of(store), _labels_of(labels)
    check_name(name)
    fitting_shape(image, array)
    if not overwrite:
        check_replaceable(image, name)
    made = {"created": now(), "n_objects": count_objects(array)}
    note = {**made, "programs": library_versions(), **(about or {})}
    try:
        return write_labels(image, name, array, note)
    except OSError as error:
        raise cannot_write(image, error) from error


def check_name(name: str) -> None:
    """Check a name for labels in an image.

    Raises
    ------
    ArgumentError
        If it cannot be used.
    """
    if not isinstance(name, str) or not LABELS_NAME.fullmatch(name):
        raise ArgumentError(
            f"{shown(str(name))} cannot be the name: give {LABELS_NAME_WANTED}."
        )


def check_replaceable(image: Path, name: str) -> None:
    """Check that an image has no labels of a name, or as this program wrote them.

    Raises
    ------
    FileError
        If it has others.
    """
    there, folder = read_label_note(image, name), labels_path(image, name)
    if not folder.exists() or (there is not None and not may_be_corrected(image, name)):
        return
    raise FileError(
        f"{shown(image)} has labels of the name {shown(name)} already, and not as this "
        "program wrote them: give another name, or overwrite them."
    )


def may_be_corrected(image: Path, name: str) -> bool:
    """Return whether labels come from the dock, or were changed since they were written."""
    note = read_label_note(image, name) or {}
    return VERIFIED in note or is_changed(labels_path(image, name), note)


def is_changed(labels: Path, note: Mapping[str, Any]) -> bool:
    """Return whether labels in an OME-Zarr are others than their description says."""
    try:
        return note.get(HASH) != labels_hash(labels)
    except OSError:
        return True


def check_into(image: Path, name: str, *, overwrite: bool) -> None:
    """Check, before long work, that labels can be saved into an image.

    Raises
    ------
    FileError
        If the image is no OME-Zarr, cannot be written, or has other labels of that name.
    """
    if not is_ome_zarr(image):
        raise FileError(
            f"{shown(image)} is no OME-Zarr image: give -o, a folder for its labels."
        )
    folders = image, labels_path(image, name).parent
    if not all(os.access(folder, os.W_OK) for folder in folders if folder.exists()):
        raise FileError(
            f"{shown(image)} is read-only: ask for the right to change it, or give -o, a "
            "folder for its labels."
        )
    if not overwrite:
        check_replaceable(image, name)


def _image_of(store: str | Path) -> Path:
    image = Path(store) if isinstance(store, (str, Path)) else None
    if image is None or not is_ome_zarr(image):
        raise FileError(
            f"{shown(str(store))} is no OME-Zarr image: give the folder of one."
        )
    return image


def _labels_of(labels: npt.ArrayLike) -> npt.NDArray[Any]:
    from napari_resunet.session.arguments.arrays import array_of  # which imports torch

    array = array_of("labels", labels, CorrectionError)
    good = array.dtype.kind in "bui" and array.min(initial=0) >= 0
    if not good or array.max(initial=0) >= 2**32:
        raise CorrectionError(
            "The labels are no whole numbers from 0: give an integer array, 0 for "
            "background."
        )
    found: npt.NDArray[Any] = array.astype(np.uint32) if array.dtype == bool else array
    return found
