"""Which weights of a fine-tuning to keep, and the message about it.

New weights are put in use if they score as well on the held-out regions as the start. They
must not score worse on the regions of earlier corrections. If few objects are held out,
they must also agree with a confident start where nothing is verified, and on other images
(`agreement`). If new weights fail, an average of old and new weights often passes (Wortsman
et al. 2022, https://arxiv.org/abs/2109.01903). If none does, weights whose score is lower
by no more than chance are too close to call: the user chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.agreement import (
    AgreementCheck,
    windows_around,
    windows_elsewhere,
)
from napari_resunet.engine.device import Compute
from napari_resunet.engine.outcome import (
    FEW,
    FORGOT,
    NOT_CORRECTED_THERE,
    HeldOutScore,
    Outcome,
    advised_text,
    disagrees_text,
)
from napari_resunet.engine.patches import TrainingImage
from napari_resunet.engine.validation import (
    HeldOutPart,
    HeldOutPrediction,
    predict,
    score_together,
)
from napari_resunet.network.model_file import Weights
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import (
    Decoding,
    Levels,
    ModelInfo,
    OtherImage,
)

NOISE = 0.03
"""Scores that differ by less count as equal, however many objects they are based on."""

SPREAD = 0.4
"""Standard deviation of the score of one object. The standard error of the score of n
objects is this divided by the square root of n: large, because few objects are held out."""

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
    outcome : Outcome
        How these weights compare with the start, after the last evaluation.
    """

    score: HeldOutScore | None
    state: Weights | None
    highest_score: float = 0.0
    n_evaluations: int = 0
    n_without_improvement: int = 0
    outcome: Outcome = "worse"


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
    others : sequence of OtherImage
        Images without labels, for the agreement there.

    Attributes
    ----------
    before : HeldOutScore or None
        Score of the start; None if nothing is held out.
    is_scorable : bool
        Whether the user corrected anything on the held-out parts. If not, no model can be
        better there than the start.
    disagrees, forgets : bool
        Whether weights that score well were refused because they disagree with the start
        where nothing is verified, or are worse on earlier corrections.
    rejected : HeldOutScore or None
        Highest score of weights that were not kept.
    """

    def __init__(
        self,
        held_out: Sequence[HeldOutPart],
        earlier: Sequence[HeldOutPart],
        info: ModelInfo,
        compute: Compute,
        decoding: Decoding,
        images: Sequence[TrainingImage] = (),
        others: Sequence[OtherImage] = (),
    ) -> None:
        self.held_out, self._earlier = held_out, earlier
        self._info, self._compute, self._decoding = info, compute, decoding
        few = info.task == "instances" and _n_objects(held_out) < FEW
        # A start may be confident of one of the two, and not of the other.
        places = (windows_around(images), windows_elsewhere(others, info)) if few else ()
        self._agreements = [AgreementCheck(where, compute, decoding) for where in places]
        self.disagrees = self.forgets = False
        self.rejected: HeldOutScore | None = None
        self.is_scorable = any(part.is_corrected for part in held_out)
        self.before: HeldOutScore | None = None
        self._before_earlier: HeldOutScore | None = None
        # Most or all earlier parts are also held out: each is predicted once.
        self._parts = {id(part): part for part in (*held_out, *earlier)}

    def begin(self, start: ResNetUNet, min_size_fraction: float) -> BestWeights:
        """Evaluate the start, and set minimum size and levels for the new weights."""
        with _evaluating(start):
            for check in self._agreements:
                check.set_start(start, self._info)
        predictions = self._predict_all(start)
        self.before = self._score(predictions, self.held_out)
        self._before_earlier = self._score(predictions, self._earlier)
        self._info = self._for_new_weights(min_size_fraction)
        return BestWeights(self.before, None)

    def _for_new_weights(self, min_size_fraction: float) -> ModelInfo:
        """Keep minimum size and levels of a good start."""
        if self._info.task == "classes" or self.start_quality() == 1:
            return self._info
        levels = self._info.levels if self.before is None else DEFAULT_LEVELS_FOR_NEW_DOMAIN
        return replace(self._info, min_size_fraction=min_size_fraction, levels=levels)

    @property
    def info(self) -> ModelInfo:
        """The start's description, with levels and minimum size of new weights."""
        return self._info

    def start_quality(self) -> float:
        """Return how good the start is, from 0 (poor, or not known) to 1 (good)."""
        value = 0.0 if self.before is None else self.before.value
        return float(np.interp(value, (POOR, GOOD), (0.0, 1.0)))

    def lr_scale(self) -> float:
        """Return the factor of the learning rate, from 1 (poor start) down to `LOW_LR`."""
        return 1.0 - (1.0 - LOW_LR) * self.start_quality()

    def evaluate(self, network: ResNetUNet, best: BestWeights) -> HeldOutScore | None:
        """Return the held-out score, if any; update `best` if the weights are better."""
        score = self._score(self._predict_all(network), self.held_out)
        if score is None:
            return None
        best.highest_score = max(best.highest_score, score.value)
        if self._is_best(score, best):
            best.score, best.state, best.n_without_improvement = score, weights(network), 0
        else:
            self._reject(score)
            best.n_without_improvement += 1
        return score

    def _is_best(self, score: HeldOutScore, best: BestWeights) -> bool:
        # Later weights win a tie: they learned longer, and at a lower learning rate.
        if score.value < best.highest_score - self._noise(self.held_out):
            return False
        if self._improves(score):
            return True
        # What is too close to call never replaces an improvement.
        improved = best.state is not None and self._improves(best.score)
        return not improved and self._is_close(score)

    def _improves(self, score: HeldOutScore | None) -> bool:
        if score is None or self.before is None:
            return True
        return score.value >= self.before.value

    def _gains(self, score: HeldOutScore | None) -> bool:
        """Return whether an average of old and new weights is worth taking.

        An average may score the same because it has hardly learned, so that is not enough,
        unless nothing can be gained on the held-out parts.
        """
        if score is None or self.before is None or not self.is_scorable:
            return self._improves(score)
        return (score.value, -score.loss) > (self.before.value, -self.before.loss)

    def _is_close(self, score: HeldOutScore | None) -> bool:
        if score is None or self.before is None:
            return True
        return score.value >= self.before.value - self._noise(self.held_out)

    def _reject(self, score: HeldOutScore | None) -> None:
        if score is not None and (
            self.rejected is None or score.value >= self.rejected.value
        ):
            self.rejected = score

    def interpolate_until_no_regression(
        self, network: ResNetUNet, start: Weights, best: BestWeights
    ) -> None:
        """Average the best weights with those of the start until no score gets worse.

        The first average that passes goes to `best` and `network`. If none does, the first
        one that is too close to call goes to `best`, or else ``best.state`` becomes None.
        """
        new, close = best.state or start, list[tuple[Weights, HeldOutScore | None]]()
        for fraction in FRACTIONS:
            average = _interpolated(start, new, fraction)
            network.load_state_dict(average)
            predictions = self._predict_all(network)
            score = self._score(predictions, self.held_out)
            passes = self._improves(score) if fraction == 1 else self._gains(score)
            if not self._retains(predictions):
                self.forgets |= passes
                self._reject(score)
            elif passes and self._agrees(network):
                best.state, best.score = average, score
                best.outcome = self._outcome(score)
                return
            elif self._is_close(score):
                close.append((average, score))
            else:
                self._reject(score)
        best.state, best.score = close[0] if close else (None, self.before)
        best.outcome = "too close" if close else "worse"

    def _agrees(self, network: ResNetUNet) -> bool:
        with _evaluating(network):
            agrees = all(check.agrees(network, self._info) for check in self._agreements)
        self.disagrees |= not agrees
        return agrees

    def _outcome(self, score: HeldOutScore | None) -> Outcome:
        if score is None or self.before is None:
            return "not judged"
        return "better" if score.value > self.before.value else "equal"

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

    def after(self, best: BestWeights) -> HeldOutScore | None:
        """Return the score to compare with `before`: of new weights, kept or not.

        None if these were refused for what they forgot, whatever their score.
        """
        if best.outcome != "worse":
            return best.score
        return None if self.forgets else self.rejected

    def explain(self, best: BestWeights) -> str:
        """Explain to the user which model is kept, and why."""
        after = self.after(best)
        if best.outcome == "too close" and self.disagrees and self._improves(after):
            return disagrees_text(_n_objects(self.held_out))
        if best.outcome == "worse" and self.forgets:
            return FORGOT
        if self.is_scorable or self.before is None:
            return advised_text(best.outcome, self.before, after)
        return advised_text(best.outcome, self.before, after, NOT_CORRECTED_THERE)

    def _predict_all(self, network: ResNetUNet) -> Predictions:
        """Predict each part once."""
        with _evaluating(network):
            parts = list(self._parts.values())
            found = predict(network, self._info, parts, self._compute)
        return dict(zip(self._parts, found, strict=True))

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
    return {k: v.detach().to("cpu", copy=True) for k, v in network.state_dict().items()}


def _interpolated(old: Weights, new: Weights, fraction: float) -> Weights:
    """Average weights and BatchNorm statistics; take counters from `new`."""
    return {
        k: torch.lerp(old[k], v, fraction) if v.is_floating_point() else v
        for k, v in new.items()
    }
