"""Pixels of images that no file holds, stored in the session; and its thumbnail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.files import content_hash
from napari_resunet.session.store.schema import ImageRecord, source_path
from napari_resunet.session.store.tiff import (
    BIG,
    described,
    read_note,
    read_rows,
    whole_file,
)

MAX_RATIO = 60
"""How much larger a stored image may be than its file: pixels compress less than labels."""


def store_image(root: Path, image: ImageRecord, array: Any) -> str:
    """Store the pixels of an image, plane by plane.

    Parameters
    ----------
    root : Path
        The session folder.
    image : ImageRecord
        The image.
    array : array-like
        numpy, dask, zarr, …; the finest level.

    Returns
    -------
    str
        `content_hash` of the pixels.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    import tifffile

    dtype = np.dtype(array.dtype)
    stored = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    fingerprint = content_hash(array)
    note = {"image": image.key, "content_hash": fingerprint}
    with whole_file(source_path(root, image.key)) as temporary:
        tifffile.imwrite(
            temporary,
            _pages(array, image.rgb, stored),
            shape=image.shape,
            dtype=stored,
            photometric="rgb" if image.rgb else "minisblack",
            compression="zlib",
            compressionargs={"level": 1},
            bigtiff=math.prod(image.shape) * stored.itemsize > BIG,
            maxworkers=1,
            **described(image.shape, note),
        )
    return fingerprint


def _pages(array: Any, rgb: bool, dtype: np.dtype[Any]) -> Iterator[npt.NDArray[Any]]:
    for index in np.ndindex(tuple(array.shape[: -3 if rgb else -2])):
        yield np.ascontiguousarray(np.asarray(array[index]), dtype)


def load_image(root: Path, image: ImageRecord) -> tuple[npt.NDArray[Any], int]:
    """Read the stored pixels of an image, as far as they are intact.

    Returns
    -------
    array : array
        Shape and dtype as recorded; 0 in damaged rows.
    lost : int
        Number of damaged rows over all planes.

    Raises
    ------
    SessionError
        If the file is missing, or not what the record says.
    """
    path = source_path(root, image.key)
    array, good = read_rows(path, image.shape, "uif", MAX_RATIO)
    return array.astype(image.dtype, copy=False), int((~good).sum())


def is_as_stored(root: Path, image: ImageRecord, array: npt.NDArray[Any]) -> str | None:
    """Return the `content_hash` of stored pixels; None if other ones were stored."""
    path, found = source_path(root, image.key), content_hash(array)
    # Older files have no note.
    noted = read_note(path, "content_hash") or (image.stored and image.content_hash)
    other = read_note(path, "image") not in (None, image.key) or (noted or found) != found
    return None if other else found


def draw_thumbnail(plane: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Draw a plane with the outlines of its objects.

    Parameters
    ----------
    plane : array, shape (Y, X) or (Y, X, 3)
        Pixels, already downsampled.
    labels : integer array, shape (Y, X)
        Labels of the same pixels.

    Returns
    -------
    uint8 array, shape (Y, X, 3)
    """
    pixels = plane[..., :3] if plane.ndim == 3 else plane[..., None]
    values = np.nan_to_num(np.asarray(pixels, np.float64), posinf=0, neginf=0)
    low, high = np.percentile(values, (1, 99)) if values.size else (0.0, 1.0)
    grey = np.clip((values - low) / max(float(high - low), 1e-9), 0, 1) * 255
    picture = np.broadcast_to(grey, (*labels.shape, 3)).astype(np.uint8)
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    picture[edge] = (255, 200, 0)
    return picture


def write_thumbnail(path: Path, picture: npt.NDArray[Any]) -> None:
    """Write a picture as PNG, all or nothing."""
    import imageio.v3

    with whole_file(path) as temporary:
        imageio.v3.imwrite(temporary, picture, extension=".png")
