"""Shows progress, errors, and which buttons can be used; cancels the running job."""

from __future__ import annotations

import time
from typing import Any

from napari_resunet.events import Progress
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    is_in_file,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import NO_IMAGE, UIState, disabled_reasons, duration
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import ControlName, DockView
from napari_resunet.session.queue import item_key


class StatusController:
    """Fills the status line and the buttons' tooltips.

    Parameters
    ----------
    state : AppState
        The state that is shown.
    layers : Layers
        The viewer's layers.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    """

    def __init__(
        self, state: AppState, layers: Layers, view: DockView, jobs: JobRunner
    ) -> None:
        self._state, self._layers, self._view, self._jobs = state, layers, view, jobs
        self._began = time.monotonic()
        view.status.cancel_clicked.connect(self.cancel)
        state.changed.connect(self.refresh)
        layers.notice.connect(self._warn)
        jobs.changed.connect(self._job_changed)
        jobs.progress.connect(self.show_progress)
        jobs.notice.connect(self._warn)
        jobs.failed.connect(self.show_failure)

    def refresh(self) -> None:
        """Enable the buttons that can be used, and say why the others cannot."""
        self._view.model.set_device_text(self._state.device_text)
        for name, reason in self.reasons().items():
            self._view.set_enabled(name, not reason, reason)

    def reasons(self) -> dict[ControlName, str]:
        """Return for each control why it is disabled; empty if it is not."""
        return disabled_reasons(self._now())

    def cancel(self) -> None:
        """Cancel the running job."""
        if self._jobs.current is not None:
            self._jobs.cancel()
            self._view.set_message("Cancelling …")

    def show_progress(self, job: Job[Any, Any], progress: Progress) -> None:
        """Show the progress of a job and its remaining time."""
        done, total, left = progress.done, progress.total, ""
        if 0 < done < total:
            seconds = (time.monotonic() - self._began) * (total - done) / done
            left = f", {duration(seconds)} left"
        text = progress.message + left
        self._view.status.show_progress(done, total, text if total else f"{text} …")

    def show_failure(self, sentence: str) -> None:
        """Show why a job failed; no sentence means that it was cancelled."""
        if sentence:
            self._view.set_message(sentence, "error")
        else:
            self._view.set_message("Cancelled. Your labels stay as they are.")

    def _warn(self, sentence: str) -> None:
        self._view.set_message(sentence, "warning")

    def _job_changed(self) -> None:
        job, self._began = self._jobs.current, time.monotonic()
        if job is None:
            self._view.status.show_progress(None, None, "")
        else:
            self.show_progress(job, Progress(0, 0, "starting"))
        self._state.changed.emit()

    def _now(self) -> UIState:
        image, versions = chosen_image(self._state, self._layers), self._state.versions
        unsupported = NO_IMAGE
        if image is not None:
            unsupported = image_layers.unsupported_reason(image, self._layers.viewer)
        return UIState(
            no_image=unsupported,
            not_shown=self._state.position[1],
            whole_stack=self._state.scope == "stack",
            job=self._jobs.kind,
            has_maps=self._state.chosen.has_maps,
            has_labels=chosen_labels(self._state, self._layers) is not None,
            classes=self._state.is_classes,
            can_go_back=versions.previous() is not None,
            can_save=self._state.model is not None,
            in_file=is_in_file(self._state, self._layers),
            item=self._state.queue.position(item_key(self._state.image_key or "")),
            n_items=len(self._state.queue),
        )
