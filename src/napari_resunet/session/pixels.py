"""The pixels of a session's images: in a file of the user's, or stored in the session."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import ResunetError
from napari_resunet.files import IMAGE_SUFFIXES, read_image
from napari_resunet.session.store.content_hash import content_hash
from napari_resunet.session.store.images import store_image
from napari_resunet.session.store.layout import source_path
from napari_resunet.session.store.safety import local_file
from napari_resunet.session.store.schema import ImageRecord

MOST_COMPARED = 2**31
"""Bytes of an image up to which it is compared with its file."""


def is_image(record: ImageRecord, array: Any) -> bool:
    """Tell whether an array holds the pixels of a record."""
    if tuple(array.shape) != record.shape or str(array.dtype) != record.dtype:
        return False
    return not record.content_hash or content_hash(array) == record.content_hash


def read_pixels(path: Path, record: ImageRecord) -> Any:
    """Read a file if it holds the pixels of a record; None if it does not."""
    if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
        return None
    try:
        array = read_image(path)
    except ResunetError:
        return None
    return array if is_image(record, array) else None


def keep_pixels(
    root: Path, record: ImageRecord, array: Any, replaced: bool
) -> dict[str, Any]:
    """Store the pixels of an image, unless its file holds the same.

    Parameters
    ----------
    root : Path
        The session folder.
    record : ImageRecord
        Of the image; `source` names its file.
    array : array-like
        numpy, dask, zarr …; the finest level.
    replaced : bool
        Whether the pixels were exchanged since the image was opened.

    Returns
    -------
    dict
        `content_hash` and `stored` of the record.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    if not _is_in_file(record, array, replaced):
        return {"content_hash": store_image(root, record, array), "stored": True}
    # What was stored before the file held it is not the image any more.
    source_path(root, record.key).unlink(missing_ok=True)
    return {"content_hash": content_hash(array), "stored": False}


def _is_in_file(record: ImageRecord, array: Any, replaced: bool) -> bool:
    if record.source is None:
        return False
    if not isinstance(array, np.ndarray):
        # Read piece by piece from the file: nobody can have edited it in memory.
        return not replaced
    path = local_file(record.source)
    if path is None:
        return False
    if math.prod(record.shape) * array.itemsize > MOST_COMPARED:
        return not replaced
    known = record.model_copy(update={"content_hash": content_hash(array)})
    return read_pixels(path, known) is not None
