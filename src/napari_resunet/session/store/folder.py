"""A session folder that is open: what the window reads from it and asks it to write.

Everything that is written goes through two threads: one for the small and frequent (the
labels), one for the large (images, models, corrections), so that neither waits for the
other. What cannot be written now is kept and tried again.
"""

from __future__ import annotations

import logging
import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_resunet.errors import FileError, SessionError
from napari_resunet.programs import library_versions
from napari_resunet.session.store.layout import (
    DESCRIPTION,
    LOCK,
    Index,
    plane_folder,
    saved_planes,
)
from napari_resunet.session.store.lock import SessionLock
from napari_resunet.session.store.patch import Patch, PlaneState
from napari_resunet.session.store.planes import PlaneStore
from napari_resunet.session.store.safety import inside, read_text, refuse_links
from napari_resunet.session.store.schema import SessionFile, parse
from napari_resunet.session.store.tiff import write_text
from napari_resunet.session.store.writer import Writer
from napari_resunet.types import new_id, now

log = logging.getLogger(__name__)
COMPACT_IDLE = 2**18
"""Bytes of a journal that are worth a new snapshot while the user rests …"""

COMPACT_ALWAYS = 2**26
"""… and while they work."""

LARGE = 2**24
"""Pixels of a plane from which a snapshot would hold up the strokes that follow."""

REST = 3.0
"""Seconds without a change that count as a rest."""

CLOSE_SECONDS = 3.0
LARGE_PATIENCE = 8.0
"""An image or a checkpoint has hundreds of megabytes, and its drive may be in a network."""

_TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}\.(json|tif|png|safetensors)")
"""How `files.atomic_path` names what it has not finished."""

Place = tuple[str, Index]
Key = tuple[int, int]


