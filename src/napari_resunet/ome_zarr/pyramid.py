"""Opens an OME-Zarr image with its resolution levels, as a viewer shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.ome_zarr.arrays import HARMLESS_BYTES, ZarrLevel
from napari_resunet.ome_zarr.image import open_levels
from napari_resunet.ome_zarr.metadata import ImageMetadata, read_metadata
from napari_resunet.resolutions import coarser_by, memory_bytes
from napari_resunet.types import MAX_PLANE

LABEL_BYTES = 4
"""Bytes of a label in memory."""

COMFORTABLE = 2**28
"""Pixels of a plane from which a coarser level is opened: napari takes half a minute to
draw labels of 20480² pixels, and three times their memory."""


@dataclass(frozen=True, eq=False)
class Pyramid:
    """An image with its resolution levels.

    Attributes
    ----------
    levels : tuple of arrays
        The finest first, all with the same planes. A small image is in memory, and has one
        level; of others, pixels are read when they are used.
    axes : str
        One letter of "TCZYXP" for each dimension.
    steps : mapping of str to float
        From pixel to pixel of the first level along X, Y, and Z, in micrometres, and along
        T, in seconds; only what is stated.
    notices : tuple of str
        What is left out, one sentence each.
    """

    levels: tuple[Any, ...]
    axes: str
    steps: Mapping[str, float]
    notices: tuple[str, ...]


def open_pyramid(folder: Path, shape: Sequence[int] | None = None) -> Pyramid:
    """Open an image from the finest level on whose labels a viewer can show.

    Parameters
    ----------
    folder : Path
        Of the image.
    shape : sequence of int or None
        Shape of the level to begin with, if it was opened before.

    Returns
    -------
    Pyramid

    Raises
    ------
    FileError
        If the image is missing or damaged, or the labels of no level fit into memory.
    """
    metadata = read_metadata(folder)
    levels = open_levels(folder, metadata)
    first = _first(folder, metadata, levels, shape)
    arrays = [levels[first]]
    shape_of_first, axes = arrays[0].shape, metadata.axes
    arrays += [x for x in levels[first + 1 :] if coarser_by(axes, shape_of_first, x.shape)]
    notices = metadata.notices
    if first and shape is None:
        notices += (_coarse_notice(metadata, levels[first]),)
    is_small = arrays[0].nbytes <= HARMLESS_BYTES
    pixels = (arrays[0][...],) if is_small else tuple(arrays)
    return Pyramid(pixels, metadata.axes, metadata.steps(first), notices)


def _first(
    folder: Path,
    metadata: ImageMetadata,
    levels: list[ZarrLevel],
    shape: Sequence[int] | None,
) -> int:
    """Choose the first level: the one of that shape, or else the finest that suits."""
    known = [n for n, level in enumerate(levels) if level.shape == tuple(shape or ())]
    alike = (coarser_by(metadata.axes, levels[0].shape, level.shape) for level in levels)
    wanted = known or [n for n, factor in enumerate(alike) if factor is not None]
    fitting = [n for n in wanted if _fits(metadata, levels[n])]
    if fitting:
        quick = (n for n in fitting if _plane(metadata, levels[n]) <= COMFORTABLE)
        return next(quick, fitting[-1])
    least = min(_labels_bytes(metadata, levels[n]) for n in wanted)
    raise FileError(
        f"{shown(folder)} is too large: its labels need {least / 2**30:.1f} GB of memory. "
        "Save a part of it as an image of its own, or open it on a larger computer."
    )


def _fits(metadata: ImageMetadata, level: ZarrLevel) -> bool:
    """Return whether labels of a level take less than half of the memory."""
    plane = _plane(metadata, level)
    return plane < MAX_PLANE and 2 * _labels_bytes(metadata, level) <= memory_bytes()


def _plane(metadata: ImageMetadata, level: ZarrLevel) -> int:
    """Return the number of pixels of a plane."""
    sizes = dict(zip(metadata.axes, level.shape, strict=True))
    return sizes["Y"] * sizes["X"]


def _labels_bytes(metadata: ImageMetadata, level: ZarrLevel) -> int:
    sizes = zip(metadata.axes, level.shape, strict=True)
    return LABEL_BYTES * int(np.prod([n for axis, n in sizes if axis != "C"], dtype=object))


def _coarse_notice(metadata: ImageMetadata, level: ZarrLevel) -> str:
    sizes = dict(zip(metadata.axes, level.shape, strict=True))
    return (
        f"It was opened at {sizes['Y']} × {sizes['X']} pixels, a coarser resolution level: "
        "labels of a finer one are too large to be shown on this computer."
    )
