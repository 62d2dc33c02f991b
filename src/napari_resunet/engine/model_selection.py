"""Which weights of a fine-tuning to keep, and the message about it.

New weights must score better on the held-out regions than the start, or nearly as well if
the start was selected on these regions. They must not score worse on the regions of earlier
corrections. If few objects are held out, they must also agree with a confident start where
nothing is verified (`agreement`). If new weights fail, an average of old and new weights
often passes (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet._package import library_versions
from napari_resunet.engine.agreement import AgreementCheck
from napari_resunet.engine.device import Compute
from napari_resunet.engine.patches import TrainingImage
from napari_resunet.engine.validation import (
    MIN_OBJECTS,
    HeldOutPart,
    HeldOutPrediction,
    HeldOutScore,
    predict,
    score_together,
)
from napari_resunet.network.model_file import Model, Weights
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Decoding, Example, Levels, Lineage, ModelInfo

NOISE = 0.03
"""Scores that differ by less count as equal, however many objects they are based on."""

SPREAD = 0.4
"""Standard deviation of the score of one object. The standard error of the score of n
objects is this divided by the square root of n: large, because few objects are held out."""

SELECTION_BIAS = 0.5
"""A start that was selected on the held-out parts, as the best of many evaluations, scores
too well there by about this many standard errors (``docs/research``). New weights need not
reach that. A start that never learned from corrections has no such bias."""

MIN_OBJECTS_TO_DECIDE = 10
"""With fewer held-out objects, the score alone does not decide."""

FRACTIONS = (1.0, 0.75, 0.5, 0.25)
"""Fractions of the new weights in the average of old and new, in the order of trial."""

LOW_LR = 0.35
"""Factor of the learning rate for a good start: it still learns as much from one image, and
forgets less about the others. A poor start has nothing to forget."""

POOR, GOOD = 0.2, 0.5
"""Held-out scores: up to `POOR` a start finds almost nothing, from `GOOD` on it is good."""

DEFAULT_LEVELS_FOR_NEW_DOMAIN = Levels(
    foreground=0.5, seed=0.2, smoothing=1.0, certainty=0.8
)
"""Levels for objects that the start does not know. After a few examples the maps are less
certain of them, especially in other images. Levels that were fitted to a few dozen held-out
objects were worse on new images (``docs/research``)."""

NOT_BETTER = (
    "The model did not get better on the held-out part (or got worse on earlier "
    "corrections), so the old one stays. Correct a few more objects and fine-tune again."
)
DISAGREES = (
    "The old model stays: where nothing is verified and the old one was sure, the new one "
    "finds other objects, and only {n} held-out object(s) speak for it. Verify a larger "
    "area and fine-tune again."
)
NO_HELD_OUT = (
    "The model has learned, but the verified area is too small to hold a part out: look at "
    "the new proposal to judge it."
)
NOT_CORRECTED_THERE = (
    " Nothing was corrected on that part, so it only tells what was lost there, not what "
    "was gained elsewhere."
)

Predictions = dict[int, HeldOutPrediction]
"""Predictions of the held-out parts, by the identity of each part."""


@dataclass
class BestWeights:
    """The best weights so far.

    Attributes
    ----------
    score : HeldOutScore or None
        Held-out score of these weights; None if nothing is held out.
    state : dict of str to Tensor, or None
        The weights; None if the start is still the best.
    highest_score : float
        Highest score so far, even if those weights were not kept.
    n_evaluations : int
        Number of evaluations so far.
    n_without_improvement : int
        Number of evaluations since the last improvement.
    """

    score: HeldOutScore | None
    state: Weights | None
    highest_score: float = 0.0
    n_evaluations: int = 0
    n_without_improvement: int = 0


class ModelSelector:
    """Evaluates a network in training and compares it with the start.

    Parameters
    ----------
    held_out : sequence of HeldOutPart
        Parts that are never learned from; may be empty.
    earlier : sequence of HeldOutPart
        Parts that the start was selected on.
    info : ModelInfo
        Description of the start.
    compute : Compute
        Device and precision.
    decoding : Decoding
        The two sliders.
    images : sequence of TrainingImage
        All corrections with their unverified surroundings, for the agreement.

    Attributes
    ----------
    before : HeldOutScore or None
        Score of the start; None if nothing is held out.
    is_scorable : bool
        Whether the user corrected anything on the held-out parts. If not, no model can be
        better there than the start.
    disagrees : bool
        Whether weights were rejected because they disagree with the start.
    """

    def __init__(
        self,
        held_out: Sequence[HeldOutPart],
        earlier: Sequence[HeldOutPart],
        info: ModelInfo,
        compute: Compute,
        decoding: Decoding,
        images: Sequence[TrainingImage] = (),
    ) -> None:
        self.held_out, self._earlier = held_out, earlier
        self._info, self._compute, self._decoding = info, compute, decoding
        few = info.task == "instances" and _n_objects(held_out) < MIN_OBJECTS_TO_DECIDE
        self._agreement = AgreementCheck(images if few else (), compute, decoding)
        self.disagrees = False
        self.is_scorable = any(part.is_corrected for part in held_out)
        self.before: HeldOutScore | None = None
        self._before_earlier: HeldOutScore | None = None
        # Most or all earlier parts are also held out: each is predicted once.
        self._parts = {id(part): part for part in (*held_out, *earlier)}

    def begin(self, start: ResNetUNet, min_size_fraction: float) -> BestWeights:
        """Evaluate the start, and set minimum size and levels for the new weights."""
        with _evaluating(start):
            self._agreement.set_start(start, self._info)
        predictions = self._predict_all(start)
        self.before = self._score(predictions, self.held_out)
        self._before_earlier = self._score(predictions, self._earlier)
        self._info = replace(
            self._info,
            min_size_fraction=min_size_fraction,
            levels=self._levels_for_new_weights(),
        )
        return BestWeights(self.before, None)

    def _levels_for_new_weights(self) -> Levels:
        unsure = self.before is not None and self.before.value < GOOD
        if unsure and self._info.task == "instances":
            return DEFAULT_LEVELS_FOR_NEW_DOMAIN
        return self._info.levels

    @property
    def info(self) -> ModelInfo:
        """The start's description, with levels and minimum size of the new weights."""
        return self._info

    def lr_scale(self) -> float:
        """Return the factor of the learning rate, from 1 (poor start) down to `LOW_LR`."""
        value = 0.0 if self.before is None else self.before.value
        return float(np.interp(value, (POOR, GOOD), (1.0, LOW_LR)))

    def evaluate(self, network: ResNetUNet, best: BestWeights) -> float | None:
        """Return the held-out score, if any; update `best` if the weights are better."""
        score = self._score(self._predict_all(network), self.held_out)
        if score is None:
            return None
        best.highest_score = max(best.highest_score, score.value)
        if self._is_best(score, best):
            best.score, best.state, best.n_without_improvement = score, weights(network), 0
        else:
            best.n_without_improvement += 1
        return score.value

    def _is_best(self, score: HeldOutScore, best: BestWeights) -> bool:
        # Later weights win a tie: they learned longer, and at a lower learning rate.
        noise = self._noise(self.held_out)
        return self._improves(score) and score.value >= best.highest_score - noise

    def _improves(self, score: HeldOutScore | None) -> bool:
        if score is None or self.before is None:
            return True
        if not self.is_scorable:
            # The start proposed all labels there, so no weights can score better.
            return score.value >= self.before.value
        if self._earlier and self._info.lineage.corrected_pixels:
            bias = SELECTION_BIAS * self._noise(self.held_out)
            return score.value >= self.before.value - bias
        return score.better_than(self.before)

    def interpolate_until_no_regression(
        self, network: ResNetUNet, start: Weights, best: BestWeights
    ) -> None:
        """Average the best weights with those of the start until no score gets worse.

        The first average that passes goes to `best` and `network`; if none does,
        ``best.state`` becomes None.
        """
        new = best.state or start
        for fraction in FRACTIONS:
            average = _interpolated(start, new, fraction)
            network.load_state_dict(average)
            predictions = self._predict_all(network)
            score = self._score(predictions, self.held_out)
            if self._improves(score) and self._retains(predictions):
                with _evaluating(network):
                    self.disagrees = not self._agreement.agrees(network, self._info)
                if not self.disagrees:
                    best.state, best.score = average, score
                    return
        best.state, best.score = None, self.before

    def _retains(self, predictions: Predictions) -> bool:
        score = self._score(predictions, self._earlier)
        before = self._before_earlier
        if score is None or before is None:
            return True
        return score.value >= before.value - self._noise(self._earlier)

    def _noise(self, parts: Sequence[HeldOutPart]) -> float:
        """Return by how much the score of these parts may differ by chance."""
        if self._info.task == "classes":
            return NOISE
        n = max(1, _n_objects(parts))
        return max(NOISE, SPREAD / n**0.5)

    def explain(self, best: BestWeights) -> str:
        """Explain to the user which model is kept, and why."""
        if best.state is None and self.disagrees:
            return DISAGREES.format(n=_n_objects(self.held_out))
        if best.state is None:
            return NOT_BETTER + self._caveat()
        if self.before is None or best.score is None:
            return NO_HELD_OUT
        before, after = self.before.value, best.score.value
        text = f"Score on the held-out part: {before:.2f} before, {after:.2f} after."
        return text + self._caveat()

    def _caveat(self) -> str:
        """Explain why the score means little, if it does."""
        if not self.is_scorable:
            return NOT_CORRECTED_THERE
        n = _n_objects(self.held_out)
        few = self._info.task == "instances" and 0 < n < MIN_OBJECTS
        return f" It has only {n} object(s): too few to be sure." * few

    def _predict_all(self, network: ResNetUNet) -> Predictions:
        """Predict each part once."""
        with _evaluating(network):
            return {
                key: predict(network, self._info, part, self._compute)
                for key, part in self._parts.items()
            }

    def _score(
        self, predictions: Predictions, parts: Sequence[HeldOutPart]
    ) -> HeldOutScore | None:
        if not parts:
            return None
        chosen = [predictions[id(part)] for part in parts]
        return score_together(chosen, self._info, self._decoding)


