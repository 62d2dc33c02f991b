"""A session folder that is open: what the window reads from it and asks it to write.

Everything that is written goes through two threads: one for the small and frequent (the
labels), one for the large (images, models, corrections), so that neither waits for the
other. What cannot be written now is kept and tried again.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_resunet._package import library_versions
from napari_resunet.errors import FileError, SessionError
from napari_resunet.session.store.contents import (
    Change,
    after_missing,
    found_contents,
    what_is_missing,
    with_plane,
)
from napari_resunet.session.store.delta import LabelDelta, LabelsSnapshot
from napari_resunet.session.store.description import read_file
from napari_resunet.session.store.layout import (
    BACKUP,
    DESCRIPTION,
    OWNER,
    Index,
    plane_folder,
    plane_index,
    plane_name,
    saved_planes,
)
from napari_resunet.session.store.lock import SessionLock
from napari_resunet.session.store.moving import copy_folder, move_folder
from napari_resunet.session.store.planes import LabelsStore
from napari_resunet.session.store.safety import copy_aside, refuse_links
from napari_resunet.session.store.schema import Contents, SessionFile
from napari_resunet.session.store.sealed import sealed
from napari_resunet.session.store.tiff import store_text
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

_TEMPORARY = re.compile(r"\..+-[a-z0-9_]{8}\.(json|tif|png|safetensors|owner)")
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
    contents : Contents
        What must be on the disk.
    """

    def __init__(
        self, root: Path, file: SessionFile, lock: SessionLock, contents: Contents
    ) -> None:
        self.root = root
        self.file = file
        self.notices: list[str] = []
        """What was found missing or damaged when the folder was opened."""
        self._lock = lock
        self._token = new_id()
        self._contents = contents
        self._planes: dict[Place, LabelsStore] = {}
        self._waiting: dict[Place, dict[Key, LabelDelta]] = {}
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
        store_text(root / DESCRIPTION, sealed(file))
        folder = cls(root, file, _locked(root), Contents())
        folder._own()
        return folder

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
        file, damage = _read(root)
        named = file.model_copy(update={"programs": library_versions()})
        lock = _locked(root)
        found = found_contents(root)
        folder = cls(root, named, lock, after_missing(file.contents, found))
        missing = what_is_missing(file.contents, found) if file.contents else []
        folder.notices = [*damage, *missing]
        if damage and (root / DESCRIPTION).is_file():
            copy_aside(root / DESCRIPTION)
        _sweep(root)
        folder._own()
        if not folder.is_there:
            folder._write_description()
        # Written at once: it may have been migrated, and a folder that cannot be
        # written is told before there is work in it.
        folder._describe_soon()
        return folder

    # Writing, from any thread -------------------------------------------------------

    def update(self, file: SessionFile) -> None:
        """Write another description."""
        if file == self.file:
            return
        self.file = file
        self._describe_soon()

    def note(self, change: Change) -> None:
        """Note what was just written, so that it is missed if it goes."""
        with self._guard:
            self._contents = change(self._contents)
        self._describe_soon()

    def note_first(self, change: Change) -> None:
        """Take back what is about to be deleted; that is on the disk on return.

        Raises
        ------
        FileError
            If it cannot be written: then nothing must be deleted.
        """
        with self._guard:
            self._contents = change(self._contents)
        with self._disk["often"]:
            self._write_description()

    def put_deltas(
        self, image_key: str, index: Index, deltas: Sequence[LabelDelta]
    ) -> None:
        """Write changed rectangles of a plane; the same corner again replaces it.

        Of what waits, only the newest state is kept: at most the plane's size.
        """
        place = image_key, index
        with self._guard:
            waiting = self._waiting.setdefault(place, {})
            for delta in deltas:
                waiting[delta.row, delta.column] = delta
        self._last_change = time.monotonic()
        task = self._guarded("often", lambda: self._write_deltas(place))
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

    @property
    def is_overlay(self) -> bool:
        """Whether no other window has opened the folder meanwhile.

        The lock tells that in most cases; but it may be deleted, and some drives have none.
        """
        try:
            return (self.root / OWNER).read_text("utf-8") == self._token
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False

    @property
    def last_version(self) -> int:
        """The highest number that a model version ever had."""
        return self._contents.last_version

    def look_for_vanished(self) -> None:
        """Look soon whether files went that were there; `take_vanished` tells."""
        self._often.put("look", self._guarded("often", self._look_for_vanished))

    def take_vanished(self) -> list[Place]:
        """Take the planes whose files went: the caller writes them again from memory."""
        gone = [place for place, plane in list(self._planes.items()) if plane.vanished]
        for place in gone:
            self._planes[place].vanished = False
        return gone

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
            # The owner's token stays: a window that the lock did not stop must see it.
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
        with self._disk_to_itself():
            self._lock.release()
            try:
                move_folder(self.root, target)
            except OSError as error:
                self._lock.acquire()
                raise FileError(
                    f"The session cannot be moved to '{target}' "
                    f"({error.strerror or error}): choose another folder."
                ) from error
            self.root = target
            self._planes.clear()
            self._lock = _locked(target)
            self._own()

    def compact(self) -> None:
        """Write new snapshots where there is a journal. In the writing thread only.

        Where that fails, the journal stays and is as good. Of the largest planes it does
        until it has grown, for their snapshots take long.
        """
        for place, plane in list(self._planes.items()):
            if math.prod(plane.shape) > LARGE and plane.journal_bytes < COMPACT_ALWAYS:
                continue
            try:
                plane.compact()
            except (FileError, OSError) as error:
                log.warning("A journal was not compacted", exc_info=error)
            self._note_plane(place)

    # Reading ------------------------------------------------------------------------

    def planes(self, image_key: str) -> list[Index]:
        """List the planes of an image that have something on disk, or had."""
        noted = map(plane_index, self._contents.planes.get(image_key, {}))
        known = {index for index in noted if index is not None}
        return sorted(known.union(saved_planes(self.root, image_key)))

    def load_plane(self, image_key: str, index: Index) -> LabelsSnapshot:
        """Read a plane, before anything of it is written in this run.

        Returns
        -------
        LabelsSnapshot
            As far as it can be read: `plane_damage` tells what is lost.

        Raises
        ------
        SessionError
            If it does not fit its image.
        """
        image = self.file.image(image_key)
        if image is None or not _fits(index, image.stack_shape):
            raise SessionError(
                f"The session '{self.root}' has labels of an image that it does not "
                "know: it is damaged. Choose another one."
            )
        with self._disk["often"]:
            return self._plane((image_key, index)).load()

    def plane_damage(self, image_key: str, index: Index) -> list[str]:
        """Tell what `load_plane` could not read."""
        return list(self._planes[image_key, index].damage)

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
                if not self.is_overlay:
                    raise FileError(
                        f"The session '{self.root.name}' was opened in another window, "
                        "which writes to it now: nothing more is written from here. "
                        "Choose another place by 'Move…' to keep your work."
                    )
                task()

        return run

    @contextmanager
    def _disk_to_itself(self) -> Iterator[None]:
        """Keep both writing threads waiting; a drive that does not answer is told."""
        held = [
            lock
            for lock in (self._disk["large"], self._disk["often"])
            if lock.acquire(timeout=LARGE_PATIENCE)
        ]
        try:
            if len(held) < len(self._disk):
                raise FileError(
                    "The session is still being written, or its drive does not answer: "
                    "try again in a moment."
                )
            yield
        finally:
            for lock in held:
                lock.release()

    def _own(self) -> None:
        """Tell other windows on this folder that it is ours now."""
        store_text(self.root / OWNER, self._token)

    def _describe_soon(self) -> None:
        self._often.put(DESCRIPTION, self._guarded("often", self._write_description))

    def _write_description(self) -> None:
        text = sealed(self.file.model_copy(update={"contents": self._contents}))
        store_text(self.root / DESCRIPTION, text)
        store_text(self.root / BACKUP, text)

    def _look_for_vanished(self) -> None:
        for plane in list(self._planes.values()):
            if plane.journal_bytes and not plane.is_whole():
                plane.vanished = True

    def _note_plane(self, place: Place) -> None:
        """Note the files of a plane where they changed."""
        key, name = place[0], plane_name(place[1])
        found = self._planes[place].contents
        noted = self._contents.planes.get(key, {}).get(name)
        if found != noted and not self._planes[place].damage:
            self.note(with_plane(key, name, found))

    def _write_deltas(self, place: Place) -> None:
        with self._guard:
            deltas = self._waiting.pop(place, {})
        if not deltas:
            return
        try:
            plane = self._plane(place)
            plane.append(list(deltas.values()))
        except BaseException:
            with self._guard:
                self._waiting[place] = deltas | self._waiting.get(place, {})
            raise
        self._stale = True
        if plane.journal_bytes > COMPACT_ALWAYS:
            plane.compact()
        self._note_plane(place)

    def _plane(self, place: Place) -> LabelsStore:
        if place not in self._planes:
            image = self.file.image(place[0])
            if image is None:
                raise SessionError(f"There is no image '{place[0]}' in the session.")
            folder = plane_folder(self.root, *place)
            noted = self._contents.planes.get(place[0], {}).get(plane_name(place[1]))
            self._planes[place] = LabelsStore(folder, image.plane_shape, noted)
        return self._planes[place]

    def _rest(self) -> None:
        """Tidy up while the user rests."""
        if time.monotonic() - self._last_change < REST:
            return
        if not (self.is_there and self.is_overlay):
            return
        with self._disk["often"]:
            self._look_for_vanished()
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
    return _read(root)[0]


def _read(root: Path) -> tuple[SessionFile, list[str]]:
    try:
        if not root.is_dir():
            raise SessionError(f"There is no folder '{root}': choose another session.")
        found = read_file(root)
    except OSError as error:
        raise SessionError(
            f"The session '{root.name[:100]}' cannot be read ({error.strerror or error}): "
            "choose another one."
        ) from error
    refuse_links(root)
    return found


def copy_session(root: Path, target: Path) -> None:
    """Copy a session, that another window may have open, as a new one.

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


def _sweep(root: Path) -> None:
    """Delete the half-written files that a crash left behind."""
    for path in root.rglob(".*"):
        if path.is_file() and _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


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
