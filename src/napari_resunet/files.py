"""Atomic files, and images on disk: reading TIFF, PNG, and JPEG."""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import DiskFullError, FileError, ImageError
from napari_resunet.tiff_reader import (
    StatedAxes,
    StoredImage,
    UnreadableError,
    count_images,
    read_axes,
    read_tiff,
)

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)
TIFF_SUFFIXES = (".tif", ".tiff")
SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".qptiff")
"""TIFFs of slide scanners, which are read piece by piece; see `slides`."""

IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png", ".jpg", ".jpeg")
MICROSCOPE_SUFFIXES = (".nd2", ".lif", ".czi")
"""Formats of microscopes, which `session.microscope_files` reads."""

PICTURE_FORMATS = ("PNG", "JPEG")
"""The only formats that Pillow may try, because some others start programs."""

APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""First bytes of the files in which macOS stores what other file systems cannot."""

MAX_NAME = 200
MAX_REASON = 200
BIGTIFF_BYTES = 2**31
"""Size from which a TIFF needs 64-bit offsets."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; on success, sync it to disk and rename it to `target`.

    The folder is created if it is missing. A file that is replaced passes on its
    permissions.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    temporary = _new_temporary(target)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(_permissions(target))
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Check, before long work, that its result can be written; create the folder.

    Raises
    ------
    FileError
        If `target` is a folder, or its folder cannot be written to.
    """
    try:
        if target.is_dir():
            raise FileError(f"{shown(target)} is a folder: give the name of a file.")
    except OSError as error:
        raise cannot_write(target, error) from error
    check_folder(target.parent)


def check_folder(folder: Path) -> None:
    """Check that a folder can be written to; create it if it is missing.

    Raises
    ------
    FileError
        If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise FileError(f"{shown(folder)} is no folder: give the name of one.") from error
    except OSError as error:
        raise cannot_write(folder, error) from error


def _new_temporary(target: Path) -> Path:
    """Create an empty file next to the target, with a name of limited length."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem[:40]}-", suffix=target.suffix[:40], dir=target.parent
        )
    except OSError as error:
        raise cannot_write(target, error) from error
    os.close(handle)
    return Path(name)


def _permissions(target: Path) -> int:
    """Return the permissions of the file to replace, or of a new file."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """Return the process's mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(target: Path, error: OSError) -> FileError:
    """Make the error for a file that cannot be written."""
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else FileError
    return kind(
        f"{shown(target)} cannot be written ({error.strerror or plain(error)}): choose "
        "another folder or free some space, and try again."
    )


def shown(path: str | Path) -> str:
    """Quote a path for a sentence, printable, and only the end of a long one."""
    name = plain_name(path)
    if len(name) > MAX_NAME:
        name = f"…{name[-MAX_NAME:]}"
    return f"'{name}'"


def plain_name(path: str | Path) -> str:
    """Return a path as printable text, whatever bytes it contains."""
    text = str(path).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain(error: BaseException | str) -> str:
    """Return an error's message on one line."""
    text = " ".join(plain_name(str(error)).split()) or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]}…"


def check_regular(path: Path) -> None:
    """Check that a path is a regular file, because reading a pipe or device may never end.

    Raises
    ------
    FileError
        If it is missing or something else.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"There is no file {shown(path)}.") from error
    except (OSError, ValueError) as error:
        raise cannot_open(path, error) from error
    if stat.S_ISDIR(mode):
        raise FileError(f"{shown(path)} is a folder: give the files in it.")
    if not stat.S_ISREG(mode):
        raise FileError(f"{shown(path)} is a pipe or a device, not a file.")


def cannot_open(path: Path, error: Exception) -> FileError:
    """Make the error for a file or folder that cannot be opened."""
    return FileError(
        f"{shown(path)} cannot be opened ({_reason(error)}): check its name and that you "
        "may read it."
    )


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or plain(error)


def is_hidden(path: Path) -> bool:
    """Return whether it is a file of the system, such as macOS's ``._`` files."""
    return path.name.startswith(".")


MAX_SCENES = 1000
"""Images of a file that are told apart."""


def split_scene(path: Path) -> tuple[Path, int | None]:
    """Split ``FILE.tif/2``, which means the second image in a file that may hold several.

    Returns the file and the number, from 1; any other path is a file, without a number.
    """
    suffixes = (*TIFF_SUFFIXES, *SLIDE_SUFFIXES, *MICROSCOPE_SUFFIXES)
    is_scene = path.parent.suffix.lower() in suffixes and path.name.isdecimal()
    return (path.parent, int(path.name[:9])) if is_scene else (path, None)


def is_tiff(path: Path) -> bool:
    """Return whether a file, or an image in it, is named as a TIFF or as a slide."""
    return split_scene(path)[0].suffix.lower() in (*TIFF_SUFFIXES, *SLIDE_SUFFIXES)


def scene_name(path: Path) -> str:
    """Name an image by its file: ``FILE.tif`` for the first one, ``FILE_2.tif`` …."""
    file, number = split_scene(path)
    after = "" if number in (None, 1) else f"_{number}"
    return f"{file.stem}{after}{file.suffix}"


def scenes_in(path: Path) -> list[Path]:
    """List the images in a TIFF, as `split_scene` takes them; one has the file's name."""
    if not is_tiff(path) or not path.is_file():
        return [path]
    try:
        n = count_images(path)
    except Exception:  # tifffile raises its own errors on damaged files
        log.warning("The images in %s cannot be counted", shown(path), exc_info=True)
        return [path]
    return [path / str(k + 1) for k in range(n)] if 1 < n <= MAX_SCENES else [path]


