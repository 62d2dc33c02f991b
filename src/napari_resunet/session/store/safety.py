"""A session folder may come from anyone: nothing in it is believed unseen.

No file outside the folder is read or written through it, no link is followed, nothing
is unpacked before its size is known, and nothing is ever executed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import SessionError

MAX_TEXT = 32 * 2**20
"""Bytes of a description; real ones have a few thousand."""

HARMLESS = 2**28
"""Bytes of pixels that may come out of however small a file."""

MAX_RATIO = 1100
"""zlib packs zeros 1 : 1032; more than this is no TIFF that we wrote."""

MAX_ENTRIES = 10**6
"""Files and folders in a session."""


def inside(root: Path, *names: str) -> Path:
    """Join names to the folder's path, where no part is a link or leads out of it.

    Parameters
    ----------
    root : Path
        The session folder.
    *names : str
        Of folders and a file in it.

    Returns
    -------
    Path

    Raises
    ------
    SessionError
        If a name leads out of the folder.
    """
    path = root
    for name in names:
        if not name or name in (".", "..") or Path(name).name != name or "\\" in name:
            raise _leads_out(root, name)
        path = path / name
        if path.is_symlink():
            raise _leads_out(root, name)
    return path


def refuse_links(root: Path) -> None:
    """Make sure that a session holds ordinary files and folders only.

    Raises
    ------
    SessionError
        If there is a link, a device, or an absurd number of files in it.
    """
    waiting, seen = [root], 0
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                seen += 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False) or seen > MAX_ENTRIES:
                    raise _leads_out(root, entry.name)


def read_text(path: Path) -> str:
    """Read a description that is not absurdly long.

    Raises
    ------
    SessionError
        If it is missing, too long or no text.
    """
    return read_bytes(path, MAX_TEXT).decode("utf-8", errors="replace")


def read_bytes(path: Path, most: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises
    ------
    SessionError
        If it is missing, no ordinary file, or too long.
    """
    try:
        if not path.is_file() or path.is_symlink():
            raise SessionError(f"There is no file '{path}': the session is not whole.")
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > most:
                raise SessionError(f"'{path}' is far too large: it is not from us.")
            return stream.read(most)
    except OSError as error:
        raise SessionError(
            f"'{path}' cannot be read ({error.strerror or error}): check the drive, and "
            "open the session again."
        ) from error


def read_tiff(
    path: Path, shape: tuple[int, ...], kinds: str = "ui", ratio: int = MAX_RATIO
) -> npt.NDArray[Any]:
    """Read a TIFF that must have a known shape, looking before unpacking.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        What it must hold.
    kinds : str
        numpy's letters of the dtypes that are allowed.
    ratio : int
        How much a large file may grow when it is unpacked.

    Returns
    -------
    array

    Raises
    ------
    SessionError
        If it is missing, damaged, or not what it should be.
    """
    import tifffile

    if path.is_symlink() or not path.is_file():
        raise SessionError(f"There is no file '{path}': the session is not whole.")
    try:
        with tifffile.TiffFile(path) as tiff:
            found = tiff.series[0]
            if found.dtype is None or found.dtype.kind not in kinds:
                raise _unexpected(path)
            if _plain(tuple(found.shape)) != _plain(shape):
                raise _unexpected(path)
            n_bytes = math.prod(shape) * found.dtype.itemsize
            if n_bytes > max(HARMLESS, ratio * path.stat().st_size):
                raise _unexpected(path)
            return np.asarray(found.asarray()).reshape(shape)
    except SessionError:
        raise
    except Exception as error:  # a damaged file raises whatever the decoder met
        raise SessionError(
            f"'{path}' is damaged: restore it from a copy, or choose another session."
        ) from error


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out dimensions of one: TIFF does not keep them."""
    return tuple(n for n in shape if n != 1)


def _unexpected(path: Path) -> SessionError:
    return SessionError(
        f"'{path}' does not hold what the session says it does: the session is damaged "
        "or not from napari-resunet. Choose another one."
    )


def _leads_out(root: Path, name: str) -> SessionError:
    return SessionError(
        f"The session '{root}' points outside its own folder ('{name}'): it was not "
        "opened. Choose a session that you trust."
    )
