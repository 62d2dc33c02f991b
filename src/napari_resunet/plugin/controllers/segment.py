"""Segment: proposes labels, and again after a slider or the model changed."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import CorrectionError, ResunetError
from napari_resunet.plugin.controllers.shared import (
    apply_proposal,
    chosen_image,
    is_in_file,
    scale_for,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LOCKED
from napari_resunet.plugin.messages import duration
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.settings import Settings
from napari_resunet.session.workers import (
    DecodeRequest,
    ModelReady,
    SegmentRequest,
    Workers,
)
from napari_resunet.types import Decoding, Target

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.session.segmenter import Proposal, SizeFound


IN_FILE = (
    "The labels of this image are in a file: zoom to a place, click Work here, and click "
    "Segment there."
)

LONG = 30
"""Seconds from which the time is shown before *Segment* starts."""

SOON = 300
"""Milliseconds after the last move of the camera until the time is estimated again."""

MIDDLE_FIRST = (
    "The middle is proposed and the rest follows: begin to correct, or click Cancel to "
    "keep only what is there."
)


class SegmentController:
    """Proposes labels for the chosen image.

    Parameters
    ----------
    state : AppState
        The choices; proposals are cached there.
    layers : Layers
        Get the proposals.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    redraws : JobRunner
        Decodes cached maps again when a slider moves, also during the long job.
    workers : Workers
        Do the work.
    timers : Timers
        Wait until the camera rests.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        redraws: JobRunner,
        workers: Workers,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._redraws, self._workers = jobs, redraws, workers
        self._redraw_again = False
        self._moved = timers.once(SOON, self.show_time)
        view.segment.scope_changed.connect(self.choose_scope)
        view.segment.segment_clicked.connect(self.segment)
        view.segment.foreground_changed.connect(self.move_foreground)
        view.segment.split_changed.connect(self.move_split)
        view.model.device_chosen.connect(self.choose_device)
        state.outdated.connect(self.outdate)
        state.renew.connect(self.renew)
        state.changed.connect(self.refresh)
        layers.data_changed.connect(self.image_changed)
        targets.camera_of(layers.viewer).events.connect(self._camera_moved)

    def shut_down(self) -> None:
        """Stop listening to the viewer."""
        self._moved.stop()
        targets.camera_of(self._layers.viewer).events.disconnect(self._camera_moved)

    def refresh(self) -> None:
        """Show how long it takes, and cancel it if its image or labels were removed."""
        self.show_time()
        job = self._jobs.current
        if job is None or job.image_key is None:
            return
        if self._layers.image(job.image_key) is None:
            self._abandon("The image was removed, so its segmentation was cancelled.")
        elif self._layers.binding(job.image_key) is None:
            self._abandon("The labels were removed, so their job was cancelled.")

    def show_time(self) -> None:
        """Show how long *Segment* will take, if that is long."""
        seconds = self._seconds()
        text = duration(seconds) if seconds > LONG else ""
        self._view.segment.set_segment_time(text, self._goes_into_file())

    def _goes_into_file(self) -> bool:
        """Return whether *Segment* is about all of an image too large for memory."""
        image = chosen_image(self._state, self._layers)
        all_of_it = image is not None and self._state.scope != "visible"
        return all_of_it and image_layers.is_large(image)

    def _seconds(self) -> float:
        """Estimate the time of *Segment*; 0 if it is not known."""
        image, speed = chosen_image(self._state, self._layers), self._state.speed
        if image is None or speed is None:
            return 0.0
        try:
            chosen = targets.targets_of(image, self._layers.viewer, self._state.scope)
        except ResunetError:
            return 0.0
        pixels = sum(math.prod(s.stop - s.start for s in t.window) for t in chosen)
        # Of an image of unknown object size, its own pixels are the best guess.
        return pixels * (scale_for(self._state, image) or 1.0) ** 2 / speed

    def _camera_moved(self, event: Any = None) -> None:
        if self._state.scope == "visible":
            self._moved.start()

    def show_settings(self, settings: Settings) -> None:
        """Show the settings of a session, or the defaults."""
        self._view.model.set_device(self._state.device_key)
        self._view.segment.set_scope(settings.scope)
        self._view.segment.set_foreground(settings.foreground)
        self._view.segment.set_split(settings.split)

    def choose_scope(self, scope: str) -> None:
        """Choose the scope of the next segmentation."""
        self._state.scope = Settings.model_validate({"scope": scope}).scope
        self._state.changed.emit()

    def choose_device(self, device: str) -> None:
        """Choose the device of the next job."""
        self._state.device = Settings.model_validate({"device": device}).device
        self._state.speed = None

    def segment(self) -> None:
        """Propose labels for the chosen scope."""
        image, viewer = chosen_image(self._state, self._layers), self._layers.viewer
        if image is None or self._jobs.current is not None:
            return
        sentence = image_layers.unsupported_reason(image, viewer)
        if sentence:
            self._view.set_message(sentence, "warning")
            return
        if self._goes_into_file():
            self._state.whole.emit(self._state.image_key)
            return
        if is_in_file(self._state, self._layers):
            self._view.set_message(IN_FILE, "warning")
            return
        try:
            chosen = targets.targets_of(image, viewer, self._state.scope)
        except ResunetError as error:
            self._view.set_message(str(error), "warning")
            return
        self._state.chosen.use_shown(image_layers.shown_channel(image, viewer))
        self._propose(image, chosen)

    def renew(self, key: str | None, sentence: str) -> None:
        """Propose all windows of an image again, the shown plane first.

        The message `sentence` says why.
        """
        image, settings = self._layers.image(key), self._state.image(key)
        if image is None or self._jobs.current is not None:
            return
        shown = image_layers.shown_index(image, self._layers.viewer)
        again = targets.again(settings.proposals(shown))
        binding = self._layers.binding(key)
        if not again and binding is not None:
            again = targets.proposed_earlier(binding.review, shown)
        if not again and binding is not None and binding.review.verified_planes():
            # It learned from what the user drew: show what it makes of the rest.
            with suppress(CorrectionError):
                again = targets.targets_of(image, self._layers.viewer, "visible")
        settings.forget_maps()
        if again:
            self._propose(image, again, sentence)

    def outdate(self, sentence: str) -> None:
        """Drop proposals, also a running one of the image, because a choice changed."""
        self._state.chosen.forget_maps()
        job = self._jobs.current
        if job is not None and job.image_key in (self._state.image_key, None):
            self._abandon(sentence)
        self._view.set_message(sentence)
        self._state.changed.emit()

    def image_changed(self, key: str) -> None:
        """Drop everything cached for an image, because its pixels changed."""
        self._workers.forget(key)
        self._state.image(key).forget_maps()
        job = self._jobs.current
        if job is not None and job.image_key in (key, None):  # Next reads all images
            self._abandon("The image was changed, so its segmentation was cancelled.")
        self._state.changed.emit()

    def _abandon(self, sentence: str) -> None:
        if self._jobs.kind in ("segment", "next"):
            self._jobs.abandon()
            self._view.set_message(sentence, "warning")

    def _propose(self, image: Image, chosen: list[Target], sentence: str = "") -> None:
        key = image_layers.layer_id_of(image)
        if self._layers.make_binding(image).locked:
            self._view.set_message(LOCKED, "warning")
            return
        request = SegmentRequest(
            model=self._state.versions.current.to_use,
            device=self._state.device,
            image=snapshot_of(self._state, self._layers, image),
            targets=tuple(chosen),
            scale=scale_for(self._state, image),
            decoding=self._state.decoding,
        )

        first = chosen[0]

        def proposed(event: ModelReady | SizeFound | Proposal) -> None:
            self._proposed(key, first, event)

        def done(result: None) -> None:
            self._view.set_message(sentence)
            self._state.proposed.emit(key)

        self._jobs.start(
            Job(
                "segment",
                lambda token: self._workers.segment(request, token),
                done,
                proposed,
                image_key=key,
            )
        )

    def _proposed(
        self, key: str, first: Target, event: ModelReady | SizeFound | Proposal
    ) -> None:
        # Costs nothing here, because the worker has imported torch.
        from napari_resunet.session.segmenter import Proposal

        image = self._layers.image(key)
        if isinstance(event, ModelReady):
            self._state.model_ready(event)
        elif not isinstance(event, Proposal):
            self._state.image(key).scale = event.scale
            self._state.changed.emit()
        elif image is not None and self._layers.binding(key) is not None:
            apply_proposal(self._state, self._layers, image, event)
            if event.index == first.index and event.roi != first.window:
                self._view.set_message(MIDDLE_FIRST)
            self._state.changed.emit()

    # The sliders --------------------------------------------------------------------

    def move_foreground(self, value: float) -> None:
        """Follow the foreground slider."""
        self._state.decoding = Decoding(value, self._state.decoding.split)
        self.redraw()

    def move_split(self, value: float) -> None:
        """Follow the split slider."""
        self._state.decoding = Decoding(self._state.decoding.foreground, value)
        self.redraw()

    def redraw(self) -> None:
        """Decode the cached maps of the chosen image with the current sliders.

        While a slider moves, at most one request waits: the running one is cancelled, and
        the next one starts at its end, with the values of that moment.
        """
        if self._redraws.current is not None:
            self._redraw_again = True
            self._redraws.cancel()
            return
        self._redraw_again = False
        image = chosen_image(self._state, self._layers)
        key = self._state.image_key
        if image is None or self._layers.binding(key) is None:
            return
        index = image_layers.shown_index(image, self._layers.viewer)
        proposals = tuple(self._state.chosen.proposals(index))
        if proposals:
            visible = Target(index, image_layers.visible_window(image))
            self._start_redraw(key, DecodeRequest(proposals, self._state.decoding, visible))

    def _start_redraw(self, key: str | None, request: DecodeRequest) -> None:
        def decoded(proposals: list[Proposal]) -> None:
            binding = self._layers.binding(key)
            if binding is not None:
                binding.write_proposals(proposals)

        self._redraws.start(
            Job(
                "redraw",
                lambda token: self._workers.decode(request, token),
                self._redrawn,
                decoded,
                self._redrawn,
            )
        )

    def _redrawn(self, result: object) -> None:
        if self._redraw_again:
            self.redraw()
        else:
            self._state.changed.emit()  # objects are counted again
