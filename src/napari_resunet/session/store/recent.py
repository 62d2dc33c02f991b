"""The sessions that the user may want to continue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.session.store.description import read_file
from napari_resunet.session.store.layout import DESCRIPTION, THUMBNAIL
from napari_resunet.session.store.places import list_path, sessions_folder
from napari_resunet.session.store.safety import read_text
from napari_resunet.session.store.tiff import write_text

MOST = 30


@dataclass(frozen=True)
class RecentSession:
    """What the list shows of a session.

    Attributes
    ----------
    folder : Path
        Where it lies.
    name : str
        Its name.
    changed : str
        ISO 8601, UTC.
    checked_objects : int
        Corrected objects.
    thumbnail : Path or None
        A small PNG.
    """

    folder: Path
    name: str
    changed: str
    checked_objects: int
    thumbnail: Path | None


def recent_sessions() -> list[RecentSession]:
    """List the sessions that can be found, the latest first; damaged ones are left out."""
    default = sessions_folder()
    try:
        beside = [p for p in default.iterdir() if p.is_dir()]
    except OSError:
        beside = []
    folders = dict.fromkeys(p.absolute() for p in (*_remembered(), *beside))
    found = [session for folder in folders if (session := _summary(folder))]
    return sorted(found, key=lambda session: session.changed, reverse=True)[:MOST]


def remember(folder: Path) -> None:
    """Put a session on the list. That it cannot be is no harm: it is only a list."""
    others = [p for p in _remembered() if p != folder.absolute()]
    names = [str(p) for p in (folder.absolute(), *others)][:MOST]
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
