"""Open session…: restores an earlier session and continues saving it.

A worker reads it (`session.restore`). This module adds the layers, on the main thread, and
asks for missing files.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_resunet._package import STARTER
from napari_resunet.errors import FileError
from napari_resunet.events import Progress
from napari_resunet.ome_zarr.metadata import store_of
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.reopen import Reopener
from napari_resunet.plugin.controllers.session_place import SessionPlace
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.session_images import (
    add_image,
    is_safe_to_open,
    restore_transform,
)
from napari_resunet.plugin.messages import (
    BUSY,
    interrupted_text,
    version_of,
)
from napari_resunet.plugin.result_texts import result_text, score_of
from napari_resunet.plugin.state import AppState, Interrupted
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.pixels import is_image, read_pixels
from napari_resunet.session.queue import item_key
from napari_resunet.session.restore import Restored, RestoredImage, restore_steps
from napari_resunet.session.store.directory import copy_session
from napari_resunet.session.store.folder import (
    SessionFolder,
    SessionInUse,
)
from napari_resunet.session.store.history import Entry, last_run
from napari_resunet.session.store.recent import free_name, recent_sessions, sessions_folder
from napari_resunet.session.store.schema import (
    ImageRecord,
    QueueItem,
    SessionFile,
    SessionSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_resunet.corrections.training_set import CorrectionLog

log = logging.getLogger(__name__)
CHOOSE = "Under Fine-tune, resume it, keep the best so far, or discard it."


class SessionsController:
    """Opens sessions.

    Parameters
    ----------
    state : AppState
        Gets versions and choices back.
    layers : Layers
        Gets images and labels back.
    view : DockView
        Asks the user.
    jobs : JobRunner
        Reads the session.
    work : JobRunner
        The long job; no session is opened while it runs.
    autosave : Autosave
        Continues to save the session.
    place : SessionPlace
        Closes the current session.
    corrections : CorrectionLog
        Gets the corrections that were learned from back.
    take_settings : callable
        Called with the settings of the session.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        work: JobRunner,
        autosave: Autosave,
        place: SessionPlace,
        corrections: CorrectionLog,
        take_settings: Callable[[SessionSettings], None],
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._work = jobs, work
        self._autosave, self._place = autosave, place
        self._corrections, self._take_settings = corrections, take_settings
        self._reopener = Reopener(state, layers, autosave)
        self._missing: list[RestoredImage] = []
        self._unfit: list[str] = []
        view.session.open_clicked.connect(self.ask)
        view.welcome.session_chosen.connect(self.open)
        jobs.progress.connect(self._show_progress)

    def ask(self) -> None:
        """Let the user choose a session."""
        others = [s for s in recent_sessions() if not self._is_shown(s.folder)]
        path = self._view.session.ask_session(others)
        if path is not None:
            self.open(path)

    def open(self, path: Path) -> None:
        """Open a session, or a copy if it is in use elsewhere and the user agrees."""
        if not self._may_open(path):
            return
        mine = self._is_mine(path)
        if mine:
            # All its images were removed, so it is read again from its folder.
            self._place.close()
        folder = None
        try:
            folder = self._opened(path)
        except FileError as error:
            self._view.set_message(str(error), "error")
        if folder is None:
            if mine:
                self._autosave.resume()
            return
        if not mine:
            self._place.close()
        self._read(folder)

    def _may_open(self, path: Path) -> bool:
        """Save the current session; return False and say why if none can be opened."""
        if self._jobs.current is not None or self._work.current is not None:
            self._view.set_message(BUSY, "warning")
            return False
        if self._is_shown(path):
            self._view.set_message("This session is open in this window already.", "info")
            return False
        return self._place.secure(can_stay=True)

    def _is_mine(self, path: Path) -> bool:
        return self._autosave.folder is not None and self._autosave.folder.root == path

    def _is_shown(self, path: Path) -> bool:
        """Return whether a session is this window's, and one of its images is open."""
        layers = self._layers
        return self._is_mine(path) and any(
            layers.image(layer_id) is not None for layer_id in self._autosave.keys
        )

    def _opened(self, path: Path) -> SessionFolder | None:
        try:
            return SessionFolder.open(path)
        except SessionInUse as error:
            if not self._view.session.ask_copy(str(error)):
                self._view.set_message(str(error), "warning")
                return None
        target = free_name(sessions_folder() / f"{path.name} copy")
        copy_session(path, target)
        return SessionFolder.open(target)

    # Events of the job --------------------------------------------------------------

    def _read(self, folder: SessionFolder) -> None:
        self._missing, self._unfit = [], []
        self._state.begin_queue(item for item in folder.file.queue if not item.is_layer)
        self._view.set_message("Opening the session …", "info")

        def restored(result: Restored) -> None:
            self._restored(folder, result)

        def failed(sentence: str) -> None:
            folder.close(0.5)
            self._resume_autosave()

        self._jobs.start(
            Job(
                "session",
                lambda token: restore_steps(folder),
                restored,
                self._restored_image,
                failed,
            )
        )

    def _show_progress(self, job: Job[Any, Any], progress: Progress) -> None:
        self._view.set_message(f"Session: {progress.message} …", "info")

    def _restored_image(self, image: RestoredImage) -> None:
        """Add an image as soon as it is read."""
        if image.levels:
            self._add(image, image.levels)
        else:
            self._missing.append(image)

    def _restored(self, folder: SessionFolder, result: Restored) -> None:
        """Ask for missing images, then restore everything else."""
        # Dialogs let other events run, so autosave resumes only when all is restored.
        try:
            self._autosave.use(folder)
            still = [image for image in self._missing if not self._ask_for(image)]
            self._restore_state(folder, result)
            notices = [*result.notices, *self._unfit]
            if result.interrupted is not None:
                notices.append(f"{interrupted_text(result.interrupted)} {CHOOSE}")
            self._report(folder.file.name, still, notices)
        finally:
            self._resume_autosave()
        self._state.session_opened.emit()

    def _resume_autosave(self) -> None:
        self._autosave.resume()
        self._state.changed.emit()

    def _report(self, name: str, missing: list[RestoredImage], notices: list[str]) -> None:
        left = [
            f"'{image.record.name}' was not found: its labels stay in the session, and "
            "its corrections are still learned from."
            for image in missing
        ]
        text = " ".join([f"Session '{name}' is open.", *left, *notices])
        self._view.set_message(text, "warning" if left or notices else "info")

    # Images -------------------------------------------------------------------------

    def _add(
        self, image: RestoredImage, levels: Sequence[Any], layer: Image | None = None
    ) -> None:
        record, viewer = image.record, self._layers.viewer
        item = self._item_of(record)
        if layer is not None:
            restore_transform(layer, record)
            if item is not None:
                path, reader = image_layers.source_of(layer)
                origin = image_layers.Origin(item.key, path or "", reader)
                image_layers.set_origin(layer, origin)
        elif item is not None:
            layer = add_image(viewer, record, levels, item.key)
        layer = layer or self._open_already(record) or add_image(viewer, record, levels)
        sentence = self._reopener.restore(layer, image)
        if sentence:
            self._unfit.append(sentence)
        if image.store is not None:
            self._state.store_opened.emit(image_layers.layer_id_of(layer), image.store)

    def _item_of(self, record: ImageRecord) -> QueueItem | None:
        """Return the item of the queue that an image was opened from, if it was."""
        added = self._state.queue.added
        return next((item for item in added if item.image == record.key), None)

    def _open_already(self, record: ImageRecord) -> Image | None:
        """Find the image among the layers without labels of ours."""
        layers = self._layers
        for key, _ in layers.images():
            layer = layers.image(key)
            free = layer is not None and layers.binding(key) is None
            if layer is not None and free and is_image(record, image_layers.finest(layer)):
                return layer
        return None

    def _ask_for(self, image: RestoredImage) -> bool:
        """Ask for the file of a missing image; return whether it was found."""
        record = image.record
        path = self._ask_image(record)
        while path is not None:
            if self._from_file(image, path):
                return True
            self._view.set_message(
                f"'{path.name}' does not hold the pixels of '{record.name}': choose "
                "another file.",
                "warning",
            )
            path = self._ask_image(record)
        return False

    def _ask_image(self, record: ImageRecord) -> Path | None:
        path = self._view.session.ask_image(record.name, record.source or "")
        return None if path is None else store_of(path)

    def _from_file(self, image: RestoredImage, path: Path) -> bool:
        """Add an image from a file that the user chose."""
        levels = read_pixels(path, image.record)
        if levels:
            self._add(image, levels)
            return True
        layer = self._opened_by_napari(image.record, path)
        if layer is not None:
            self._add(image, (), layer)
        return layer is not None

    def _opened_by_napari(self, record: ImageRecord, path: Path) -> Image | None:
        """Open a file in napari; return the layer with the image's pixels, if any."""
        if not is_safe_to_open(path):
            return None
        viewer = self._layers.viewer
        try:
            opened = viewer.open(str(path), plugin=record.reader or "napari")
        except Exception:  # a reader plugin may raise anything
            log.warning("'%s' could not be opened", path, exc_info=True)
            return None
        found = None
        for layer in opened:
            fits = isinstance(layer, Image) and is_image(record, image_layers.finest(layer))
            if found is None and fits:
                found = layer
            else:
                viewer.layers.remove(layer)
        return found

    # Versions, corrections, and settings --------------------------------------------

    def _restore_state(self, folder: SessionFolder, restored: Restored) -> None:
        state, file = self._state, folder.file
        versions = [version_of(r, None, str(path)) for r, path in restored.versions]
        numbers = {r.number: r for r, _ in restored.versions}
        used = file.current_version
        known = [
            n for n, r in numbers.items() if n == used or (n < used and not r.candidate)
        ]
        current = numbers[max(known)].model_id if known else STARTER
        state.versions.restore(versions, current, restored.last_version)
        self._autosave.training.restore(numbers)
        layer_ids = {key: layer_id for layer_id, key in self._autosave.keys.items()}
        self._restore_queue(file, layer_ids)
        state.interrupted = None
        if (record := restored.interrupted) is not None:
            state.interrupted = Interrupted(record, layer_ids.get(record.image))
        self._corrections.clear()
        for item in state.queue.added:
            layer_ids.setdefault(item.image, item.key)
            if item.image and file.image(item.image) is not None:
                self._autosave.keys.setdefault(item.key, item.image)
        for saved in restored.corrections:
            image_id = layer_ids.get(saved.record.image, saved.record.image)
            self._corrections.restore(saved.correction(image_id), saved.example)
        self._combine(file, layer_ids)
        self._show_history(restored.history)
        self._take_settings(file.settings)
        if file.current_image in layer_ids:
            state.choose(layer_ids[file.current_image])

    def _restore_queue(self, file: SessionFile, layer_ids: dict[str, str]) -> None:
        """Restore the list of images, with the layers that are in the viewer now."""
        items = []
        for item in file.queue:
            if not item.is_layer:
                items.append(item)
            elif item.image in layer_ids:
                key = item_key(layer_ids[item.image])
                items.append(item.model_copy(update={"key": key}))
        self._state.begin_queue(items)

    def _combine(self, file: SessionFile, layer_ids: dict[str, str]) -> None:
        """Combine images again as the session says, where all of them were found."""
        for record in file.images:
            partners = tuple(layer_ids.get(key, "") for key in record.partners)
            if partners and record.key in layer_ids and "" not in partners:
                state = self._state.image(layer_ids[record.key])
                state.choose_channels(record.channels, partners)

    def _show_history(self, history: list[Entry]) -> None:
        view = self._view.fine_tune
        run = last_run(history)
        if run.points:
            view.plot.start()
            view.plot.set_before(run.before, run.objects)
            for point in run.points:
                view.plot.add(*point)
        view.set_result_text(self._last_result(history))

    def _last_result(self, history: list[Entry]) -> str:
        """Describe the last fine-tuning if its outcome still holds, or else the version."""
        versions = self._state.versions
        ends = [entry for entry in history if entry.get("event") == "end"]
        end: Entry = ends[-1] if ends else {}
        holds = end.get("model_id") == versions.current.key
        if end.get("outcome") == "too close":
            holds = versions.candidate is not None
        return result_text(end) if holds else score_of(versions.current)
