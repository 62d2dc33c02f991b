"""Reads and proposes the next images of the list while the user corrects this one."""

from __future__ import annotations

from napari_resunet.plugin.controllers.queue_layers import QueueLayers
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.session.queue import item_key
from napari_resunet.session.queue_ahead import ReadAhead, read_ahead
from napari_resunet.session.queue_workers import ProposeAllRequest
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.session.workers import Workers

N_AHEAD = 2
PAUSE_MS = 500
"""It begins when nothing has changed for so long."""


class AheadController:
    """Keeps the next images ready; what is ready is dropped when the model changes.

    Parameters
    ----------
    state : AppState
        The queue, the model, and the sliders.
    jobs : JobRunner
        Reads ahead.
    work : JobRunner
        The long job, which has the processor for itself.
    workers : Workers
        Do the work.
    items : QueueLayers
        Gets what is ready.
    timers : Timers
        Wait for a pause.
    """

    def __init__(
        self,
        state: AppState,
        jobs: JobRunner,
        work: JobRunner,
        workers: Workers,
        items: QueueLayers,
        timers: Timers,
    ) -> None:
        self._state, self._jobs, self._work = state, jobs, work
        self._workers, self._items = workers, items
        self._pause = timers.once(PAUSE_MS, self.start)
        self._made_with: object = None
        self._tried: dict[str, QueueItem] = {}
        """Items that were read ahead, or could not be, as they were then."""
        state.changed.connect(self.refresh)
        work.changed.connect(self._work_changed)

    def shut_down(self) -> None:
        """Read nothing more."""
        self._pause.stop()

    def refresh(self) -> None:
        """Drop what no longer holds, and go on soon."""
        state = self._state
        is_loaded, key = state.model is not None, state.versions.current.key
        now = is_loaded, key, state.decoding, state.device
        if now != self._made_with:
            self._forget()
            self._made_with = now
        self._pause.start()

    def start(self) -> None:
        """Read the next images that are not ready."""
        upcoming = self._upcoming()
        ready, keys = self._items.ahead, {item.key for item in upcoming}
        for key in [key for key in ready if key not in keys]:
            del ready[key]
            self._tried.pop(key, None)
        wanted = [item for item in upcoming if self._tried.get(item.key) != item]
        busy = self._work.current is not None or self._jobs.current is not None
        if not wanted or busy or self._state.model is None:
            return
        self._tried |= {item.key: item for item in wanted}
        request = ProposeAllRequest(
            self._state.model,
            self._state.device,
            tuple(map(self._items.to_propose, wanted)),
            self._state.decoding,
        )

        def found(ahead: ReadAhead) -> None:
            if self._state.queue.get(ahead.item.key) == ahead.item:
                ready[ahead.item.key] = ahead

        self._jobs.start(
            Job(
                "ahead",
                lambda token: read_ahead(self._workers, request, token),
                self._ended,
                found,
            )
        )

    def _upcoming(self) -> list[QueueItem]:
        """List the next items whose files the user chose and that are not open."""
        key = item_key(self._state.image_key or "")
        if key not in self._state.queue:
            return []
        items = self._state.queue.unfinished(key)[:N_AHEAD]
        return [item for item in items if self._items.shown(item) is None]

    def _ended(self, result: object) -> None:
        self._pause.start()

    def _forget(self) -> None:
        if self._jobs.current is not None:
            self._jobs.abandon()
        self._items.ahead.clear()
        self._tried.clear()

    def _work_changed(self) -> None:
        """Leave the processor to the long job, which may change what is proposed."""
        if self._work.current is not None:
            self._forget()
