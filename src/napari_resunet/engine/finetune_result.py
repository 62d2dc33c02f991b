"""What a fine-tuning ends with, and the model that is made of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet._package import library_versions
from napari_resunet.engine.changes import Elsewhere
from napari_resunet.engine.model_selection import BestWeights, ModelSelector
from napari_resunet.engine.outcome import (
    FEW_STEPS,
    IN_USE,
    HeldOutScore,
    Outcome,
    too_short_text,
)
from napari_resunet.network.model_file import Model, Weights
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, Lineage, ObjectSize


@dataclass(frozen=True, eq=False)
class FineTuneResult:
    """Result of a fine-tuning, from the engine to the dock.

    Attributes
    ----------
    model : Model
        The new model, or the old one if the new one was not better.
    outcome : Outcome
        How the new weights compare with the start.
    before, after : HeldOutScore or None
        Held-out scores of the start, and of the new weights, kept or not; None if nothing
        was held out.
    message : str
        One or two sentences for the user.
    n_objects, n_regions : int
        Numbers of corrected objects and regions that were learned from.
    n_images : int
        Number of images that they come from. The engine sets 1, because only the caller
        knows it.
    steps : int
        Number of training steps.
    candidate : Model or None
        The new model if it is too close to call.
    elsewhere : Elsewhere or None
        What the new model, or the candidate, changes on other images; None if it was not
        compared.
    seconds : float or None
        The time that training was given, if it ended because that was over.
    """

    model: Model
    outcome: Outcome
    before: HeldOutScore | None
    after: HeldOutScore | None
    message: str
    n_objects: int
    n_regions: int
    n_images: int
    steps: int = 0
    candidate: Model | None = None
    elsewhere: Elsewhere | None = None
    seconds: float | None = None

    @property
    def improved(self) -> bool:
        """Whether `model` is new."""
        return self.outcome in IN_USE

    @property
    def new(self) -> Model | None:
        """The new model, in use or to choose; None if it was dropped."""
        return self.candidate or (self.model if self.improved else None)

    @property
    def summary(self) -> str:
        """The message, and what changed on other images."""
        elsewhere = "" if self.elsewhere is None else self.elsewhere.text
        return f"{self.message} {elsewhere}".strip()

    @property
    def too_short(self) -> str:
        """That the time was too short, and how much to give; empty if it was not."""
        if self.seconds is None or self.steps >= FEW_STEPS:
            return ""
        return too_short_text(self.steps, self.seconds)


def make_result(
    model: Model,
    examples: Sequence[Example],
    selector: ModelSelector,
    best: BestWeights,
    *,
    object_size: ObjectSize | None = None,
    steps: int,
    seed: int,
    seconds: float | None = None,
) -> FineTuneResult:
    """Build the model from the best weights; keep the old one unless they are better."""
    new, n_objects = None, sum(_count_objects(example) for example in examples)
    if best.state is not None:
        network = ResNetUNet(model.info.n_maps)
        network.load_state_dict(_rounded(best.state))
        lineage = _lineage(model, examples, n_objects, steps, seed)
        # After few corrections, test-time augmentation saves an eighth of the edits
        # (docs/learning.md).
        info = replace(selector.info, tta=True, lineage=lineage, object_size=object_size)
        new = Model(network.eval(), info)
    in_use = best.outcome in IN_USE
    return FineTuneResult(
        model=new if new and in_use else model,
        outcome=best.outcome,
        before=selector.before,
        after=selector.after(best),
        message=selector.explain(best),
        n_objects=n_objects,
        n_regions=len(examples),
        n_images=1,
        steps=steps,
        candidate=None if in_use else new,
        seconds=seconds,
    )


def _rounded(weights: Weights) -> Weights:
    """Round weights to half precision, in which they are stored, where it can hold them.

    The model of today is then exactly the one that a session opens tomorrow.
    """
    half = {k: v.half() for k, v in weights.items() if v.is_floating_point()}
    if not all(torch.isfinite(v).all() for v in half.values()):
        return weights
    return {k: half[k].to(v.dtype) if k in half else v for k, v in weights.items()}


def _lineage(
    model: Model, examples: Sequence[Example], n_objects: int, steps: int, seed: int
) -> Lineage:
    return Lineage(
        parent_id=model.info.lineage.model_id,
        corrected_objects=n_objects,
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
