"""Fine-tune: on a click, automatically, or resumed after a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_resunet.errors import CorrectionError
from napari_resunet.events import CancelToken
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import (
    NOTHING_VERIFIED,
    duration,
    interrupted_text,
    score_text,
    version_from,
)
from napari_resunet.plugin.state import AppState, Version
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.workers import (
    FineTuneRequest,
    ModelReady,
    ResumeRequest,
    Workers,
)
from napari_resunet.types import now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.layers import Image

    from napari_resunet.engine.finetune import FineTuneStep
    from napari_resunet.engine.model_selection import FineTuneResult
    from napari_resunet.session.store.models import CheckpointRecord
    from napari_resunet.session.workers import FineTuneEvent

NO_MODEL = (
    "The model that the interrupted fine-tuning began with was deleted: discard it, and "
    "click Fine-tune to start a new one."
)


class FineTuneController:
    """Fine-tunes a copy of the model in use.

    Parameters
    ----------
    state : AppState
        Versions and choices.
    layers : Layers
        The corrected labels.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    workers : Workers
        Do the work.
    timers : Timers
        Start a fine-tuning automatically.
    verify : callable
        Marks the chosen area as verified; returns whether any part of it is in view.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        workers: Workers,
        timers: Timers,
        verify: Callable[[], bool],
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._workers, self._verify = jobs, workers, verify
        self._auto = self._wanted = False
        self._soon = timers.once(0, self._start_automatically)
        section = view.fine_tune
        section.fine_tune_clicked.connect(self.fine_tune)
        section.fine_tune_stopped.connect(self.stop)
        section.auto_fine_tune_switched.connect(self.switch_auto)
        section.interrupted.resume_clicked.connect(self.resume)
        section.interrupted.keep_best_clicked.connect(self.keep_best)
        section.interrupted.discard_clicked.connect(self.discard)
        state.area_verified.connect(self.area_verified)
        state.changed.connect(self.refresh)

    def shut_down(self) -> None:
        """Start no more fine-tunings."""
        self.switch_auto(False)
        self._soon.stop()

    def refresh(self) -> None:
        """Offer an interrupted fine-tuning; start one that waits for another job."""
        offered = self._offered()
        text = "" if offered is None else interrupted_text(offered)
        self._view.fine_tune.interrupted.set_text(text)
        self._follow()

    # On a click ---------------------------------------------------------------------

    def fine_tune(self) -> None:
        """Mark the chosen area as verified and learn from all verified areas so far."""
        image = chosen_image(self._state, self._layers)
        if image is None or self._jobs.current is not None or not self._verify():
            return
        if not self._layers.make_binding(image).counts()[1]:
            self._view.set_message(NOTHING_VERIFIED, "warning")
            return
        self._learn(image)

    def stop(self) -> None:
        """End fine-tuning early with the best so far."""
        if self._jobs.current is not None:
            self._jobs.stop()
            self._view.set_message("Stopping; the best so far is kept.")

    def _learn(self, image: Image) -> None:
        binding, key = self._layers.make_binding(image), image_layers.layer_id_of(image)
        settings = self._state.image(key)
        try:
            corrections = tuple(binding.corrections())
        except CorrectionError as error:
            self._view.set_message(str(error), "warning")
            return
        base = self._state.versions.current
        request = FineTuneRequest(
            model=base.to_use,
            device=self._state.device,
            image=snapshot_of(self._state, self._layers, image),
            corrections=corrections,
            scale=settings.scale,
            auto_scale=settings.auto,
            decoding=self._state.decoding,
            seconds=60.0 * self._view.fine_tune.minutes,
        )
        objects, _ = binding.counts()
        self._view.set_message(f"Learning from {objects} objects; you can keep painting.")
        self._view.fine_tune.plot.start()
        self._state.log("begin", time=now())
        self._start(request, base, key)

    # Automatically ------------------------------------------------------------------

    def switch_auto(self, on: bool) -> None:
        """Switch fine-tuning after each newly verified area on or off."""
        self._auto = on
        self._wanted = False

    def area_verified(self) -> None:
        """Learn from the area as soon as no job runs; at most one request waits."""
        self._wanted = self._auto
        self._follow()

    def _follow(self) -> None:
        # Delayed, so that new proposals after a job can start first.
        if self._wanted:
            self._soon.start()

    def _start_automatically(self) -> None:
        image = chosen_image(self._state, self._layers)
        if self._wanted and self._jobs.current is None and image is not None:
            self._wanted = False
            if chosen_labels(self._state, self._layers) is not None:
                self._learn(image)

    # After a crash ------------------------------------------------------------------

    def resume(self) -> None:
        """Train for the rest of the time."""
        self._resume(stopped=False)

    def keep_best(self) -> None:
        """End it with the best model so far."""
        self._resume(stopped=True)

    def discard(self) -> None:
        """Discard the interrupted fine-tuning."""
        if self._offered() is not None:
            self._over()
            self._view.set_message("The interrupted fine-tuning was discarded.")
            self._state.changed.emit()

    def _offered(self) -> CheckpointRecord | None:
        offered = self._state.interrupted
        learning = self._jobs.kind == "fine-tune"
        return None if offered is None or learning else offered.record

    def _resume(self, stopped: bool) -> None:
        offered, folder = self._state.interrupted, self._state.folder
        if offered is None or folder is None or self._jobs.current is not None:
            return
        record, versions = offered.record, self._state.versions.all()
        base = next((v for v in versions if v.number == record.base), None)
        if base is None:
            self._view.set_message(NO_MODEL, "error")
            return
        request = ResumeRequest(base.to_use, self._state.device, folder, record)
        self._view.set_message("The fine-tuning was resumed; you can keep painting.")
        self._view.fine_tune.plot.cut(record.steps)
        self._state.log("go on", time=now(), step=record.steps)
        self._start(request, base, offered.image_key, stopped)

    # Events of the job --------------------------------------------------------------

    def _start(
        self,
        request: FineTuneRequest | ResumeRequest,
        base: Version,
        key: str | None,
        stopped: bool = False,
    ) -> None:
        self._view.fine_tune.set_result_text("")

        def stepped(event: ModelReady | FineTuneStep) -> None:
            self._stepped(base, key, event)

        def learned(result: FineTuneResult) -> None:
            self._learned(key, result)

        def steps(token: CancelToken) -> Generator[FineTuneEvent, None, FineTuneResult]:
            if isinstance(request, FineTuneRequest):
                return self._workers.fine_tune(request, token)
            return self._workers.resume(request, token)

        job: Job[ModelReady | FineTuneStep, FineTuneResult] = Job(
            "fine-tune", steps, learned, stepped, self._failed, key
        )
        self._jobs.start(job, stopped)

    def _stepped(
        self, base: Version, key: str | None, event: ModelReady | FineTuneStep
    ) -> None:
        if isinstance(event, ModelReady):
            self._state.model_ready(event)
            return
        section = self._view.fine_tune
        section.plot.add(event.step, event.loss, event.held_out)
        text = f"step {event.step}, {duration(event.seconds_left)}"
        section.progress.show_progress(round(1000 * event.fraction), 1000, text)
        self._state.log(
            "step", step=event.step, loss=round(event.loss, 6), held_out=event.held_out
        )
        if event.checkpoint is not None:
            self._state.checkpoint.emit(event.checkpoint, base, key)

    def _learned(self, key: str | None, result: FineTuneResult) -> None:
        self._over()
        if result.improved:
            number = self._state.versions.next_number()
            self._state.versions.add(version_from(result.model, number, result))
            self._state.image(key).scale = result.scale
        self._state.log(
            "end",
            time=now(),
            before=result.before,
            after=result.after,
            improved=result.improved,
            model_id=result.model.info.lineage.model_id,
        )
        self._view.fine_tune.set_result_text(
            score_text(result.before, result.after, result.improved)
        )
        self._view.set_message(result.message, "info" if result.improved else "warning")
        self._state.changed.emit()
        if result.improved:
            self._state.renew.emit(key, result.message)

    def _failed(self, sentence: str) -> None:
        if not sentence:  # it was cancelled
            self._over()
            self._state.changed.emit()

    def _over(self) -> None:
        self._state.training_over.emit()
        self._state.interrupted = None
