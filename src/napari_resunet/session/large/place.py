"""Where the labels of a large image go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from napari_resunet.errors import FileError
from napari_resunet.ome_zarr.labels import NOTE, own_attributes
from napari_resunet.session.export import source_of
from napari_resunet.session.large.store_note import read_note

SUFFIXES = (".ome.zarr", ".zarr", ".ome.tif", ".ome.tiff")
"""Endings that a name loses as a whole."""


def place_for_labels(source: Path, otherwise: Path) -> Path:
    """Return where the labels of an image go: beside it, if that can be written.

    Parameters
    ----------
    source : Path
        The image.
    otherwise : Path
        The folder for images whose folder cannot be written.

    Returns
    -------
    Path
        Free, or with labels of ours.
    """
    folder = source.parent if os.access(source.parent, os.W_OK) else otherwise
    suffix = next((s for s in SUFFIXES if source.name.lower().endswith(s)), source.suffix)
    name = source.name[: len(source.name) - len(suffix)] + "_labels"
    number, target = 2, folder / f"{name}.ome.zarr"
    while target.exists() and not _is_ours(target):
        number, target = number + 1, folder / f"{name}_{number}.ome.zarr"
    return target


def _is_ours(folder: Path) -> bool:
    try:
        read_note(folder)
    except FileError:
        return False
    return True


def store_beside(labels: Path) -> Path:
    """Return where labels go that are too large for the TIFF ``NAME_labels.tif``."""
    return labels.with_name(f"{labels.stem}{SUFFIXES[0]}")


def is_in_store(labels: Path) -> bool:
    """Return whether there is no TIFF of labels, but a store in its place."""
    return not labels.exists() and store_beside(labels).is_dir()


def note_of_store(store: Path, image: Path) -> dict[str, Any] | None:
    """Return what labels say of themselves, if they are of this image; None otherwise."""
    try:
        attributes = own_attributes(store)
    except FileError:
        return None
    note = {} if attributes is None else attributes[NOTE]
    about = note.get("image")
    same = isinstance(about, dict) and about.get("source") == source_of(image)
    return note if same else None
