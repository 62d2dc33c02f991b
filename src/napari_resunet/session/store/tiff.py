"""Files of a session: written whole or not at all; TIFFs readable by any tool."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.files import atomic_path, cannot_write
from napari_resunet.session.store.safety import set_aside

BIG = 2**31
"""Bytes from which a TIFF needs 64-bit offsets."""


def write_tiff(
    path: Path,
    array: npt.NDArray[Any],
    note: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write an array as a compressed TIFF, all or nothing, and see it on the disk.

    Parameters
    ----------
    path : Path
        The file.
    array : array
        Booleans become 0 and 255.
    note : dict or None
        What its description tells beside the shape.
    **options
        Of ``tifffile.imwrite``.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    import tifffile

    if array.dtype == bool:
        array = array.view(np.uint8) * np.uint8(255)
    narrow = array.ndim > 2 and array.shape[-1] == 1
    with whole_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            iter(array.reshape(-1, *array.shape[-2:])) if narrow else array,
            shape=array.shape,
            dtype=array.dtype,
            compression="zlib",
            compressionargs={"level": 1},
            bigtiff=array.nbytes > BIG,
            maxworkers=1,
            **described(array.shape, note or {}),
            **options,
        )


def described(shape: tuple[int, ...], note: dict[str, Any]) -> dict[str, Any]:
    """Choose the options of ``tifffile.imwrite`` that put a note into its description."""
    if len(shape) > 2 and shape[-1] == 1:
        # Beside a shape of its own, tifffile takes a last axis of one for samples.
        return {"metadata": None, "description": json.dumps(note)}
    return {"metadata": note}


def label_dtype(labels: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Store labels in the type that other tools expect: unsigned, 16 bits if they fit."""
    if labels.min(initial=0) < 0:
        return labels
    return labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)


def write_text(path: Path, text: str) -> None:
    """Write a text file anywhere, all or nothing.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    sync_folder(path.parent)


def store_text(path: Path, text: str) -> None:
    """Write a text file of a session, all or nothing; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes a file of a session, synced with its folder.

    A folder that has its name, as no session does, is renamed and kept.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        yield temporary
        if path.is_dir():
            set_aside(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; a file in the way is renamed and kept.

    Raises
    ------
    FileError
        If it cannot be made.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            set_aside(nearest)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def sync_folder(folder: Path) -> None:
    """See the names in a folder safely on the disk, where the system can do that.

    Raises
    ------
    FileError
        If the disk refuses.
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise cannot_write(folder, error) from error
