"""Fine-tuning: a copy of the model learns from a few corrections.

BatchNorm statistics follow the new images, and intensities are augmented less than in
training from folders (`train`): both speed up learning (``docs/learning.md``). The result
is the weights that score best on the held-out regions.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

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
from napari_resunet.engine.model_selection import (
    BestWeights,
    FineTuneResult,
    ModelSelector,
    make_result,
    weights,
)
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
from napari_resunet.engine.validation import HeldOutPart, split
from napari_resunet.errors import Cancelled, CorrectionError, DeviceError, OutOfMemoryError
from napari_resunet.events import CancelToken, Notice
from napari_resunet.network.model_file import Model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import (
    FINE_TUNE_SECONDS,
    Decoding,
    Example,
    Fraction,
    ModelInfo,
    ObjectSize,
)

MAX_SECONDS = 7 * 24 * 3600.0
"""A week: the session file of another person must not make training endless."""

EVALUATIONS_PER_CHECKPOINT = 3
"""A checkpoint has 0.3 GB: too much to write at each evaluation."""


@dataclass(frozen=True)
class FineTuneConfig:
    """Configuration of a fine-tuning.

    Attributes
    ----------
    steps : int or None
        Number of batches; None trains for `seconds`.
    seconds : float
        Duration if `steps` is None.
    batch : int
        Patches in a batch.
    patch : int
        Side of a patch at network resolution, a multiple of 32.
    lr : float
        Highest learning rate; it is reduced if the start is already good.
    edited_weight : float
        Weight of the pixels that the user edited, and of their surroundings.
    edited_fraction : float
        Fraction of the patches that are centred on an edited pixel.
    intensity : float
        Strength of the intensity augmentation, 0 to 1.
    zoom : float
        Patches are zoomed in or out by a factor of up to 2 to this power.
    n_evaluations : int
        Number of evaluations on the held-out regions.
    patience : int
        Training stops after this many evaluations without a better score.
    seed : int
        Seed of the random number generator.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = FINE_TUNE_SECONDS
    batch: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-3
    edited_weight: Annotated[float, Field(ge=0, le=1000)] = 3.0
    edited_fraction: Fraction = 0.5
    intensity: Fraction = 0.2
    zoom: Annotated[float, Field(ge=0, le=4)] = 0.8
    n_evaluations: Annotated[int, Field(ge=1, le=10**6)] = 12
    patience: Annotated[int, Field(ge=1, le=10**6)] = 10
    seed: Annotated[int, Field(ge=0)] = 0


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


FineTuneEvents = Generator[FineTuneStep | Notice, None, FineTuneResult]


def fine_tune_steps(
    model: Model,
    examples: Sequence[Example],
    config: FineTuneConfig,
    compute: Compute,
    token: CancelToken | None = None,
    decoding: Decoding | None = None,
    start: Checkpoint | None = None,
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

    Yields
    ------
    FineTuneStep or Notice

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
    run = _Run(model, data, config, compute, token, decoding)
    try:
        best = yield from run.events(checkpoint.fingerprint(examples), start)
        return run.result(examples, best)
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
    ) -> None:
        self.model = model
        self.sampler = Sampler(data.images, config.edited_fraction)
        # Corrections are small: patches are cut and varied where the network is.
        self.sources = {
            id(image): PatchSource.of(image, compute.pixel_device) for image in data.images
        }
        self.data = data
        self.selector = ModelSelector(
            data.held_out, data.earlier, model.info, compute, decoding, data.whole
        )
        self.config = config
        self.compute = compute
        self.token = token
        self.decoding = decoding
        self.network = copy.deepcopy(model.network)
        self.steps = 0

    def events(
        self, corrections: str, start: Checkpoint | None
    ) -> Generator[FineTuneStep | Notice, None, BestWeights]:
        """Train; return the best weights, or the last ones if nothing is held out."""
        self.network.train().requires_grad_(True)
        prepare_for_training(self.network, self.compute)
        optimizer = make_optimizer(self.network, self.config.lr)
        rng = np.random.default_rng(self.config.seed)
        best, begin = self._begin(start, optimizer, rng)
        task = self.model.info.task
        lr = self.config.lr * self.selector.lr_scale()
        losses = _LossReader(self.compute)
        while (fraction := self._fraction(begin)) < 1 and not self.token.stopped:
            set_lr(optimizer, lr * lr_factor(fraction))
            batch = stack_patches([self._patch(rng) for _ in range(self.config.batch)])
            loss = losses.read(
                train_step(self.network, optimizer, batch, task, self.compute)
            )
            self.steps += 1
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
        if self.token.stopped:
            self.selector.evaluate(self.network, best)
        if not self.data.held_out and self.steps:
            best.state = weights(self.network)
        return best

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
        )

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
        return min(1.0, (time.monotonic() - begin) / self.config.seconds)

    def _patch(self, rng: np.random.Generator) -> TrainingPatch:
        image, centre = self.sampler.sample(rng)
        geometry = Geometry(zoom=self.config.zoom)
        source = self.sources[id(image)]
        patch = cut_patch(source, centre, self.config.patch, geometry, rng)
        pixels = vary_intensity(
            patch.pixels,
            self.model.info.normalization,
            rng,
            strength=self.config.intensity,
        )
        return patch._replace(pixels=pixels)


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
