"""Fine-tune: on a click, automatically, or resumed after a crash."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_resunet.engine.outcome import minutes_needed
from napari_resunet.errors import CorrectionError
from napari_resunet.events import CancelToken
from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    chosen_labels,
    drop_candidate,
    scale_for,
    snapshot_of,
)
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import (
    NO_EDITS,
    NOTHING_VERIFIED,
    duration,
    interrupted_text,
    version_from,
)
from napari_resunet.plugin.result_texts import result_text
from napari_resunet.plugin.state import AppState, Version
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView, Right
from napari_resunet.session.settings import MINUTES
from napari_resunet.session.workers import (
    CorrectedImage,
    FineTuneRequest,
    ModelReady,
    ResumeRequest,
    Workers,
)
from napari_resunet.types import now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari.layers import Image

    from napari_resunet.engine.finetune import FineTuneStep
    from napari_resunet.engine.finetune_result import FineTuneResult
    from napari_resunet.engine.outcome import HeldOutScore
    from napari_resunet.session.beside import ReadOthers
    from napari_resunet.session.store.models import CheckpointRecord
    from napari_resunet.session.workers import FineTuneEvent

LEARNING = "Learning from all verified areas; you can keep painting."
NO_MODEL = (
    "The model that the interrupted fine-tuning began with was deleted: discard it, and "
    "click Fine-tune to start a new one."
)
CHOOSE = (
    "Too close to call: look at both versions on the image, then use the new one or keep "
    "the old one."
)
CHOOSE_LATER = (
    "Too close to call: the old version stays in use, and the next verified area may "
    "decide."
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
    mark_right : callable
        Marks what the user says is right as verified; returns whether anything is now.
    choose_others : callable
        Says how images without labels are read that should not get worse; None without any.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        workers: Workers,
        timers: Timers,
        mark_right: Callable[[Right], bool],
        choose_others: Callable[[], ReadOthers | None],
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._workers, self._mark_right = jobs, workers, mark_right
        self._choose_others = choose_others
        self._has_before = False
        self._minutes_needed = 0.0
        """Minutes to try again with, after a run that was too short."""
        self._wanted = False
        """Whether to learn automatically, once no job runs."""
        self._soon = timers.once(0, self._start_automatically)
        section = view.fine_tune
        section.fine_tune_clicked.connect(self.fine_tune)
        section.fine_tune_stopped.connect(self.stop)
        section.auto_fine_tune_switched.connect(self.switch_auto)
        section.interrupted.resume_clicked.connect(self.resume)
        section.interrupted.keep_best_clicked.connect(self.keep_best)
        section.interrupted.discard_clicked.connect(self.discard)
        section.longer.longer_clicked.connect(self.fine_tune_longer)
        state.session_opened.connect(self._session_opened)
        state.area_verified.connect(self.area_verified)
        state.changed.connect(self.refresh)

    def shut_down(self) -> None:
        """Start no more fine-tunings."""
        self._wanted = False
        self._soon.stop()

    def refresh(self) -> None:
        """Offer an interrupted fine-tuning; start one that waits for another job."""
        offered = self._offered()
        text = "" if offered is None else interrupted_text(offered)
        self._view.fine_tune.interrupted.set_text(text)
        self._follow()

    # On a click ---------------------------------------------------------------------

    def fine_tune(self) -> None:
        """Learn from what is verified; ask what is right if nothing is."""
        image = chosen_image(self._state, self._layers)
        if image is None or self._jobs.current is not None:
            return
        if self._is_verified() or self._ask(image):
            self._learn()

    def fine_tune_longer(self) -> None:
        """Learn again, for as long as enough steps take."""
        if self._jobs.current is None:
            self._view.fine_tune.minutes = self._minutes_needed
            self.fine_tune()

    def _session_opened(self) -> None:
        self._view.fine_tune.longer.set_text("")

    def _ask(self, image: Image) -> bool:
        """Ask what is right, and mark it; return whether there is something to learn."""
        binding = chosen_labels(self._state, self._layers)
        viewer = self._layers.viewer
        sentence = image_layers.unsupported_reason(image, viewer)
        if not sentence and (binding is None or binding.is_empty):
            sentence = NOTHING_VERIFIED
        if sentence or binding is None:
            self._view.set_message(sentence, "warning")
            return False
        no_edits = "" if binding.edited() else NO_EDITS
        right = self._view.fine_tune.ask_what_is_right(no_edits)
        if right is None or not self._mark_right(right):
            return False
        if not self._is_verified():
            self._view.set_message(NOTHING_VERIFIED, "warning")
            return False
        return True

    def _is_verified(self) -> bool:
        """Return whether anything is verified on any image, open or not."""
        bindings = self._layers.bindings().values()
        verified = any(binding.review.verified_planes() for binding in bindings)
        learned_before = len(self._workers.corrections) > 0
        return verified or bool(self._state.unlearned) or learned_before

    def stop(self) -> None:
        """End fine-tuning early with the best so far."""
        if self._jobs.current is not None:
            self._jobs.stop()
            self._view.set_message("Stopping; the best so far is kept.")

    def _learn(self) -> None:
        """Learn from what is verified on all images."""
        try:
            images = tuple(self._corrected_images())
        except CorrectionError as error:
            self._view.set_message(str(error), "warning")
            return
        base = self._state.versions.current
        request = FineTuneRequest(
            model=base.to_use,
            device=self._state.device,
            images=images,
            decoding=self._state.decoding,
            seconds=60.0 * self._view.fine_tune.minutes,
            others=self._choose_others(),
        )
        self._state.unlearned.clear()
        self._view.set_message(LEARNING)
        self._view.fine_tune.plot.start()
        self._state.log("begin", time=now())
        self._start(request, base, self._state.image_key)

    def _corrected_images(self) -> Iterator[CorrectedImage]:
        """Collect what is verified on each image, the chosen one last."""
        yield from filter(None, self._state.unlearned.values())
        chosen = self._state.image_key
        bindings = self._layers.bindings()
        for key in sorted(bindings, key=lambda key: key == chosen):
            image, corrections = self._layers.image(key), bindings[key].corrections()
            if image is not None and corrections:
                yield CorrectedImage(
                    snapshot_of(self._state, self._layers, image),
                    tuple(corrections),
                    scale_for(self._state, image),
                    self._state.image(key).auto,
                )

    # Automatically ------------------------------------------------------------------

    def switch_auto(self, on: bool) -> None:
        """Switch fine-tuning after each newly verified area on or off."""
        self._state.learn_while_correcting = on
        self._wanted = False

    def area_verified(self) -> None:
        """Learn from the area as soon as no job runs; at most one request waits."""
        if self._state.learn_while_correcting:
            self._wanted = True
        self._follow()

    def _follow(self) -> None:
        # Delayed, so that new proposals after a job can start first.
        if self._wanted:
            self._soon.start()

    def _start_automatically(self) -> None:
        if self._wanted and self._jobs.current is None:
            self._wanted = False
            if self._is_verified():
                self._learn()

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
        request = ResumeRequest(
            base.to_use, self._state.device, folder, record, self._choose_others()
        )
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
        self._view.fine_tune.longer.set_text("")
        self._has_before = False

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
        self._show_before(event.before)
        section, held_out = self._view.fine_tune, event.held_out
        value = right = None
        if held_out is not None:
            value, right = held_out.value, held_out.n_right
        shown = value if right is None else right
        section.plot.add(event.step, event.loss, shown)
        text = f"step {event.step}, {duration(event.seconds_left)} left"
        self._view.status.show_progress(round(1000 * event.fraction), 1000, text)
        loss = round(event.loss, 6)
        self._state.log("step", step=event.step, loss=loss, held_out=value, right=right)
        if event.checkpoint is not None:
            self._state.checkpoint.emit(event.checkpoint, base, key)

    def _show_before(self, before: HeldOutScore | None) -> None:
        """Show what the start finds, once in a run."""
        if before is None or self._has_before:
            return
        self._has_before = True
        right, n = before.n_right, before.n_objects
        value = before.value if right is None else right
        self._view.fine_tune.plot.set_before(value, n)
        self._state.log("before", before=before.value, right_before=right, objects=n)

    def _learned(self, key: str | None, result: FineTuneResult) -> None:
        self._over()
        number = self._state.versions.next_number()
        if result.improved or result.candidate is not None:
            drop_candidate(self._state)
            model = result.candidate or result.model
            self._state.versions.add(version_from(model, number, result))
        self._tell(result)
        self._state.changed.emit()
        if result.improved:
            # The user may have gone on to another image.
            here = self._layers.image(key) is not None
            self._state.renew.emit(key if here else self._state.image_key, _told(result))
        elif result.candidate is not None:
            self._let_choose(result.candidate.info.lineage.model_id)

    def _tell(self, result: FineTuneResult) -> None:
        """Say what it achieved, what changed elsewhere, and whether it was too short."""
        entry, elsewhere = _end_of(result), result.elsewhere
        self._state.log("end", time=now(), **entry)
        large = () if elsewhere is None else elsewhere.to_look_at
        self._state.to_look_at = {x.key: x.changes.fraction for x in large}
        look = "" if elsewhere is None else elsewhere.look_text
        self._view.fine_tune.set_result_text(f"{result_text(entry)} {look}".strip())
        self._offer_longer(result)
        good = result.improved and not result.too_short
        self._view.set_message(_told(result), "info" if good else "warning")

    def _offer_longer(self, result: FineTuneResult) -> None:
        if result.seconds is not None:
            needed = minutes_needed(result.steps, result.seconds)
            self._minutes_needed = min(needed, MINUTES.maximum)
        self._view.fine_tune.longer.set_text(result.too_short)

    def _let_choose(self, candidate: str) -> None:
        """Show a candidate and the version in use, unless the user goes on correcting."""
        if self._state.learn_while_correcting:
            self._view.set_message(CHOOSE_LATER)
        else:
            self._view.set_message(CHOOSE)
            self._state.compare.emit(candidate)

    def _failed(self, sentence: str) -> None:
        if not sentence:  # it was cancelled
            self._over()
            self._state.changed.emit()

    def _over(self) -> None:
        self._state.training_over.emit()
        self._state.interrupted = None


def _told(result: FineTuneResult) -> str:
    return result.too_short or result.summary


def _end_of(result: FineTuneResult) -> dict[str, Any]:
    """Describe a result for the history."""
    before, after = result.before, result.after
    return {
        "before": None if before is None else before.value,
        "after": None if after is None else after.value,
        "right_before": None if before is None else before.n_right,
        "right": None if after is None else after.n_right,
        "objects": None if before is None else before.n_objects,
        "improved": result.improved,
        "outcome": result.outcome,
        "elsewhere": result.elsewhere and asdict(result.elsewhere.total),
        "model_id": result.model.info.lineage.model_id,
    }
