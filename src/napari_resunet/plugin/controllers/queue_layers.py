"""Opens the images of the queue as layers, and takes them off the viewer again.

Only one of them is in the viewer. Its labels are on disk before it leaves, and what is
verified on it is in the training set soon after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.events import ignore
from napari_resunet.files import split_scene
from napari_resunet.ome_zarr.metadata import store_of
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.reopen import Reopener
from napari_resunet.plugin.controllers.shared import (
    apply_proposal,
    scale_for,
    snapshot_of,
    stack_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.readers import can_be_read, make_layer, read_file
from napari_resunet.plugin.layers.session_images import restore_transform
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.queue import item_key
from napari_resunet.session.queue_ahead import ReadAhead, record_saved
from napari_resunet.session.queue_images import (
    OpenedItem,
    OpenRequest,
    ReadImage,
    open_item,
)
from napari_resunet.session.queue_workers import (
    ImageChoices,
    ItemToPropose,
    ProposeAllRequest,
)
from napari_resunet.session.restore import RestoredImage
from napari_resunet.session.store.schema import ImageRecord, QueueItem
from napari_resunet.session.workers import (
    CorrectedImage,
    ModelReady,
    RecordRequest,
    Workers,
)
from napari_resunet.types import new_id

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.layers.labels import LabelsBinding

REMOVAL_MS = 300
"""The layers of the image before are removed so many milliseconds later, after the next one
is drawn: napari takes half a second for that, once torch is imported."""

NOT_SAVED = (
    "The labels of this image cannot be saved in the session, so it stays open: export "
    "them, or choose another place for the session."
)
NOT_FOUND = (
    "'{}' was not found, or its pixels are others now: click it again to choose its file."
)


class QueueLayers:
    """Opens one image of the queue at a time.

    Parameters
    ----------
    state : AppState
        The queue and the choices.
    layers : Layers
        The viewer's images and labels.
    view : DockView
        Asks for files that have moved.
    jobs, records : JobRunner
        Read an image; add what was verified to the training set.
    work : JobRunner
        The long job, which may segment the image that leaves.
    workers : Workers
        Do the work.
    autosave : Autosave
        Saves the labels.
    timers : Timers
        Remove layers after the next image is drawn.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        records: JobRunner,
        work: JobRunner,
        workers: Workers,
        autosave: Autosave,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._records, self._work = jobs, records, work
        self._workers, self._autosave = workers, autosave
        self._reopener = Reopener(state, layers, autosave)
        state.session_opened.connect(self.record_saved)
        self._leaving: list[Any] = []
        self._removal = timers.once(REMOVAL_MS, self.remove_left)
        self.ahead: dict[str, ReadAhead] = {}
        """What was read before it is opened, by the key of the item."""
        self.openings: Counter[str] = Counter()
        """How often each item was opened, by its key."""

    # Opening ------------------------------------------------------------------------

    def open(self, item: QueueItem) -> None:
        """Open an item instead of the one that is open; the latest call wins."""
        if self._jobs.current is not None:
            self._jobs.abandon()
        ahead = self.ahead.pop(item.key, None)
        if self.shown(item) is not None:
            self._choose(item)
        elif ahead is not None and ahead.item == item and ahead.opened.image is not None:
            self.show(item, ahead.opened, ahead.opened.image)
            self._propose(item, ahead)
        else:
            self._read(item)

    def _choose(self, item: QueueItem) -> None:
        """Choose an image that is in the viewer; others of the list would cover it."""
        others = [other for other in self._open_items() if other.key != item.key]
        if not all(self._secure(other) for other in others):
            return
        self._state.choose(self.layer_id(item))
        for other in others:
            self._take_off(other)
        self._removal.start()

    def _propose(self, item: QueueItem, ahead: ReadAhead) -> None:
        """Show what was proposed before the item was opened."""
        image = self.shown(item)
        if image is None or not ahead.proposals:
            return
        settings = self._state.image(item.key)
        settings.scale = settings.scale or ahead.proposals[0].scale
        settings.choose_channels(ahead.channels)
        for proposal in ahead.proposals:
            apply_proposal(self._state, self._layers, image, proposal)
        self._state.changed.emit()

    def request_for(self, item: QueueItem) -> OpenRequest:
        """Collect what is needed to read an item."""
        folder = self._autosave.folder
        chosen = item.key in self._state.chosen_files
        return OpenRequest(
            item, self.record_of(item), folder, read_file if chosen else None
        )

    def to_propose(self, item: QueueItem) -> ItemToPropose:
        """Collect what is needed to propose labels for an item."""
        image = self.shown(item)
        request = self.request_for(item)
        if image is None or (item.path and image_layers.n_unclear(image)):
            return ItemToPropose(request, self._choices(item))
        choices = ImageChoices(scale=scale_for(self._state, image))
        snapshot = snapshot_of(self._state, self._layers, image)
        return ItemToPropose(request, choices, snapshot)

    def _choices(self, item: QueueItem) -> ImageChoices:
        """Return what the user chose for an image, or else for the one that is open."""
        record, version = self.record_of(item), self._state.versions.current
        settings = self._state.image(item.key)
        is_new = record is None and settings.channels is None and settings.auto
        source = self._state.chosen if is_new else settings
        scale = None if is_new and source.auto else source.scale
        auto = source.auto
        if record is not None and settings.channels is None:
            scale, auto = record.object_scale, record.auto
        if auto and version.object_size is not None:
            pixels = version.object_size.in_pixels(None)
            scale = scale if pixels is None else self._state.diameter / pixels
        image = self._layers.image(self._state.image_key)
        if image is None:
            return ImageChoices(source.channels, 0, scale, auto, stack=source.stack)
        n, planes = image_layers.n_channels(image), image_layers.n_settled(image)
        stack = stack_of(self._state, image), image_layers.stack_axes_of(image)
        return ImageChoices(source.channels, n, scale, auto, planes, n > 0, *stack)

    def last_open(self) -> str:
        """Return the key of the item that was open when the session was saved."""
        folder = self._autosave.folder
        return "" if folder is None else folder.file.current_item

    def record_of(self, item: QueueItem) -> ImageRecord | None:
        """Return what the session says of an item; None if it has no labels yet."""
        folder = self._autosave.folder
        return None if folder is None or not item.image else folder.file.image(item.image)

    def _read(self, item: QueueItem) -> None:
        request = self.request_for(item)

        def opened(result: OpenedItem) -> None:
            self._opened(item.key, result)

        def failed(sentence: str) -> None:
            self._fail(item.key, sentence)

        self._jobs.start(
            Job("open", lambda token: open_item(request, token), opened, on_error=failed)
        )

    def _opened(self, key: str, result: OpenedItem) -> None:
        item = self._state.queue.get(key)
        if item is None:
            return
        if result.image is not None:
            self.show(item, result, result.image)
        elif (found := self._ask_for(item)) is not None:
            self._read(found)

    def _ask_for(self, item: QueueItem) -> QueueItem | None:
        """Let the user choose the file of an item; None if they cancel."""
        path = self._view.session.ask_image(item.name, item.path)
        path = None if path is None else store_of(path)
        if path is None or not can_be_read(path):
            self._view.set_message(NOT_FOUND.format(item.name), "warning")
            return None
        self._state.chosen_files.add(item.key)
        _, number = split_scene(Path(item.path))
        place = path if number is None else path / str(number)
        return self._state.queue.update(item.key, path=str(place))

    def _fail(self, key: str, sentence: str) -> None:
        if sentence and key in self._state.queue:
            self._state.queue.update(key, state="failed", reason=sentence)
            self._view.set_message(sentence, "error")
            self._state.changed.emit()

    def show(self, item: QueueItem, opened: OpenedItem, image: ReadImage) -> None:
        """Add the layers of an item, and take those of the one before it off."""
        before = self._open_items()
        if not all(self._secure(other) for other in before):
            return
        settled = image if item.image else self._choices(item).settled(image)
        try:
            layer = make_layer(
                settled, image_layers.Origin(item.key, item.path, image.reader)
            )
        except FileError as error:
            self._fail(item.key, str(error))
            return
        self.openings[item.key] += 1
        self.add_series(item, opened.names)
        self._state.unlearned.pop(item.key, None)
        shapes = [image_layers.full_shape(x) for x in map(self.shown, before) if x]
        self._inherit(item, layer)
        self._state.image(item.key).answered |= settled is not image
        self._add(item, layer, opened)
        for other in before:
            self._take_off(other)
        self._removal.start()
        if image_layers.full_shape(layer) not in shapes:
            # Not napari's own way, which would fit the layers that are leaving, too.
            whole = image_layers.whole_window(layer)
            targets.look_at(self._layers.viewer, layer, whole)

    def _add(self, item: QueueItem, layer: Image, opened: OpenedItem) -> None:
        record = self.record_of(item)
        notices = list(opened.notices)
        if record is not None:
            restore_transform(layer, record)
            layer.name = record.name
        if item.state == "failed":
            self._state.queue.update(item.key, state="new", reason="")
        self._layers.viewer.add_layer(layer)
        if record is not None:
            image = RestoredImage(
                record, (), dict(opened.states), fingerprint=record.content_hash
            )
            notices.append(unfit := self._reopener.restore(layer, image))
            if unfit:
                # Its new labels get a record of their own.
                self._autosave.keys.pop(item.key, None)
        self._state.choose(item.key)
        if sentences := " ".join(filter(None, notices)):
            self._view.set_message(sentences, "warning")

    def add_series(self, item: QueueItem, names: Sequence[str]) -> list[QueueItem]:
        """Add the other images of a file after the first one; return those that are new."""
        if item.series or len(names) < 2:
            return []
        others = [
            QueueItem(key=new_id(), path=item.path, series=n, name=name)
            for n, name in enumerate(names[1:], 1)
        ]
        if self._state.queue.add(others, after=item.key):
            self._state.queue.update(item.key, name=names[0])
            if item.key in self._state.chosen_files:
                self._state.chosen_files.update(other.key for other in others)
        return [other for other in others if other.key in self._state.queue]

    def _inherit(self, item: QueueItem, layer: Image) -> None:
        """Use the channels and the object size that the user chose for the image before."""
        chosen = self._layers.image(self._state.image_key)
        settings = self._state.image(item.key)
        if chosen is None or item.image or settings.channels is not None:
            return
        known, n = self._state.chosen, image_layers.n_channels(layer)
        if n == image_layers.n_channels(chosen) and not known.partners:
            settings.choose_channels(known.channels)
        if not known.auto:
            settings.auto, settings.scale = False, known.scale
        if image_layers.stack_axes_of(layer) == image_layers.stack_axes_of(chosen):
            settings.stack = stack_of(self._state, chosen)

    # Leaving ------------------------------------------------------------------------

    def leave(self, item: QueueItem) -> bool:
        """Take an item off the viewer; return False if its labels cannot be saved."""
        if self.shown(item) is None:
            return True
        if not self._secure(item):
            return False
        self._take_off(item)
        self._removal.start()
        return True

    def count(self, item: QueueItem) -> None:
        """Note the objects and edits of an item that is open, in all slices."""
        binding = self._layers.binding(self.layer_id(item))
        if binding is None:
            return
        objects = None if self._state.is_classes else binding.n_objects()
        self._state.queue.update(item.key, objects=objects, edits=binding.edits)

    def _open_items(self) -> list[QueueItem]:
        """List the items that were opened from the queue and are in the viewer."""
        added = self._state.queue.added
        return [item for item in added if self.shown(item) is not None]

    def shown(self, item: QueueItem) -> Image | None:
        """Return the layer of an item, if it is in the viewer."""
        return self._layers.image(self.layer_id(item))

    def layer_id(self, item: QueueItem) -> str:
        """Return the id of the layer of an item; empty if it is a removed layer."""
        if not item.is_layer:
            return item.key
        ids = (layer_id for layer_id, _ in self._layers.images())
        return next((x for x in ids if item_key(x) == item.key), "")

    def _secure(self, item: QueueItem) -> bool:
        """Hand over the labels of an item, and what is verified on it."""
        binding = self._layers.binding(item.key)
        if binding is not None and binding.in_stroke:
            return False
        if not self._autosave.put_away(item.key):
            self._view.set_message(NOT_SAVED, "error")
            return False
        if binding is not None:
            self._note_corrections(item.key, binding)
            self.count(item)
        return True

    def _take_off(self, item: QueueItem) -> None:
        """Let go of the layers of an item whose labels were handed over."""
        job = self._work.current
        if job is not None and job.kind == "segment" and job.image_key == item.key:
            self._work.abandon()
        self._state.image(item.key).forget_maps()
        if (image := self.shown(item)) is not None:
            self._leaving += self._layers.let_go(image)

    def remove_left(self) -> None:
        """Remove the layers that were let go."""
        leaving, self._leaving = self._leaving, []
        self._layers.remove(leaving)

    def shut_down(self) -> None:
        """Remove nothing more."""
        self._removal.stop()

    # What was verified --------------------------------------------------------------

    def _note_corrections(self, key: str, binding: LabelsBinding) -> None:
        """Add what is verified to the training set while the pixels are in memory."""
        image = self._layers.image(key)
        if image is None or not binding.review.verified_planes():
            return
        try:
            corrections = [c for c in binding.corrections() if not self._is_known(c)]
        except CorrectionError as error:
            self._view.set_message(str(error), "warning")
            return
        if corrections:
            self._state.unlearned[key] = CorrectedImage(
                snapshot_of(self._state, self._layers, image),
                tuple(corrections),
                scale_for(self._state, image),
                self._state.image(key).auto,
            )
            self._record_next()

    def _is_known(self, correction: Correction) -> bool:
        """Return whether the training set has a correction as it is."""
        latest = self._workers.corrections.latest(correction.key)
        known = None if latest is None else latest[0]
        return known is not None and (
            known.window == correction.window
            and np.array_equal(known.verified, correction.verified)
            and np.array_equal(known.labels, correction.labels)
        )

    def _record_next(self) -> None:
        waiting = [(k, c) for k, c in self._state.unlearned.items() if c is not None]
        if not waiting or self._records.current is not None:
            return
        key, corrected = waiting[0]
        model = self._state.versions.current.to_use
        request = RecordRequest(model, self._state.device, corrected)

        def recorded(result: object) -> None:
            if self._state.unlearned.get(key) is corrected:
                self._state.unlearned[key] = None
            self._state.changed.emit()
            self._record_next()

        def failed(sentence: str) -> None:
            # It would fail in the next fine-tuning too. What is verified stays on disk.
            if self._state.unlearned.get(key) is corrected:
                del self._state.unlearned[key]
            self._view.set_message(sentence, "warning")
            self._record_next()

        self._records.start(
            Job(
                "record",
                lambda token: self._workers.record(request, token),
                recorded,
                on_error=failed,
            )
        )

    def record_saved(self) -> None:
        """Add what a crash kept from the training set: it is verified in the session."""
        items = [item for item in self._state.queue.added if self._is_unrecorded(item)]
        if not items or self._records.current is not None:
            return
        request = ProposeAllRequest(
            self._state.versions.current.to_use,
            self._state.device,
            tuple(map(self.to_propose, items)),
            self._state.decoding,
        )

        def recorded(event: str | ModelReady) -> None:
            if isinstance(event, str):
                self._state.unlearned[event] = None
                self._state.changed.emit()
            else:
                self._state.model_ready(event)

        self._records.start(
            Job(
                "record",
                lambda token: record_saved(self._workers, request, token),
                ignore,
                recorded,
            )
        )

    def _is_unrecorded(self, item: QueueItem) -> bool:
        record = self.record_of(item)
        verified = record is not None and record.checked_objects > 0
        known = self._workers.corrections.other_than(())
        learned = any(correction.image_id == item.key for correction in known)
        return verified and not learned and self.shown(item) is None
