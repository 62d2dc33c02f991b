"""Propose all: segments the images of the list that nobody has edited, in one job."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import ResunetError
from napari_resunet.events import CancelToken
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.queue_layers import QueueLayers
from napari_resunet.plugin.controllers.shared import (
    apply_proposal,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import counted
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.queue_images import (
    ReadImage,
    is_large,
    read_item,
    small_picture,
)
from napari_resunet.session.queue_workers import (
    FailedItem,
    ProposeAllRequest,
    ProposedItem,
    ProposedPlane,
    ShownProposal,
    propose_all,
)
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.session.workers import ModelReady, Workers

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.session.queue_images import OpenRequest

NOTHING = "Every image of the list was edited, or is done or skipped: none is proposed."
ProposeEvent = ModelReady | ShownProposal | ProposedPlane | ProposedItem | FailedItem


class ProposeAllController:
    """Proposes all images of the list, and draws their small pictures.

    Parameters
    ----------
    state : AppState
        The queue and the choices.
    layers : Layers
        The images in the viewer.
    view : DockView
        The dock.
    jobs, pictures : JobRunner
        The long job; the small pictures.
    workers : Workers
        Do the work.
    items : QueueLayers
        Knows how an item is read, and which one is in the viewer.
    autosave : Autosave
        Has the session folder.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        pictures: JobRunner,
        workers: Workers,
        items: QueueLayers,
        autosave: Autosave,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._pictures, self._workers = jobs, pictures, workers
        self._items, self._autosave = items, autosave
        self._openings: dict[str, int] = {}
        """How often each item had been opened when the job began."""
        self._n_proposed = self._n_failed = 0
        self._shown: dict[str, None] = {}
        """Keys of images in the viewer that were proposed."""
        self._found: list[QueueItem] = []
        """Further images in the files that the job has read."""
        self._wanted: list[str] = []
        view.queue.propose_all_clicked.connect(self.start)
        view.queue.pictures_wanted.connect(self.draw_pictures)

    def start(self) -> None:
        """Propose every image that nobody has edited."""
        if self._jobs.current is not None:
            return
        waiting = self._state.queue.to_propose()
        if not waiting:
            self._view.set_message(NOTHING)
            return
        self._autosave.tick()  # makes the session folder
        self._openings = dict(self._items.openings)
        self._n_proposed = self._n_failed = 0
        self._shown.clear()
        self._propose(waiting)

    def _propose(self, items: Sequence[QueueItem]) -> None:
        self._found = []
        request = ProposeAllRequest(
            self._state.versions.current.to_use,
            self._state.device,
            tuple(map(self._items.to_propose, items)),
            self._state.decoding,
        )
        self._jobs.start(
            Job(
                "propose all",
                lambda token: propose_all(self._workers, request, token),
                self._ended,
                self._proposed,
            )
        )

    # Events of the job --------------------------------------------------------------

    def _proposed(self, event: ProposeEvent) -> None:
        if isinstance(event, ModelReady):
            self._state.model_ready(event)
            return
        item = self._state.queue.get(event.key)
        if item is None:
            return
        match event:
            case ShownProposal():
                self._show(item, event)
            case ProposedPlane():
                self._write(item, event)
            case ProposedItem():
                self._note(item, event)
            case FailedItem():
                self._fail(item, event)

    def _show(self, item: QueueItem, shown: ShownProposal) -> None:
        image = self._items.shown(item)
        if image is not None:
            apply_proposal(self._state, self._layers, image, shown.proposal)
            self._shown[self._items.layer_id(item)] = None

    def _fail(self, item: QueueItem, failed: FailedItem) -> None:
        self._n_failed += 1
        self._state.queue.update(item.key, state="failed", reason=failed.reason)
        self._state.changed.emit()

    def _is_untouched(self, item: QueueItem) -> bool:
        """Return whether an item was not opened since the job began."""
        before = self._openings.get(item.key, 0)
        return self._items.openings[item.key] == before and not self._items.shown(item)

    def _write(self, item: QueueItem, plane: ProposedPlane) -> None:
        """Hand over the labels of a plane, unless the user opened the image meanwhile."""
        folder = self._autosave.folder
        if folder is None or not self._is_untouched(item):
            return
        record = plane.record
        if folder.file.image(record.key) is None:
            images = (*folder.file.images, record)
            folder.update(folder.file.model_copy(update={"images": images}))
            self._autosave.keys[item.key] = record.key
            self._state.queue.update(item.key, image=record.key)
        folder.put_deltas(record.key, plane.index, plane.deltas)

    def _note(self, item: QueueItem, result: ProposedItem) -> None:
        self._found += self._items.add_series(item, result.names)
        shown = self._items.shown(item) is not None
        if not shown and not self._is_untouched(item):
            return
        self._n_proposed += 1
        if result.scale is not None:
            self._state.image(self._items.layer_id(item)).scale = result.scale
        self._state.queue.update(
            item.key,
            state="proposed",
            reason="",
            objects=result.objects,
            unsure=round(result.unsure, 4),
        )
        self._state.changed.emit()

    def _ended(self, result: object) -> None:
        for key in self._shown:
            self._state.proposed.emit(key)
        self._shown.clear()
        if self._found:
            self._propose(self._found)
            return
        text = f"{counted(self._n_proposed, 'image')} proposed."
        if self._n_failed:
            text += f" {counted(self._n_failed, 'image')} failed: their tooltips say why."
        self._view.set_message(text, "warning" if self._n_failed else "info")

    # Small pictures -----------------------------------------------------------------

    def draw_pictures(self, keys: Sequence[str]) -> None:
        """Draw the pictures of some items; the latest wish counts."""
        self._wanted = list(keys)
        self._draw_next()

    def _draw_next(self, result: object = None) -> None:
        if not self._wanted or self._pictures.current is not None:
            return
        keys, self._wanted = self._wanted, []
        items = [item for key in keys if (item := self._state.queue.get(key)) is not None]
        sources = [(i.key, self._source(i)) for i in items if not is_large(i)]

        def drawn(event: tuple[str, Any]) -> None:
            self._view.queue.set_picture(*event)

        self._pictures.start(
            Job("picture", lambda token: _draw(sources, token), self._draw_next, drawn)
        )

    def _source(self, item: QueueItem) -> ReadImage | OpenRequest:
        image = self._items.shown(item)
        return self._items.request_for(item) if image is None else _read_image(image)


def _read_image(layer: Image) -> ReadImage:
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    axes = image_layers.axes_of(layer)
    return ReadImage(layer.name, levels, axes, bool(layer.rgb))


def _draw(
    sources: Sequence[tuple[str, ReadImage | OpenRequest]], token: CancelToken
) -> Generator[tuple[str, Any], None, None]:
    for key, source in sources:
        if token.cancelled:
            return
        try:
            image = source if isinstance(source, ReadImage) else read_item(source).image
        except ResunetError:
            continue  # its state says so when it is opened or proposed
        if image is not None:
            yield key, small_picture(image)