def read_stored(path: Path, axes: str | None = None) -> StoredImage:
    """Read a TIFF, PNG, or JPEG with its axes.

    Parameters
    ----------
    path : Path
        The file, or one of several images in it; see `split_scene`.
    axes : str or None
        One letter of "PTZCYXS" per dimension; None takes what the file states.

    Returns
    -------
    StoredImage
        The pixels as stored, without transparency if they are grey. Indexed colours are
        converted to RGB.

    Raises
    ------
    FileError
        If the file is missing, damaged, or of another kind.
    ImageError
        If `axes` does not name each dimension.
    """
    return with_axes(path, _decoded(path, indices=False), axes)


def with_axes(path: Path, stored: StoredImage, axes: str | None) -> StoredImage:
    """Name the axes of an image as the user does, if the user does.

    Raises
    ------
    ImageError
        If `axes` does not name each dimension.
    """
    if axes is None:
        return stored
    if len(axes) != stored.array.ndim:
        raise ImageError(
            f"{shown(path)} has {stored.array.ndim} dimensions ({stored.axes}, "
            f"{_by(stored.array.shape)}), but the axes '{axes}' name {len(axes)}."
        )
    return replace(stored, axes=axes.upper())


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def stated_axes(path: Path) -> StatedAxes | None:
    """Read what a TIFF says of its axes, without its pixels; None if that is not known."""
    file, number = split_scene(path)
    if file.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        check_regular(file)
        return read_axes(file, number or 1)
    except Exception:  # tifffile raises its own errors on damaged files
        log.warning("The axes of %s cannot be read", shown(path), exc_info=True)
        return None


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read the pixels of a TIFF, PNG, or JPEG; see `read_stored`."""
    return read_stored(path).array


def read_mask(path: Path) -> npt.NDArray[Any]:
    """Read a mask from a TIFF, PNG, or JPEG: indexed colours as indices, RGB(A) last.

    Raises
    ------
    FileError
        If the file is missing, damaged, or of another kind.
    """
    stored = _decoded(path, indices=True)
    if "S" in stored.axes:
        return np.moveaxis(stored.array, stored.axes.index("S"), -1)
    return stored.array


def _decoded(path: Path, indices: bool) -> StoredImage:
    file, number = split_scene(path)
    if not is_tiff(path) and file.suffix.lower() not in IMAGE_SUFFIXES:
        raise FileError(f"{shown(path)} is not a TIFF, PNG or JPEG image.")
    check_regular(file)
    with decoding(path):
        return read_tiff(file, number) if is_tiff(path) else _read_picture(path, indices)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Convert whatever a decoder raises to a FileError that names the file."""
    try:
        yield
    except UnreadableError as error:
        raise FileError(f"{shown(path)} cannot be read as an image: {error}.") from error
    except PermissionError as error:
        raise cannot_open(path, error) from error
    except Exception as error:  # each decoder raises its own errors
        raise _damaged(split_scene(path)[0]) from error


def _damaged(path: Path) -> FileError:
    if _is_apple_double(path):
        return FileError(
            f"{shown(path)} is no image: macOS keeps notes on another file in it."
        )
    return FileError(
        f"{shown(path)} cannot be read as an image, for it is damaged or of an unknown "
        "kind: if another program opens it, save it there as an uncompressed TIFF."
    )


def _is_apple_double(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(APPLE_DOUBLE)) == APPLE_DOUBLE
    except OSError:
        return False


def _read_picture(path: Path, indices: bool) -> StoredImage:
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow refuses what is over twice the size that it warns of; its other warnings
        # are about notes in the file, such as EXIF, and pixels that are damaged are errors.
        warnings.simplefilter("ignore")
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            n_frames = getattr(picture, "n_frames", 1)
            array = np.asarray(_plain_picture(picture, indices))
    notices: tuple[str, ...] = ()
    if picture.format == "PNG" and n_frames > 1:
        notices = (f"It holds {n_frames} pictures: only the first was read.",)
    return StoredImage(array, "YXS" if array.ndim == 3 else "YX", notices)


def _plain_picture(picture: Image, indices: bool) -> Image:
    """Convert to grey or RGB; keep the indices of an indexed picture if asked to."""
    if picture.mode in ("P", "PA"):
        if not indices:
            return picture.convert("RGB")
        return picture if picture.mode == "P" else picture.getchannel(0)
    if picture.mode in ("LA", "La"):
        return picture.getchannel(0)
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return picture.convert("RGB")
    return picture


HASHED_BYTES = 2**28
"""Up to this size every pixel is hashed; of larger images, some rows of some planes."""

PLANES, BANDS, ROWS = 32, 16, 16
"""The sample: how many planes, bands of rows in each, and rows in a band."""


def content_hash(array: Any) -> str:
    """Hash the pixels of an array (numpy, dask, zarr, …) piece by piece.

    Returns "blake2b:" or, for a sample, "blake2b-sampled:", and 32 hexadecimal digits.
    """
    dtype = np.dtype(array.dtype)
    shape = tuple(int(n) for n in array.shape)
    digest = hashlib.blake2b(f"{dtype.str} {shape}".encode(), digest_size=16)
    everything = math.prod(shape) * dtype.itemsize <= HASHED_BYTES
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
