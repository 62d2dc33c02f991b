"""Fine-tuning: a copy of the model learns from a few corrections.

BatchNorm statistics follow the new images, and intensities are augmented less than in
training from folders (`train`): both speed up learning (``docs/learning.md``). The result
is the weights that score best on the held-out regions.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from napari_resunet.engine import checkpoint
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.checkpoint import Checkpoint, TrainerState
from napari_resunet.engine.device import (
    Compute,
    Download,
    device_error,
    free_cached_memory,
    is_out_of_memory,
)
from napari_resunet.engine.elsewhere import compare_elsewhere
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.finetune_result import FineTuneResult, make_result
from napari_resunet.engine.model_selection import BestWeights, ModelSelector, weights
from napari_resunet.engine.object_size import learned_size, min_size_fraction
from napari_resunet.engine.optim import (
    lr_factor,
    make_optimizer,
    set_lr,
    train_step,
)
from napari_resunet.engine.optimized import prepare_for_training
from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    Sampler,
    TrainingImage,
    TrainingPatch,
    cut_patch,
    stack_patches,
    training_image,
)
from napari_resunet.engine.teacher import SoftTargets, Teacher, accepted_fraction
from napari_resunet.engine.validation import HeldOutPart, split
from napari_resunet.errors import (
    Cancelled,
    CorrectionError,
    DeviceError,
    OutOfMemoryError,
    ResunetError,
)
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.network.model_file import Model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import (
    Decoding,
    Example,
    ModelInfo,
    ObjectSize,
    OtherImage,
)

log = logging.getLogger(__name__)
STEPS_PER_REGION, REGION = 1600, 256
"""So many steps learn a verified area of this side at network resolution by heart: after a
quarter of them, unseen images hardly gain any more (``docs/research/objects.md``)."""

EVALUATIONS_PER_CHECKPOINT = 3
"""A checkpoint has 0.3 GB: too much to write at each evaluation."""

TEACHER_ZOOM = 0.25
"""As `FineTuneConfig.zoom`, of patches without labels: what matters is what the start finds
at the size that objects have there."""

MIN_TRUST = 0.2
"""A start teaches if the user left at least this fraction of its objects as proposed."""

N_JUDGED = 16
"""Patches of the corrections on which the start is judged before it teaches."""


@dataclass(frozen=True)
class FineTuneStep:
    """Event after each training step.

    Attributes
    ----------
    step : int
        Number of the step, from 1.
    loss : float
        Loss of this batch; on a graphics card of the batch before, which is known by then.
    held_out : HeldOutScore or None
        Held-out score, if the weights were evaluated after this step.
    fraction : float
        Fraction of the work that is done, 0 to 1.
    seconds_left : float
        Estimated remaining time.
    checkpoint : Checkpoint or None
        The state to resume from, after every third evaluation.
    before : HeldOutScore or None
        Held-out score of the start; None if nothing is held out.
    """

    step: int
    loss: float
    held_out: HeldOutScore | None
    fraction: float
    seconds_left: float
    checkpoint: Checkpoint | None = None
    before: HeldOutScore | None = None


FineTuneEvents = Generator[FineTuneStep | Progress | Notice, None, FineTuneResult]


def fine_tune_steps(
    model: Model,
    examples: Sequence[Example],
    config: FineTuneConfig,
    compute: Compute,
    token: CancelToken | None = None,
    decoding: Decoding | None = None,
    start: Checkpoint | None = None,
    others: Sequence[OtherImage] = (),
) -> FineTuneEvents:
    """Fine-tune a copy of a model on corrected regions.

    Parameters
    ----------
    model : Model
        The start; it is not changed.
    examples : sequence of Example
        All corrections so far, the latest last.
    config : FineTuneConfig
        Steps, learning rate, and so on.
    compute : Compute
        Device and precision.
    token : CancelToken or None
        ``stop`` returns the best model so far, ``cancel`` discards it.
    decoding : Decoding or None
        The two sliders, for the score.
    start : Checkpoint or None
        State of an interrupted fine-tuning to resume, of the same model and examples.
    others : sequence of OtherImage
        Images without labels that should not get worse.

    Yields
    ------
    FineTuneStep, Progress or Notice

    Returns
    -------
    FineTuneResult

    Raises
    ------
    CorrectionError
        If nothing is verified, or `start` belongs to another model or other examples.
    FileError
        If `start` does not fit the model.
    Cancelled
        If the token was cancelled.
    OutOfMemoryError, DeviceError
        If the device fails, or has too little memory.
    """
    if start is not None:
        start.check(model, examples)
    data = _prepare(model.info, examples, config)
    token, decoding = token or CancelToken(), decoding or Decoding()
    run = _Run(model, data, config, compute, token, decoding, others)
    try:
        best = yield from run.events(checkpoint.fingerprint(examples), start)
        result = run.result(examples, best)
        return (yield from run.compared(result))
    except (RuntimeError, MemoryError) as error:
        raise _wrapped(error, compute) from error


@dataclass(frozen=True)
class _TrainingData:
    """The corrections: to learn from (`images`), held out, and with surroundings (`whole`).

    `earlier` are the held-out parts of earlier corrections; `object_size` is that of the
    latest one.
    """

    images: list[TrainingImage]
    held_out: list[HeldOutPart]
    earlier: list[HeldOutPart]
    min_size_fraction: float
    whole: list[TrainingImage]
    object_size: ObjectSize | None


def _prepare(
    info: ModelInfo, examples: Sequence[Example], config: FineTuneConfig
) -> _TrainingData:
    whole = [training_image(e, info, config.edited_weight) for e in examples]
    images: list[TrainingImage] = []
    held_out: list[HeldOutPart] = []
    for complete, example in zip(whole, examples, strict=True):
        image, parts = split(complete, info.task, example.held_out)
        earlier = [*held_out, *parts[:-1]]
        held_out += parts
        if (image.weight > 0).any():
            images.append(image)
    if not images:
        raise CorrectionError(
            "There is nothing to learn from: correct some labels and mark the area as "
            "verified first."
        )
    smallest, size = min_size_fraction(images, info), learned_size(examples, info)
    return _TrainingData(images, held_out, earlier, smallest, whole, size)


class _Run:
    """One fine-tuning in progress."""

    def __init__(
        self,
        model: Model,
        data: _TrainingData,
        config: FineTuneConfig,
        compute: Compute,
        token: CancelToken,
        decoding: Decoding,
        others: Sequence[OtherImage],
    ) -> None:
        self.model = model
        self.others = [other for other in others if other.image.size]
        self.sampler = Sampler(data.images, config.edited_fraction)
        # Corrections are small: patches are cut and varied where the network is.
        self.sources = {
            id(image): PatchSource.of(image, compute.pixel_device) for image in data.images
        }
        self.data = data
        self.selector = ModelSelector(
            data.held_out, data.earlier, model.info, compute, decoding, data.whole,
            self.others,
        )  # fmt: skip
        self.config = config
        self.most_steps = STEPS_PER_REGION * _n_regions(data.images)
        self.compute = compute
        self.token = token
        self.decoding = decoding
        self.network = copy.deepcopy(model.network)
        self.teacher: Teacher | None = None
        self.steps = 0
        self.time_is_over = False

    def events(
        self, corrections: str, start: Checkpoint | None
    ) -> Generator[FineTuneStep | Notice, None, BestWeights]:
        """Train; return the best weights, or the last ones if nothing is held out."""
        self.network.train().requires_grad_(True)
        prepare_for_training(self.network, self.compute)
        optimizer = make_optimizer(self.network, self.config.lr)
        rng = np.random.default_rng(self.config.seed)
        best, begin = self._begin(start, optimizer, rng)
        self.teacher = self._choose_teacher()
        lr = self.config.lr * self.selector.lr_scale()
        losses = _LossReader(self.compute)
        while (fraction := self._fraction(begin)) < 1 and not self.token.stopped:
            set_lr(optimizer, lr * lr_factor(fraction))
            loss = losses.read(self._step(optimizer, rng))
            fraction = self._fraction(begin)
            held_out, checkpoint_due = self._evaluate_if_due(best, fraction)
            saved = None
            if checkpoint_due:
                state = self._trainer_state(corrections, best, fraction, begin, rng)
                tensors = checkpoint.state_tensors(self.network, optimizer, best.state)
                saved = Checkpoint(state, tensors)
            left = _seconds_left(begin, fraction)
            before = self.selector.before
            yield FineTuneStep(self.steps, loss, held_out, fraction, left, saved, before)
            if self.token.cancelled:
                raise Cancelled
            if best.n_without_improvement >= self.config.patience:
                break
        by_time = self.config.steps is None and not self.token.stopped
        self.time_is_over = by_time and self._fraction(begin) >= 1
        if self.token.stopped:
            self.selector.evaluate(self.network, best)
        if not self.data.held_out and self.steps:
            best.state = weights(self.network)
        return best

    def _step(
        self, optimizer: torch.optim.Optimizer, rng: np.random.Generator
    ) -> torch.Tensor:
        """Learn from one batch, and from the teacher if there is one."""
        batch = stack_patches([self._patch(rng) for _ in range(self.config.batch)])
        task, taught = self.model.info.task, self._taught(rng)
        self.steps += 1
        return train_step(self.network, optimizer, batch, task, self.compute, taught)

    def _evaluate_if_due(
        self, best: BestWeights, fraction: float
    ) -> tuple[HeldOutScore | None, bool]:
        """Return the held-out score if one is due, and whether a checkpoint is due."""
        n_before, n = best.n_evaluations, int(fraction * self.config.n_evaluations)
        if fraction < 1 and n <= n_before:
            return None, False
        best.n_evaluations = n
        held_out = self.selector.evaluate(self.network, best)
        every = EVALUATIONS_PER_CHECKPOINT
        return held_out, fraction < 1 and n // every > n_before // every

    def result(self, examples: Sequence[Example], best: BestWeights) -> FineTuneResult:
        """Choose the weights to keep, after all events."""
        if best.state is not None:
            self.selector.interpolate_until_no_regression(
                self.network, weights(self.model.network), best
            )
        return make_result(
            self.model,
            examples,
            self.selector,
            best,
            object_size=self.data.object_size,
            steps=self.steps,
            seed=self.config.seed,
            seconds=self.config.seconds if self.time_is_over else None,
        )

    def compared(
        self, result: FineTuneResult
    ) -> Generator[Progress | Notice, None, FineTuneResult]:
        """Add what the new model changes on other images."""
        if result.new is None:
            return result
        models = self.model, result.new
        try:
            elsewhere = yield from compare_elsewhere(
                *models, self.others, self.compute, self.decoding, self.token
            )
        except Cancelled:
            raise
        except (ResunetError, RuntimeError, MemoryError) as error:
            # What was learned is not lost for that.
            log.warning("Other images were not compared", exc_info=error)
            return result
        return replace(result, elsewhere=elsewhere)

    def _begin(
        self,
        start: Checkpoint | None,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
    ) -> tuple[BestWeights, float]:
        """Start or resume; return the best so far, and when training began."""
        best = self.selector.begin(self.network, self.data.min_size_fraction)
        if start is None:
            return best, time.monotonic()
        state = start.trainer_state
        checkpoint.load_state(self.network, optimizer, rng, start)
        self.steps = state.steps
        best = BestWeights(
            state.best,
            start.best,
            state.highest_score,
            state.n_evaluations,
            state.n_without_improvement,
        )
        return best, time.monotonic() - state.seconds

    def _trainer_state(
        self,
        corrections: str,
        best: BestWeights,
        fraction: float,
        begin: float,
        rng: np.random.Generator,
    ) -> TrainerState:
        return TrainerState(
            model_id=self.model.info.lineage.model_id,
            corrections=corrections,
            config=asdict(self.config),
            decoding=self.decoding,
            steps=self.steps,
            fraction=fraction,
            seconds=time.monotonic() - begin,
            n_evaluations=best.n_evaluations,
            n_without_improvement=best.n_without_improvement,
            highest_score=best.highest_score,
            best=best.score,
            rng=dict(rng.bit_generator.state),
        )

    def _fraction(self, begin: float) -> float:
        if self.config.steps is not None:
            return self.steps / max(1, self.config.steps)
        by_time = (time.monotonic() - begin) / self.config.seconds
        return min(1.0, max(by_time, self.steps / self.most_steps))

    def _patch(self, rng: np.random.Generator) -> TrainingPatch:
        image, centre = self.sampler.sample(rng)
        return self._cut(self.sources[id(image)], centre, self.config.zoom, rng)

    def _cut(
        self,
        source: PatchSource,
        centre: tuple[float, float],
        zoom: float,
        rng: np.random.Generator,
    ) -> TrainingPatch:
        """Cut a patch and vary it."""
        geometry = Geometry(zoom=zoom)
        patch = cut_patch(source, centre, self.config.patch, geometry, rng)
        pixels = vary_intensity(
            patch.pixels,
            self.model.info.normalization,
            rng,
            strength=self.config.intensity,
        )
        return patch._replace(pixels=pixels)

    def _choose_teacher(self) -> Teacher | None:
        """Let the start teach; a poor one would hold up what is to be learned."""
        if not self.others or self.model.info.task == "classes":
            return None
        trust = accepted_fraction(self.data.whole[-1])
        if trust is None:
            trust = self.selector.start_quality()
        if trust < MIN_TRUST:
            return None
        teacher = Teacher(self.model, self.others, trust, self.compute)
        rng = np.random.default_rng(self.config.seed)
        teacher.judge(stack_patches([self._patch(rng) for _ in range(N_JUDGED)]))
        return teacher

    def _taught(self, rng: np.random.Generator) -> SoftTargets | None:
        """Ask the teacher about a patch of another image."""
        if self.teacher is None:
            return None
        source, centre = self.teacher.sample(rng)
        patch = self._cut(source, centre, TEACHER_ZOOM, rng)
        return self.teacher.teach(stack_patches([patch]))


def _n_regions(images: Sequence[TrainingImage]) -> float:
    """Return how many regions of usual size the verified area is, at least one."""
    areas = (float((image.weight > 0).sum()) * image.scale**2 for image in images)
    return max(1.0, sum(areas) / REGION**2)


class _LossReader:
    """Reads losses; a graphics card goes on computing meanwhile."""

    def __init__(self, compute: Compute) -> None:
        self._waits = compute.kind != "cuda"
        self._before: Download | None = None

    def read(self, loss: torch.Tensor) -> float:
        """Return a loss; of a card the one before, after the first."""
        this = Download(loss)
        known = this if self._waits or self._before is None else self._before
        self._before = this
        return float(known.wait()[0])


def _seconds_left(begin: float, fraction: float) -> float:
    return (time.monotonic() - begin) * (1 - fraction) / fraction if fraction else 0.0


def _wrapped(error: BaseException, compute: Compute) -> OutOfMemoryError | DeviceError:
    free_cached_memory(compute)
    if is_out_of_memory(error):
        return OutOfMemoryError(
            "There is not enough memory to fine-tune: close other programs, or choose "
            "the device 'cpu', and try again. The model is as it was."
        )
    return device_error(compute, error)
