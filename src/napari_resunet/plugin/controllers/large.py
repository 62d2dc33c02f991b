"""Large images: all their labels are in a file, which is shown and cannot be painted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet.files import shown
from napari_resunet.plugin.controllers.shared import scale_for, snapshot_of
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.stores import finest_scale, show_store
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.large.label_store import StoreReady
from napari_resunet.session.large.place import place_for_labels
from napari_resunet.session.large.workers import WholeRequest, segment_whole
from napari_resunet.session.store.recent import sessions_folder
from napari_resunet.session.workers import Workers

if TYPE_CHECKING:
    from napari.layers import Image

NO_FILE = (
    "The labels of an image of this size go into a file, and it was opened from no file on "
    "this computer: save it as a TIFF or an OME-Zarr, and open that."
)
ALL_SLICES = (
    "Slices of this size are segmented all at once, into a file: choose Stack under Scope."
)
REPLACE = "{} holds labels of this image already. Segment it again and replace them?"
STOPPED = "Cancelled. The blocks that are done are kept: Segment goes on from there."


class LargeController:
    """Segments large images into files, and shows their labels.

    Parameters
    ----------
    state : AppState
        Asks for it; gets the place of the labels.
    layers : Layers
        Show them.
    view : DockView
        Asks before labels are replaced.
    jobs : JobRunner
        The long job.
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
        state.whole.connect(self.segment)
        state.store_opened.connect(self.show)

    def segment(self, key: str) -> None:
        """Segment all of an image into a file."""
        image = self._layers.image(key)
        source = None if image is None else image_layers.source_path(image)
        if image is None or self._jobs.current is not None:
            return
        one_slice = self._state.scope == "slice" and image_layers.stack_shape(image)
        if source is None or one_slice:
            self._view.set_message(ALL_SLICES if source else NO_FILE, "warning")
            return
        target = place_for_labels(source, self._state.folder or sessions_folder())
        if target.exists() and not self._may_replace(target):
            return
        self._start(key, image, source, target)

    def _may_replace(self, target: Path) -> bool:
        return self._view.segment.ask_replace(REPLACE.format(shown(target)))

    def _start(self, key: str, image: Image, source: Path, target: Path) -> None:
        request = WholeRequest(
            model=self._state.versions.current.to_use,
            device=self._state.device,
            source=source,
            target=target,
            image=snapshot_of(self._state, self._layers, image),
            scale=scale_for(self._state, image),
            decoding=self._state.decoding,
        )

        def done(store: StoreReady) -> None:
            self.show(key, store)
            self._view.set_message(
                f"The labels are in {shown(store.folder)}. Zoom to a place, and click Work "
                "here to correct it.",
                "info",
            )

        def failed(sentence: str) -> None:
            if not sentence:
                self._view.set_message(STOPPED, "info")

        self._jobs.start(
            Job(
                "whole",
                lambda token: segment_whole(self._workers, request, token),
                done,
                self._state.model_ready,
                failed,
            )
        )

    def show(self, key: str, store: StoreReady) -> None:
        """Show the labels of an image, if it is still there."""
        image = self._layers.image(key)
        if image is None:
            return
        settings = self._state.image(key)
        settings.store, settings.store_shape = store.folder, store.levels[0].shape
        settings.scale = settings.scale or finest_scale(image, store)
        show_store(self._layers.viewer, image, store)
        # Adding a layer selects it, and the image is what the user works on.
        self._layers.select(key)
        self._state.changed.emit()
