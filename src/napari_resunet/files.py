"""Atomic files and images on disk: read what biologists have, write label TIFFs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; on success, sync it to disk and rename it to `target`.

    Parameters
    ----------
    target : Path
        The final name. Its folder is made where it is missing.

    Yields
    ------
    Path
        A new name in the same folder, gone if the block raises.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
    except OSError as error:
        raise cannot_write(target, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Ask for the process's mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(target: Path, error: OSError) -> FileError:
    """Say that a file cannot be written, and why."""
    return FileError(
        f"'{target}' cannot be written ({error.strerror or error}): choose another "
        "folder or free some space, and try again."
    )


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read a TIFF, PNG or JPEG.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    array
        As stored: (Y, X), (Y, X, S) or, from a TIFF, a stack.

    Raises
    ------
    FileError
        If the file is missing, damaged or of another kind.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise FileError(f"'{path}' is not a TIFF, PNG or JPEG image.")
    try:
        if path.suffix.lower().startswith(".tif"):
            import tifffile

            return np.asarray(tifffile.imread(path))
        import imageio.v3

        return np.asarray(imageio.v3.imread(path.read_bytes(), extension=path.suffix))
    except FileNotFoundError as error:
        raise FileError(f"There is no file '{path}'.") from error
    except Exception as error:  # each decoder has errors of its own
        raise FileError(f"'{path}' cannot be read as an image ({error}).") from error


def write_labels(path: Path, labels: npt.NDArray[Any]) -> None:
    """Write labels as a compressed TIFF, all or nothing.

    Parameters
    ----------
    path : Path
        Ends in ``.tif`` or ``.tiff``.
    labels : integer array
        Stored in the smallest unsigned type of at least 16 bits that holds it.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    import tifffile

    dtype = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(dtype), compression="zlib")