@contextmanager
def _evaluating(network: ResNetUNet) -> Iterator[None]:
    """Switch a network to evaluation mode, and back."""
    training = network.training
    network.eval()
    yield
    network.train(training)


def _n_objects(parts: Sequence[HeldOutPart]) -> int:
    return sum(part.n_objects for part in parts)


def weights(network: ResNetUNet) -> Weights:
    """Copy the weights to the CPU."""
    return {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}


def _interpolated(old: Weights, new: Weights, fraction: float) -> Weights:
    """Average weights and BatchNorm statistics; take counters from `new`."""
    return {
        k: torch.lerp(old[k], v, fraction) if v.is_floating_point() else v
        for k, v in new.items()
    }


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """Result of a fine-tuning, from the engine to the dock.

    Attributes
    ----------
    model : Model
        The new model, or the old one if the new one was not better.
    improved : bool
        Whether `model` is new.
    before, after : float or None
        Held-out scores of the start and of the best weights, 0 to 1; None if nothing was
        held out.
    message : str
        One or two sentences for the user.
    scale : float
        Rescale factor from image pixels to network resolution of the latest example; 1.0
        if it has none.
    n_objects, n_regions : int
        Numbers of corrected objects and regions that were learned from.
    n_images : int
        Number of images that they come from. The engine sets 1, because only the caller
        knows it.
    steps : int
        Number of training steps.
    """

    model: Model
    improved: bool
    before: float | None
    after: float | None
    message: str
    scale: float
    n_objects: int
    n_regions: int
    n_images: int
    steps: int = 0


