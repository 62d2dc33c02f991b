"""Saves the labels of the chosen image into the OME-Zarr that it was opened from."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import ArgumentError
from napari_resunet.events import Progress
from napari_resunet.files import shown
from napari_resunet.ome_zarr.labels import labels_path
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.plugin.controllers.shared import chosen_image, chosen_labels
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.save_into import (
    DEFAULT_NAME,
    check_name,
    save_labels_into,
)
from napari_resunet.session.store.models import file_hash
from napari_resunet.session.workers import plain_errors

Describe = Callable[[Any, Any, Any], tuple[dict[str, Any], Path | None]]


class SaveIntoController:
    """Offers to save labels into their image, and does it in a thread.

    Parameters
    ----------
    state : AppState
        The chosen image.
    layers : Layers
        The labels.
    view : DockView
        Asks for a name.
    jobs : JobRunner
        Saves them in a thread.
    describe : callable
        Describes how labels were made: takes the image, its labels, and their pixels, and
        returns the description and the model file if its hash is not known yet.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        describe: Describe,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._describe = jobs, describe
        self._name = DEFAULT_NAME
        self._looked_at: tuple[Path | None, bool] = None, False
        """The last folder, and whether it is an OME-Zarr: the disk is asked once."""
        view.results.save_into_clicked.connect(self.ask)
        state.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Offer it for images from an OME-Zarr only."""
        self._view.results.set_can_save_into(self._store() is not None)

    def ask(self) -> None:
        """Ask for a name, and save the labels of the chosen image into it."""
        binding = chosen_labels(self._state, self._layers)
        image, store = chosen_image(self._state, self._layers), self._store()
        if binding is None or store is None or self._jobs.current is not None:
            self._view.set_message(
                "There are no labels to save yet: click Segment first.", "warning"
            )
            return
        name = self._ask_name(store)
        if name is None:
            return
        labels = np.array(binding.layer.data, np.int32)
        about, model_file = self._describe(image, binding, labels)
        self._jobs.start(
            Job(
                "session",
                lambda token: _save_steps(store, labels, name, about, model_file),
                self._saved,
            )
        )

    def _store(self) -> Path | None:
        """Return the OME-Zarr that the chosen image was opened from."""
        image = chosen_image(self._state, self._layers)
        folder = None if image is None else image_layers.source_folder(image)
        if folder is not None and folder != self._looked_at[0]:
            self._looked_at = folder, is_ome_zarr(folder)
        return folder if folder is not None and self._looked_at[1] else None

    def _ask_name(self, store: Path) -> str | None:
        """Ask for a name that can be used; None if the user does not want to save."""
        name = self._view.results.ask_labels_name(self._name)
        if name is None:
            return None
        try:
            check_name(name)
        except ArgumentError as error:
            self._view.set_message(str(error), "warning")
            return None
        self._name = name
        there = labels_path(store, name).exists()
        return None if there and not self._view.results.ask_replace(name) else name

    def _saved(self, folder: Path) -> None:
        store = folder.parent.parent
        self._view.set_message(
            f"The labels were saved into {shown(store.name)}, named {shown(folder.name)}.",
            "info",
        )


def _save_steps(
    store: Path,
    labels: Any,
    name: str,
    about: dict[str, Any],
    model_file: Path | None,
) -> Generator[Progress, None, Path]:
    yield Progress(0, 0, "saving the labels")
    with plain_errors():
        if model_file is not None and model_file.is_file():
            about["model"]["sha256"] = file_hash(model_file)
        # The user was asked before.
        return save_labels_into(store, labels, name, about=about, overwrite=True)
