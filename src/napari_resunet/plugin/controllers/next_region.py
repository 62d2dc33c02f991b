"""Next: moves the view to the region where the model is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.plugin.controllers.shared import (
    apply_proposal,
    chosen_image,
    scale_for,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.messages import IMAGE_REMOVED
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.next_region import (
    Candidate,
    Found,
    NextRequest,
    Place,
    find_next,
)
from napari_resunet.session.workers import Workers

if TYPE_CHECKING:
    from napari.layers import Image

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
        self._seen: list[Place] = []
        """Where it went since an area was verified, or the model changed."""
        self._since: tuple[int, str] = (0, "")
        view.correct.next_clicked.connect(self.start)
        state.changed.connect(self.refresh)
        layers.viewer.dims.events.current_step.connect(self.refresh)

    def shut_down(self) -> None:
        """Stop listening to the viewer."""
        self._layers.viewer.dims.events.current_step.disconnect(self.refresh)

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
        self._forget_seen()
        request = NextRequest(
            model=self._state.versions.current.to_use,
            device=self._state.device,
            candidates=tuple(self._candidates(image)),
            decoding=self._state.decoding,
            seen=tuple(self._seen),
        )
        self._jobs.start(
            Job(
                "next",
                lambda token: find_next(self._workers, request, token),
                self._go,
                self._state.model_ready,
            )
        )

    def _candidates(self, first: Image) -> list[Candidate]:
        layers = self._layers
        others = [x for key, _ in layers.images() if (x := layers.image(key)) is not first]
        # A pinned image is the only one to look at.
        others = [] if self._state.pinned else others
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
            scale_for(self._state, image),
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
            if scale_for(self._state, image) is None:
                self._state.image(found.image_id).scale = found.proposal.scale
            apply_proposal(self._state, self._layers, image, found.proposal)
        self._state.choose(found.image_id)
        targets.show_plane(self._layers.viewer, image, found.index)
        window = found.region.window
        self.frame.draw(image, [targets.frame_of(window)], window)
        self._framed = self._in_view()
        targets.look_at(self._layers.viewer, image, window)
        self._seen.append(found.place)
        self._view.set_message(why(found, self._state.is_classes))

    def _forget_seen(self) -> None:
        """Begin anew once an area was verified, or is no longer, or the model changed."""
        planes = [
            plane
            for binding in self._layers.bindings().values()
            for plane in binding.review.planes.values()
        ]
        verified = sum(int(np.count_nonzero(plane.verified)) for plane in planes)
        since = verified, self._state.versions.current.key
        if since != self._since:
            self._since = since
            self._seen.clear()

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


def why(found: Found, classes: bool) -> str:
    """Explain why this region comes next."""
    n, things = found.region.n_uncertain, "places" if classes else "objects"
    if found.again:
        return "There is no other place to look at: correct this area and mark it."
    if not n:
        sure = "overall" if classes else f"of its {things}"
        return f"The model is sure {sure}; it is least sure here."
    return f"The model is unsure about {n} {things if n > 1 else things[:-1]} here."
