"""Keeps the session: ten times a second it hands what changed to the session folder.

Main thread only, a bounded time each round; encoding and writing happen in the folder's
threads. A session is begun without asking once there is something to keep. Opening an
earlier session is `session_continue`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QCoreApplication, QTimer

from napari_resunet.errors import FileError, ImageError
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.autosave_training import TrainingAutosave
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.session_closing import Closing
from napari_resunet.plugin.session_describe import build_manifest
from napari_resunet.plugin.session_images import finest, record_of, thumbnail_of
from napari_resunet.plugin.session_watch import ROUND, TOLD, LabelsWatch
from napari_resunet.session.pixels import keep_pixels
from napari_resunet.session.store.content_hash import content_hash
from napari_resunet.session.store.folder import (
    CLOSE_SECONDS,
    SessionFolder,
    copy_session,
)
from napari_resunet.session.store.images import write_thumbnail
from napari_resunet.session.store.layout import THUMBNAIL
from napari_resunet.session.store.recent import (
    free_name,
    new_folder,
    remember,
    sessions_folder,
)
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.types import CancelToken

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.controller import Controller
    from napari_resunet.plugin.session_section import SessionSection
    from napari_resunet.session.store.delta import LabelsSnapshot

log = logging.getLogger(__name__)
EVERY_MS = 100
TRY_AGAIN = 5.0
"""Seconds after which a session that could not be begun is tried again."""

PICTURE_EVERY = 30.0
"""Seconds between two thumbnails."""

LAST_LOOK = 1.0
"""Seconds that the last look at all labels may take."""

PATIENCE = 8.0
"""Seconds to wait for the disk once the user was asked."""

MOST_REREAD = 2**28
"""Bytes of an image that is looked at once more before the end."""

VANISHED = (
    "Files of the session were deleted or changed by another program: the labels are "
    "written again from memory."
)


class Autosave:
    """The session of one dock.

    Parameters
    ----------
    controller : Controller
        Whose work is kept.
    section : SessionSection
        Where the place and the state are shown.
    """

    def __init__(self, controller: Controller, section: SessionSection) -> None:
        self.controller = controller
        self.layers = controller.layers
        self.section = section
        self.folder: SessionFolder | None = None
        self.learned = TrainingAutosave(controller.work)
        self.keys: dict[str, str] = {}
        """The session's name for each image layer, by the layer's id."""
        self._watches: dict[str, LabelsWatch] = {}
        self._updates: dict[str, dict[str, Any]] = {}
        """What was found out of images since they were described, by the session's name."""
        self._replaced: set[str] = set()
        """Image layers that got other pixels since the dock knows them."""
        self._refused: set[str] = set()
        """Image layers that no session can hold: told once."""
        self._reported = ""
        self._given_up = False
        self._next_try = self._next_picture = 0.0
        self._ended = False
        self._moving: Job | None = None
        self._timer = QTimer(section)
        self._timer.setInterval(EVERY_MS)
        self._timer.timeout.connect(self.tick)
        self._timer.start()
        self._closing = Closing(self)
        section.move_clicked.connect(self.ask_move)
        # The dock's "x" only hides it; with the viewer, the widget goes for good.
        section.destroyed.connect(self.let_go)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.shut_down)

    # The rounds ---------------------------------------------------------------------

    def tick(self) -> None:
        """Look for what changed and hand it over."""
        if self._ended:
            return
        self._given_up = False
        self._closing.follow()
        self._follow()
        if self.folder is None and not self._begin_if_needed():
            return
        self._write_again()
        self._hand_over(self._captured())
        self._notify()

    def flush(self, seconds: float) -> bool:
        """Hand over everything now and wait until it is on the disk."""
        self._follow()
        if self.folder is None and not self._begin_if_needed(LAST_LOOK):
            return not self._something(LAST_LOOK)
        assert self.folder is not None
        self._hand_over_all()
        self.folder.look_for_vanished()
        self.folder.flush(seconds)
        if self._write_again():
            self._hand_over_all()
            self.folder.flush(seconds)
        # The description tells only of what is on the disk, so it comes last.
        self._describe()
        return self.folder.flush(seconds)

    def secure(self, can_stay: bool) -> bool:
        """Write everything; what cannot be written, the user decides about.

        Parameters
        ----------
        can_stay : bool
            Whether the user may go on working instead.

        Returns
        -------
        bool
            False if the user wants to go on; else all is on the disk, or given up.
        """
        if self._ended or self._given_up:
            return True
        trouble = self._trouble()
        self._look_at_pixels()
        done = self.flush(0.0 if trouble else CLOSE_SECONDS)
        while not done:
            answer = self.section.ask_unsaved(self._unsaved(), can_stay)
            if answer == "stay":
                return False
            if answer == "lose":
                self._given_up = True
                return True
            if isinstance(answer, Path):
                self._keep_in(answer)
            done = self.flush(PATIENCE)
        return True

    def shut_down(self) -> None:
        """Write what is left and let go of the folder."""
        if self._ended:
            return
        self._next_picture = 0.0
        self.shut_session()
        self._closing.unbind()
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.disconnect(self.shut_down)

    def shut_session(self) -> None:
        """Write and close this session, to open another one; `go_on` starts again."""
        self._timer.stop()
        self.secure(can_stay=False)
        self.let_go()
        self._given_up = False

    def go_on(self) -> None:
        """Begin to look again."""
        self._ended = False
        self._timer.start()

    def let_go(self) -> None:
        """Close the folder; what is in the viewer belongs to no session then."""
        self._ended = True
        for watch in self._watches.values():
            watch.unbind()
        self._watches.clear()
        self.keys.clear()
        folder, self.folder = self.folder, None
        seconds = 0.0 if self._given_up else CLOSE_SECONDS
        if folder is not None and not folder.close(seconds):
            log.error("The session %s could not be written to its end", folder.root)

    def adopt(
        self,
        layer_id: str,
        key: str,
        states: Mapping[tuple[int, ...], LabelsSnapshot],
        fingerprint: str = "",
    ) -> None:
        """Go on keeping an image whose labels were restored from the folder."""
        binding = self.layers.binding(layer_id)
        assert binding is not None
        self.keys[layer_id] = key
        if fingerprint:
            self._updates.setdefault(key, {})["content_hash"] = fingerprint
        if layer_id in self._watches:
            self._watches[layer_id].unbind()
        self._watches[layer_id] = LabelsWatch(binding, self.layers.viewer, states)

    def counted(self, layer_id: str | None, objects: int) -> None:
        """Take note of how many objects of an image are verified."""
        if layer_id in self.keys:
            updates = self._updates.setdefault(self.keys[layer_id], {})
            updates["checked_objects"] = objects

    def image_changed(self, layer_id: str) -> None:
        """Take note of an image's new pixels."""
        image = self.layers.image(layer_id)
        self._replaced.add(layer_id)
        if self.folder is None or image is None or layer_id not in self.keys:
            return
        record = self.folder.file.image(self.keys[layer_id])
        if record is not None and record.shape == tuple(finest(image).shape):
            self._fingerprint(record, image)

    # Where the session lies ---------------------------------------------------------

    def ask_move(self) -> None:
        """Move the session to a folder that the user picks."""
        parent = self.section.ask_parent()
        if parent is not None and self.folder is not None:
            self.move(free_name(parent / self.folder.root.name))

    def move(self, target: Path) -> None:
        """Move the session; if its folder is gone, begin it anew from memory."""
        if self.folder is None:
            return
        if not (self.folder.is_there and self.folder.is_overlay):
            self._begin_anew(target)
            return
        arguments = (self.folder, target)
        self._moving = Job("move", _move_steps, arguments, CancelToken(), self)
        self._moving.start()

    def on_event(self, job: Job, event: Any) -> None:
        """Nothing is told on the way."""

    def on_result(self, job: Job, result: Any) -> None:
        """Show the new place."""
        self._show_place()
        self._say(f"The session was moved to '{result}'.", "info")

    def on_error(self, job: Job, sentence: str) -> None:
        """Say why it could not be moved."""
        self._say(sentence, "error")

    def on_end(self, job: Job) -> None:
        """Let go of the job."""
        self._moving = None

    def _begin_anew(self, target: Path) -> None:
        """Write all that is in memory to a new folder."""
        old = self.folder
        assert old is not None
        is_copy = old.is_there
        try:
            new = _copied(old, target) if is_copy else _created(old, target)
        except FileError as error:
            self._say(str(error), "error")
            return
        old.close(0.0)
        self.use(new)
        if is_copy:
            # Another window has the old one: its labels are not ours.
            self._capture_all_again()
            return
        self.learned.start_anew()
        for watch in self._watches.values():
            watch.unbind()
        self._watches.clear()
        for layer_id, key in self.keys.items():
            image, record = self.layers.image(layer_id), new.file.image(key)
            if image is not None and record is not None:
                self._fingerprint(record, image)

    def _keep_in(self, parent: Path) -> None:
        """Keep the session in another folder, now: the window is about to close."""
        folder = self.folder
        try:
            if folder is None:
                self.use(SessionFolder.create(free_name(parent / "session")))
            elif folder.is_there and folder.is_overlay:
                folder.move(free_name(parent / folder.root.name))
                self.use(folder)
            else:
                self._begin_anew(free_name(parent / folder.root.name))
        except FileError as error:
            self._say(str(error), "error")

    def use(self, folder: SessionFolder) -> None:
        """Keep the session in this folder from now on."""
        self.folder = folder
        remember(folder.root)
        self._show_place()

    def _begin_if_needed(self, seconds: float = ROUND) -> bool:
        """Begin a session if there is something to keep; tell whether there is one."""
        if time.monotonic() < self._next_try or not self._something(seconds):
            return False
        names = [image.name for key, _ in self._open() if (image := self.layers.image(key))]
        path = new_folder(names[0] if names else "session", sessions_folder())
        try:
            self.use(SessionFolder.create(path))
        except FileError as error:
            self._next_try = time.monotonic() + TRY_AGAIN
            self._say(f"Your work is not being saved: {error}", "warning")
            return False
        return True

    def _something(self, seconds: float) -> bool:
        return self.learned.something() or any(w.has_work(seconds) for _, w in self._open())

    # What is handed over ------------------------------------------------------------

    def _open(self) -> Iterator[tuple[str, LabelsWatch]]:
        yield from list(self._watches.items())

    def _follow(self) -> None:
        """Follow the labels that came, let go of those that went."""
        bindings = self.layers.bindings()
        for layer_id, watch in self._open():
            if bindings.get(layer_id) is not watch.binding:
                watch.unbind()
                del self._watches[layer_id]
                if layer_id in bindings:
                    # Labels of another shape: for the session, another image.
                    self.keys.pop(layer_id, None)
        for layer_id, binding in bindings.items():
            if layer_id not in self._watches:
                self._watches[layer_id] = LabelsWatch(binding, self.layers.viewer)

    def _captured(self) -> dict[str, Any]:
        n = max(1, len(self._watches))
        return {
            layer_id: watch.capture(TOLD / n, ROUND / n) for layer_id, watch in self._open()
        }

    def _hand_over(self, found: Mapping[str, Any]) -> None:
        assert self.folder is not None
        for layer_id, deltas in found.items():
            if deltas:
                self._put(self._watches[layer_id], deltas)
        self._describe()
        self.learned.keep(self.folder, self.keys)
        self._draw()

    def _put(self, watch: LabelsWatch, found: Mapping[Any, Any]) -> None:
        key = self._key_of(watch) if found else None
        if key is None or self.folder is None:
            return
        for index, deltas in found.items():
            self.folder.put_deltas(key, index, deltas)

    def _key_of(self, watch: LabelsWatch) -> str | None:
        """Find the session's name of an image; give it one with its first labels."""
        layer_id = watch.binding.image_id
        if layer_id not in self.keys:
            image = self.layers.image(layer_id)
            if image is None or self.folder is None:
                return None
            try:
                record = record_of(image, watch.binding, self._state(layer_id))
            except ImageError as error:
                if layer_id not in self._refused:
                    self._refused.add(layer_id)
                    self._say(str(error), "error")
                return None
            self.keys[layer_id] = record.key
            images = (*self.folder.file.images, record)
            self.folder.update(self.folder.file.model_copy(update={"images": images}))
            self._fingerprint(record, image)
        return self.keys[layer_id]

    def _state(self, layer_id: str) -> Any:
        return self.controller.work.state(layer_id)

    def _fingerprint(self, record: ImageRecord, image: Image) -> None:
        """Compute the hash in a writing thread; store what no file holds."""
        data, updates = finest(image), self._updates.setdefault(record.key, {})
        replaced = image_layers.layer_id_of(image) in self._replaced

        def run(root: Path) -> None:
            updates.update(keep_pixels(root, record, data, replaced))

        assert self.folder is not None
        self.folder.put_large(f"image {record.key}", run)

    def _look_at_pixels(self) -> None:
        """Look once more whether a script edited pixels, of which napari tells nobody."""
        for layer_id, key in self.keys.items():
            image = self.layers.image(layer_id)
            known = self._updates.get(key, {}).get("content_hash")
            record = None if self.folder is None else self.folder.file.image(key)
            if image is None or record is None or not known:
                continue
            data = finest(image)
            if not isinstance(data, np.ndarray) or data.nbytes > MOST_REREAD:
                continue
            if record.shape == data.shape and content_hash(data) != known:
                self._fingerprint(record, image)

    def _write_again(self) -> bool:
        """Have planes captured once more whose files went while they were open."""
        assert self.folder is not None
        gone = self.folder.take_vanished()
        layer_ids = {key: layer_id for layer_id, key in self.keys.items()}
        for key, index in gone:
            watch = self._watches.get(layer_ids.get(key, ""))
            if watch is not None:
                watch.capture_again(index)
        if gone:
            self._say(VANISHED, "warning")
        return bool(gone)

    def _capture_all_again(self) -> None:
        for _, watch in self._open():
            watch.capture_all_again()

    def _hand_over_all(self) -> None:
        for _, watch in self._open():
            self._put(watch, watch.capture_all(LAST_LOOK))
        self._hand_over({})

    def _describe(self) -> None:
        """Bring the description up to date; it is written only if it changed."""
        assert self.folder is not None
        on_disk, file = self.learned.on_disk, self.folder.file
        self.folder.update(
            build_manifest(file, self.controller, self.keys, self._updates, on_disk)
        )

    def _draw(self) -> None:
        """Draw the picture for the list of sessions now and then."""
        layer_id = self.controller.image_key
        image, binding = self.layers.image(layer_id), self.layers.binding(layer_id)
        if time.monotonic() < self._next_picture or image is None or binding is None:
            return
        self._next_picture = time.monotonic() + PICTURE_EVERY
        data = image.data[-1] if image.multiscale else image.data
        if isinstance(data, np.ndarray) and self.folder is not None:
            picture = thumbnail_of(image, binding, self.layers.viewer)
            self.folder.put_large(
                THUMBNAIL, lambda root: write_thumbnail(root / THUMBNAIL, picture)
            )

    def _trouble(self) -> str:
        return "" if self.folder is None else self.folder.trouble

    def _unsaved(self) -> str:
        place = "" if self.folder is None else f" in '{self.folder.root}'"
        trouble = self._trouble() or "The drive does not answer, or there is no folder."
        return f"Part of your work is not saved{place} yet. {trouble}"

    # What is said -------------------------------------------------------------------

    def _notify(self) -> None:
        """Say once that writing fails, and once that it works again."""
        assert self.folder is not None
        for failure in self.folder.take_lost():
            self._say(f"A part of the session could not be saved ({failure}).", "error")
        trouble = self.folder.trouble
        if trouble == self._reported:
            return
        if not trouble or not self._reported:
            self._say(trouble or "The session is being saved again.", _kind(trouble))
        self._reported = trouble
        self.section.set_trouble(trouble)

    def _say(self, sentence: str, kind: Any) -> None:
        self.controller.view.set_message(sentence, kind)

    def _show_place(self) -> None:
        if self.folder is not None:
            self.section.set_place(self.folder.root)


def _kind(trouble: str) -> str:
    return "warning" if trouble else "info"


def _copied(old: SessionFolder, target: Path) -> SessionFolder:
    copy_session(old.root, target)
    return SessionFolder.open(target)


def _created(old: SessionFolder, target: Path) -> SessionFolder:
    new = SessionFolder.create(target, old.file.name)
    images = tuple(i.model_copy(update={"stored": False}) for i in old.file.images)
    new.update(old.file.model_copy(update={"images": images}))
    return new


def _move_steps(folder: SessionFolder, target: Path) -> Generator[None, None, Path]:
    yield None
    folder.move(target)
    remember(target)
    return target