def make_result(
    model: Model,
    examples: Sequence[Example],
    selector: ModelSelector,
    best: BestWeights,
    *,
    steps: int,
    seed: int,
) -> FineTuneResult:
    """Build the model from the best weights, or keep the old one if there are none."""
    new = None
    if best.state is not None:
        network = ResNetUNet(model.info.n_maps)
        network.load_state_dict(best.state)
        lineage = _lineage(model, examples, steps, seed)
        # After few corrections, test-time augmentation saves an eighth of the edits
        # (docs/learning.md).
        info = replace(selector.info, tta=True, lineage=lineage)
        new = Model(network.eval(), info)
    return FineTuneResult(
        model=new or model,
        improved=new is not None,
        before=selector.before.value if selector.before else None,
        after=best.score.value if best.score else None,
        message=selector.explain(best),
        scale=(examples[-1].scale if examples else None) or 1.0,
        n_objects=sum(_count_objects(e) for e in examples),
        n_regions=len(examples),
        n_images=1,
        steps=steps,
    )


def _lineage(model: Model, examples: Sequence[Example], steps: int, seed: int) -> Lineage:
    return Lineage(
        parent_id=model.info.lineage.model_id,
        corrected_objects=sum(_count_objects(e) for e in examples),
        corrected_pixels=sum(
            int(e.labels.size if e.verified is None else e.verified.sum()) for e in examples
        ),
        steps=steps,
        seed=seed,
        versions=library_versions(),
    )


def _count_objects(example: Example) -> int:
    known = example.labels if example.verified is None else example.labels[example.verified]
    return len(np.unique(known[known > 0]))
