"""Versions of the model: choose, go back, load, export, rename, delete, compare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet._package import STARTER, starter_path
from napari_resunet.errors import CorrectionError, ResunetError
from napari_resunet.files import atomic_path
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    object_size_in,
    scale_for,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.compare import COLOURS, ComparedLayer
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.messages import (
    difference_counts,
    difference_text,
    model_loaded_text,
    px,
    score_cell,
    suggested_name,
    version_from,
    version_of,
    version_reasons,
)
from napari_resunet.plugin.result_texts import score_of
from napari_resunet.plugin.state import AppState, Version
from napari_resunet.plugin.views.page_protocols import VersionRow
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.workers import (
    CompareRequest,
    Comparison,
    LoadRequest,
    ModelReady,
    NewClassesRequest,
    Workers,
)
from napari_resunet.types import Target
from napari_resunet.windows import grown, moved

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.session.segmenter import SizeFound

MARGIN, SURROUNDINGS = 4, 60
"""Pixels around a difference inside its frame, and those shown around the frame."""

NO_DIFFERENCE = "The two versions propose the same here: compare them on another area."
CANNOT_COMPARE = (
    "Open an image, choose another version in the list, and wait for the running job."
)


class VersionsController:
    """Manages the versions of the model.

    Parameters
    ----------
    state : AppState
        Holds the versions.
    layers : Layers
        The image for comparing.
    overlays : Overlays
        Frame a difference.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    workers : Workers
        Do the work.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        overlays: Overlays,
        view: DockView,
        jobs: JobRunner,
        workers: Workers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._workers = jobs, workers
        self.layer: ComparedLayer | None = None
        self.frame = Overlay(overlays, "difference", "white")
        self._compared: tuple[str, Comparison] | None = None
        """Key of the image, and what was compared."""
        self._position = -1
        self._titles, self._other = ("", ""), ""
        view.model.version_chosen.connect(self.choose)
        view.model.load_clicked.connect(self.load)
        view.model.save_clicked.connect(self.save)
        view.model.go_back_clicked.connect(self.go_back)
        view.model.new_classes_clicked.connect(self.new_classes)
        section = view.versions
        section.use_clicked.connect(self.choose)
        section.rename_clicked.connect(self.rename)
        section.note_clicked.connect(self.note)
        section.export_clicked.connect(self.export)
        section.delete_clicked.connect(self.delete)
        section.compare_toggled.connect(self.compare)
        section.flip_clicked.connect(self.flip)
        state.compare.connect(self.compare_with)
        section.next_difference_clicked.connect(self.next_difference)
        view.fine_tune.candidate.next_clicked.connect(self.next_difference)
        state.changed.connect(self.refresh)
        state.training_over.connect(self.prune)

    def prune(self) -> None:
        """Delete the oldest learned versions, if there are too many."""
        for version in self._state.versions.surplus():
            self._state.versions.remove(version.key)
            self._state.version_deleted.emit(version.record)

    def refresh(self) -> None:
        """Update both lists."""
        versions = self._state.versions
        current, numbers = versions.current, {v.key: v.number for v in versions.all()}
        rows = [_row(v, v is current, numbers) for v in versions.all()]
        self._view.model.set_versions(versions.listed(), current.key)
        self._view.versions.set_rows(rows, current.key)

    # The version in use -------------------------------------------------------------

    def choose(self, key: str) -> None:
        """Use another version."""
        size = self._use(key)
        title = self._state.versions.current.title
        self._state.outdated.emit(f"'{title}' is in use now{size}: click Segment.")

    def go_back(self) -> None:
        """Use the version before this one, and propose again with it."""
        previous = self._state.versions.previous()
        if previous is None:
            return
        size = self._use(previous.key)
        sentence = f"Gone back to '{previous.title}'{size}."
        self._view.set_message(sentence)
        self._state.renew.emit(self._state.image_key, sentence)

    def _use(self, key: str) -> str:
        """Use a version; return words about the object size, if it is another one."""
        before = object_size_in(self._state, self._layers)
        self._state.versions.choose(key)
        now = object_size_in(self._state, self._layers)
        # The dock shows the score of the version in use.
        self._view.fine_tune.set_result_text(score_of(self._state.versions.current))
        self._state.changed.emit()
        return "" if now is None or now == before else f", for objects of {px(now)}"

    # Loading and exporting ----------------------------------------------------------

    def load(self) -> None:
        """Load a model from a file that the user picks."""
        path = self._view.ask_open_path()
        if path is not None and self._jobs.current is None:
            request = LoadRequest(str(path), self._state.device)
            self._jobs.start(
                Job("load", lambda token: self._workers.load(request, token), self._add)
            )

    def new_classes(self) -> None:
        """Start a model of named classes, and add an empty layer to paint them."""
        image, names = chosen_image(self._state, self._layers), self._view.ask_class_names()
        if image is None or not names or self._jobs.current is not None:
            return
        self._layers.make_binding(image)
        model, device = self._state.versions.current.to_use, self._state.device
        request = NewClassesRequest(model, names, device)
        self._jobs.start(
            Job("load", lambda token: self._workers.new_classes(request, token), self._add)
        )

    def _add(self, ready: ModelReady) -> None:
        number = self._state.versions.next_number()
        self._state.versions.add(version_from(ready.model, number))
        self._state.device_text = ready.device_text
        self._view.set_message(model_loaded_text(ready.model))
        self._state.changed.emit()

    def save(self) -> None:
        """Export the model in use, named after the chosen image."""
        image = chosen_image(self._state, self._layers)
        name = "model" if image is None else str(image.name)
        self._export(self._state.versions.current, name)

    # A version of the list ----------------------------------------------------------

    def export(self, key: str) -> None:
        """Export a version to a model file that the user chooses."""
        version = self._state.versions.get(key)
        if version is not None:
            self._export(version, version.title)

    def _export(self, version: Version, name: str) -> None:
        path = self._view.ask_save_path(Path.home() / suggested_name(name))
        if path is None:
            return
        try:
            _write(version, path)
        except (ResunetError, OSError) as error:
            self._view.set_message(f"The model was not exported: {error}", "error")
        else:
            self._view.set_message(f"Saved as {path}.")

    def rename(self, key: str) -> None:
        """Ask for a new name of a version."""
        self._edit(key, "name", "Rename the version", "Its name:")

    def note(self, key: str) -> None:
        """Ask for a note on a version."""
        self._edit(key, "note", "Note", "Your note on this version:")

    def delete(self, key: str) -> None:
        """Delete a version, except the bundled model and the one in use."""
        versions = self._state.versions
        version = versions.get(key)
        if version is None or version.record is None or version is versions.current:
            return
        versions.remove(key)
        self._state.version_deleted.emit(version.record)
        self._view.set_message(f"'{version.title}' was deleted.")
        self._state.changed.emit()

    def _edit(self, key: str, field: str, title: str, question: str) -> None:
        version = self._state.versions.get(key)
        if version is None or version.record is None:
            return
        before = getattr(version.record, field)
        text = self._view.versions.ask_text(title, question, before)
        if text is None:
            return
        record = version.record.model_copy(update={field: text})
        self._state.versions.put(version_of(record, version.model, version.source))
        self._state.version_edited.emit(record)
        self._state.changed.emit()

    # Compare ------------------------------------------------------------------------

    def compare(self, on: bool) -> None:
        """Compare two versions on the visible area, or end the comparison."""
        if not on:
            self._end_comparison()
            return
        self._compare(self._chosen())

    def compare_with(self, key: str) -> None:
        """Compare a version with the one in use, or end that comparison."""
        version = self._state.versions.get(key)
        if version is None or self._other == key:
            self._end_comparison()
        else:
            self._compare(version)

    def _compare(self, other: Version | None) -> None:
        current = self._state.versions.current
        image = chosen_image(self._state, self._layers)
        if image is None or other is None or self._jobs.current is not None:
            self._view.versions.show_comparison("")
            self._view.set_message(CANNOT_COMPARE, "warning")
            return
        try:
            target = targets.targets_of(image, self._layers.viewer, "visible")[0]
        except CorrectionError as error:
            self._end_comparison()
            self._view.set_message(str(error), "warning")
            return
        self._titles, self._other = (other.title, current.title), other.key
        self._start_comparison(image, target, other)

    def _start_comparison(self, image: Image, target: Target, other: Version) -> None:
        current = self._state.versions.current
        key = image_layers.layer_id_of(image)
        binding = chosen_labels(self._state, self._layers)
        request = CompareRequest(
            known=None
            if binding is None or binding.unusable
            else binding.plane(target.index)[target.window].copy(),
            models=(other.to_use, current.to_use),
            device=self._state.device,
            image=snapshot_of(self._state, self._layers, image),
            target=target,
            scales=(scale_for(self._state, image, other), scale_for(self._state, image)),
            decoding=self._state.decoding,
        )

        def compared(comparison: Comparison) -> None:
            self._show_comparison(key, comparison)

        def report(event: ModelReady | SizeFound) -> None:
            self._compare_event(key, event)

        self._jobs.start(
            Job(
                "compare",
                lambda token: self._workers.compare(request, token),
                compared,
                report,
                self._compare_failed,
            )
        )

    def flip(self) -> None:
        """Show the other proposal."""
        if self.layer is None or not self.layer.is_there:
            self._end_comparison()
        else:
            self._show_title(self.layer.flip())

    def next_difference(self) -> None:
        """Move the camera to the next difference, the largest first."""
        image = None if self._compared is None else self._layers.image(self._compared[0])
        if self._compared is None or image is None or self.layer is None:
            return
        target, differences = self._compared[1].target, self._compared[1].differences
        if not differences.each:
            self._view.set_message(NO_DIFFERENCE)
            return
        total = len(differences.each)
        self._position = (self._position + 1) % total
        difference = differences.each[self._position]
        shape = image_layers.plane_shape(image)
        window = grown(moved(difference.window, target.window), MARGIN, shape)
        around = grown(window, SURROUNDINGS, shape)
        targets.look_at(self._layers.viewer, image, around)
        self.frame.draw(image, [targets.frame_of(window)], around)
        place = self._position + 1, total
        text = difference_text(difference.kind, *place, self._titles)
        self._show_counts(text)
        self._view.set_message(text)

    def _chosen(self) -> Version | None:
        version = self._state.versions.get(self._view.versions.chosen() or "")
        return None if version is self._state.versions.current else version

    def _compare_event(self, key: str, event: ModelReady | SizeFound) -> None:
        if isinstance(event, ModelReady):
            self._state.model_ready(event)
        else:
            self._state.image(key).scale = event.scale
            self._state.changed.emit()

    def _compare_failed(self, sentence: str) -> None:
        self._end_comparison()

    def _show_comparison(self, key: str, comparison: Comparison) -> None:
        other = self._other
        self._end_comparison()
        image, binding = self._layers.image(key), self._layers.binding(key)
        if image is None:
            return
        self._other = other
        viewer = self._layers.viewer
        self.layer = ComparedLayer(viewer, image, comparison, self._titles, binding)
        self._compared, self._position = (key, comparison), -1
        self._show_title(0)

    def _show_title(self, shown: int) -> None:
        self._show_counts(f"You see the proposal of '{self._titles[shown]}'.")

    def _show_counts(self, text: str) -> None:
        if self._compared is not None:
            found = self._compared[1].differences
            colours = COLOURS if found.fraction is None else {}
            counts = [(k, colours.get(k, ""), t) for k, t in difference_counts(found)]
            self._view.versions.show_comparison(text, counts)
            candidate = self._state.versions.candidate
            if candidate is not None and candidate.key == self._other:
                self._view.fine_tune.candidate.show_comparison(counts)

    def _end_comparison(self) -> None:
        if self.layer is not None:
            self.layer.remove()
        self.layer, self._compared, self._other = None, None, ""
        self.frame.clear()
        self._view.versions.show_comparison("")
        self._view.fine_tune.candidate.show_comparison(())


def _row(version: Version, in_use: bool, numbers: dict[str, int]) -> VersionRow:
    record, reasons = version.record, version_reasons(version, in_use)
    if record is None:
        cells = ("0", "", "starter", "")
        return VersionRow(version.key, cells, version.tooltip, reasons)
    parent = numbers.get(record.parent_id, 0)
    counts = f"{record.objects} obj, {record.regions} reg, {record.images} img"
    origin = counts if record.origin == "learned" else record.origin
    text = f"{version.title}\nFrom version {parent}\n{version.tooltip}"
    day = record.created[:16].replace("T", " ")
    cells = (str(record.number), score_cell(record), origin, day)
    return VersionRow(version.key, cells, text, reasons)


def _write(version: Version, path: Path) -> None:
    if version.model is not None:
        version.model.save(path)
        return
    source = starter_path() if version.source == STARTER else Path(version.source)
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
