"""Work here and Done: a part of a large image is corrected as an ordinary image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import ResunetError
from napari_resunet.files import shown
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    scale_for,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.stores import add_part, show_store, window_in_store
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.large import label_store
from napari_resunet.session.large.label_store import StoreReady
from napari_resunet.session.large.workers import (
    PartRead,
    PartRequest,
    WriteRequest,
    read_part,
    write_part,
)
from napari_resunet.session.workers import CorrectedImage, Workers
from napari_resunet.types import Window
from napari_resunet.windows import overlap

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.layers.labels import LabelsBinding

TOO_LARGE = (
    "In view are {} × {} pixels, and at most {} × {} can be corrected at once: zoom in "
    "first."
)
NOT_THERE = (
    "The labels in {} were not found: put them back and open the session again, or segment "
    "the image again."
)
OVERLAPS = "'{}' is a part of what is in view: click Done there first."
HERE = "Correct this part as any image; Done writes it back to the labels of the whole one."


class WorkHereController:
    """Cuts parts out of large images, and writes their labels back.

    Parameters
    ----------
    state : AppState
        The chosen image.
    layers : Layers
        Get the parts.
    view : DockView
        The buttons.
    jobs : JobRunner
        The long job.
    workers : Workers
        Take what is verified into the training set.
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
        view.correct.large.work_here_clicked.connect(self.work_here)
        view.correct.large.write_back_clicked.connect(self.write_back)
        state.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show the button that the chosen image has."""
        image, chosen = chosen_image(self._state, self._layers), self._state.chosen
        name = None
        if image is not None and chosen.part is not None:
            name = "write_back"
        elif image is not None and chosen.store is not None:
            name = "work_here"
        self._view.correct.large.show_button(name)

    # Work here ----------------------------------------------------------------------

    def work_here(self) -> None:
        """Cut what is in view out of the chosen image."""
        image, folder = chosen_image(self._state, self._layers), self._state.chosen.store
        if image is None or folder is None or self._jobs.current is not None:
            return
        viewer, shape = self._layers.viewer, self._state.chosen.store_shape
        try:
            seen = targets.seen_window(image, viewer)
        except ResunetError as error:
            self._view.set_message(str(error), "warning")
            return
        if not shape:
            self._view.set_message(NOT_THERE.format(shown(folder)), "warning")
            return
        index = image_layers.shown_index(image, viewer)
        window = window_in_store(image, seen, shape)
        if self._may_cut(folder, index, window):
            self._read(image, PartRequest(folder, index, window), shape)

    def _may_cut(self, folder: Path, index: tuple[int, ...], window: Window) -> bool:
        """Return whether a part can be cut out, or say why not."""
        height, width = (s.stop - s.start for s in window)
        most = label_store.MAX_SIDE
        if max(height, width) > most:
            sizes = (f"{n:,}" for n in (height, width, most, most))
            self._view.set_message(TOO_LARGE.format(*sizes), "warning")
            return False
        for key, name in self._layers.images():
            part = self._state.image(key).part
            if part is None or (part.store, part.index) != (str(folder), index):
                continue
            if all(s.stop > s.start for s in overlap(part.window, window)):
                # Written back one after the other, each would undo the other.
                self._layers.select(key)
                self._view.set_message(OVERLAPS.format(name), "warning")
                return False
        return True

    def _read(self, image: Image, request: PartRequest, shape: tuple[int, ...]) -> None:
        def done(part: PartRead) -> None:
            if image in self._layers.viewer.layers:
                self._show(image, part, shape)

        self._jobs.start(Job("whole", lambda token: read_part(request, token), done))

    def _show(self, image: Image, part: PartRead, shape: tuple[int, ...]) -> None:
        layer = add_part(self._layers.viewer, image, part, shape)
        key = image_layers.layer_id_of(layer)
        settings = self._state.image(key)
        settings.part, settings.scale, settings.auto = part.record, part.scale, False
        if "C" in part.axes:
            settings.choose_channels(tuple(range(len(part.pixels))))
        # Labels that are written into a layer later are drawn by napari once more.
        binding = self._layers.make_binding(layer, part.labels)
        binding.review.planes[()] = part.review
        self._layers.select(key)
        self._view.set_message(HERE, "info")
        self._state.changed.emit()

    # Done ---------------------------------------------------------------------------

    def write_back(self) -> None:
        """Write the labels of the chosen part back, and close it."""
        image = chosen_image(self._state, self._layers)
        binding = chosen_labels(self._state, self._layers)
        part = self._state.chosen.part
        if image is None or binding is None or part is None or binding.in_stroke:
            return
        if self._jobs.current is not None:
            return
        try:
            corrected = self._corrected(image, binding)
        except ResunetError as error:
            self._view.set_message(str(error), "warning")
            return
        # Not copied, which takes long: nobody writes into them while the layer is locked.
        labels = binding.plane(()).view()
        labels.setflags(write=False)
        request = WriteRequest(
            self._state.versions.current.to_use, self._state.device, part, labels, corrected
        )
        self._write(image, binding, request)

    def _corrected(self, image: Image, binding: LabelsBinding) -> CorrectedImage | None:
        """Collect what is verified, because its pixels leave the viewer."""
        if not binding.review.verified_planes():
            return None
        return CorrectedImage(
            snapshot_of(self._state, self._layers, image),
            tuple(binding.corrections()),
            scale_for(self._state, image),
            self._state.chosen.auto,
        )

    def _write(self, image: Image, binding: LabelsBinding, request: WriteRequest) -> None:
        was_editable = binding.layer.editable
        binding.layer.editable = False  # what is painted now would be lost

        def done(store: StoreReady) -> None:
            if request.corrected is not None:
                self._state.unlearned[binding.image_id] = None
            self._close(image, store)

        def failed(sentence: str) -> None:
            binding.layer.editable = was_editable

        self._jobs.start(
            Job(
                "whole",
                lambda token: write_part(self._workers, request, token),
                done,
                self._state.model_ready,
                failed,
            )
        )

    def _close(self, part: Image, store: StoreReady) -> None:
        """Remove the layers of a part, and show the labels that it belongs to."""
        key = image_layers.layer_id_of(part)
        self._layers.remove(self._layers.let_go(part))
        self._state.forgotten.emit(key)
        self._state.image(key).part = None
        whole = self._whole_image(store.folder)
        if whole is not None:
            show_store(self._layers.viewer, whole, store)
            self._layers.select(image_layers.layer_id_of(whole))
        self._view.set_message(
            f"Written back: {store.note.n_objects:,} objects in the whole image.", "info"
        )
        self._state.changed.emit()

    def _whole_image(self, folder: Path) -> Any:
        keys = [k for k, _ in self._layers.images() if self._state.image(k).store == folder]
        return self._layers.image(keys[0]) if keys else None
