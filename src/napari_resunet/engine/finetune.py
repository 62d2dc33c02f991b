"""Learning from a few corrections: a copy of the weights, a held-out part, a gate.

BatchNorm's statistics follow the new images, and intensities vary less than in training
from folders: both make it learn faster, see ``docs/learning.md``. The best weights on the
held-out part are the result. Training from folders is `train`.
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
    failure,
    free_cached_memory,
    is_out_of_memory,
)
from napari_resunet.engine.model_selection import (
    Best,
    FineTuned,
    ModelSelector,
    Outcome,
    verdict,
    weights,
)
from napari_resunet.engine.object_size import min_size_fraction
from napari_resunet.engine.optim import (
    make_optimizer,
    set_lr,
    short_schedule,
    train_step,
)
from napari_resunet.engine.optimized import place_for_training
from napari_resunet.engine.patches import (
    Geometry,
    Sampler,
    TrainingImage,
    TrainingPatch,
    cut_patch,
    stacked,
    training_image,
)
from napari_resunet.engine.postprocess import Decoding
from napari_resunet.engine.validation import HeldOutPart, split
from napari_resunet.errors import Cancelled, CorrectionError, DeviceError, OutOfMemoryError
from napari_resunet.network.model_file import Model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import CancelToken, Example, ModelInfo, Notice, Share

EVALUATIONS_PER_CHECKPOINT = 3
"""Looks for each checkpoint: one is 0.3 GB, too much to write every five seconds."""


@dataclass(frozen=True)
class FineTuneConfig:
    """How a model learns from corrections.

    Attributes
    ----------
    steps : int or None
        Number of batches; None goes by `seconds`.
    seconds : float
        Time to spend where `steps` is None.
    batch : int
        Patches in a batch.
    patch : int
        Side of a patch in working pixels, a multiple of 32.
    lr : float
        Largest learning rate of the decoder; less where the start is good already.
    encoder_share : float
        The encoder's rate is this times the decoder's.
    edited_weight : float
        How much what the user edited counts, and what lies around it.
    edited_fraction : float
        Share of the patches that are centred on something edited.
    intensity : float
        0 to 1: how strongly intensities vary.
    zoom : float
        Patches are zoomed by up to 2 to this power, either way.
    n_evaluations : int
        How often the held-out part is scored on the way.
    patience : int
        Looks without a better score after which it stops.
    seed : int
        Source of all chance.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    seconds: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] = 60.0
    batch: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-3
    encoder_share: Share = 1.0
    edited_weight: Annotated[float, Field(ge=0, le=1000)] = 3.0
    edited_fraction: Share = 0.5
    intensity: Share = 0.2
    zoom: Annotated[float, Field(ge=0, le=4)] = 0.8
    n_evaluations: Annotated[int, Field(ge=1, le=10**6)] = 12
    patience: Annotated[int, Field(ge=1, le=10**6)] = 10
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class FineTuneStep:
    """One step is done.

    Attributes
    ----------
    step : int
        Counted from 1.
    loss : float
        Of this batch.
    held_out : float or None
        Score on the held-out part, where it was looked at.
    share : float
        How much of the work is done, 0 to 1.
    seconds_left : float
        Estimate.
    checkpoint : Checkpoint or None
        Where it stands, to go on from after a crash: at every third look.
    """

    step: int
    loss: float
    held_out: float | None
    share: float
    seconds_left: float
    checkpoint: Checkpoint | None = None


FineTuneEvents = Generator[FineTuneStep | Notice, None, FineTuned]


def fine_tune_steps(
    model: Model,
    examples: Sequence[Example],
    config: FineTuneConfig,
    compute: Compute,
    token: CancelToken | None = None,
    decoding: Decoding | None = None,
    start: Checkpoint | None = None,
) -> FineTuneEvents:
    """Learn from corrected regions on a copy of the model.

    Parameters
    ----------
    model : Model
        The start; not changed.
    examples : sequence of Example
        All corrections so far, the latest last.
    config : FineTuneConfig
        How.
    compute : Compute
        Where.
    token : CancelToken or None
        ``stop`` keeps the best so far, ``cancel`` throws it away.
    decoding : Decoding or None
        The sliders, for the score.
    start : Checkpoint or None
        Where a run of the same model, examples and recipe was interrupted.

    Yields
    ------
    FineTuneStep or Notice

    Returns
    -------
    FineTuned

    Raises
    ------
    CorrectionError
        If nothing is verified, or `start` is of another model or other examples.
    FileError
        If `start` does not fit the model.
    Cancelled
        If the token says so.
    OutOfMemoryError, DeviceError
        If the device cannot do it.
    """
    if start is not None:
        start.check(model, examples)
    material = _prepare(model.info, examples, config)
    token, decoding = token or CancelToken(), decoding or Decoding()
    run = _Run(model, material, config, compute, token, decoding)
    try:
        best = yield from run.events(checkpoint.fingerprint(examples), start)
        outcome = run.outcome(best)
    except (RuntimeError, MemoryError) as error:
        raise _plain(error, compute) from error
    return verdict(model, examples, outcome)


@dataclass(frozen=True)
class _Material:
    """What the corrections give.

    Attributes
    ----------
    images : list of TrainingImage
        All corrections, less what is held out: to learn from.
    held_out, earlier : list of Part
        To judge by, and those of them that are not of the latest corrections.
    smallest : float
        What is dust.
    whole : list of TrainingImage
        All corrections as they came, for what is not verified.
    """

    images: list[TrainingImage]
    held_out: list[HeldOutPart]
    earlier: list[HeldOutPart]
    smallest: float
    whole: list[TrainingImage]


