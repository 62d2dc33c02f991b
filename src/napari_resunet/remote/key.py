"""The key that a client has to know: where it comes from."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from napari_resunet.errors import ArgumentError, FileError
from napari_resunet.files import cannot_open, check_regular, shown

KEY_VARIABLE = "NAPARI_RESUNET_KEY"
SHORTEST = 16
LONGEST = 200


def new_key() -> str:
    """Make a random key."""
    return secrets.token_urlsafe(24)


def key_from_environment() -> str:
    """Return the key in the environment variable, or an empty text.

    Raises
    ------
    ArgumentError
        If it is no key.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return _checked(key, f"The variable {KEY_VARIABLE}") if key else ""


def read_key_file(path: Path) -> str:
    """Read the key in the first line of a file.

    Raises
    ------
    FileError
        If the file cannot be read, or others on this computer can read it.
    ArgumentError
        If there is no key in it.
    """
    check_regular(path)
    try:
        mode = path.stat().st_mode
        with path.open(encoding="ascii") as stream:
            line = stream.readline(LONGEST + 2)
    except (OSError, ValueError) as error:
        raise cannot_open(path, error) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise FileError(
            f"Others on this computer may read {shown(path)}: type chmod 600 and its name, "
            "and try again."
        )
    return _checked(line.strip(), f"The file {shown(path)}")


def _checked(key: str, where: str) -> str:
    known = key.isascii() and key.isprintable() and " " not in key
    if not known or not SHORTEST <= len(key) <= LONGEST:
        raise ArgumentError(
            f"{where} holds no key: give {SHORTEST} to {LONGEST} letters and digits "
            "without spaces."
        )
    return key
