"""Reads files of microscopes by bioio, which is optional.

Which format a file has is told by its name, so bioio gets no file of another kind.
"""

from __future__ import annotations

import logging
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import FileError, ResunetError
from napari_resunet.files import (
    MAX_SCENES,
    MICROSCOPE_SUFFIXES,
    check_regular,
    shown,
    split_scene,
)
from napari_resunet.tiff_reader import (
    HARMLESS_BYTES,
    KNOWN_AXES,
    MAX_RATIO,
    StoredImage,
    side_from,
)
from napari_resunet.types import PIXEL_SIZES

log = logging.getLogger(__name__)
INSTALL = '{} needs more packages: run pip install "napari-resunet[formats]"{}.'
SEPARATE = {".czi": " bioio-czi"}
"""What has to be installed besides, because it is under the GPL."""

NO_READER = (
    "{} cannot be read, for bioio has no reader for it or it is damaged: save it as an "
    "OME-TIFF in the program of the microscope."
)


def is_microscope_file(path: Path) -> bool:
    """Return whether a file, or an image in it, is of a format that bioio reads."""
    return split_scene(path)[0].suffix.lower() in MICROSCOPE_SUFFIXES


def is_installed() -> bool:
    """Return whether bioio is there."""
    return find_spec("bioio") is not None


def scenes_of_microscope(path: Path) -> list[Path]:
    """List the images in a file, as `split_scene` takes them; one has the file's name."""
    try:
        n = len(_opened(path).scenes)
    except ResunetError:  # reading it will say so
        return [path]
    return [path / str(k + 1) for k in range(n)] if 1 < n <= MAX_SCENES else [path]


def read_microscope_file(path: Path, most: float = math.inf) -> StoredImage:
    """Read an image of a file.

    Parameters
    ----------
    path : Path
        The file, or one of several images in it; see `split_scene`.
    most : float
        Bytes of an image that is read as a whole, if that takes less than half of the
        memory. Of others, pixels are read when they are used.

    Returns
    -------
    StoredImage
        Without axes of length 1.

    Raises
    ------
    FileError
        If bioio is not installed or cannot read it, or it states more pixels than its file
        can hold.
    """
    file, number = split_scene(path)
    image = _opened(file)
    if not 1 <= (number or 1) <= len(image.scenes):
        raise FileError(f"{shown(file)} has no image number {number}.")
    try:
        image.set_scene((number or 1) - 1)
        axes, lazy = str(image.dims.order), image.dask_data
        kept = [n for n, axis in enumerate(axes) if axis in "YX" or lazy.shape[n] != 1]
        lazy = lazy[tuple(slice(None) if n in kept else 0 for n in range(len(axes)))]
        steps = _steps(image)
    except Exception as error:  # each reader raises its own errors
        raise FileError(NO_READER.format(shown(path))) from error
    axes = "".join(axes[n] for n in kept)
    if set(axes) - set(KNOWN_AXES):
        raise FileError(NO_READER.format(shown(path)))
    _check_size(path, lazy.nbytes, file.stat().st_size)
    array = _in_memory(path, lazy) if lazy.nbytes <= most else lazy
    return StoredImage(array, axes, (), side_from(steps), steps)


def _opened(file: Path) -> Any:
    """Open a file by bioio."""
    check_regular(file)
    try:
        from bioio import BioImage
    except ImportError as error:
        more = SEPARATE.get(file.suffix.lower(), "")
        raise FileError(INSTALL.format(shown(file), more)) from error
    try:
        image = BioImage(file.absolute())
        len(image.scenes)
    except Exception as error:  # each reader raises its own errors
        raise FileError(NO_READER.format(shown(file))) from error
    return image


def _steps(image: Any) -> dict[str, float]:
    """Read the steps along Z, Y, and X in micrometres, and along T in seconds."""
    sizes = image.physical_pixel_sizes
    stated = {axis: getattr(sizes, axis, None) for axis in "ZYX"}
    interval = image.time_interval
    stated["T"] = None if interval is None else interval.total_seconds()
    low, high = PIXEL_SIZES
    return {a: float(s) for a, s in stated.items() if s is not None and low <= s <= high}


def _check_size(path: Path, n_bytes: int, in_file: int) -> None:
    if n_bytes > max(HARMLESS_BYTES, MAX_RATIO * in_file):
        raise FileError(
            f"{shown(path)} states far more pixels than its file can hold: copy it again."
        )


def _in_memory(path: Path, lazy: Any) -> Any:
    """Read an image that fits well into memory, because each plane is used many times."""
    import psutil

    if lazy.nbytes > psutil.virtual_memory().total // 2:
        return lazy
    try:
        return np.asarray(lazy)
    except MemoryError:
        raise
    except Exception as error:  # each reader raises its own errors
        log.warning("%s cannot be read", shown(path), exc_info=True)
        raise FileError(NO_READER.format(shown(path))) from error
