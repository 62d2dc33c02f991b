"""Lets one window or run at a time write the labels of a large image.

The lock does not lie in the labels, because a run replaces their whole folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.session.store.directory import FileLock


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Say whether nobody else writes labels; if so, nobody else does until the end."""
    lock = FileLock(path)
    if not lock.acquire():
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # Windows deletes it as it is released
            path.unlink()
        lock.release()


def beside(store: Path) -> Path:
    """Return the lock of a store of labels alone."""
    return store.with_name(f".{store.name}.lock")


@contextmanager
def only_writer(store: Path, lock: Path | None = None) -> Iterator[None]:
    """Let nobody else write labels until the end.

    The lock of a store of labels alone lies beside it; others have to be named.

    Raises
    ------
    FileError
        If somebody does.
    """
    with locked(lock or beside(store)) as mine:
        if not mine:
            raise FileError(
                f"Another window or another run is writing {shown(store)}: wait until it "
                "is done, and try again."
            )
        yield
