"""Reads an OME-Zarr image at the resolution level that suits the size of its objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_resunet.ome_zarr.arrays import HARMLESS_BYTES, ZarrLevel
from napari_resunet.ome_zarr.metadata import ImageMetadata, damaged, read_metadata
from napari_resunet.resolutions import coarse_notice, suitable
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import ObjectSize


def read_level(folder: Path, level: int = 0) -> StoredImage:
    """Read a level of an image; of a large one, pixels are read when they are used.

    Parameters
    ----------
    folder : Path
        Of the image.
    level : int
        0 is the finest.

    Returns
    -------
    StoredImage
        With the axes and the pixel size of that level.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    metadata = read_metadata(folder)
    array = open_level(folder, metadata, level)
    notices = metadata.notices
    if level:
        notices += (coarse_notice(metadata.paths[level], metadata.axes, array.shape),)
    # Tiles of a small image would unpack the same chunk again and again.
    pixels: Any = array[...] if array.nbytes <= HARMLESS_BYTES else array
    size, steps = metadata.pixel_size(level), metadata.steps(level)
    return StoredImage(pixels, metadata.axes, notices, size, steps)


def open_level(
    folder: Path, metadata: ImageMetadata, level: int, *, sparse: bool = False
) -> ZarrLevel:
    """Open the array of a level; see `ZarrLevel`.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    if not 0 <= level < len(metadata.paths):
        raise damaged(folder, f"it has no level {level}")
    array = ZarrLevel(folder.joinpath(*metadata.paths[level].split("/")), sparse=sparse)
    if array.ndim != len(metadata.axes):
        raise damaged(folder, "its array has other dimensions than its metadata says")
    return array


def open_levels(folder: Path, metadata: ImageMetadata) -> list[ZarrLevel]:
    """Open the arrays of all levels, the finest first; see `open_level`."""
    return [open_level(folder, metadata, n) for n in range(len(metadata.paths))]


def level_for(
    folder: Path, size: ObjectSize | None, diameter: float
) -> tuple[int, ObjectSize | None]:
    """Choose the coarsest level whose objects are no smaller than the network wants.

    Parameters
    ----------
    folder : Path
        Of the image.
    size : ObjectSize or None
        Of the objects, in pixels of the finest level or in micrometres. If it is not
        told, the finest level is chosen.
    diameter : float
        Object diameter in pixels at network resolution.

    Returns
    -------
    level : int
        Only levels with all planes of the finest one are chosen.
    size : ObjectSize or None
        The size in pixels of that level; as it was given if the finest is chosen.

    Raises
    ------
    FileError
        If the image is damaged.
    """
    metadata = read_metadata(folder)
    pixels = size.in_pixels(metadata.pixel_size(0)) if size is not None else None
    if pixels is None or pixels < 2 * diameter:
        return 0, size
    finest = open_level(folder, metadata, 0).shape
    coarser = (
        (level, open_level(folder, metadata, level).shape)
        for level in reversed(range(1, len(metadata.paths)))
    )
    return suitable(metadata.axes, finest, coarser, pixels, diameter) or (0, size)
