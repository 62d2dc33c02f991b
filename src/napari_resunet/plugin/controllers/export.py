"""Exports the labels of the chosen image with a note of how they were made."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet._package import STARTER, starter_path
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    scale_for,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.session_images import record_of
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.export import describe_labels, export_labels, record_of_model
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import SessionSettings

SUFFIX = ".tif"


class ExportController:
    """Writes labels to a file that the user chooses.

    Parameters
    ----------
    state : AppState
        The chosen image and the version in use.
    layers : Layers
        The labels.
    view : DockView
        Asks for a file.
    jobs : JobRunner
        Writes it in a thread.
    autosave : Autosave
        Knows the image's record and the versions on disk.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        autosave: Autosave,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._autosave = jobs, autosave
        view.results.export_clicked.connect(self.ask)

    def ask(self) -> None:
        """Ask for a file and write the labels of the chosen image into it."""
        binding = chosen_labels(self._state, self._layers)
        image = chosen_image(self._state, self._layers)
        if binding is None or image is None or self._jobs.current is not None:
            self._view.set_message(
                "There are no labels to export yet: click Segment first.", "warning"
            )
            return
        path = self._view.results.ask_export(f"{binding.layer.name}{SUFFIX}")
        if path is None:
            return
        if path.suffix.lower() not in (".tif", ".tiff"):
            path = path.with_name(path.name + SUFFIX)
        labels = np.array(binding.layer.data, np.int32)
        about, model_file = self._about(image, binding, labels), self._model_file()
        self._jobs.start(
            Job(
                "session",
                lambda token: _export_steps(path, labels, about, model_file),
                self._exported,
            )
        )

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

    def _exported(self, path: Path) -> None:
        self._view.set_message(
            f"The labels were exported; '{path.name}' says how they were made.", "info"
        )


def _export_steps(
    path: Path, labels: Any, about: dict[str, Any], model_file: Path | None
) -> Generator[None, None, Path]:
    yield None
    if model_file is not None and model_file.is_file():
        about["model"]["sha256"] = file_hash(model_file)
    return export_labels(path, labels, about)
