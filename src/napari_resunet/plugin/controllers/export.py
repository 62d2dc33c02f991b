"""Exports the labels of the chosen image with a note of how they were made."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet._package import STARTER, starter_path
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    scale_for,
    stack_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.readers import read_file
from napari_resunet.plugin.layers.session_images import record_of
from napari_resunet.plugin.messages import NO_TRACKS, counted
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.export import (
    GEOJSON,
    SUFFIXES,
    LabelsToExport,
    describe_labels,
    export_labels,
    record_of_model,
)
from napari_resunet.session.measurements import Measurement, digest_of
from napari_resunet.session.queue_export import ExportAllRequest, Exported, export_all
from napari_resunet.session.queue_images import OpenRequest
from napari_resunet.session.settings import MEASUREMENTS, Stack
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import (
    ImageRecord,
    SessionSettings,
)

NOTHING_TO_EXPORT = "There are no labels to export yet: click Propose all first."


class ExportController:
    """Writes labels to files, in the formats that the user chooses.

    Parameters
    ----------
    state : AppState
        The chosen image and the version in use.
    layers : Layers
        The labels.
    view : DockView
        Asks for formats and a file.
    jobs : JobRunner
        Writes them in a thread.
    autosave : Autosave
        Knows the image's record and the versions on disk.
    work : JobRunner
        The long job, which exports all images.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        autosave: Autosave,
        work: JobRunner,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._autosave, self._work = jobs, autosave, work
        view.results.export_clicked.connect(self.ask)
        view.queue.export_all_clicked.connect(self.ask_all)

    def ask(self) -> None:
        """Ask for formats and a file, and write the labels of the chosen image."""
        binding = chosen_labels(self._state, self._layers)
        image = chosen_image(self._state, self._layers)
        if binding is None or image is None or self._jobs.current is not None:
            self._view.set_message(
                "There are no labels to export yet: click Segment first.", "warning"
            )
            return
        film = self._is_film(stack_of(self._state, image))
        formats = self._view.results.ask_formats("" if film else NO_TRACKS)
        if not formats:
            return
        name = re.sub(r"[/\\]", "_", binding.layer.name)  # no subfolder is meant
        suggested = f"{name}{SUFFIXES[formats[0]][0]}"
        path = self._view.results.ask_export(suggested)
        if path is None:
            return
        labels = np.array(binding.layer.data, np.int32)
        about, model_file = self.describe(image, binding, labels)
        export = LabelsToExport(labels, about, self._state.class_names, binding.verified())
        measured = self._state.image(binding.image_id).measured
        self._jobs.start(
            Job(
                "session",
                lambda token: _export_steps(path, export, formats, model_file, measured),
                self._exported,
            )
        )

    def describe(
        self, image: Any, binding: Any, labels: Any
    ) -> tuple[dict[str, Any], Path | None]:
        """Describe how labels were made; return the model file too if it needs a hash."""
        return self._about(image, binding, labels), self._model_file()

    def ask_all(self) -> None:
        """Ask for a folder, and write the labels of all images of the list into it."""
        if self._work.current is not None:
            return
        # Handed over is enough: what waits to be written is read too.
        self._autosave.flush(0.0)
        folder, items = self._autosave.folder, self._with_labels()
        if folder is None or not items:
            self._view.set_message(NOTHING_TO_EXPORT, "warning")
            return
        no_tracks = NO_TRACKS
        if any(self._is_film(record.stack) for _, record in items):
            no_tracks = ""
        wanted = self._view.results.ask_formats(no_tracks, measure=True)
        target = self._view.queue.ask_folder() if wanted else None
        if not wanted or target is None:
            return
        request = ExportAllRequest(
            items, folder, target, self._version(), folder.file.settings,
            formats=tuple(key for key in wanted if key in SUFFIXES),
            class_names=self._state.class_names,
            measure="basic" if MEASUREMENTS.key in wanted else None,
        )  # fmt: skip
        self._work.start(
            Job("export all", lambda token: export_all(request, token), self._all_exported)
        )

    def _is_film(self, stack: Stack) -> bool:
        """Return whether objects have tracks: classes have none."""
        return stack == "film" and not self._state.is_classes

    def _with_labels(self) -> list[tuple[OpenRequest, ImageRecord]]:
        """List the images of the list that have labels in the session."""
        folder = self._autosave.folder
        if folder is None:
            return []
        pairs = ((i, folder.file.image(i.image)) for i in self._state.queue.items)
        chosen = self._state.chosen_files
        return [
            (
                OpenRequest(i, record, folder, read_file if i.key in chosen else None),
                record,
            )
            for i, record in pairs
            if record is not None and folder.planes(record.key)
        ]

    def _all_exported(self, result: Exported) -> None:
        text = f"The labels of {counted(result.n, 'image')} were exported."
        left = [*result.failures[:1]]
        if len(result.failures) > 1:
            left.append(f"{counted(len(result.failures) - 1, 'other image')} failed too.")
        if n := result.n_no_films:
            text += f" No tracks of {counted(n, 'image')}: only a film has some."
        self._view.set_message(" ".join([text, *left]), "warning" if left else "info")

    def _about(self, image: Any, binding: Any, labels: Any) -> dict[str, Any]:
        key = binding.image_id
        record = record_of(image, binding, self._state.image(key))
        folder, settings = self._autosave.folder, SessionSettings()
        if folder is not None:
            settings = folder.file.settings
            known = folder.file.image(self._autosave.keys.get(key, ""))
            record = known or record
        record = record.model_copy(update={"object_scale": scale_for(self._state, image)})
        verified = sum(int(p.verified.sum()) for p in binding.review.planes.values())
        return describe_labels(record, self._version(), settings, labels, verified)

    def _version(self) -> VersionRecord:
        current = self._state.versions.current
        if current.record is not None:
            return self._autosave.training.on_disk.get(
                current.record.number, current.record
            )
        if current.model is not None:
            return record_of_model(current.model.info, STARTER)
        return VersionRecord(number=0, name=STARTER, origin=STARTER)

    def _model_file(self) -> Path | None:
        """Return the model file if its hash is not recorded yet."""
        record = self._state.versions.current.record
        return starter_path() if record is None else None

    def _exported(self, written: tuple[Path, bool]) -> None:
        note, measured = written
        how = ", with their measurements" if measured else ""
        self._view.set_message(
            f"The labels were exported{how}; '{note.name}' says how they were made.", "info"
        )


def _export_steps(
    path: Path,
    export: LabelsToExport,
    formats: tuple[str, ...],
    model_file: Path | None,
    measured: Measurement | None,
) -> Generator[None, None, tuple[Path, bool]]:
    """Write labels; a GeoJSON has the measurements of the table, if it is of them."""
    yield None
    values = None
    if GEOJSON in formats and measured is not None:
        same = digest_of(export.labels) == measured.digest
        values = measured.of_objects() if same else None
    if model_file is not None and model_file.is_file():
        export.about["model"]["sha256"] = file_hash(model_file)
    note = export_labels(path, replace(export, measurements=values), formats)
    return note, values is not None
