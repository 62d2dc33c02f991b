"""What came of fine-tuning: the new model or the old one, and a sentence about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.held_out import FEWEST_OBJECTS
from napari_resunet.network.model_file import Model, library_versions
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, Levels, Lineage, ModelInfo

STAYS = (
    "The model did not get better on the held-out part (or got worse on earlier "
    "corrections), so the old one stays. Correct a few more objects and fine-tune again."
)
DISAGREES = (
    "The old model stays, for the new one finds other objects where nothing is checked and "
    "the old one was sure, and only {n} held-out object(s) speak for it. Check a larger "
    "area and fine-tune again."
)
NO_HELD_OUT = (
    "The model has learned, but the checked area is too small to hold a part out: look at "
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
        Whether new weights were refused for what they find where nothing is checked.
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
            int(e.labels.size if e.checked is None else e.checked.sum()) for e in examples
        ),
        steps=outcome.steps,
        seed=outcome.seed,
        versions=library_versions(),
    )


def _count_objects(example: Example) -> int:
    known = example.labels if example.checked is None else example.labels[example.checked]
    return len(np.unique(known[known > 0]))
