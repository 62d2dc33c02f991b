"""How to begin: the empty dock, earlier sessions, and the model that loads meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path

from napari_resunet._package import STARTER
from napari_resunet.events import CancelToken
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels_look import prepare_labels
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.store.recent import RecentSession, recent_sessions
from napari_resunet.session.workers import LoadEvent, LoadRequest, ModelReady, Workers

log = logging.getLogger(__name__)
NOT_OPENED = (
    "'{name}' cannot be opened as an image: choose another file, or open it by File › Open."
)
SAMPLE = "napari-resunet", "nuclei"


class WelcomeController:
    """Shows how to begin while no image is open.

    Parameters
    ----------
    state : AppState
        Gets the loaded model.
    layers : Layers
        The viewer's images.
    view : DockView
        The dock.
    jobs : JobRunner
        Reads the list of sessions and loads the model, one after the other.
    workers : Workers
        Load the model.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        workers: Workers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._workers = jobs, workers
        view.welcome.sample_clicked.connect(self.open_sample)
        view.welcome.paths_chosen.connect(self.open_images)
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show how to begin, or the steps."""
        self._view.show_welcome(not self._layers.images())

    def start(self) -> None:
        """List the sessions; then load torch and the model, which takes longest."""

        def listed(sessions: list[RecentSession]) -> None:
            self._view.welcome.set_sessions(sessions)
            self._load()

        self._jobs.start(Job("session", lambda token: _list_steps(), listed))

    def open_sample(self) -> None:
        """Open a sample image."""
        self._layers.viewer.open_sample(*SAMPLE)

    def open_images(self, paths: list[Path]) -> None:
        """Open files, or a folder as one stack."""
        for path in paths:
            try:
                # napari's own reader, so that no other plugin asks or runs.
                self._layers.viewer.open(str(path), stack=False, plugin="napari")
            except Exception:
                # Readers raise errors of many libraries.
                log.exception("%s cannot be opened", path)
                self._view.set_message(NOT_OPENED.format(name=path.name), "error")

    def _load(self) -> None:
        if self._state.model is not None:
            return
        request = LoadRequest(STARTER, self._state.device)

        def steps(token: CancelToken) -> Generator[LoadEvent, None, ModelReady]:
            prepare_labels()
            return (yield from self._workers.load(request, token))

        self._jobs.start(Job("load", steps, self._loaded))

    def _loaded(self, ready: ModelReady) -> None:
        # Segment may have loaded it in the meantime.
        if self._state.model is None:
            self._state.model_ready(ready)


def _list_steps() -> Generator[None, None, list[RecentSession]]:
    yield None
    return recent_sessions()
