"""What the slices of a stack are: links the objects of a volume or a film.

An object that the user edited or verified keeps its number and every pixel.
"""

from __future__ import annotations

from napari_resunet.plugin.controllers.shared import chosen_image
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
        view.segment.stack_chosen.connect(self.choose)
        state.changed.connect(self.refresh)
        state.proposed.connect(self.link)

    def refresh(self) -> None:
        """Show what the slices of the chosen image are; nothing if there is only one."""
        image = chosen_image(self._state, self._layers)
        several = image is not None and bool(_stack_axes(image_layers.axes_of(image)))
        shown = several and not self._state.is_classes
        self._view.segment.set_stack(self._state.chosen.stack if shown else None)

    def choose(self, stack: str) -> None:
        """Take the slices of the chosen image as separate, a volume, or a film."""
        known: dict[str, Stack] = {"volume": "volume", "film": "film"}
        self._state.chosen.stack = known.get(stack, "separate")
        if self._state.image_key is not None:
            self.link(self._state.image_key)

    def link(self, key: str) -> None:
        """Link the objects of an image, if its slices are a volume or a film."""
        stack, image = self._state.image(key).stack, self._layers.image(key)
        binding = self._layers.binding(key)
        if stack == "separate" or image is None or binding is None:
            return
        axes = _stack_axes(image_layers.axes_of(image))
        if self._jobs.current is not None or not axes or self._state.is_classes:
            return
        if binding.locked or binding.unusable:
            self._view.set_message(binding.unusable or LOCKED, "warning")
            return
        labels, protected = binding.reviewed()
        request = LinkRequest(labels, protected, axes, stack)
        before = binding.revision

        def linked(numbered: LabelArray) -> None:
            self._linked(key, before, numbered)

        self._jobs.start(
            Job("labels", lambda token: link_steps(request, token), linked, image_key=key)
        )

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


def _stack_axes(axes: str) -> tuple[str, ...]:
    return tuple(axis for axis in axes if axis in "PTZ")