class SessionFolder:
    """One open session.

    Parameters
    ----------
    root : Path
        Its folder.
    file : SessionFile
        Its description.
    lock : SessionLock
        Held.
    """

    def __init__(self, root: Path, file: SessionFile, lock: SessionLock) -> None:
        self.root = root
        self.file = file
        self._lock = lock
        self._planes: dict[Place, PlaneStore] = {}
        self._waiting: dict[Place, dict[Key, Patch]] = {}
        self._guard = threading.Lock()
        self._disk = {"often": threading.Lock(), "large": threading.Lock()}
        self._last_change = 0.0
        self._stale = False
        self._closed = False
        self._often = Writer("session labels", self._rest)
        self._large = Writer("session files", patience=LARGE_PATIENCE)

    @classmethod
    def create(cls, root: Path, name: str = "") -> SessionFolder:
        """Make a new session in a folder that is not there yet, or empty.

        Raises
        ------
        SessionError
            If there is something in the folder.
        FileError
            If it cannot be made.
        """
        if root.exists() and any(root.iterdir()):
            raise SessionError(f"'{root}' is not empty: choose a new folder.")
        file = SessionFile(name=name or root.name, programs=library_versions())
        write_text(root / DESCRIPTION, file.model_dump_json(indent=1))
        return cls(root, file, _locked(root))

    @classmethod
    def open(cls, root: Path) -> SessionFolder:
        """Open a session to go on with it.

        Raises
        ------
        SessionInUse
            If another window has it.
        SessionError
            If it is damaged, foreign or not safe.
        """
        file = read_description(root)
        named = file.model_copy(update={"programs": library_versions()})
        folder = cls(root, named, _locked(root))
        _sweep(root)
        # Written at once: it may have been migrated, and a folder that cannot be
        # written is told before there is work in it.
        folder._often.put(DESCRIPTION, folder._guarded("often", folder._write_description))
        return folder

    # Writing, from any thread -------------------------------------------------------

    def update(self, file: SessionFile) -> None:
        """Write another description."""
        if file == self.file:
            return
        self.file = file
        self._often.put(DESCRIPTION, self._guarded("often", self._write_description))

    def put_patches(self, image_key: str, index: Index, patches: Sequence[Patch]) -> None:
        """Write changed rectangles of a plane; the same corner again replaces it.

        Of what waits, only the newest state is kept: at most the plane's size.
        """
        place = image_key, index
        with self._guard:
            waiting = self._waiting.setdefault(place, {})
            for patch in patches:
                waiting[patch.row, patch.column] = patch
        self._last_change = time.monotonic()
        task = self._guarded("often", lambda: self._write_patches(place))
        self._often.put(place, task)

    def put_often(self, key: str, task: Callable[[Path], None]) -> None:
        """Do something small with the folder soon."""
        self._often.put(key, self._guarded("often", lambda: task(self.root)))

    def put_large(self, key: str, task: Callable[[Path], None]) -> None:
        """Do something that takes its time with the folder."""
        self._large.put(key, self._guarded("large", lambda: task(self.root)))

    @property
    def trouble(self) -> str:
        """Why the folder cannot be written now, in one sentence; empty while it can."""
        return self._often.trouble or self._large.trouble

    def take_lost(self) -> list[str]:
        """Take what could not be written for good: to be told once."""
        return self._often.take_lost() + self._large.take_lost()

    @property
    def is_there(self) -> bool:
        """Whether the folder can be found on its drive."""
        return (self.root / DESCRIPTION).is_file()

    def flush(self, timeout: float) -> bool:
        """Wait until everything asked for is on the disk; False if the time was short."""
        end = time.monotonic() + timeout
        large = self._large.flush(timeout)
        return self._often.flush(max(0.0, end - time.monotonic())) and large

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Write what waits; leave tidy snapshots, as far as that goes in the time.

        Returns
        -------
        bool
            Whether everything is on the disk.
        """
        if self._closed:
            return True
        self._closed = True
        if self._stale:
            self.update(self.file.model_copy(update={"changed": now()}))
        end = time.monotonic() + timeout
        done = self.flush(timeout)
        if done:
            self._often.put("compact", self._guarded("often", self.compact))
        left = max(0.1, end - time.monotonic())
        # A thread that is still writing must keep other windows out.
        ended = [writer.close(left) for writer in (self._often, self._large)]
        if all(ended):
            self._lock.release()
        return done

    def move(self, target: Path) -> None:
        """Move the folder; what is asked for meanwhile is written to the new place.

        Raises
        ------
        FileError
            If it cannot be moved; the session goes on where it was.
        """
        if target.exists():
            raise SessionError(f"'{target}' exists already: choose a new folder.")
        self.flush(CLOSE_SECONDS)
        with self._disk["often"], self._disk["large"]:
            self._lock.release()
            try:
                _move(self.root, target)
            except OSError as error:
                self._lock.acquire()
                raise FileError(
                    f"The session cannot be moved to '{target}' "
                    f"({error.strerror or error}): choose another folder."
                ) from error
            self.root = target
            self._planes.clear()
            self._lock = _locked(target)

    def compact(self) -> None:
        """Write new snapshots where there is a journal. In the writing thread only.

        Where that fails, the journal stays and is as good. Of the largest planes it does
        until it has grown, for their snapshots take long.
        """
        for plane in list(self._planes.values()):
            if math.prod(plane.shape) > LARGE and plane.journal_bytes < COMPACT_ALWAYS:
                continue
            try:
                plane.compact()
            except (FileError, OSError) as error:
                log.warning("A journal was not compacted", exc_info=error)

    # Reading ------------------------------------------------------------------------

    def planes(self, image_key: str) -> list[Index]:
        """List the planes of an image that have something on disk."""
        return saved_planes(self.root, image_key)

    def load_plane(self, image_key: str, index: Index) -> PlaneState:
        """Read a plane, before anything of it is written in this run.

        Raises
        ------
        SessionError
            If it is damaged or does not fit its image.
        """
        image = self.file.image(image_key)
        if image is None or not _fits(index, image.stack_shape):
            raise SessionError(
                f"The session '{self.root}' has labels of an image that it does not "
                "know: it is damaged. Choose another one."
            )
        with self._disk["often"]:
            return self._plane((image_key, index)).load()

    # In the writing threads ---------------------------------------------------------

    def _guarded(self, thread: str, task: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with self._disk[thread]:
                # An unmounted drive leaves an empty folder: nothing is begun anew in it.
                if not self.is_there:
                    raise FileError(
                        f"The session folder '{self.root}' is not there: bring it back, "
                        "or choose another place by 'Move…'."
                    )
                task()

        return run

    def _write_description(self) -> None:
        write_text(self.root / DESCRIPTION, self.file.model_dump_json(indent=1))

    def _write_patches(self, place: Place) -> None:
        with self._guard:
            patches = self._waiting.pop(place, {})
        if not patches:
            return
        try:
            plane = self._plane(place)
            plane.append(list(patches.values()))
        except BaseException:
            with self._guard:
                self._waiting[place] = patches | self._waiting.get(place, {})
            raise
        self._stale = True
        if plane.journal_bytes > COMPACT_ALWAYS:
            plane.compact()

    def _plane(self, place: Place) -> PlaneStore:
        if place not in self._planes:
            image = self.file.image(place[0])
            if image is None:
                raise SessionError(f"There is no image '{place[0]}' in the session.")
            folder = plane_folder(self.root, *place)
            self._planes[place] = PlaneStore(folder, image.plane_shape)
        return self._planes[place]

    def _rest(self) -> None:
        """Tidy up while the user rests."""
        if time.monotonic() - self._last_change < REST:
            return
        with self._disk["often"]:
            if any(p.journal_bytes > COMPACT_IDLE for p in self._planes.values()):
                self.compact()
        if self._stale:
            self._stale = False
            self.update(self.file.model_copy(update={"changed": now()}))


class SessionInUse(SessionError):
    """Another window has the session open."""


def read_description(root: Path) -> SessionFile:
    """Read what a folder says of itself, once it is known to be harmless.

    Raises
    ------
    SessionError
        If it is no session, damaged or not safe.
    """
    if not root.is_dir():
        raise SessionError(f"There is no folder '{root}': choose another session.")
    file = parse(read_text(inside(root, DESCRIPTION)), root)
    refuse_links(root)
    return file


def copy_session(root: Path, target: Path) -> None:
    """Copy a session, that another window may have open, as a new one.

    Raises
    ------
    FileError
        If it cannot be copied.
    """
    file = read_description(root)
    try:
        shutil.copytree(root, target, symlinks=True, ignore=shutil.ignore_patterns(LOCK))
    except (OSError, shutil.Error) as error:
        raise FileError(
            f"The session cannot be copied to '{target}': choose another folder, or "
            "free some space."
        ) from error
    named = {"session_id": new_id(), "name": target.name, "changed": now()}
    text = file.model_copy(update=named).model_dump_json(indent=1)
    write_text(target / DESCRIPTION, text)


def _sweep(root: Path) -> None:
    """Delete the half-written files that a crash left behind."""
    for path in root.rglob(".*"):
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    """Rename, or copy to another drive; the old folder goes only when the copy is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError:
        try:
            shutil.copytree(source, target, symlinks=True)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        shutil.rmtree(source, ignore_errors=True)


def _locked(root: Path) -> SessionLock:
    lock = SessionLock(root)
    if not lock.acquire():
        raise SessionInUse(
            f"The session '{root.name}' is open in another window: close it there, or "
            "continue with a copy."
        )
    return lock


def _fits(index: Index, stack: tuple[int, ...]) -> bool:
    return len(index) == len(stack) and all(
        i < n for i, n in zip(index, stack, strict=True)
    )
