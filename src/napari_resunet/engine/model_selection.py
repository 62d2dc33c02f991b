"""Which weights of a fine-tuning are kept, and the sentence about it.

New weights must score better on the held-out regions (nearly as well, where these chose
the start) and not worse on those of earlier corrections. Where few objects are held out,
they must also agree with a confident start where nothing is verified (`agreement`).
Where the new weights alone are worse there, a mean of old and new often is not (Wortsman
et al. 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.agreement import Elsewhere
from napari_resunet.engine.device import Compute
from napari_resunet.engine.patches import TrainingImage
from napari_resunet.engine.postprocess import Decoding
from napari_resunet.engine.validation import (
    FEWEST_OBJECTS,
    HeldOutPart,
    HeldOutPrediction,
    HeldOutScore,
    predict,
    score_together,
)
from napari_resunet.network.model_file import Model, Weights, library_versions
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, Levels, Lineage, ModelInfo

NOISE = 0.03
"""Scores that differ by less are alike, however much they stand on."""

SPREAD = 0.4
"""Standard deviation of the score of one object. That of n objects differs by chance by its
standard error, this over the square root of n: much, for few objects are held out."""

SELECTION_BIAS = 0.5
"""Of the standard error: so much too good seems a start on parts that chose it themselves,
as the best of many looks (see ``docs/research``). New weights need not reach that. One
that never learned from corrections was not chosen there."""

FEW = 10
"""With fewer held-out objects these alone do not decide."""

FRACTIONS = (1.0, 0.75, 0.5, 0.25)
"""Shares of the new weights in the mean of old and new that are tried, in this order."""

LOW_LR = 0.35
"""Share of the learning rate for a start that is good already: it learns as much from one
image, and forgets less of the others. A poor one has nothing to forget."""

POOR, GOOD = 0.2, 0.5
"""Score on the held-out parts up to which a start finds next to nothing, and from which on
it is good."""

DEFAULT_LEVELS_FOR_NEW_DOMAIN = Levels(
    foreground=0.5, seed=0.2, smoothing=1.0, certainty=0.8
)
"""For objects of another kind than the start knows, learned from few: the maps are less
sure of them than of what was learned from thousands, in other images most of all. Others
that a few dozen held-out objects chose were worse on new images (``docs/research``)."""


Seen = dict[int, HeldOutPrediction]
"""Maps of the parts, by the identity of each."""


@dataclass
class Best:
    """What the looks at the held-out part have found so far.

    Attributes
    ----------
    score : HeldOutScore or None
        The best one; None where nothing is held out.
    state : dict of str to Tensor, or None
        Its weights; None: the start is the best so far.
    peak : float
        Highest value seen, whether it was taken or not.
    n_evaluations, without_gain : int
        Looks so far, and how many of the last brought no better score.
    """

    score: HeldOutScore | None
    state: Weights | None
    peak: float = 0.0
    n_evaluations: int = 0
    without_gain: int = 0


class ModelSelector:
    """Looks at a network in training; remembers how good the start was.

    Attributes
    ----------
    before : HeldOutScore or None
        Of the start; None where nothing is held out.
    is_scorable : bool
        Whether the user corrected anything on the held-out parts, so that a model can be
        better there than the start.
    disagrees : bool
        Whether weights were refused for what they find where nothing is verified.

    Parameters
    ----------
    held_out : sequence of Part
        Never learned from; may be empty.
    earlier : sequence of Part
        Those of them that the start was judged by as well.
    info : ModelInfo
        The start's.
    compute : Compute
        Where.
    decoding : Decoding
        The sliders.
    images : sequence of TrainingImage
        All corrections, what is not verified included; for judging by few objects.
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
        few = info.task == "instances" and _n_objects(held_out) < FEW
        self._elsewhere = Elsewhere(images if few else (), compute, decoding)
        self.disagrees = False
        self.is_scorable = any(part.is_corrected for part in held_out)
        self.before: HeldOutScore | None = None
        self._before_earlier: HeldOutScore | None = None
        # Most or all of the earlier ones are among those held out: each is seen once.
        self._parts = {id(part): part for part in (*held_out, *earlier)}

    def begin(self, start: ResNetUNet, smallest: float) -> Best:
        """Look at the start; from then on objects under `smallest` are dust.

        Levels of a start that does not know such objects are given up, too.
        """
        with _judged(start):
            self._elsewhere.begin(start, self._info)
        seen = self._see(start)
        self.before = self._score(seen, self.held_out)
        self._before_earlier = self._score(seen, self._earlier)
        self._info = replace(self._info, smallest=smallest, levels=self._suiting_levels())
        return Best(self.before, None)

    def _suiting_levels(self) -> Levels:
        unsure = self.before is not None and self.before.value < GOOD
        if unsure and self._info.task == "instances":
            return DEFAULT_LEVELS_FOR_NEW_DOMAIN
        return self._info.levels

    @property
    def levels(self) -> Levels:
        """Those that new weights are judged at, and go with them."""
        return self._info.levels

    def lr_scale(self) -> float:
        """Compute the factor of the learning rate, 1 down to `LOW_LR`, for this start."""
        value = 0.0 if self.before is None else self.before.value
        return float(np.interp(value, (POOR, GOOD), (1.0, LOW_LR)))

    def evaluate(self, network: ResNetUNet, best: Best) -> float | None:
        """Score the held-out parts; keep the weights in `best` where they are to be taken.

        Returns
        -------
        float or None
            The score; None where nothing is held out.
        """
        score = self._score(self._see(network), self.held_out)
        if score is None:
            return None
        best.peak = max(best.peak, score.value)
        if self._takes(score, best):
            best.score, best.state, best.without_gain = score, weights(network), 0
        else:
            best.without_gain += 1
        return score.value

    def _takes(self, score: HeldOutScore, best: Best) -> bool:
        # Of equal scores the later one: it has learned longer and at a lower rate.
        return self._improves(score) and score.value >= best.peak - self._noise(
            self.held_out
        )

    def _improves(self, score: HeldOutScore | None) -> bool:
        if score is None or self.before is None:
            return True
        if not self.is_scorable:
            # All truth there is the start's own proposal: nothing can be better.
            return score.value >= self.before.value
        if self._earlier and self._info.lineage.corrected_pixels:
            bias = SELECTION_BIAS * self._noise(self.held_out)
            return score.value >= self.before.value - bias
        return score.better_than(self.before)

    def interpolate_until_no_regression(
        self, network: ResNetUNet, start: Weights, best: Best
    ) -> None:
        """Mix the best weights with the start's until nothing is forgotten.

        Parameters
        ----------
        network : ResNetUNet
            Gets the weights that are settled on.
        start : dict of str to Tensor
            The weights it began with.
        best : Best
            The best weights; afterwards those settled on, None where none will do.
        """
        new = best.state or start
        for share in FRACTIONS:
            mixed = _mixed(start, new, share)
            network.load_state_dict(mixed)
            seen = self._see(network)
            score = self._score(seen, self.held_out)
            if self._improves(score) and self._retains(seen):
                with _judged(network):
                    self.disagrees = not self._elsewhere.agrees(network, self._info)
                if not self.disagrees:
                    best.state, best.score = mixed, score
                    return
        best.state, best.score = None, self.before

    def _retains(self, seen: Seen) -> bool:
        score = self._score(seen, self._earlier)
        before = self._before_earlier
        if score is None or before is None:
            return True
        return score.value >= before.value - self._noise(self._earlier)

    def _noise(self, parts: Sequence[HeldOutPart]) -> float:
        """Compute how far the score of these parts may differ by chance."""
        if self._info.task == "classes":
            return NOISE
        n = max(1, _n_objects(parts))
        return max(NOISE, SPREAD / n**0.5)

    def _see(self, network: ResNetUNet) -> Seen:
        """Compute the maps of all parts, each once."""
        with _judged(network):
            return {
                key: predict(network, self._info, part, self._compute)
                for key, part in self._parts.items()
            }

    def _score(self, seen: Seen, parts: Sequence[HeldOutPart]) -> HeldOutScore | None:
        if not parts:
            return None
        chosen = [seen[id(part)] for part in parts]
        return score_together(chosen, self._info, self._decoding)


