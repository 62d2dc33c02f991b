"""Next: moves the view to the region where the model is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.plugin.controllers.shared import (
    apply_proposal,
    chosen_image,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.geometry import to_world
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.messages import IMAGE_REMOVED
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.tools import NEXT_KEY
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.next_region import Candidate, Found, NextRequest, find_next
from napari_resunet.session.workers import Workers
from napari_resunet.types import Index, Window

if TYPE_CHECKING:
    from napari.layers import Image

FILL = 0.9
"""Fraction of the canvas that the region fills."""

ALL_VERIFIED = "Everything is verified: there is nothing left to look at."


class NextRegionController:
    """Finds the next region in a job and shows it.

    Parameters
    ----------
    state : AppState
        The chosen image; set to the image of the region.
    layers : Layers
        All images.
    overlays : Overlays
        Show the frame of the region.
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
        self.frame = Overlay(overlays, "look here", "deepskyblue")
        self._framed: tuple[Any, ...] = ()
        self._has_key = self._bind_key()
        view.correct.next_clicked.connect(self.start)
        state.changed.connect(self.refresh)
        layers.viewer.dims.events.current_step.connect(self.refresh)

    def shut_down(self) -> None:
        """Stop listening to the viewer, and unbind the key."""
        self._layers.viewer.dims.events.current_step.disconnect(self.refresh)
        if self._has_key:
            self._layers.viewer.bind_key(NEXT_KEY, None)

    def refresh(self, event: Any = None) -> None:
        """Hide the frame after the user moved on or verified something."""
        if self._framed and self._framed != self._in_view():
            self._framed = ()
            self.frame.clear()

    def start(self) -> None:
        """Find the next region."""
        image = chosen_image(self._state, self._layers)
        if image is None or self._jobs.current is not None:
            return
        request = NextRequest(
            model=self._state.versions.current.to_use,
            device=self._state.device,
            candidates=tuple(self._candidates(image)),
            decoding=self._state.decoding,
        )
        self._jobs.start(
            Job(
                "next",
                lambda token: find_next(self._workers, request, token),
                self._go,
                self._state.model_ready,
            )
        )

    def _bind_key(self) -> bool:
        """Bind the key on the viewer, unless the user has bound it."""
        try:
            self._layers.viewer.bind_key(NEXT_KEY, self._pressed)
        except ValueError:
            return False
        return True

    def _pressed(self, viewer: Any) -> None:
        image = chosen_image(self._state, self._layers)
        sentence = image and image_layers.unsupported_reason(image, self._layers.viewer)
        if sentence:
            self._view.set_message(sentence, "warning")
        else:
            self.start()

    def _candidates(self, first: Image) -> list[Candidate]:
        layers = self._layers
        others = [x for key, _ in layers.images() if (x := layers.image(key)) is not first]
        images = [first, *(x for x in others if x is not None)]
        viewer = layers.viewer
        fit = [x for x in images if not image_layers.unsupported_reason(x, viewer)]
        return [self._candidate(image) for image in fit]

    def _candidate(self, image: Image) -> Candidate:
        key = image_layers.layer_id_of(image)
        settings, binding = self._state.image(key), self._layers.binding(key)
        planes = binding.review.planes if binding else {}
        index = image_layers.shown_index(image, self._layers.viewer)
        return Candidate(
            snapshot_of(self._state, self._layers, image),
            settings.scale,
            tuple(settings.proposals(index)),
            {index: plane.verified.copy() for index, plane in planes.items()},
        )

    def _go(self, found: Found | None) -> None:
        if found is None:
            self._view.set_message(ALL_VERIFIED)
            return
        image = self._layers.image(found.image_id)
        if image is None:
            self._view.set_message(IMAGE_REMOVED, "warning")
            return
        if found.proposal is not None:
            settings = self._state.image(found.image_id)
            settings.scale = settings.scale or found.proposal.scale
            apply_proposal(self._state, self._layers, image, found.proposal)
        self._state.choose(found.image_id)
        _show_plane(self._layers.viewer, image, found.index)
        window = found.region.window
        self.frame.draw(image, [_frame(window)], window)
        self._framed = self._in_view()
        _look_at(self._layers.viewer, image, window)
        self._view.set_message(why(found))

    def _in_view(self) -> tuple[Any, ...]:
        """Return the shown image, plane, and number of verified pixels."""
        image = chosen_image(self._state, self._layers)
        if image is None:
            return ()
        key = image_layers.layer_id_of(image)
        index = image_layers.shown_index(image, self._layers.viewer)
        binding = self._layers.binding(key)
        plane = None if binding is None else binding.review.planes.get(index)
        n_verified = 0 if plane is None else int(np.count_nonzero(plane.verified))
        return key, index, n_verified


def why(found: Found) -> str:
    """Explain why this region comes next."""
    n = found.region.n_uncertain
    if not n:
        return "The model is sure of its objects; it is least sure here."
    return f"The model is unsure about {n} object{'s' if n > 1 else ''} here."


def _frame(window: Window) -> npt.NDArray[np.float64]:
    top, bottom = window[0].start - 0.5, window[0].stop - 0.5
    left, right = window[1].start - 0.5, window[1].stop - 0.5
    corners = (top, left), (top, right), (bottom, right), (bottom, left), (top, left)
    return np.array(corners)


def _look_at(viewer: Any, image: Image, window: Window) -> None:
    """Move and zoom the camera so that a window fills most of the canvas."""
    scene = getattr(viewer, "scene", viewer)  # before napari 0.9, the viewer itself
    world = to_world(image, _frame(window)[:4])
    scene.camera.center = (*scene.camera.center[:-2], *world.mean(0).tolist())
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        fit = np.asarray(canvas.size) / np.ptp(world, axis=0)
        scene.camera.zoom = FILL * float(fit.min())


def _show_plane(viewer: Any, image: Image, index: Index) -> None:
    """Move the sliders to a plane."""
    channel, position, stack = image_layers.channel_axis(image), [], list(index)
    now = np.asarray(image.world_to_data(viewer.dims.point[-image.ndim :]))
    for axis in range(image.ndim - 2):
        position.append(now[axis] if axis == channel else stack.pop(0))
    world = image.data_to_world((*position, 0, 0))
    for axis in range(image.ndim - 2):
        viewer.dims.set_point(viewer.dims.ndim - image.ndim + axis, world[axis])
