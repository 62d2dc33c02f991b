"""A session folder as a whole: its lock, copying and moving it, cleaning up after a crash.

An interrupted copy is not a session, because its description is written last.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import filelock

from napari_resunet.errors import FileError
from napari_resunet.session.store.manifest import read_safely
from napari_resunet.session.store.recent import free_name
from napari_resunet.session.store.safety import inside, sealed
from napari_resunet.session.store.schema import (
    BACKUP,
    DESCRIPTION,
    LOCK,
    OWNER,
    SessionFile,
)
from napari_resunet.session.store.tiff import sync_folder
from napari_resunet.types import new_id, now

UNFINISHED = ".unfinished"
"""Suffix of a copy that is not complete yet."""

_TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}\.(json|tif|png|safetensors|owner)")
"""Names of the unfinished files of `files.atomic_path`."""


class FileLock:
    """A lock file; the system frees it when the process ends."""

    def __init__(self, path: Path) -> None:
        # Not bound to a thread: a move may release it in another one.
        self._lock = filelock.FileLock(path, timeout=0, thread_local=False)

    def acquire(self) -> bool:
        """Take the lock; return False if another window has it.

        Returns True on a drive that cannot lock or be written, because work without
        protection is better than none.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


class SessionLock(FileLock):
    """The lock of a session folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(inside(root, LOCK))


def delete_unfinished(root: Path) -> None:
    """Delete the unfinished files that a crash left in a session."""
    for path in root.rglob(".*"):
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def move_folder(source: Path, target: Path) -> None:
    """Rename a session folder, or copy it to another drive and delete it here.

    Raises
    ------
    OSError
        If neither is possible; then the source is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        copy_folder(source, target)
        for name in (BACKUP, DESCRIPTION):
            # Deleted first, so that a half-deleted folder does not open as a session.
            (source / name).unlink(missing_ok=True)
        shutil.rmtree(source, ignore_errors=True)


def copy_folder(source: Path, target: Path, description: str | None = None) -> None:
    """Copy a session folder under a temporary name, and rename the copy when complete.

    Parameters
    ----------
    source, target : Path
        Folders.
    description : str or None
        Text of the copy's ``session.json``; None copies that file too.

    Raises
    ------
    OSError
        If it cannot be copied; then nothing is left of the copy.
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


def read_description(root: Path) -> SessionFile:
    """Read the description in a folder.

    Raises
    ------
    SessionError
        If it is damaged, unsafe, or not a session.
    """
    return read_safely(root)[0]


def copy_session(root: Path, target: Path) -> None:
    """Copy a session as a new one; another window may have it open.

    Raises
    ------
    FileError
        If it cannot be copied.
    """
    file = read_description(root)
    named = {"session_id": new_id(), "name": target.name, "changed": now()}
    try:
        copy_folder(root, target, sealed(file.model_copy(update=named)))
    except OSError as error:
        raise FileError(
            f"The session cannot be copied to '{target}': choose another folder, or "
            "free some space."
        ) from error
