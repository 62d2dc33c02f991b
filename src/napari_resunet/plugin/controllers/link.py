"""What the slices of a stack are: links the objects of a volume or a film.

An object that the user edited or verified keeps its number and every pixel.
"""

from __future__ import annotations

from typing import Any

from napari_resunet.plugin.controllers.shared import chosen_image, stack_of
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LOCKED
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.link_labels import LinkRequest, link_steps
from napari_resunet.session.settings import Stack
from napari_resunet.types import LabelArray

LINKED = "Objects that continue from slice to slice have one number now."
CHANGED = (
    "The labels were changed while they were being linked, so their numbers stay: choose "
    "again what the slices are."
)


class LinkController:
    """Links objects from slice to slice, when the user says so and after each proposal.

    Parameters
    ----------
    state : AppState
        What the slices of each image are.
    layers : Layers
        Their labels are numbered.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    """

    def __init__(
        self, state: AppState, layers: Layers, view: DockView, jobs: JobRunner
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs = jobs
        self._waiting: dict[str, None] = {}
        """Keys of images whose labels are linked after those that are being linked."""
        self._job: Job[Any, LabelArray] | None = None
        view.segment.stack_chosen.connect(self.choose)
        state.changed.connect(self.refresh)
        state.proposed.connect(self.link)

    def refresh(self) -> None:
        """Show what the slices of the chosen image are; nothing if there is only one."""
        image = chosen_image(self._state, self._layers)
        shown = None
        if image is not None and not self._state.is_classes:
            several = bool(image_layers.stack_axes_of(image))
            shown = stack_of(self._state, image) if several else None
        self._view.segment.set_stack(shown)

    def choose(self, stack: str) -> None:
        """Take the slices of the chosen image as separate, a volume, or a film."""
        known: dict[str, Stack] = {"volume": "volume", "film": "film"}
        self._state.chosen.stack = known.get(stack, "separate")
        if self._state.image_key is not None:
            self.link(self._state.image_key)

    def link(self, key: str) -> None:
        """Link the objects of an image, if its slices are a volume or a film."""
        image, binding = self._layers.image(key), self._layers.binding(key)
        if image is None or binding is None or self._state.is_classes:
            return
        axes, stack = image_layers.stack_axes_of(image), stack_of(self._state, image)
        if stack == "separate" or not axes:
            return
        if self._jobs.current is not None:
            if self._jobs.current is self._job:
                self._waiting[key] = None
            return
        if binding.locked or binding.unusable:
            self._view.set_message(binding.unusable or LOCKED, "warning")
            return
        labels, protected = binding.reviewed()
        request = LinkRequest(labels, protected, axes, stack)
        before = binding.revision

        def linked(numbered: LabelArray) -> None:
            self._linked(key, before, numbered)
            self._link_next()

        self._job = Job(
            "labels",
            lambda token: link_steps(request, token),
            linked,
            on_error=self._failed,
            image_key=key,
        )
        self._jobs.start(self._job)

    def _failed(self, sentence: str) -> None:
        self._waiting.clear()

    def _link_next(self) -> None:
        waiting, self._waiting = list(self._waiting), {}
        for key in waiting:
            self.link(key)

    def _linked(self, key: str, before: tuple[int, int], numbered: LabelArray) -> None:
        binding = self._layers.binding(key)
        if binding is None:
            return
        if binding.revision != before or binding.in_stroke or binding.locked:
            self._view.set_message(CHANGED, "warning")
            return
        binding.renumber(numbered)
        self._view.set_message(LINKED)
        self._state.changed.emit()
        self._state.linked.emit(key)
