"""A session folder may come from anyone: nothing in it is believed unseen.

No file outside the folder is read or written through it, no link is followed, nothing
is unpacked before its size is known, and nothing is ever executed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePath

from napari_resunet.errors import SessionError

MAX_TEXT = 32 * 2**20
"""Bytes of a description; real ones have a few thousand."""

MAX_ENTRIES = 10**6
"""Files and folders in a session."""

MAX_DEPTH = 16
"""Folders in folders; real sessions have four."""

LONGEST_PATH = 4096
_PORTS = {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
DEVICES = {"con", "prn", "aux", "nul"} | _PORTS
"""Names that Windows takes for devices, in any folder and with any ending."""


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
        if not _is_plain(name):
            raise _leads_out(root, name)
        path = path / name
        if path.is_symlink():
            raise _leads_out(root, name)
    return path


def _is_plain(name: str) -> bool:
    strange = name in ("", ".", "..") or PurePath(name).name != name
    return not (
        strange or set(name) & set("\\:\0") or name.split(".")[0].lower() in DEVICES
    )


def local_file(text: str | None) -> Path | None:
    r"""Find the file that a session names, if it is an ordinary one on this computer.

    The text is looked at before the system is asked: already the question whether
    ``\\host\share`` exists would send the user's name to that host.

    Parameters
    ----------
    text : str or None
        A path, from a folder that may come from anyone.

    Returns
    -------
    Path or None
        None for addresses, network shares, devices, folders and what is not there.
    """
    if not text or len(text) > LONGEST_PATH or "://" in text or "\0" in text:
        return None
    if text.replace("\\", "/").startswith("//") or text.startswith("\\"):
        return None
    path = Path(text)
    try:
        return path if path.is_absolute() and path.is_file() else None
    except OSError:
        return None


def set_aside(path: Path) -> Path:
    """Rename what is damaged or in the way, so that nothing is written over it.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Returns
    -------
    Path
        The same with ``.damaged-1`` behind its name, or a higher number.
    """
    return path.rename(free_for_damaged(path))


def copy_aside(path: Path) -> Path:
    """Copy a damaged file before it is written again; see `set_aside`."""
    return Path(shutil.copy2(path, free_for_damaged(path)))


def free_for_damaged(path: Path) -> Path:
    """Find a name for a damaged file that is not taken."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def refuse_links(root: Path) -> None:
    """Make sure that a session holds ordinary files and folders only.

    Raises
    ------
    SessionError
        If there is a link, a device, or an absurd number of files or folders in it.
    """
    waiting, seen = [(root, 0)], 0
    try:
        while waiting:
            folder, depth = waiting.pop()
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
                        waiting.append((Path(entry.path), depth + 1))
                    elif not entry.is_file(follow_symlinks=False) or seen > MAX_ENTRIES:
                        raise _leads_out(root, entry.name)
    except OSError as error:
        raise SessionError(
            f"The session '{root}' cannot be looked through ({error.strerror or error}): "
            "check the drive, or choose another session."
        ) from error


def read_text(path: Path) -> str:
    """Read a description that is not absurdly long.

    Raises
    ------
    SessionError
        If it is missing, too long or no text.
    """
    return read_bytes(path, MAX_TEXT).decode("utf-8", errors="replace")


def read_bytes(path: Path, most: int, first: int = -1) -> bytes:
    """Read a file of at most so many bytes, all of it or the first few.

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
            return stream.read(first)
    except OSError as error:
        raise SessionError(
            f"'{path}' cannot be read ({error.strerror or error}): check the drive, and "
            "open the session again."
        ) from error


def _leads_out(root: Path, name: str) -> SessionError:
    return SessionError(
        f"The session '{root}' points outside its own folder ('{name[:100]}'), or holds "
        "what no session has: it was not opened. Choose a session that you trust."
    )