def _prepare(
    info: ModelInfo, examples: Sequence[Example], config: FineTuneConfig
) -> _Material:
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
    return _Material(images, held_out, earlier, min_size_fraction(images, info), whole)


class _Run:
    """One fine-tuning in progress."""

    def __init__(
        self,
        model: Model,
        material: _Material,
        config: FineTuneConfig,
        compute: Compute,
        token: CancelToken,
        decoding: Decoding,
    ) -> None:
        self.model = model
        self.sampler = Sampler(material.images, config.edited_fraction)
        self.material = material
        self.selector = ModelSelector(
            material.held_out,
            material.earlier,
            model.info,
            compute,
            decoding,
            material.whole,
        )
        self.config = config
        self.compute = compute
        self.token = token
        self.decoding = decoding
        self.network = copy.deepcopy(model.network)
        self.steps = 0

    def events(
        self, corrections: str, start: Checkpoint | None
    ) -> Generator[FineTuneStep | Notice, None, Best]:
        """Train; return the best weights on the held-out part, or the last without one."""
        self.network.train().requires_grad_(True)
        place_for_training(self.network, self.compute)
        optimizer = make_optimizer(self.network, self.config.lr, self.config.encoder_share)
        rng = np.random.default_rng(self.config.seed)
        best, begin = self._begin(start, optimizer, rng)
        task = self.model.info.task
        lr = self.config.lr * self.selector.lr_scale()
        while (share := self._share(begin)) < 1 and not self.token.stopped:
            set_lr(optimizer, lr * short_schedule(share))
            batch = stacked([self._patch(rng) for _ in range(self.config.batch)])
            loss = float(train_step(self.network, optimizer, batch, task, self.compute))
            self.steps += 1
            share = self._share(begin)
            held_out, here = None, None
            if share >= 1 or share * self.config.n_evaluations >= best.n_evaluations + 1:
                n_evaluations = int(share * self.config.n_evaluations)
                due = (
                    share < 1
                    and n_evaluations // EVALUATIONS_PER_CHECKPOINT
                    > best.n_evaluations // EVALUATIONS_PER_CHECKPOINT
                )
                best.n_evaluations = n_evaluations
                held_out = self.selector.evaluate(self.network, best)
                if due:
                    at = self._trainer_state(corrections, best, share, begin, rng)
                    here = Checkpoint(
                        at, checkpoint.state_tensors(self.network, optimizer, best.state)
                    )
            left = _left(begin, share)
            yield FineTuneStep(self.steps, loss, held_out, share, left, here)
            if self.token.cancelled:
                raise Cancelled
            if best.without_gain >= self.config.patience:
                break
        if self.token.stopped:
            self.selector.evaluate(self.network, best)
        if not self.material.held_out and self.steps:
            best.state = weights(self.network)
        return best

    def outcome(self, best: Best) -> Outcome:
        """Sum up, once the events are through."""
        if best.state is not None:
            self.selector.interpolate_until_no_regression(
                self.network, weights(self.model.network), best
            )
        return Outcome(
            state=best.state,
            before=self.selector.before.value if self.selector.before else None,
            after=best.score.value if best.score else None,
            n_held_out=sum(part.n_objects for part in self.material.held_out),
            decided=self.selector.is_scorable,
            disagrees=self.selector.disagrees,
            steps=self.steps,
            seed=self.config.seed,
            smallest=self.material.smallest,
            levels=self.selector.levels,
        )

    def _begin(
        self,
        start: Checkpoint | None,
        optimizer: torch.optim.Optimizer,
        rng: np.random.Generator,
    ) -> tuple[Best, float]:
        """Begin anew, or go on where another run stood; tell since when it runs."""
        best = self.selector.begin(self.network, self.material.smallest)
        if start is None:
            return best, time.monotonic()
        at = start.trainer_state
        checkpoint.load_state(self.network, optimizer, rng, start)
        self.steps = at.steps
        best = Best(at.best, start.best, at.peak, at.n_evaluations, at.without_gain)
        return best, time.monotonic() - at.spent

    def _trainer_state(
        self,
        corrections: str,
        best: Best,
        share: float,
        begin: float,
        rng: np.random.Generator,
    ) -> TrainerState:
        return TrainerState(
            model_id=self.model.info.lineage.model_id,
            corrections=corrections,
            config=asdict(self.config),
            decoding=self.decoding,
            steps=self.steps,
            share=share,
            spent=time.monotonic() - begin,
            n_evaluations=best.n_evaluations,
            without_gain=best.without_gain,
            peak=best.peak,
            best=best.score,
            rng=dict(rng.bit_generator.state),
        )

    def _share(self, begin: float) -> float:
        if self.config.steps is not None:
            return self.steps / max(1, self.config.steps)
        return min(1.0, (time.monotonic() - begin) / self.config.seconds)

    def _patch(self, rng: np.random.Generator) -> TrainingPatch:
        image, centre = self.sampler.draw(rng)
        geometry = Geometry(zoom=self.config.zoom)
        patch = cut_patch(image, centre, self.config.patch, geometry, rng)
        pixels = vary_intensity(
            patch.pixels,
            self.model.info.normalization,
            rng,
            strength=self.config.intensity,
        )
        return patch._replace(pixels=pixels)


def _left(begin: float, share: float) -> float:
    return (time.monotonic() - begin) * (1 - share) / share if share else 0.0


def _plain(error: BaseException, compute: Compute) -> OutOfMemoryError | DeviceError:
    free_cached_memory(compute)
    if is_out_of_memory(error):
        return OutOfMemoryError(
            "There is not enough memory to fine-tune: close other programs, or choose "
            "the device 'cpu', and try again. The model is as it was."
        )
    return failure(compute, error)
