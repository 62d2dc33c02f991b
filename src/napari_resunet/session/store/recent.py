"""Where sessions are stored, how a new one is named, and the list of recent ones."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from napari_resunet.errors import FileError
from napari_resunet.session.store.manifest import read_file
from napari_resunet.session.store.safety import read_text
from napari_resunet.session.store.schema import DESCRIPTION, THUMBNAIL
from napari_resunet.session.store.tiff import write_text

MAX_RECENT = 30


@dataclass(frozen=True)
class RecentSession:
    """What the list shows of a session.

    Attributes
    ----------
    folder : Path
        The session folder.
    name : str
        Its name.
    changed : str
        Time of the last change, ISO 8601, UTC.
    checked_objects : int
        Number of verified objects.
    thumbnail : Path or None
        A small PNG.
    """

    folder: Path
    name: str
    changed: str
    checked_objects: int
    thumbnail: Path | None


def recent_sessions() -> list[RecentSession]:
    """List the sessions that can be found and opened, the latest first."""
    default = sessions_folder()
    try:
        there = [p for p in default.iterdir() if p.is_dir()]
    except OSError:
        there = []
    folders = dict.fromkeys(p.absolute() for p in (*_remembered(), *there))
    found = [session for folder in folders if (session := _summary(folder))]
    return sorted(found, key=lambda session: session.changed, reverse=True)[:MAX_RECENT]


def remember(folder: Path) -> None:
    """Put a session on the list, if the list can be written: it is only a convenience."""
    others = [p for p in _remembered() if p != folder.absolute()]
    names = [str(p) for p in (folder.absolute(), *others)][:MAX_RECENT]
    try:
        write_text(list_path(), json.dumps(names, indent=1))
    except FileError:
        return


def _remembered() -> list[Path]:
    try:
        names = json.loads(read_text(list_path()))
        return [Path(name) for name in names if isinstance(name, str)]
    except (FileError, ValueError, TypeError, RecursionError):
        return []


def _summary(folder: Path) -> RecentSession | None:
    try:
        file, _ = read_file(folder)
        when = file.changed
        if "changed" not in file.model_fields_set:
            seconds = (folder / DESCRIPTION).stat().st_mtime
            when = datetime.fromtimestamp(seconds, UTC).isoformat()
        thumbnail = folder / THUMBNAIL
        usable = thumbnail.is_file() and not thumbnail.is_symlink()
    except (FileError, OSError):
        return None
    return RecentSession(
        folder,
        file.name or folder.name,
        when,
        file.checked_objects,
        thumbnail if usable else None,
    )


VARIABLE = "NAPARI_RESUNET_SESSIONS"
"""Environment variable: another folder for sessions and for the list of them."""

MAX_NAME = 60


def sessions_folder() -> Path:
    """Return the folder for new sessions, in the user's documents."""
    other = os.environ.get(VARIABLE)
    return Path(other) if other else platformdirs.user_documents_path() / "napari-resunet"


def list_path() -> Path:
    """Return the file with the list of sessions."""
    if os.environ.get(VARIABLE):
        return sessions_folder() / "recent.json"
    return platformdirs.user_data_path("napari-resunet", appauthor=False) / "recent.json"


def new_folder(image_name: str, parent: Path) -> Path:
    """Return a free path for a new session, named by the date and its first image."""
    safe = "".join(c if c.isalnum() or c in "-_" else " " for c in image_name)
    # In local time, because the user reads it.
    day = f"{datetime.now().astimezone():%Y-%m-%d}"
    name = " ".join([day, *safe.split()])[:MAX_NAME].strip()
    return free_name(parent / name)


def free_name(path: Path) -> Path:
    """Append a number to a path if it is taken."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_name(f"{path.name} {number}")
        number += 1
    return candidate
