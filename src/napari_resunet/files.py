"""Atomic files and images on disk: read what biologists have, write label TIFFs."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError, ImageError
from napari_resunet.tiff_reader import StoredImage, UnreadableError, read_tiff

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
PICTURE_FORMATS = ("PNG", "JPEG")
"""The only ones that Pillow may try: some others start programs."""

APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""How the files begin in which macOS keeps what other drives have no room for."""

LONGEST_NAME = 200
LONGEST_REASON = 200
BIG = 2**31
"""Bytes from which a TIFF needs 64-bit offsets."""


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path; on success, sync it to disk and rename it to `target`.

    Parameters
    ----------
    target : Path
        The final name. Its folder is made where it is missing. A file that is there
        already gives the new one its permissions.

    Yields
    ------
    Path
        A new name in the same folder, gone if the block raises.

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
    """Make sure that a file can be written, before the work that makes it.

    Parameters
    ----------
    target : Path
        The final name. Its folder is made where it is missing.

    Raises
    ------
    FileError
        If `target` is a folder, or nothing can be written next to it.
    """
    try:
        if target.is_dir():
            raise FileError(f"{shown(target)} is a folder: give the name of a file.")
    except OSError as error:
        raise cannot_write(target, error) from error
    check_folder(target.parent)


def check_folder(folder: Path) -> None:
    """Make sure that files can be written into a folder, which is made where it is missing.

    Raises
    ------
    FileError
        If they cannot.
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
    """Make an empty file next to the target, its name no longer than file systems bear."""
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
    """Take those of the file that is replaced, or those of any new file."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return 0o666 & ~_umask()


def _umask() -> int:
    """Ask for the process's mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cannot_write(target: Path, error: OSError) -> FileError:
    """Say that a file cannot be written, and why."""
    return FileError(
        f"{shown(target)} cannot be written ({error.strerror or plain(error)}): choose "
        "another folder or free some space, and try again."
    )


def shown(path: str | Path) -> str:
    """Quote a path for a sentence: its end, if it is long, as far as it can be printed."""
    name = plain_name(path)
    if len(name) > LONGEST_NAME:
        name = f"…{name[-LONGEST_NAME:]}"
    return f"'{name}'"


def plain_name(path: str | Path) -> str:
    """Write a path as text that can be printed and stored, whatever bytes it has."""
    text = str(path).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain(error: BaseException | str) -> str:
    """Give a library's reason on one line."""
    text = " ".join(plain_name(str(error)).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def check_regular(path: Path) -> None:
    """Make sure that a path is a file on disk: pipes and devices may never end.

    Parameters
    ----------
    path : Path
        The file, or a link to it.

    Raises
    ------
    FileError
        If there is no such file, or it is something else.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileError(f"There is no file {shown(path)}.") from error
    except (OSError, ValueError) as error:
        raise _closed(path, error) from error
    if stat.S_ISDIR(mode):
        raise FileError(f"{shown(path)} is a folder: give the files in it.")
    if not stat.S_ISREG(mode):
        raise FileError(f"{shown(path)} is a pipe or a device, not a file.")


def _closed(path: Path, error: Exception) -> FileError:
    return FileError(
        f"{shown(path)} cannot be opened ({_reason(error)}): check its name and that you "
        "may read it."
    )


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or plain(error)


def is_hidden(path: Path) -> bool:
    """Tell files that systems keep for themselves, such as macOS's ``._`` files."""
    return path.name.startswith(".")


def read_stored(path: Path, axes: str | None = None) -> StoredImage:
    """Read a TIFF, PNG or JPEG with the axes that it states.

    Parameters
    ----------
    path : Path
        The file.
    axes : str or None
        What the dimensions are, one letter of "PTZCYXS" for each; None takes the file's
        word.

    Returns
    -------
    StoredImage
        The pixels as stored; of grey with transparency only the grey. Colours of an
        indexed picture are looked up.

    Raises
    ------
    FileError
        If the file is missing, damaged or of another kind.
    ImageError
        If `axes` does not name each dimension.
    """
    stored = _decoded(path, indices=False)
    if axes is None:
        return stored
    if len(axes) != stored.array.ndim:
        raise ImageError(
            f"{shown(path)} has {stored.array.ndim} dimensions ({stored.axes}, "
            f"{_by(stored.array.shape)}), but the axes '{axes}' name {len(axes)}."
        )
    return StoredImage(stored.array, axes.upper(), stored.notices)


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def read_image(path: Path) -> npt.NDArray[Any]:
    """Read the pixels of a TIFF, PNG or JPEG; see `read_stored`."""
    return read_stored(path).array


def read_mask(path: Path) -> npt.NDArray[Any]:
    """Read the numbers of a mask.

    Parameters
    ----------
    path : Path
        A TIFF, PNG or JPEG.

    Returns
    -------
    array
        Of an indexed picture its indices; colours come in the last dimension.

    Raises
    ------
    FileError
        If the file is missing, damaged or of another kind.
    """
    stored = _decoded(path, indices=True)
    if "S" in stored.axes:
        return np.moveaxis(stored.array, stored.axes.index("S"), -1)
    return stored.array


def _decoded(path: Path, indices: bool) -> StoredImage:
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise FileError(f"{shown(path)} is not a TIFF, PNG or JPEG image.")
    check_regular(path)
    try:
        if path.suffix.lower().startswith(".tif"):
            return read_tiff(path)
        return _read_picture(path, indices)
    except UnreadableError as error:
        raise FileError(f"{shown(path)} cannot be read as an image: {error}.") from error
    except PermissionError as error:
        raise _closed(path, error) from error
    except Exception as error:  # each decoder has errors of its own
        raise _damaged(path) from error


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
        # A large image is no attack; from twice that size on, Pillow refuses it.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=PICTURE_FORMATS) as picture:
            n_frames = getattr(picture, "n_frames", 1)
            array = np.asarray(_plain_picture(picture, indices))
    notices: tuple[str, ...] = ()
    if picture.format == "PNG" and n_frames > 1:
        notices = (f"It holds {n_frames} pictures: only the first was read.",)
    return StoredImage(array, "YXS" if array.ndim == 3 else "YX", notices)


def _plain_picture(picture: Image, indices: bool) -> Image:
    """Make it grey, or red, green and blue."""
    if picture.mode in ("P", "PA"):
        if not indices:
            return picture.convert("RGB")
        return picture if picture.mode == "P" else picture.getchannel(0)
    if picture.mode in ("LA", "La"):
        return picture.getchannel(0)
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return picture.convert("RGB")
    return picture


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
        tifffile.imwrite(
            temporary,
            labels.astype(np.int32 if labels.min(initial=0) < 0 else dtype),
            # Else three planes would be written as red, green and blue.
            photometric="minisblack",
            compression="zlib",
            bigtiff=labels.nbytes > BIG,
        )
