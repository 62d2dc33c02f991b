"""The pixels of a session's images: in a file of the user, or stored in the session."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import ResunetError
from napari_resunet.files import (
    IMAGE_SUFFIXES,
    content_hash,
    is_tiff,
    read_image,
    split_scene,
)
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.ome_zarr.pyramid import open_pyramid
from napari_resunet.session.store.images import store_image
from napari_resunet.session.store.safety import local_file, local_folder
from napari_resunet.session.store.schema import ImageRecord, source_path
from napari_resunet.slides import pyramid as slides
from napari_resunet.slides.pyramid import TiffPyramid

MAX_COMPARED = 2**31
"""Bytes up to which an image is compared with its file."""


def is_image(record: ImageRecord, array: Any) -> bool:
    """Return whether an array holds the pixels of a record."""
    if tuple(array.shape) != record.shape or str(array.dtype) != record.dtype:
        return False
    return not record.content_hash or content_hash(array) == record.content_hash


def local_image(text: str | None) -> Path | None:
    """Return the path that a session names, if it is a file or an OME-Zarr here.

    It may also be one of several images in a file; see `split_scene`.
    """
    folder = local_folder(text)
    if folder is not None:
        return folder if is_ome_zarr(folder) else None
    path = Path(text or "")
    return None if local_file(str(split_scene(path)[0])) is None else path


def read_pixels(path: Path, record: ImageRecord) -> tuple[Any, ...]:
    """Read a file or an OME-Zarr, if it holds the pixels of a record.

    Returns
    -------
    tuple of arrays
        The resolution levels, the finest first; empty if it holds other pixels.
    """
    try:
        levels = _levels(path, record)
        return levels if levels and is_image(record, levels[0]) else ()
    except ResunetError:
        return ()


def open_large_tiff(path: Path) -> TiffPyramid | None:
    """Open a large TIFF, whose pixels are read when they are used.

    None if it is small, or has to be read as a whole; see `slides.pyramid.open_pyramid`.
    """
    found = slides.open_pyramid(path) if is_tiff(path) else None
    # Rows and columns are where viewers expect them, or all of it has to be transposed.
    return found if found and found.axes.endswith(("YX", "YXS")) else None


def _levels(path: Path, record: ImageRecord) -> tuple[Any, ...]:
    if is_ome_zarr(path):
        return open_pyramid(path, record.shape).levels
    file, _ = split_scene(path)
    is_file = file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
    if not is_file:
        return ()
    large = open_large_tiff(path)
    return (read_image(path),) if large is None else large.levels


def save_pixels(
    root: Path, record: ImageRecord, array: Any, replaced: bool
) -> dict[str, Any]:
    """Store the pixels of an image, unless the file that it came from holds the same.

    Parameters
    ----------
    root : Path
        The session folder.
    record : ImageRecord
        Its `source` names the file.
    array : array-like
        numpy, dask, zarr, …; the finest level.
    replaced : bool
        Whether the layer was given other pixels since it was opened.

    Returns
    -------
    dict
        New values of the record's fields `content_hash` and `stored`.

    Raises
    ------
    FileError
        If the pixels cannot be written.
    """
    if not _is_in_file(record, array, replaced):
        return {"content_hash": store_image(root, record, array), "stored": True}
    # Stored pixels are from before the file held the image.
    source_path(root, record.key).unlink(missing_ok=True)
    return {"content_hash": content_hash(array), "stored": False}


def _is_in_file(record: ImageRecord, array: Any, replaced: bool) -> bool:
    if record.source is None:
        return False
    if not isinstance(array, np.ndarray):
        # Lazy, so it is read from the file: nobody can have edited it in memory.
        return not replaced
    path = local_image(record.source)
    if path is None:
        return False
    if math.prod(record.shape) * array.itemsize > MAX_COMPARED:
        return not replaced
    known = record.model_copy(update={"content_hash": content_hash(array)})
    return bool(read_pixels(path, known))
