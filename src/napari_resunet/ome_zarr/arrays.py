"""Opens the arrays of an OME-Zarr, and reads them piece by piece.

What an array states is checked before zarr sees it: zarr builds any codec that it knows by
name, and one of them, pickle, runs code.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.ome_zarr.metadata import INSTALL, damaged, read_json

log = logging.getLogger(__name__)
NUMBERS = "buif"
MAX_CHUNK = 2**31
"""Bytes of a chunk, packed or not."""

SMALL_FILE = 2**20

MAX_SIDE = 2**40
HARMLESS_BYTES = 2**28
MAX_RATIO = 4096
"""Bytes of pixels per byte on the disk; no compression used in microscopy exceeds this."""

V2_CODECS = {"blosc", "zstd", "zlib", "gzip", "lz4", "bz2", "lzma", "delta", "shuffle"}
V3_CODECS = {"bytes", "transpose", "blosc", "zstd", "gzip", "crc32c", "sharding_indexed"}


class ZarrLevel:
    """One level of an image; only what is indexed is read.

    Parameters
    ----------
    folder : Path
        Of the array.
    sparse : bool
        Whether it may state more than its files can hold, as labels do: what is empty is
        not stored. Then only windows of it may be read.

    Raises
    ------
    FileError
        If it is missing or damaged, states more than its files can hold, or needs a codec
        that is not known here; or if zarr is not installed.
    """

    def __init__(self, folder: Path, *, sparse: bool = False) -> None:
        chunk_bytes = _check(folder, sparse)
        try:
            import zarr

            from napari_resunet.ome_zarr.local_store import RegularFiles
        except ImportError as error:
            raise FileError(INSTALL) from error
        try:
            store = RegularFiles(folder, read_only=True)
            # No codec makes a chunk much larger, and a larger one could unpack to anything.
            store.most_bytes = 2 * chunk_bytes + SMALL_FILE
            array = zarr.open_array(store=store, mode="r")
        except Exception as error:  # zarr and its codecs raise anything
            raise damaged(folder, "its array cannot be opened") from error
        self._array, self._folder = array, folder
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.chunks: tuple[int, ...] = tuple(array.chunks)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read all of it into memory, as napari does with the coarsest level."""
        return np.asarray(self[...], dtype)

    def __getitem__(self, where: Any) -> npt.NDArray[Any]:
        """Read a part into memory."""
        try:
            return np.asarray(self._array[where])
        except MemoryError:
            raise
        except Exception as error:  # each codec raises its own errors
            log.warning("%s cannot be read", shown(self._folder), exc_info=True)
            raise FileError(
                f"The pixels in {shown(self._folder)} cannot be read, for some are damaged "
                "or gone: copy the image again."
            ) from error


def _check(folder: Path, sparse: bool) -> int:
    """Refuse what a level must not state; return the bytes of a chunk."""
    v3 = folder / "zarr.json"
    if v3.exists():
        stated = read_json(v3)
        grid = stated.get("chunk_grid")
        settings = grid.get("configuration") if isinstance(grid, dict) else None
        chunks = settings.get("chunk_shape") if isinstance(settings, dict) else None
        dtype, codecs = stated.get("data_type"), list(_v3_codecs(stated.get("codecs")))
        known = V3_CODECS
    else:
        stated = read_json(folder / ".zarray")
        chunks, dtype = stated.get("chunks"), stated.get("dtype")
        codecs = [c.get("id") if isinstance(c, dict) else None for c in _v2_codecs(stated)]
        known = V2_CODECS
    shape, chunk = _sides(folder, stated.get("shape")), _sides(folder, chunks)
    foreign = next((name for name in codecs if name not in known), "")
    if foreign != "":
        raise damaged(folder, f"its codec {shown(str(foreign)[:40])} is not known here")
    itemsize = _itemsize(folder, dtype)
    if len(chunk) != len(shape) or math.prod(chunk) * itemsize > MAX_CHUNK:
        raise damaged(folder, "its chunks have an impossible size")
    if not sparse:
        _check_files(folder, math.prod(shape) * itemsize)
    return math.prod(chunk) * itemsize


def _v2_codecs(stated: dict[str, Any]) -> list[Any]:
    filters = stated.get("filters") or []
    compressor = stated.get("compressor")
    listed = list(filters) if isinstance(filters, list) else [filters]
    return listed if compressor is None else [*listed, compressor]


def _v3_codecs(stated: Any) -> Iterator[Any]:
    """List the names of codecs, also of those inside shards."""
    for codec in stated if isinstance(stated, list) else [stated]:
        yield codec.get("name") if isinstance(codec, dict) else codec
        inner = codec.get("configuration") if isinstance(codec, dict) else None
        for key in ("codecs", "index_codecs"):
            if isinstance(inner, dict) and key in inner:
                yield from _v3_codecs(inner[key])


def _sides(folder: Path, stated: Any) -> list[int]:
    good = isinstance(stated, list) and len(stated) <= 5
    if not good or not all(type(n) is int and 0 < n < MAX_SIDE for n in stated):
        raise damaged(folder, "it states no shape that an image can have")
    return list(stated)


def _itemsize(folder: Path, stated: Any) -> int:
    try:
        dtype = np.dtype(stated if isinstance(stated, str) else None)
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if not isinstance(stated, str) or dtype.kind not in NUMBERS:
        raise damaged(folder, f"its pixels are {shown(str(stated)[:40])}, not numbers")
    return dtype.itemsize


def _check_files(folder: Path, n_bytes: int) -> None:
    """Compare the stated pixels with what is there; stop as soon as that is enough."""
    n_there = 0
    for size in file_sizes(folder):
        n_there += size
        if n_bytes <= max(HARMLESS_BYTES, MAX_RATIO * n_there):
            return
    if n_there == 0:
        raise damaged(folder, "its pixels are missing")
    if n_bytes > MAX_RATIO * n_there:
        raise damaged(folder, "it states far more pixels than its files can hold")


def file_sizes(folder: Path) -> Iterator[int]:
    """Yield the size of each file below a folder, metadata aside."""
    for where, _, names in os.walk(folder):
        for name in names:
            if name not in ("zarr.json", ".zarray", ".zattrs", ".zgroup"):
                try:
                    yield os.stat(os.path.join(where, name)).st_size
                except OSError:
                    continue
