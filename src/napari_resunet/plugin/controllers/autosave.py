"""Autosave: ten times a second, hands over what changed to the session folder.

Main thread only, and each round takes a bounded time: the folder's threads encode and
write. A session starts by itself as soon as there is something to save. `session_place`
moves it and asks before the window closes; `sessions` opens earlier ones.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.errors import FileError, ImageError
from napari_resunet.files import content_hash
from napari_resunet.plugin.controllers.autosave_training import TrainingAutosave
from napari_resunet.plugin.controllers.describe import build_manifest
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels_watch import (
    REPORTED_SECONDS,
    SCAN_SECONDS,
    LabelsWatch,
)
from napari_resunet.plugin.layers.session_images import record_of, thumbnail_of
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.pixels import save_pixels
from napari_resunet.session.queue import item_key
from napari_resunet.session.store.folder import (
    CLOSE_SECONDS,
    SessionFolder,
)
from napari_resunet.session.store.images import write_thumbnail
from napari_resunet.session.store.recent import (
    new_folder,
    remember,
    sessions_folder,
)
from napari_resunet.session.store.schema import THUMBNAIL, ImageRecord

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.layers.labels import LabelsBinding
    from napari_resunet.session.store.delta import LabelsSnapshot

log = logging.getLogger(__name__)
ROUND_MS = 100
RETRY_SECONDS = 5.0
"""Time until the next try if a session could not be started."""

THUMBNAIL_SECONDS = 30.0
"""Time between two thumbnails."""

FINAL_SCAN_SECONDS = 1.0
"""Time limit for the scan of all labels at the end."""

MAX_REREAD_BYTES = 2**28
"""Images up to this size are checked for changed pixels at the end."""

VANISHED = (
    "Files of the session were deleted or changed by another program: the labels are "
    "written again from memory."
)


class Autosave:
    """Saves the session of one dock.

    Parameters
    ----------
    state : AppState
        Choices and versions.
    layers : Layers
        Images and labels.
    view : DockView
        Shows where and how the session is saved.
    timers : Timers
        Call the rounds.
    training : TrainingAutosave
        Saves versions, corrections and history.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        timers: Timers,
        training: TrainingAutosave,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self.training = training
        self.folder: SessionFolder | None = None
        self.keys: dict[str, str] = {}
        """The session's key of each image, by the key of its layer."""
        self.given_up = False
        """Whether the user chose to close without saving."""
        self._watches: dict[str, LabelsWatch] = {}
        self._updates: dict[str, dict[str, Any]] = {}
        """New facts about images for their records, by the session's key."""
        self._replaced: set[str] = set()
        """Image layers whose pixels were replaced."""
        self._refused: set[str] = set()
        """Image layers that a session cannot store; reported once."""
        self._reported = ""
        self._next_try = self._next_thumbnail = 0.0
        self._ended = False
        self._rounds = timers.every(ROUND_MS, self.tick)
        self._rounds.start()
        state.counted.connect(self.counted)
        layers.data_changed.connect(self.image_changed)
        layers.carried.connect(self.forget)
        state.forgotten.connect(self.forget)

    # The rounds ---------------------------------------------------------------------

    def tick(self) -> None:
        """Find what changed and hand it over."""
        if self._ended:
            return
        self.given_up = False
        self._follow()
        if self.folder is None and not self._start_if_needed():
            return
        self._recapture_vanished()
        self._hand_over(self._capture())
        self._notify()

    def flush(self, seconds: float) -> bool:
        """Hand over everything and wait until it is on disk, at most `seconds`."""
        self._follow()
        if self.folder is None and not self._start_if_needed(FINAL_SCAN_SECONDS):
            return not self._has_something(FINAL_SCAN_SECONDS)
        assert self.folder is not None
        self._hand_over_all()
        self.folder.look_for_vanished()
        self.folder.flush(seconds)
        if self._recapture_vanished():
            self._hand_over_all()
            self.folder.flush(seconds)
        # session.json comes last, because it may only name what is on disk.
        self._describe()
        return self.folder.flush(seconds)

    @property
    def ended(self) -> bool:
        """Whether the session was closed."""
        return self._ended

    def pause(self) -> None:
        """Stop the rounds before the session is closed; `resume` starts them again."""
        self._rounds.stop()

    def resume(self) -> None:
        """Start the rounds again."""
        self._ended = False
        self._rounds.start()

    def release(self) -> None:
        """Close the folder; the layers then belong to no session."""
        self._ended = True
        for watch in self._watches.values():
            watch.unbind()
        self._watches.clear()
        self.keys.clear()
        folder, self.folder = self.folder, None
        seconds = 0.0 if self.given_up else CLOSE_SECONDS
        self.training.use(None)
        self._state.folder = None
        if folder is not None and not folder.close(seconds):
            log.error("The session %s could not be written completely", folder.root)

    def adopt(
        self,
        layer_id: str,
        key: str,
        states: Mapping[tuple[int, ...], LabelsSnapshot],
        fingerprint: str = "",
    ) -> None:
        """Save an image whose labels were restored from the folder."""
        binding = self._layers.binding(layer_id)
        assert binding is not None
        self.keys[layer_id] = key
        if fingerprint:
            self._updates.setdefault(key, {})["content_hash"] = fingerprint
        if layer_id in self._watches:
            self._watches[layer_id].unbind()
        self._watches[layer_id] = LabelsWatch(binding, self._layers.viewer, states)

    def adopt_pixels(self, layer_id: str, key: str, fingerprint: str) -> None:
        """Save an image without labels, with whose pixels another one is combined."""
        self.keys[layer_id] = key
        if fingerprint:
            self._updates.setdefault(key, {})["content_hash"] = fingerprint

    def counted(self, layer_id: str | None, objects: int) -> None:
        """Note the number of verified objects of an image."""
        if layer_id in self.keys:
            updates = self._updates.setdefault(self.keys[layer_id], {})
            updates["checked_objects"] = objects

    def image_changed(self, layer_id: str) -> None:
        """Note that an image got new pixels."""
        image = self._layers.image(layer_id)
        self._replaced.add(layer_id)
        if self.folder is None or image is None or layer_id not in self.keys:
            return
        record = self.folder.file.image(self.keys[layer_id])
        if record is not None and record.shape == tuple(image_layers.finest(image).shape):
            self._fingerprint(record, image)

    def forget(self, layer_id: str) -> None:
        """Leave out the record of an image: it gets a new one, or its labels are elsewhere.

        Its files stay in the folder.
        """
        if self.folder is not None:
            self.training.save_changes(self.keys)
        key = self.keys.pop(layer_id, None)
        if self.folder is not None and key is not None:
            file = self.folder.file
            images = tuple(image for image in file.images if image.key != key)
            self.folder.update(file.model_copy(update={"images": images}))

    def put_away(self, layer_id: str) -> bool:
        """Hand over all labels of an image before it leaves the viewer.

        Returns
        -------
        bool
            False if there are labels that no session can take.
        """
        self._follow()
        watch = self._watches.get(layer_id)
        if watch is None:
            return True
        if self.folder is None and not self._start_if_needed(math.inf):
            return not watch.has_work(math.inf)
        found = watch.capture_all(math.inf)
        if found and self._session_key(watch) is None:
            return False
        self._hand_over({layer_id: found})
        watch.unbind()
        del self._watches[layer_id]
        return True

    def draw_thumbnail_soon(self) -> None:
        """Draw the thumbnail in the next round."""
        self._next_thumbnail = 0.0

    # The folder ---------------------------------------------------------------------

    def use(self, folder: SessionFolder) -> None:
        """Save the session in this folder."""
        self.folder = folder
        self.training.use(folder)
        remember(folder.root)
        self.show_place()

    def show_place(self) -> None:
        """Show where the session is saved."""
        if self.folder is not None:
            self._state.folder = self.folder.root
            self._view.session.set_place(self.folder.root)

    def rewrite_all(self) -> None:
        """Write everything in memory into a new, empty folder."""
        assert self.folder is not None
        self.training.rewrite_all()
        for watch in self._watches.values():
            watch.unbind()
        self._watches.clear()
        for layer_id, key in self.keys.items():
            image, record = self._layers.image(layer_id), self.folder.file.image(key)
            if image is not None and record is not None:
                self._fingerprint(record, image)

    def recapture_all(self) -> None:
        """Capture all labels again."""
        for _, watch in self._open_watches():
            watch.recapture_all()

    def _start_if_needed(self, seconds: float = SCAN_SECONDS) -> bool:
        """Start a session if there is something to save; return whether there is one."""
        if time.monotonic() < self._next_try or not self._has_something(seconds):
            return False
        keys = [*(key for key, _ in self._open_watches()), *self._state.with_store()]
        names = [image.name for key in keys if (image := self._layers.image(key))]
        names += [Path(item.path).parent.name for item in self._state.queue.added]
        path = new_folder(names[0] if names else "session", sessions_folder())
        try:
            self.use(SessionFolder.create(path))
        except FileError as error:
            self._next_try = time.monotonic() + RETRY_SECONDS
            self._view.set_message(f"Your work is not being saved: {error}", "warning")
            return False
        return True

    def _has_something(self, seconds: float) -> bool:
        return (
            self.training.has_something()
            or bool(self._state.queue.added)
            or any(self._layers.image(key) for key in self._state.with_store())
            or any(w.has_work(seconds) for _, w in self._open_watches())
        )

    # What is handed over ------------------------------------------------------------

    def _open_watches(self) -> Iterator[tuple[str, LabelsWatch]]:
        yield from list(self._watches.items())

    def _follow(self) -> None:
        """Watch new labels, and stop watching removed ones."""
        bindings = self._layers.bindings()
        for layer_id, watch in self._open_watches():
            if bindings.get(layer_id) is not watch.binding:
                watch.unbind()
                del self._watches[layer_id]
                if layer_id in bindings:
                    # The labels have another shape: a new image for the session.
                    self.keys.pop(layer_id, None)
        for layer_id, binding in bindings.items():
            if layer_id not in self._watches:
                self._watches[layer_id] = LabelsWatch(binding, self._layers.viewer)

    def _capture(self) -> dict[str, Any]:
        n = max(1, len(self._watches))
        return {
            layer_id: watch.capture(REPORTED_SECONDS / n, SCAN_SECONDS / n)
            for layer_id, watch in self._open_watches()
        }

    def _hand_over(self, found: Mapping[str, Any]) -> None:
        assert self.folder is not None
        for layer_id, deltas in found.items():
            if deltas:
                self._queue_deltas(self._watches[layer_id], deltas)
        self._add_without_labels()
        self._describe()
        self.training.save_changes(self.keys)
        self._draw_thumbnail()

    def _queue_deltas(self, watch: LabelsWatch, found: Mapping[Any, Any]) -> None:
        key = self._session_key(watch) if found else None
        if key is None or self.folder is None:
            return
        for index, deltas in found.items():
            self.folder.put_deltas(key, index, deltas)

    def _session_key(self, watch: LabelsWatch) -> str | None:
        """Return the session's key of an image; add its record with its first labels."""
        return self._key_of(watch.binding.image_id, watch.binding)

    def _add_without_labels(self) -> None:
        """Add records of images that are combined with others, or have labels elsewhere."""
        for layer_id in self._state.with_store():
            self._key_of(layer_id, self._layers.binding(layer_id))
        for layer_id in list(self.keys):
            for partner in self._state.image(layer_id).partners:
                self._key_of(partner, self._layers.binding(partner))

    def _key_of(self, layer_id: str, binding: LabelsBinding | None) -> str | None:
        if layer_id not in self.keys:
            image = self._layers.image(layer_id)
            if image is None or self.folder is None:
                return None
            try:
                record = record_of(image, binding, self._state.image(layer_id))
            except ImageError as error:
                if layer_id not in self._refused:
                    self._refused.add(layer_id)
                    self._view.set_message(str(error), "error")
                return None
            self.keys[layer_id] = record.key
            images = (*self.folder.file.images, record)
            self.folder.update(self.folder.file.model_copy(update={"images": images}))
            self._fingerprint(record, image)
        return self.keys[layer_id]

    def _fingerprint(self, record: ImageRecord, image: Image) -> None:
        """In a writing thread, hash the pixels, and store them if no file has them."""
        data, updates = image_layers.finest(image), self._updates.setdefault(record.key, {})
        replaced = image_layers.layer_id_of(image) in self._replaced

        def run(root: Path) -> None:
            updates.update(save_pixels(root, record, data, replaced))

        assert self.folder is not None
        self.folder.put_large(f"image {record.key}", run)

    def check_pixels(self) -> None:
        """Check for pixels that a script edited in place, without an event."""
        for layer_id, key in self.keys.items():
            image = self._layers.image(layer_id)
            known = self._updates.get(key, {}).get("content_hash")
            record = None if self.folder is None else self.folder.file.image(key)
            if image is None or record is None or not known:
                continue
            data = image_layers.finest(image)
            if not isinstance(data, np.ndarray) or data.nbytes > MAX_REREAD_BYTES:
                continue
            if record.shape == data.shape and content_hash(data) != known:
                self._fingerprint(record, image)

    def _recapture_vanished(self) -> bool:
        """Capture planes again whose files vanished from the folder."""
        assert self.folder is not None
        vanished = self.folder.take_vanished()
        layer_ids = {key: layer_id for layer_id, key in self.keys.items()}
        for key, index in vanished:
            watch = self._watches.get(layer_ids.get(key, ""))
            if watch is not None:
                watch.recapture(index)
        if vanished:
            self._view.set_message(VANISHED, "warning")
        return bool(vanished)

    def _hand_over_all(self) -> None:
        for _, watch in self._open_watches():
            self._queue_deltas(watch, watch.capture_all(FINAL_SCAN_SECONDS))
        self._hand_over({})

    def _describe(self) -> None:
        """Update session.json; it is written only if it changed."""
        assert self.folder is not None
        for layer_id, key in self.keys.items():
            item = self._state.queue.get(item_key(layer_id))
            if item is not None and item.image != key:
                self._state.queue.update(item.key, image=key)
        on_disk, file = self.training.on_disk, self.folder.file
        self.folder.update(
            build_manifest(
                file,
                self._state,
                self._layers,
                self._view.fine_tune.minutes,
                self.keys,
                self._updates,
                on_disk,
            )
        )

    def _draw_thumbnail(self) -> None:
        """Draw the thumbnail for the list of sessions now and then."""
        layer_id = self._state.image_key
        image, binding = self._layers.image(layer_id), self._layers.binding(layer_id)
        if time.monotonic() < self._next_thumbnail or image is None or binding is None:
            return
        self._next_thumbnail = time.monotonic() + THUMBNAIL_SECONDS
        data = image.data[-1] if image.multiscale else image.data
        if isinstance(data, np.ndarray) and self.folder is not None:
            picture = thumbnail_of(image, binding, self._layers.viewer)
            self.folder.put_large(
                THUMBNAIL, lambda root: write_thumbnail(root / THUMBNAIL, picture)
            )

    # Messages -----------------------------------------------------------------------

    def _notify(self) -> None:
        """Report once that writing fails, and once that it works again."""
        assert self.folder is not None
        for failure in self.folder.take_lost():
            self._view.set_message(
                f"A part of the session could not be saved ({failure}).", "error"
            )
        trouble = self.folder.trouble
        if trouble == self._reported:
            return
        if not trouble or not self._reported:
            sentence = trouble or "The session is being saved again."
            self._view.set_message(sentence, "warning" if trouble else "info")
        self._reported = trouble
        self._view.session.set_trouble(trouble)
