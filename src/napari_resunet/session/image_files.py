"""Reads the images that the command line takes: files, slides, and OME-Zarr folders."""

from __future__ import annotations

import os
from pathlib import Path

from napari_resunet.files import (
    check_regular,
    is_tiff,
    read_stored,
    split_scene,
    with_axes,
)
from napari_resunet.ome_zarr import image as ome_zarr
from napari_resunet.ome_zarr.metadata import is_ome_zarr, read_metadata
from napari_resunet.session.microscope_files import (
    is_microscope_file,
    read_microscope_file,
)
from napari_resunet.slides import image as slides
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import ObjectSize


def check_image(path: Path) -> None:
    """Check that a path is a regular file or an OME-Zarr.

    Raises
    ------
    FileError
        If it is missing or something else.
    """
    if not is_ome_zarr(path):
        check_regular(split_scene(path)[0])


def read_image_file(path: Path, axes: str | None = None, level: int = 0) -> StoredImage:
    """Read a level of an image; of a large TIFF or OME-Zarr, pixels as they are used.

    See `files.read_stored` for the rest.
    """
    if is_ome_zarr(path):
        return with_axes(path, ome_zarr.read_level(path, level), axes)
    if is_microscope_file(path):
        return with_axes(path, read_microscope_file(path), axes)
    stored = slides.read_level(path, level) if is_tiff(path) else None
    return read_stored(path, axes) if stored is None else with_axes(path, stored, axes)


def suitable_level(
    path: Path, size: ObjectSize | None, diameter: float
) -> tuple[int, ObjectSize | None]:
    """Choose the level of an image for an object size that the user told.

    Parameters
    ----------
    path : Path
        The image; files have level 0 only, except TIFFs with resolution levels.
    size : ObjectSize or None
        What the user told, in pixels of the finest level or in micrometres.
    diameter : float
        Object diameter in pixels at network resolution.

    Returns
    -------
    level : int
    size : ObjectSize or None
        The size in pixels of that level.

    Raises
    ------
    FileError
        If the image is damaged.
    """
    if is_ome_zarr(path):
        return ome_zarr.level_for(path, size, diameter)
    return slides.level_for(path, size, diameter) if is_tiff(path) else (0, size)


def file_stamp(path: Path) -> dict[str, int]:
    """Return the size of an image in bytes, and its time in nanoseconds.

    Of an OME-Zarr, all files of its levels count, but not its labels.
    """
    if not is_ome_zarr(path):
        about = split_scene(path)[0].stat()
        return {"bytes": about.st_size, "modified_ns": about.st_mtime_ns}
    found = [
        os.stat(os.path.join(where, name))
        for level in read_metadata(path).paths
        for where, _, names in os.walk(path / level)
        for name in names
    ]
    newest = max((about.st_mtime_ns for about in found), default=0)
    return {"bytes": sum(about.st_size for about in found), "modified_ns": newest}
