"""What runs in the background and what comes of it: jobs, proposals, new versions.

One long job at a time; redrawing for the sliders runs beside it. A job whose image or
labels are gone is abandoned, and nothing of it is applied. Which click starts what is
`controller`; threads are `jobs`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import CorrectionError
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.jobs import Job, Listener
from napari_resunet.plugin.labels_binding import LOCKED
from napari_resunet.plugin.layers import Layers
from napari_resunet.plugin.outcomes import (
    as_version,
    end_entry,
    first_words,
    result_text,
    step_entry,
)
from napari_resunet.plugin.presenter import Presenter
from napari_resunet.plugin.scopes import again, proposed_earlier, targets_of
from napari_resunet.plugin.state import ImageState, Version, Versions
from napari_resunet.session.store.checkpoint import CheckpointRecord
from napari_resunet.session.workers import (
    Comparison,
    ImageSnapshot,
    Learned,
    Ready,
    Sliders,
    Workers,
    resume_steps,
)
from napari_resunet.types import (
    CancelToken,
    DeviceChoice,
    Notice,
    Progress,
    Target,
    now,
)

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.engine.checkpoint import Checkpoint
    from napari_resunet.network.model_file import Model

SEGMENT, FINE_TUNE, LOAD, REDRAW = "segment", "fine-tune", "load", "redraw"
NEXT = "next"


class Work:
    """The jobs of one widget.

    Parameters
    ----------
    show : Presenter
        Where progress and outcomes are shown.
    layers : Layers
        Where proposals go.
    on_change : callable
        Called after a job began or ended.
    """

    def __init__(
        self, show: Presenter, layers: Layers, on_change: Callable[[], None]
    ) -> None:
        self.show = show
        self.layers = layers
        self.versions = Versions()
        self.workers = Workers()
        self.sliders = Sliders(0.5, 0.5)
        self.device: DeviceChoice = "auto"
        self.job: Job | None = None
        self.redraw_job: Job | None = None
        self.on_compared: Callable[[Comparison | None], None] | None = None
        self._on_change = on_change
        self._states: dict[str, ImageState] = {}
        self._job_image: str | None = None
        self._redraw_image: str | None = None
        self._redraw_again = False
        self._renew_next = False
        self._said = ""
        """What the sentence about the next proposal begins with."""
        self.history: list[dict[str, Any]] = []
        """Steps and scores that were not yet taken to be kept."""
        self.checkpoint: Checkpoint | None = None
        """Where a running fine-tuning stood last, to be kept against a crash."""
        self.base = self.versions.current
        """What it began with."""
        self.training_over = False
        """Whether one ended by itself or was cancelled: nothing of it is to go on."""

    def state(self, key: str | None) -> ImageState:
        """Find or make the settings of an image."""
        return self._states.setdefault(key or "", ImageState())

    @property
    def job_image(self) -> str | None:
        """Key of the image of the latest job."""
        return self._job_image

    @property
    def is_learning(self) -> bool:
        """Whether fine-tuning runs."""
        return self.job is not None and self.job.kind == FINE_TUNE

    def abandon_all(self) -> None:
        """Let go of all that runs."""
        for job in (self.job, self.redraw_job):
            if job is not None:
                job.abandon()
        self.job = self.redraw_job = None

    def abandon_stale(self, sentence: str) -> None:
        """Let go of a running segmentation, whose result would be wrong by now."""
        if self.job is None or self.job.kind not in (SEGMENT, NEXT):
            return
        self.job.abandon()
        self.job = None
        self.show.no_progress()
        self.show.view.set_message(sentence, "warning")

    def abandon_homeless(self) -> None:
        """Let go of a segmentation whose image or labels were removed."""
        if self._job_image is None:
            return
        if self.layers.image(self._job_image) is None:
            self.abandon_stale("The image was removed, so its segmentation was cancelled.")
        elif self.layers.binding(self._job_image) is None:
            self.abandon_stale("The labels were removed, so their job was cancelled.")

    def image_changed(self, key: str) -> None:
        """Forget what was measured and proposed of an image: it has other pixels now."""
        self.workers.forget(key)
        self.state(key).forget_maps()
        if self._job_image in (key, None):  # Next looks at all images
            self.abandon_stale("The image was changed, so its segmentation was cancelled.")

    def snapshot(self, image: Image) -> ImageSnapshot:
        """Take what a job needs to know of an image; its channels are settled by now."""
        state = self.state(image_layers.layer_id_of(image))
        if max(state.channels or (0,)) >= image_layers.n_channels(image):
            state.channels = None  # they were chosen when the image had other axes
        if state.channels is None:
            state.use_shown(image_layers.shown_channel(image, self.layers.viewer))
        return image_layers.snapshot(image, state.channels)

    def propose(self, image: Image, targets: list[Target]) -> None:
        """Propose labels for windows of an image, unless its labels are locked."""
        key, token = image_layers.layer_id_of(image), CancelToken()
        state = self.state(key)
        if self.layers.make_binding(image).locked:
            self.show.view.set_message(LOCKED, "warning")
            return
        arguments = (
            self.versions.current.to_use, self.device, self.snapshot(image), targets,
            state.scale, self.sliders, token,
        )  # fmt: skip
        self._said = ""
        self.start(SEGMENT, self.workers.propose, arguments, token, key)

    def learn(self, image: Image, seconds: float) -> None:
        """Fine-tune on all that is verified."""
        key, token = image_layers.layer_id_of(image), CancelToken()
        state = self.state(key)
        try:
            corrections = self.layers.make_binding(image).corrections()
        except CorrectionError as error:
            self.show.view.set_message(str(error), "warning")
            return
        arguments = (
            self.versions.current.to_use, self.device, self.snapshot(image), corrections,
            state.scale, state.auto, self.sliders, seconds, token,
        )  # fmt: skip
        objects, _ = self.layers.make_binding(image).counts()
        self.show.view.set_message(
            f"Learning from {objects} objects; you can keep painting."
        )
        self.show.view.start_plot()
        self.show.view.set_result_text("")
        self.history.append({"event": "begin", "time": now()})
        self.base = self.versions.current
        self.start(FINE_TUNE, self.workers.learn, arguments, token, key)

    def go_on(
        self,
        base: Version,
        folder: Path,
        record: CheckpointRecord,
        image_key: str | None,
        stop: bool,
    ) -> None:
        """Go on with an interrupted fine-tuning, or `stop` it with the best so far."""
        token = CancelToken()
        if stop:
            token.stop()
        arguments = self.workers, base.to_use, self.device, folder, record, token
        self.show.view.cut_plot(record.steps)
        self.show.view.set_result_text("")
        self.history.append({"event": "go on", "time": now(), "step": record.steps})
        self.base = base
        self.start(FINE_TUNE, resume_steps, arguments, token, image_key)

    def compare(self, image: Image, models: tuple[Model | str, Model | str]) -> None:
        """Propose the visible area with two models; nothing is written into labels."""
        key, token = image_layers.layer_id_of(image), CancelToken()
        try:
            targets = targets_of(image, self.layers.viewer, "visible")
        except CorrectionError as error:
            self._compared(None)
            self.show.view.set_message(str(error), "warning")
            return
        arguments = (
            models, self.device, self.snapshot(image), targets[0],
            self.state(key).scale, self.sliders, token,
        )  # fmt: skip
        self.start(LOAD, self.workers.compare, arguments, token, key)

    def new_classes(self, names: tuple[str, ...]) -> None:
        """Start a model of named classes from the features of the one in use."""
        arguments = (self.versions.current.to_use, names, self.device)
        self.start(LOAD, self.workers.new_classes, arguments, CancelToken(), None)

    def load(self, path: str) -> None:
        """Load a model from a file."""
        self.start(LOAD, self.workers.load, (path, self.device), CancelToken(), None)

    def start(
        self,
        kind: str,
        work: Callable[..., Generator[Any, None, Any]],
        arguments: tuple[Any, ...],
        token: CancelToken,
        image_key: str | None,
        listener: Listener | None = None,
    ) -> None:
        """Begin a long job; its listener, if not this, tells this of events and end."""
        self.job = Job(kind, work, arguments, token, listener or self)
        self._job_image = image_key
        self.show.begin()
        self.show.progress(kind, 0, 0, "starting")
        self._on_change()
        self.job.start()

    def renew(self, image: Image | None, said: str) -> None:
        """Propose again wherever there was a proposal, the shown plane first.

        What was said of the model stays in view.
        """
        self._renew_next = False
        if image is None or self.job is not None:
            return
        key = image_layers.layer_id_of(image)
        state, binding = self.state(key), self.layers.binding(key)
        shown = image_layers.shown_index(image, self.layers.viewer)
        targets = again(state.kept(shown))
        if not targets and binding is not None:
            targets = proposed_earlier(binding.review, shown)
        state.forget_maps()
        if targets:
            self.propose(image, targets)
            self._said = said

    def redraw(self, image: Image | None) -> None:
        """Decode the kept maps again; a slider still moving makes one more round."""
        if self.redraw_job is not None:
            self._redraw_again = True
            self.redraw_job.token.cancel()
            return
        self._redraw_again = False
        key = None if image is None else image_layers.layer_id_of(image)
        if image is None or self.layers.binding(key) is None:
            return
        index = image_layers.shown_index(image, self.layers.viewer)
        kept = self.state(key).kept(index)
        if not kept:
            return
        token = CancelToken()
        visible = Target(index, image_layers.visible_window(image))
        arguments = (kept, self.sliders, visible, token)
        self.redraw_job = Job(REDRAW, self.workers.decode, arguments, token, self)
        self._redraw_image = key
        self.redraw_job.start()

    # What the jobs say --------------------------------------------------------------

    def on_event(self, job: Job, event: Any) -> None:
        """Show progress, apply proposals."""
        if isinstance(event, Progress):
            self.show.progress(job.kind, event.done, event.total, event.message)
        elif isinstance(event, Notice):
            self.show.view.set_message(event.message, "warning")
        elif isinstance(event, Ready):
            self.versions.loaded(event.name, event.model)
            self.show.view.set_device_text(event.device_text)
        else:
            self._on_engine_event(job, event)

    def _on_engine_event(self, job: Job, event: Any) -> None:
        # Once such an event arrives, torch is imported: this costs nothing any more.
        from napari_resunet.engine.finetune import FineTuneStep
        from napari_resunet.session.segmenter import Proposal

        if isinstance(event, Proposal):
            self._apply(job, event)
        elif isinstance(event, FineTuneStep):
            self.show.step(
                event.step, event.loss, event.held_out, event.share, event.seconds_left
            )
            self.history.append(step_entry(event))
            self.checkpoint = event.checkpoint or self.checkpoint
        else:
            self._size_found(event.scale)

    def on_result(self, job: Job, result: Any) -> None:
        """Take the new model into use."""
        if isinstance(result, Learned):
            self._learned(result)
        elif isinstance(result, Ready):
            self.versions.add(as_version(result.model, self.versions.next_number()))
            self.show.view.set_device_text(result.device_text)
            self.show.view.set_message(first_words(result.model))
        elif isinstance(result, Comparison):
            self._compared(result)
        elif job.kind == SEGMENT:
            done = "Correct what is wrong, then click Fine-tune."
            self.show.view.set_message(f"{self._said} {done}".strip())

    def _compared(self, result: Comparison | None) -> None:
        if self.on_compared is not None:
            self.on_compared(result)

    def on_error(self, job: Job, sentence: str) -> None:
        """Say what went wrong."""
        if job.kind == LOAD:
            self._compared(None)
        if sentence:
            self.show.view.set_message(sentence, "error")
        else:
            self.training_over = self.training_over or job.kind == FINE_TUNE
            self.show.view.set_message("Cancelled; your labels are as they were.")

    def on_end(self, job: Job) -> None:
        """Make room for the next job."""
        if job is self.redraw_job:
            self.redraw_job = None
            if self._redraw_again:
                self.redraw(self.layers.image(self._redraw_image))
            return
        if job is not self.job:
            return
        self.job = None
        self.show.no_progress()
        self._on_change()
        if self._renew_next:
            self.renew(self.layers.image(self._job_image), self._said)

    def _apply(self, job: Job, proposal: Any) -> None:
        key = self._redraw_image if job.kind == REDRAW else self._job_image
        binding = self.layers.binding(key)
        if binding is None:
            return
        binding.take(proposal)
        if job.kind == SEGMENT:
            self.state(key).keep(proposal)

    def _learned(self, learned: Learned) -> None:
        self.training_over = True
        if learned.improved:
            number = self.versions.next_number()
            self.versions.add(as_version(learned.model, number, learned))
            self.state(self._job_image).scale = learned.scale
            self._renew_next = True
        self.history.append(end_entry(learned))
        self._said = learned.message
        self.show.view.set_result_text(result_text(learned))
        self.show.view.set_message(
            learned.message, "info" if learned.improved else "warning"
        )

    def _size_found(self, scale: float) -> None:
        self.state(self._job_image).scale = scale
        self._on_change()
