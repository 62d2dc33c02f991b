"""An open session folder: reading from it, and writing to it in the background.

Two threads write: one for small, frequent changes (labels), and one for large files
(images, models, corrections), so that neither waits for the other. If writing fails, it is
tried again later.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_resunet._package import library_versions
from napari_resunet.errors import FileError, SessionError
from napari_resunet.session.store.delta import LabelDelta, LabelsSnapshot
from napari_resunet.session.store.directory import (
    SessionLock,
    delete_unfinished,
    move_folder,
)
from napari_resunet.session.store.labels import LabelsStore
from napari_resunet.session.store.manifest import (
    Change,
    after_missing,
    found_contents,
    read_safely,
    what_is_missing,
    with_plane,
)
from napari_resunet.session.store.safety import copy_aside, sealed
from napari_resunet.session.store.schema import (
    BACKUP,
    DESCRIPTION,
    OWNER,
    Contents,
    Index,
    SessionFile,
    plane_folder,
    plane_index,
    plane_name,
    saved_planes,
)
from napari_resunet.session.store.tiff import store_text
from napari_resunet.session.store.writer import Writer
from napari_resunet.types import new_id, now

log = logging.getLogger(__name__)
COMPACT_IDLE = 2**18
"""A journal above this size, in bytes, is replaced by a snapshot when the user pauses."""

COMPACT_ALWAYS = 2**26
"""A journal above this size, in bytes, is replaced by a snapshot at once."""

LARGE = 2**24
"""Planes with more pixels are compacted later: their snapshots would delay strokes."""

PAUSE = 3.0
"""Time without a change that counts as a pause, in seconds."""

CLOSE_SECONDS = 3.0
LARGE_PATIENCE = 8.0
"""Factor of the time limit for large files, perhaps on a network drive."""

Place = tuple[str, Index]
Key = tuple[int, int]


class SessionFolder:
    """An open session, made by `create` or `open`, whose lock it holds."""

    def __init__(
        self, root: Path, file: SessionFile, lock: SessionLock, contents: Contents
    ) -> None:
        self.root = root
        self.file = file
        self.notices: list[str] = []
        """Sentences about what was missing or damaged when the folder was opened."""
        self._lock = lock
        self._token = new_id()
        self._contents = contents
        self._planes: dict[Place, LabelsStore] = {}
        self._waiting: dict[Place, dict[Key, LabelDelta]] = {}
        self._mutex = threading.Lock()
        self._disk = {"often": threading.Lock(), "large": threading.Lock()}
        self._last_change = 0.0
        self._stale = False
        self._closed = False
        self._often = Writer("session labels", self._tidy)
        self._large = Writer("session files", patience=LARGE_PATIENCE)

    @classmethod
    def create(cls, root: Path, name: str = "") -> SessionFolder:
        """Make a new session in a folder that does not exist or is empty.

        Raises
        ------
        SessionError
            If the folder is not empty.
        FileError
            If the session cannot be written.
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
        """Open a session for reading and writing.

        Raises
        ------
        SessionInUse
            If another window has it open.
        SessionError
            If it is damaged, unsafe, or not a session.
        """
        file, damage = read_safely(root)
        named = file.model_copy(update={"programs": library_versions()})
        lock = _locked(root)
        found = found_contents(root)
        folder = cls(root, named, lock, after_missing(file.contents, found))
        missing = what_is_missing(file.contents, found) if file.contents else []
        folder.notices = [*damage, *missing]
        if damage and (root / DESCRIPTION).is_file():
            copy_aside(root / DESCRIPTION)
        delete_unfinished(root)
        folder._own()
        if not folder.is_there:
            folder._write_description()
        # Written at once, because it may have been migrated, and because the user should
        # learn early that a folder cannot be written.
        folder._describe_soon()
        return folder

    # Writing, from any thread -------------------------------------------------------

    def update(self, file: SessionFile) -> None:
        """Replace the description, and write it soon."""
        if file == self.file:
            return
        self.file = file
        self._describe_soon()

    def note(self, change: Change) -> None:
        """Record what was written, so that its loss is detected later."""
        with self._mutex:
            self._contents = change(self._contents)
        self._describe_soon()

    def note_first(self, change: Change) -> None:
        """Record on disk what is about to be deleted.

        Raises
        ------
        FileError
            If the record cannot be written; then nothing must be deleted.
        """
        with self._mutex:
            self._contents = change(self._contents)
        with self._disk["often"]:
            self._write_description()

    def put_deltas(
        self, image_key: str, index: Index, deltas: Sequence[LabelDelta]
    ) -> None:
        """Write changed rectangles of a plane soon.

        A newer rectangle replaces a waiting one with the same corner, so that at most one
        whole plane waits.
        """
        place = image_key, index
        with self._mutex:
            waiting = self._waiting.setdefault(place, {})
            for delta in deltas:
                waiting[delta.row, delta.column] = delta
        self._last_change = time.monotonic()
        task = self._guarded("often", lambda: self._write_deltas(place))
        self._often.put(place, task)

    def put_often(self, key: str, task: Callable[[Path], None]) -> None:
        """Run a short task on the folder soon."""
        self._often.put(key, self._guarded("often", lambda: task(self.root)))

    def put_large(self, key: str, task: Callable[[Path], None]) -> None:
        """Run a long task on the folder soon."""
        self._large.put(key, self._guarded("large", lambda: task(self.root)))

    @property
    def trouble(self) -> str:
        """Why writing fails, in one sentence; empty if it works."""
        return self._often.trouble or self._large.trouble

    def take_lost(self) -> list[str]:
        """Return and clear the descriptions of writes that failed permanently."""
        return self._often.take_lost() + self._large.take_lost()

    @property
    def is_there(self) -> bool:
        """Whether the folder is there."""
        return (self.root / DESCRIPTION).is_file()

    @property
    def is_owned(self) -> bool:
        """Whether no other window has taken over the folder.

        Usually the lock prevents that, but it may be deleted, and some drives have no
        locks.
        """
        try:
            return (self.root / OWNER).read_text("utf-8") == self._token
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False

    @property
    def last_version(self) -> int:
        """Highest number that a model version ever had."""
        return self._contents.last_version

    def look_for_vanished(self) -> None:
        """Check soon whether files vanished; see `take_vanished`."""
        self._often.put("look", self._guarded("often", self._look_for_vanished))

    def take_vanished(self) -> list[Place]:
        """Return and clear the planes whose files vanished and must be written again."""
        places = [place for place, plane in list(self._planes.items()) if plane.vanished]
        for place in places:
            self._planes[place].vanished = False
        return places

    def flush(self, timeout: float) -> bool:
        """Wait until everything is on disk; return False after `timeout` seconds."""
        end = time.monotonic() + timeout
        large = self._large.flush(timeout)
        return self._often.flush(max(0.0, end - time.monotonic())) and large

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Write everything and compact the journals, for at most `timeout` seconds.

        Returns
        -------
        bool
            Whether everything is on disk.
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
        # While a thread still writes, the lock must keep other windows out.
        ended = [writer.close(left) for writer in (self._often, self._large)]
        if all(ended):
            # The owner file stays, for windows that ignore the lock.
            self._lock.release()
        return done

    def move(self, target: Path) -> None:
        """Move the folder; waiting tasks run in the new place.

        Raises
        ------
        FileError
            If it cannot be moved; then the session stays where it is.
        """
        if target.exists():
            raise SessionError(f"'{target}' exists already: choose a new folder.")
        self.flush(CLOSE_SECONDS)
        with self._exclusive_disk():
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
        """Replace journals by new snapshots; call it only in the thread that writes labels.

        If that fails, the journal stays, and nothing is lost. The journals of large planes
        stay until they have grown, because their snapshots take long.
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
        """List the planes of an image that have, or had, files, or that will have some."""
        noted = map(plane_index, self._contents.planes.get(image_key, {}))
        known = {index for index in noted if index is not None}
        # What is being written is either waiting or on disk.
        with self._disk["often"]:
            with self._mutex:
                known.update(index for key, index in self._waiting if key == image_key)
            return sorted(known.union(saved_planes(self.root, image_key)))

    def load_plane(self, image_key: str, index: Index) -> LabelsSnapshot:
        """Read a plane as far as possible, with the changes that wait to be written.

        `plane_damage` lists what is lost.

        Raises
        ------
        SessionError
            If the plane does not fit its image.
        """
        image = self.file.image(image_key)
        if image is None or not _fits(index, image.stack_shape):
            raise SessionError(
                f"The session '{self.root}' has labels of an image that it does not "
                "know: it is damaged. Choose another one."
            )
        with self._disk["often"]:
            state = self._plane((image_key, index)).load()
            with self._mutex:
                waiting = list(self._waiting.get((image_key, index), {}).values())
        for delta in waiting:
            state.put(delta)
        return state

    def plane_damage(self, image_key: str, index: Index) -> list[str]:
        """Describe what `load_plane` could not read."""
        return list(self._planes[image_key, index].damage)

    # In the writing threads ---------------------------------------------------------

    def _guarded(self, thread: str, task: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with self._disk[thread]:
                # An unmounted drive leaves an empty folder, which must not be written to.
                if not self.is_there:
                    raise FileError(
                        f"The session folder '{self.root}' is not there: bring it back, "
                        "or choose another place by 'Move…'."
                    )
                if not self.is_owned:
                    raise FileError(
                        f"The session '{self.root.name}' was opened in another window, "
                        "which writes to it now: nothing more is written from here. "
                        "Choose another place by 'Move…' to keep your work."
                    )
                task()

        return run

    @contextmanager
    def _exclusive_disk(self) -> Iterator[None]:
        """Block both writing threads."""
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
        """Mark the folder as owned by this window."""
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
        """Record the files of a plane if they changed."""
        key, name = place[0], plane_name(place[1])
        found = self._planes[place].contents
        noted = self._contents.planes.get(key, {}).get(name)
        if found != noted and not self._planes[place].damage:
            self.note(with_plane(key, name, found))

    def _write_deltas(self, place: Place) -> None:
        with self._mutex:
            deltas = self._waiting.pop(place, {})
        if not deltas:
            return
        try:
            plane = self._plane(place)
            plane.append(list(deltas.values()))
        except BaseException:
            with self._mutex:
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

    def _tidy(self) -> None:
        """Compact journals while the user pauses."""
        if time.monotonic() - self._last_change < PAUSE:
            return
        if not (self.is_there and self.is_owned):
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
