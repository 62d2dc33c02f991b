"""Continue: an earlier session comes back into the viewer, and goes on being kept.

Reading happens in a worker (`session.restore`); here, on the main thread, layers are
added, and what cannot be found is asked for.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_resunet.errors import FileError
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.interrupted import CHOOSE, sentence
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.layer_look import apply_style
from napari_resunet.plugin.outcomes import score_of, score_text, version_of
from napari_resunet.plugin.session_images import (
    add_image,
    finest,
    may_be_opened,
    put_place,
    restore_labels,
)
from napari_resunet.plugin.state import STARTER
from napari_resunet.session.pixels import is_image, read_pixels
from napari_resunet.session.restore import Restored, RestoredImage, restore_steps
from napari_resunet.session.store.folder import (
    SessionFolder,
    SessionInUse,
    copy_session,
)
from napari_resunet.session.store.history import Entry, last_run
from napari_resunet.session.store.recent import free_name, recent_sessions, sessions_folder
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.types import CancelToken, Progress

if TYPE_CHECKING:
    from napari_resunet.plugin.autosave import Autosave

log = logging.getLogger(__name__)


class Continue:
    """Opens sessions for a keeper.

    Parameters
    ----------
    autosave : Autosave
        Who goes on with the session.
    """

    def __init__(self, autosave: Autosave) -> None:
        self.autosave = autosave
        self.controller = autosave.controller
        self.section = autosave.section
        self.job: Job | None = None
        self._folder: SessionFolder | None = None
        self._missing: list[RestoredImage] = []
        self._unfit: list[str] = []
        self.section.continue_clicked.connect(self.ask)

    def ask(self) -> None:
        """Let the user choose a session."""
        others = [s for s in recent_sessions() if not self._is_shown(s.folder)]
        path = self.section.ask_session(others)
        if path is not None:
            self.open(path)

    def open(self, path: Path) -> None:
        """Continue a session; one that is in use is told, and a copy offered."""
        if not self._may_open(path):
            return
        mine = self._is_mine(path)
        if mine:
            # All its images were removed: it is read again from its folder.
            self.autosave.shut_session()
        try:
            self._folder = self._opened(path)
        except FileError as error:
            self._say(str(error), "error")
        if self._folder is None:
            if mine:
                self.autosave.go_on()
            return
        if not mine:
            self.autosave.shut_session()
        self._missing, self._unfit = [], []
        self._say("Opening the session …", "info")
        self.job = Job("continue", restore_steps, (self._folder,), CancelToken(), self)
        self.job.start()

    def _may_open(self, path: Path) -> bool:
        """Say why a session cannot be opened now, if so; secure the one that is open."""
        if self.job is not None or self.controller.work.job is not None:
            self._say("Wait for the running job, or cancel it.", "warning")
            return False
        if self._is_shown(path):
            self._say("This session is open in this window already.", "info")
            return False
        return self.autosave.secure(can_stay=True)

    def _is_mine(self, path: Path) -> bool:
        return self.autosave.folder is not None and self.autosave.folder.root == path

    def _is_shown(self, path: Path) -> bool:
        """Tell whether a session is this window's, with an image of it in the viewer."""
        layers = self.controller.layers
        return self._is_mine(path) and any(
            layers.image(layer_id) is not None for layer_id in self.autosave.keys
        )

    def _opened(self, path: Path) -> SessionFolder | None:
        try:
            return SessionFolder.open(path)
        except SessionInUse as error:
            if not self.section.ask_copy(str(error)):
                self._say(str(error), "warning")
                return None
        target = free_name(sessions_folder() / f"{path.name} copy")
        copy_session(path, target)
        return SessionFolder.open(target)

    # What the job says --------------------------------------------------------------

    def on_event(self, job: Job, event: Any) -> None:
        """Add images as they come."""
        if isinstance(event, Progress):
            self._say(f"Session: {event.message} …", "info")
        elif event.data is None:
            self._missing.append(event)
        else:
            self._add(event, event.data)

    def on_result(self, job: Job, result: Restored) -> None:
        """Bring back all else, then ask for what is missing."""
        folder, self._folder = self._folder, None
        assert folder is not None
        # Opening an image may let other events run: nobody goes on before all is back.
        try:
            self.autosave.use(folder)
            still = [image for image in self._missing if not self._found(image)]
            self._bring_back(folder, result)
            notices = [*result.notices, *self._unfit]
            if result.interrupted is not None:
                notices.append(f"{sentence(result.interrupted)} {CHOOSE}")
            self._tell(folder.file.name, still, notices)
        finally:
            self._go_on()

    def on_error(self, job: Job, sentence: str) -> None:
        """Say what is wrong with the session; it is left as it is."""
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.close(0.5)
        self._say(sentence, "error")
        self._go_on()

    def on_end(self, job: Job) -> None:
        """Nothing waits for the end itself."""

    def _go_on(self) -> None:
        self.job = None
        self.autosave.go_on()
        self.controller.refresh()

    def _tell(self, name: str, missing: list[RestoredImage], notices: list[str]) -> None:
        left = [
            f"'{image.record.name}' was not found: its labels stay in the session, and "
            "its corrections go on being learned from."
            for image in missing
        ]
        said = " ".join([f"Session '{name}' is open.", *left, *notices])
        self._say(said, "warning" if left or notices else "info")

    # Images -------------------------------------------------------------------------

    def _add(self, image: RestoredImage, data: Any, layer: Image | None = None) -> None:
        record, layers = image.record, self.controller.layers
        if layer is not None:
            put_place(layer, record)
        layer = layer or self._open_already(record)
        layer = layer or add_image(layers.viewer, record, data)
        apply_style(layer, record.look)
        binding = layers.make_binding(layer)
        key = image_layers.layer_id_of(layer)
        fits = image_layers.stack_shape(layer) == record.stack_shape
        fits &= binding.review.shape == record.plane_shape
        if fits:
            restore_labels(binding, record, image.states)
        else:
            self._unfit.append(f"The labels of '{record.name}' do not fit the image.")
        state = self.controller.work.state(key)
        state.channels, state.auto = record.channels, record.auto
        state.scale = record.object_scale
        if fits:
            self.autosave.adopt(key, record.key, image.states, image.fingerprint)

    def _open_already(self, record: ImageRecord) -> Image | None:
        """Find the image among the layers that have no labels of ours yet."""
        layers = self.controller.layers
        for key, _ in layers.images():
            layer = layers.image(key)
            free = layer is not None and layers.binding(key) is None
            if layer is not None and free and is_image(record, finest(layer)):
                return layer
        return None

    def _found(self, image: RestoredImage) -> bool:
        """Find an image that we could not read where it was: ask for its file."""
        record = image.record
        path = self.section.ask_image(record.name, record.source or "")
        while path is not None:
            if self._from_file(image, path):
                return True
            self._say(
                f"'{path.name}' does not hold the pixels of '{record.name}': choose "
                "another file.",
                "warning",
            )
            path = self.section.ask_image(record.name, record.source or "")
        return False

    def _from_file(self, image: RestoredImage, path: Path) -> bool:
        """Take an image from a file that the user chose."""
        data = read_pixels(path, image.record)
        if data is not None:
            self._add(image, data)
            return True
        layer = self._opened_by_napari(image.record, path)
        if layer is not None:
            self._add(image, None, layer)
        return layer is not None

    def _opened_by_napari(self, record: ImageRecord, path: Path) -> Image | None:
        """Have napari read a file; keep the layer that holds the pixels, if any does."""
        if not may_be_opened(path):
            return None
        viewer = self.controller.layers.viewer
        try:
            opened = viewer.open(str(path), plugin=record.reader or "napari")
        except Exception:  # whatever a reader plugin may raise
            log.warning("'%s' could not be opened", path, exc_info=True)
            return None
        found = None
        for layer in opened:
            fits = isinstance(layer, Image) and is_image(record, finest(layer))
            if found is None and fits:
                found = layer
            else:
                viewer.layers.remove(layer)
        return found

    # All else -----------------------------------------------------------------------

    def _bring_back(self, folder: SessionFolder, restored: Restored) -> None:
        work, file = self.controller.work, folder.file
        versions = [version_of(r, None, str(path)) for r, path in restored.versions]
        numbers = {r.number: r for r, _ in restored.versions}
        known = [n for n in numbers if n <= file.current_version]
        current = numbers[max(known)].model_id if known else STARTER
        work.versions.restore(versions, current, restored.last_version)
        self.autosave.learned.restore(numbers, restored.interrupted)
        layer_ids = {key: layer_id for layer_id, key in self.autosave.keys.items()}
        work.workers.corrections.clear()
        for saved in restored.corrections:
            image_id = layer_ids.get(saved.record.image, saved.record.image)
            work.workers.corrections.restore(saved.correction(image_id), saved.example)
        self._show_history(restored.history)
        self.controller.take_settings(file.settings)
        if file.current_image in layer_ids:
            self.controller.choose_image(layer_ids[file.current_image])

    def _show_history(self, history: list[Entry]) -> None:
        view = self.controller.view
        points = last_run(history)
        if points:
            view.start_plot()
            for point in points:
                view.add_loss(*point)
        current = self.controller.work.versions.current
        ends = [entry for entry in history if entry.get("event") == "end"]
        text = score_of(current)
        if ends and ends[-1].get("model_id") == current.key:
            end = ends[-1]
            text = score_text(
                end.get("before"), end.get("after"), bool(end.get("improved"))
            )
        view.set_result_text(text)

    def _say(self, sentence: str, kind: Any) -> None:
        self.controller.view.set_message(sentence, kind)
