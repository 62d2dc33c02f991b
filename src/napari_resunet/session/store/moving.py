"""Copies and moves whole session folders: a copy that broke off is no session."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from napari_resunet.session.store.layout import BACKUP, DESCRIPTION, LOCK, OWNER
from napari_resunet.session.store.recent import free_name
from napari_resunet.session.store.tiff import sync_folder

UNFINISHED = ".unfinished"
"""Behind the name of a copy on its way: it has no description, so nobody can open it."""


def move_folder(source: Path, target: Path) -> None:
    """Rename a session folder, or copy it to another drive and then delete it.

    Raises
    ------
    OSError
        If that is not possible; the source is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        copy_folder(source, target)
        for name in (BACKUP, DESCRIPTION):
            # First: a folder that is half deleted must not open as a session.
            (source / name).unlink(missing_ok=True)
        shutil.rmtree(source, ignore_errors=True)


def copy_folder(source: Path, target: Path, description: str | None = None) -> None:
    """Copy a session folder under another name, and rename it when it is whole.

    Parameters
    ----------
    source, target : Path
        Folders.
    description : str or None
        What the copy says of itself; None copies that as well.

    Raises
    ------
    OSError
        If it cannot be copied; nothing is left of the copy.
    """
    part = free_name(target.with_name(target.name + UNFINISHED))
    later = shutil.ignore_patterns(LOCK, OWNER, BACKUP, DESCRIPTION)
    try:
        shutil.copytree(
            source, part, symlinks=True, ignore=later, copy_function=_copy_synced
        )
        for folder, _, _ in os.walk(part):
            sync_folder(Path(folder))
        for name in (DESCRIPTION, BACKUP):
            if description is not None:
                (part / name).write_text(description, encoding="utf-8")
            elif (source / name).is_file():
                _copy_synced(source / name, part / name)
        part.rename(target)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_folder(target.parent)


def _copy_synced(source: str | Path, target: str | Path) -> None:
    shutil.copy2(source, target)
    with open(target, "rb+") as stream:
        os.fsync(stream.fileno())
