"""The start as a teacher, so that learning from one image does not cost the others.

Each batch also has a patch of an image without labels, and the new maps there are held to
those of the start (distillation: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Li &
Hoiem 2016, https://arxiv.org/abs/1606.09282). So that its mistakes are not held on to, the
start is believed as far as the user accepted its objects, and as its pixels were right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from napari_resunet.engine.device import Compute
from napari_resunet.engine.normalize import normalize, with_statistics
from napari_resunet.engine.optimized import fast_copy
from napari_resunet.engine.patches import PatchSource, TrainingImage, TrainingPatch
from napari_resunet.engine.validation import HeldOutPart
from napari_resunet.network.model_file import Model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import ModelInfo, OtherImage

N_LEVELS = 10
"""Levels of foreground probability that are told apart when the start is judged."""


class SoftTargets(NamedTuple):
    """What the start says of patches without labels.

    Attributes
    ----------
    pixels : Tensor, shape (N, 3, S, S)
        Normalized.
    maps : Tensor, shape (N, n_maps, S, S)
        Probabilities.
    weight : Tensor, shape (N, S, S)
        How much to believe them, 0 to 1.
    """

    pixels: torch.Tensor
    maps: torch.Tensor
    weight: torch.Tensor


class Teacher:
    """A start that predicts images without labels.

    Parameters
    ----------
    model : Model
        The start, for instances.
    others : sequence of OtherImage
        Images without labels; at least one.
    trust : float
        How far to believe in its objects, 0 to 1.
    compute : Compute
        Device and precision.
    """

    def __init__(
        self,
        model: Model,
        others: Sequence[OtherImage],
        trust: float,
        compute: Compute,
    ) -> None:
        self._network, self._compute = fast_copy(model.network, compute), compute
        self._trust = trust
        self._sources = [_source(other, model.info, compute) for other in others]
        self._reliability = torch.zeros(N_LEVELS)

    def judge(self, patches: TrainingPatch) -> None:
        """Measure how reliable the start is on the verified pixels of a batch."""
        foreground = self._predict(patches.pixels.to(self._compute.device))[:, 0].cpu()
        known, objects = (part.cpu() > 0 for part in (patches.weight, patches.labels))
        measured = self._trust * reliability(foreground[known], objects[known])
        self._reliability = measured.to(self._compute.device)

    def sample(self, rng: np.random.Generator) -> tuple[PatchSource, tuple[float, float]]:
        """Draw an image and a centre, row and column in image pixels."""
        source = self._sources[int(rng.integers(len(self._sources)))]
        height, width = source.planes.labels.shape
        return source, (rng.uniform(0, height), rng.uniform(0, width))

    def teach(self, patches: TrainingPatch) -> SoftTargets:
        """Predict a batch of patches of the images."""
        pixels = patches.pixels.to(self._compute.device, non_blocking=True)
        known = patches.weight.to(self._compute.device, non_blocking=True)
        maps = self._predict(pixels)
        return SoftTargets(pixels, maps, known * self._reliability[_level(maps[:, 0])])

    def _predict(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.to(self._compute.dtype, memory_format=torch.channels_last)
        with torch.no_grad():
            probabilities: torch.Tensor = self._network(pixels).float().sigmoid()
        return probabilities


def _source(other: OtherImage, info: ModelInfo, compute: Compute) -> PatchSource:
    """Make an image that patches can be cut from, with labels that take no memory."""
    image, measured = with_statistics(other.image, other.statistics, info.normalization)
    pixels = normalize(image, measured, info.normalization).astype(np.float16)
    planes = torch.from_numpy(np.moveaxis(pixels, -1, 0)).to(compute.pixel_device)
    zeros, ones = (
        planes.new_full((1, 1), value).expand(planes.shape[1:]) for value in (0.0, 1.0)
    )
    return PatchSource(TrainingPatch(planes, zeros, zeros, ones), other.scale)


def accepted_fraction(image: TrainingImage) -> float | None:
    """Return the fraction of the verified objects that are as proposed; None if unknown."""
    whole = HeldOutPart(image)
    if whole.accepted is None or not whole.n_objects:
        return None
    return len(whole.accepted) / whole.n_objects


def reliability(foreground: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Measure how much more often the start is right than who always says the same.

    Parameters
    ----------
    foreground : Tensor, shape (N,)
        Its foreground probabilities of verified pixels.
    truth : bool Tensor, shape (N,)
        Whether they are foreground.

    Returns
    -------
    Tensor, shape (N_LEVELS,)
        For each level of foreground probability, from 0 (no more often) to 1 (always).
    """
    levels = _level(foreground)
    n = torch.bincount(levels, minlength=N_LEVELS)
    n_objects = torch.bincount(levels[truth], minlength=N_LEVELS)
    says_object = torch.arange(N_LEVELS) >= N_LEVELS // 2
    n_wrong = torch.where(says_object, n - n_objects, n_objects)
    by_chance = torch.where(says_object, (n - n_objects).sum(), n_objects.sum()) / n.sum()
    return (1 - n_wrong / n / by_chance).nan_to_num(0.0).clamp(0.0, 1.0)


def _level(foreground: torch.Tensor) -> torch.Tensor:
    return (foreground * N_LEVELS).long().clamp_max(N_LEVELS - 1)
