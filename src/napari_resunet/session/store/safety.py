"""Reads a session folder that may come from anyone, without trusting it.

No file outside the folder is read or written, no link is followed, nothing is unpacked
before its size is known, and nothing is ever executed.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel

from napari_resunet.errors import SessionError

MAX_TEXT = 32 * 2**20
"""Bytes of a JSON file; real ones have a few thousand."""

MAX_ENTRIES = 10**6
"""Files and folders in a session."""

MAX_DEPTH = 16
"""Levels of folders; real sessions have four."""

MAX_PATH = 4096
_PORTS = {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
DEVICES = {"con", "prn", "aux", "nul"} | _PORTS
"""Names that are devices on Windows, in any folder and with any ending."""


def inside(root: Path, *names: str) -> Path:
    """Join names to the path of a session folder.

    Raises
    ------
    SessionError
        If a name is a link or leads out of the folder.
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
    r"""Return the path that a session names, if it is an ordinary file on this computer.

    None for addresses, network shares, devices, folders, and missing files. The text is
    checked before the system is asked: asking whether ``\\host\share`` exists would send
    the user's name to that host.
    """
    path = _local(text)
    try:
        return path if path is not None and path.is_file() else None
    except OSError:
        return None


def local_folder(text: str | None) -> Path | None:
    """Return the path that a text names, if it is a folder on this computer; see above."""
    path = _local(text)
    try:
        return path if path is not None and path.is_dir() else None
    except OSError:
        return None


def _local(text: str | None) -> Path | None:
    if not text or len(text) > MAX_PATH or "://" in text or "\0" in text:
        return None
    if text.replace("\\", "/").startswith("//") or text.startswith("\\"):
        return None
    path = Path(text)
    return path if path.is_absolute() else None


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to ``NAME.damaged-1``, so that it is not overwritten.

    Returns the new path; the number is higher if the name is taken.
    """
    return path.rename(free_for_damaged(path))


def copy_aside(path: Path) -> Path:
    """Copy a damaged file before it is overwritten; see `set_aside`."""
    return Path(shutil.copy2(path, free_for_damaged(path)))


def free_for_damaged(path: Path) -> Path:
    """Find a free name for a damaged file."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


def refuse_links(root: Path) -> None:
    """Make sure that a session holds only ordinary files and folders.

    Raises
    ------
    SessionError
        If it holds a link, a device, or far too many files or folders.
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
    """Read a JSON file as text, with replacements for what is not UTF-8.

    Raises
    ------
    SessionError
        If it is missing or too long.
    """
    return read_bytes(path, MAX_TEXT).decode("utf-8", errors="replace")


def read_bytes(path: Path, most: int, first: int = -1) -> bytes:
    """Read the `first` bytes of a file that has no more than `most`; -1 reads it all.

    Raises
    ------
    SessionError
        If it is missing, too long, or not an ordinary file.
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


CHECKSUM = "checksum"
PREFIX = "json-crc32:"


def sealed(record: BaseModel) -> str:
    """Write a record as JSON, with a checksum of all fields as the last one."""
    fields = json.loads(record.model_dump_json())
    fields.pop(CHECKSUM, None)
    return json.dumps(fields | {CHECKSUM: _checksum(fields)}, indent=1)


def unsealed(text: str) -> tuple[dict[str, Any], bool]:
    """Read what `sealed` wrote.

    Returns
    -------
    fields : dict
        Without the checksum.
    intact : bool
        Whether the checksum is right. True without a checksum, as in files of older
        programs, or if a user who edited the file removed it.

    Raises
    ------
    ValueError
        If the text is not a JSON object.
    """
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(fields, dict):
        raise ValueError("no JSON object")
    if CHECKSUM in fields:
        known = fields.pop(CHECKSUM)
        return fields, known == _checksum(fields)
    # The name of the checksum field may itself be damaged.
    return fields, not any(str(v).startswith(PREFIX) for v in fields.values())


def sealed_line(fields: dict[str, Any]) -> str:
    """Write an object as one line of JSON, with its checksum."""
    return json.dumps(fields | {CHECKSUM: _checksum(fields)})


def _checksum(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True)
    return f"{PREFIX}{zlib.crc32(text.encode()):08x}"
