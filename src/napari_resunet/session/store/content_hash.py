"""A fingerprint of an image's pixels, to know it again when its file has moved."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

ALL = 2**28
"""Up to so many bytes every pixel counts; of larger images, planes and bands of rows."""

PLANES, BANDS, ROWS = 32, 16, 16


def content_hash(array: Any) -> str:
    """Compute the fingerprint of an array.

    Parameters
    ----------
    array : array-like with shape and dtype
        numpy, dask, zarr …; read piece by piece.

    Returns
    -------
    str
        "blake2b:" or, of a sample only, "blake2b-sampled:", and 32 hexadecimal digits.
    """
    dtype = np.dtype(array.dtype)
    shape = tuple(int(n) for n in array.shape)
    digest = hashlib.blake2b(f"{dtype.str} {shape}".encode(), digest_size=16)
    everything = math.prod(shape) * dtype.itemsize <= ALL
    for piece in _planes(array, shape) if everything else _sample(array, shape):
        digest.update(np.ascontiguousarray(piece).data)
    return f"blake2b{'' if everything else '-sampled'}:{digest.hexdigest()}"


def _planes(array: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    for index in np.ndindex(shape[:-2]):
        yield np.asarray(array[index])


def _sample(array: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    leading = shape[:-3] if shape[-1] in (3, 4) else shape[:-2]
    n = math.prod(leading)
    height = shape[len(leading)]
    for k in np.unique(np.linspace(0, n - 1, PLANES).astype(int)):
        index = tuple(int(i) for i in np.unravel_index(k, leading)) if leading else ()
        for row in np.unique(np.linspace(0, max(0, height - ROWS), BANDS).astype(int)):
            yield np.asarray(array[(*index, slice(int(row), int(row) + ROWS))])
