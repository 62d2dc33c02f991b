"""Leads through the steps: what to do next, how far each step is, and the results."""

from __future__ import annotations

from typing import Any

from napari_resunet.plugin.controllers.shared import chosen_labels, is_in_file
from napari_resunet.plugin.jobs import JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import (
    HINTS,
    LABELS_IN_FILE,
    results_text,
    step_texts,
)
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import ControlName, DockView, StepName
from napari_resunet.session.queue import item_key

STEP_OF: dict[ControlName, StepName] = {
    "segment": "segment",
    "mark_verified": "correct",
    "next": "correct",
    "done_next": "correct",
    "fine_tune": "learn",
    "work_here": "correct",
    "write_back": "correct",
}


class GuideController:
    """Highlights the next button, and opens Correct after the first proposal.

    Parameters
    ----------
    state : AppState
        The counts and versions.
    layers : Layers
        The labels.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    """

    def __init__(
        self, state: AppState, layers: Layers, view: DockView, jobs: JobRunner
    ) -> None:
        self._state, self._layers, self._view, self._jobs = state, layers, view, jobs
        self._learned: dict[str, int] = {}
        self._proposed: set[tuple[str | None, bool]] = set()
        """Keys of images with labels, for objects and for classes."""
        self._next: ControlName | None = None
        state.changed.connect(self.refresh)
        state.counted.connect(self._counted)
        state.history.connect(self._logged)

    def refresh(self) -> None:
        """Show what to do next, and how far each step is."""
        self._open_correct()
        state, counts = self._state, self._state.counts
        self._next = self._next_control()
        self._view.set_primary(self._next)
        self._view.steps.set_next(None if self._next is None else STEP_OF[self._next])
        self._view.status.set_hint("" if self._next is None else HINTS[self._next])
        version = state.versions.current.title
        for name, text in step_texts(counts, version, self._jobs.kind).items():
            self._view.steps.set_state(name, text)
        in_file = is_in_file(state, self._layers)
        text = LABELS_IN_FILE if in_file else results_text(counts, version)
        self._view.results.set_text(text)

    def _next_control(self) -> ControlName | None:
        if self._state.image_key is None:
            return None
        counts = self._state.counts
        if is_in_file(self._state, self._layers):
            return "work_here"
        if counts is None or not self._is_proposed():
            return "segment"
        if not counts.pixels:
            return "mark_verified"
        learned = self._learned.get(self._state.image_key)
        if learned != counts.pixels:
            return "fine_tune"
        if self._state.chosen.part is not None:
            return "write_back"
        key = item_key(self._state.image_key)
        return "done_next" if self._state.queue.unfinished(key) else "next"

    @property
    def _labelled(self) -> tuple[str | None, bool]:
        return self._state.image_key, self._state.is_classes

    def _is_proposed(self) -> bool:
        if self._labelled in self._proposed or is_in_file(self._state, self._layers):
            return True
        binding = chosen_labels(self._state, self._layers)
        if binding is None:
            return False
        # New classes have nothing to propose yet: the user paints first.
        model = self._state.model
        is_new = model is not None and not model.info.lineage.steps
        return not binding.is_empty or (self._state.is_classes and is_new)

    def _open_correct(self) -> None:
        """Open the step Correct when an image gets its first labels."""
        if self._labelled not in self._proposed and self._is_proposed():
            self._proposed.add(self._labelled)
            self._view.steps.open("correct")

    def _counted(self, key: str, verified: int) -> None:
        self.refresh()

    def _logged(self, entry: dict[str, Any]) -> None:
        counts, key = self._state.counts, self._state.image_key
        if entry["event"] == "begin" and counts is not None and key is not None:
            self._learned[key] = counts.pixels