@contextmanager
def _judged(network: ResNetUNet) -> Iterator[None]:
    """Run a block with the network in evaluation mode."""
    training = network.training
    network.eval()
    yield
    network.train(training)


def _n_objects(parts: Sequence[HeldOutPart]) -> int:
    return sum(part.n_objects for part in parts)


def weights(network: ResNetUNet) -> Weights:
    """Copy the weights to the CPU."""
    return {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}


def _mixed(old: Weights, new: Weights, share: float) -> Weights:
    """Average weights and BatchNorm's statistics; counters are the new ones."""
    return {
        k: torch.lerp(old[k], v, share) if v.is_floating_point() else v
        for k, v in new.items()
    }


STAYS = (
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
NOTHING_CORRECTED_THERE = (
    " Nothing was corrected on that part, so it only tells what was lost there, not what "
    "was gained elsewhere."
)


@dataclass(frozen=True)
class Outcome:
    """What a run of training ended with.

    Attributes
    ----------
    state : dict of str to Tensor, or None
        The best weights; None where the start is still the best.
    before, after : float or None
        Score on the held-out part; None where there was none.
    n_held_out : int
        Held-out objects.
    decided : bool
        Whether the user corrected anything on the held-out part.
    disagrees : bool
        Whether new weights were refused for what they find where nothing is verified.
    steps, seed : int
        Of the training.
    smallest : float
        What is dust, as a share of a disc of the working diameter.
    levels : Levels
        How the maps become objects.
    """

    state: dict[str, torch.Tensor] | None
    before: float | None
    after: float | None
    n_held_out: int
    decided: bool
    disagrees: bool
    steps: int
    seed: int
    smallest: float
    levels: Levels


@dataclass(frozen=True)
class FineTuned:
    """What came of it.

    Attributes
    ----------
    model : Model
        The new model, or the old one where the new was not better.
    improved : bool
        Whether `model` is new.
    before, after : float or None
        Score on the held-out part; None where there was none.
    steps : int
        Steps done.
    message : str
        One sentence for the user.
    """

    model: Model
    improved: bool
    before: float | None
    after: float | None
    steps: int
    message: str


def verdict(model: Model, examples: Sequence[Example], outcome: Outcome) -> FineTuned:
    """Keep the new model or the old one.

    Parameters
    ----------
    model : Model
        The start.
    examples : sequence of Example
        What was learned from.
    outcome : Outcome
        What the training ended with.

    Returns
    -------
    FineTuned
        With `model` itself where nothing was better.
    """
    result, message = model, STAYS + _doubt(outcome, model.info)
    if outcome.disagrees:
        message = DISAGREES.format(n=outcome.n_held_out)
    if outcome.state is not None:
        network = ResNetUNet(model.info.n_maps)
        network.load_state_dict(outcome.state)
        info = replace(
            model.info,
            smallest=outcome.smallest,
            levels=outcome.levels,
            # Few corrections leave an eighth of the edits to chance (docs/learning.md).
            mirrored=True,
            lineage=_lineage(model, examples, outcome),
        )
        result, message = Model(network.eval(), info), _sentence(outcome, model.info)
    return FineTuned(
        result,
        improved=result is not model,
        before=outcome.before,
        after=outcome.after,
        steps=outcome.steps,
        message=message,
    )


def _sentence(outcome: Outcome, info: ModelInfo) -> str:
    if outcome.before is None or outcome.after is None:
        return NO_HELD_OUT
    text = (
        f"Score on the held-out part: {outcome.before:.2f} before, "
        f"{outcome.after:.2f} after."
    )
    return text + _doubt(outcome, info)


def _doubt(outcome: Outcome, info: ModelInfo) -> str:
    """Say why the score tells little, if so."""
    if not outcome.decided:
        return NOTHING_CORRECTED_THERE
    few = info.task == "instances" and 0 < outcome.n_held_out < FEWEST_OBJECTS
    return f" It has only {outcome.n_held_out} object(s): too few to be sure." * few


def _lineage(model: Model, examples: Sequence[Example], outcome: Outcome) -> Lineage:
    return Lineage(
        parent_id=model.info.lineage.model_id,
        corrected_objects=sum(_count_objects(e) for e in examples),
        corrected_pixels=sum(
            int(e.labels.size if e.verified is None else e.verified.sum()) for e in examples
        ),
        steps=outcome.steps,
        seed=outcome.seed,
        versions=library_versions(),
    )


def _count_objects(example: Example) -> int:
    known = example.labels if example.verified is None else example.labels[example.verified]
    return len(np.unique(known[known > 0]))
