"""Exports the labels of the chosen image with a note of how they were made."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet._package import starter_path
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.session_images import record_of
from napari_resunet.plugin.state import STARTER
from napari_resunet.session.export import describe_labels, export_labels, record_of_model
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import SessionSettings
from napari_resunet.types import CancelToken

if TYPE_CHECKING:
    from napari_resunet.plugin.autosave import Autosave
    from napari_resunet.plugin.controller import Controller

SUFFIX = ".tif"


class Export:
    """Writes labels when the user asks for it.

    Parameters
    ----------
    autosave : Autosave
        Knows the image's record and the versions on disk.
    """

    def __init__(self, autosave: Autosave) -> None:
        self.autosave = autosave
        self.controller: Controller = autosave.controller
        self.job: Job | None = None
        autosave.section.export_clicked.connect(self.ask)

    def ask(self) -> None:
        """Ask for a file and write the labels of the chosen image into it."""
        layers, key = self.controller.layers, self.controller.image_key
        binding, image = layers.binding(key), layers.image(key)
        if binding is None or image is None or self.job is not None:
            self._say("There are no labels to export yet: click Segment first.", "warning")
            return
        path = self.autosave.section.ask_export(f"{binding.layer.name}{SUFFIX}")
        if path is None:
            return
        if path.suffix.lower() not in (".tif", ".tiff"):
            path = path.with_name(path.name + SUFFIX)
        labels = np.array(binding.layer.data, np.int32)
        arguments = (path, labels, self._about(image, binding, labels), self._model_file())
        self.job = Job("export", _export_steps, arguments, CancelToken(), self)
        self.job.start()

    def _about(self, image: Any, binding: Any, labels: Any) -> dict[str, Any]:
        work, key = self.controller.work, binding.image_id
        record = record_of(image, binding, work.state(key))
        folder, settings = self.autosave.folder, SessionSettings()
        if folder is not None:
            settings = folder.file.settings
            known = folder.file.image(self.autosave.keys.get(key, ""))
            record = known or record
        verified = sum(int(p.verified.sum()) for p in binding.review.planes.values())
        return describe_labels(record, self._version(), settings, labels, verified)

    def _version(self) -> VersionRecord:
        current = self.controller.work.versions.current
        if current.record is not None:
            return self.autosave.learned.on_disk.get(current.record.number, current.record)
        if current.model is not None:
            return record_of_model(current.model.info, STARTER)
        return VersionRecord(number=0, name=STARTER, origin=STARTER)

    def _model_file(self) -> Path | None:
        """Find the file whose hash is not known yet."""
        record = self.controller.work.versions.current.record
        return starter_path() if record is None else None

    def on_event(self, job: Job, event: Any) -> None:
        """Nothing is told on the way."""

    def on_result(self, job: Job, result: Path) -> None:
        """Say where the labels are."""
        self._say(
            f"The labels were exported; '{result.name}' tells how they were made.", "info"
        )

    def on_error(self, job: Job, sentence: str) -> None:
        """Say what went wrong."""
        self._say(sentence, "error")

    def on_end(self, job: Job) -> None:
        """Let go of the job."""
        self.job = None

    def _say(self, sentence: str, kind: Any) -> None:
        self.controller.view.set_message(sentence, kind)


def _export_steps(
    path: Path, labels: Any, about: dict[str, Any], model_file: Path | None
) -> Generator[None, None, Path]:
    yield None
    if model_file is not None and model_file.is_file():
        about["model"]["sha256"] = file_hash(model_file)
    return export_labels(path, labels, about)
