"""Loss functions with per-pixel weights; a weight of 0 ignores a pixel.

For objects, binary cross-entropy on each map and a soft Dice term on the foreground
(Milletari et al. 2016, https://arxiv.org/abs/1606.04797). For classes, cross-entropy and
Dice.
"""

from __future__ import annotations

import numpy as np

from napari_resunet.engine.device import upload
from napari_resunet.network.torch_import import functional, torch
from napari_resunet.types import Task

MAP_WEIGHTS = (1.0, 10.0, 0.5)
"""Weights of the foreground, distance, and boundary maps. The entropy of the distance
hardly falls, as the truth lies between 0 and 1, so it needs a high weight."""

CONTACT_WEIGHT = 4.0
"""Extra weight of pixels where two objects meet, because most errors are merged neighbours
(as in the U-Net, Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597)."""

CONTACT_REACH = 3
"""Two objects meet at a pixel if both are within this many pixels of it."""


TEACHER_WEIGHT = 3.0
"""Weight of a pixel that a teacher knows, where a verified one has 1."""


def loss_of(
    task: Task,
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Compute the loss of a batch, a scalar; 0 if all weights are.

    Parameters
    ----------
    task : {"instances", "classes"}
        What the maps mean.
    logits : Tensor, shape (N, n_maps, H, W)
        Output of the network.
    labels : Tensor, shape (N, H, W), int64
        Objects or classes.
    distance : Tensor, shape (N, H, W)
        Normalized inner distance, 0 to 1; only used for instances.
    weight : Tensor, shape (N, H, W)
        Not negative; 0 where the truth is unknown.
    """
    if task == "classes":
        return _class_loss(logits.float(), labels, weight)
    return _instance_loss(logits.float(), labels, distance, weight)


def distillation_loss(
    logits: torch.Tensor, maps: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """Compute how far maps of instances are from those of a teacher, a scalar.

    Parameters
    ----------
    logits : Tensor, shape (N, n_maps, H, W)
        Output of the network.
    maps : Tensor, shape (N, n_maps, H, W)
        Probabilities of the teacher.
    weight : Tensor, shape (N, H, W)
        How much it is believed, 0 to 1; what it does not know makes the loss smaller.
    """
    return TEACHER_WEIGHT * (_entropy(logits.float(), maps) * weight).mean()


def boundary(labels: torch.Tensor) -> torch.Tensor:
    """Mark foreground pixels that touch another label or the background, as 0 and 1."""
    values = labels[:, None].float()
    highest, lowest = _highest(values, 1), -_highest(-values, 1)
    return ((highest != lowest) & (values > 0))[:, 0].float()


def contact_zone(labels: torch.Tensor) -> torch.Tensor:
    """Mark pixels that have two objects within `CONTACT_REACH`, as 0 and 1."""
    values = labels[:, None].float()
    highest = _highest(values, CONTACT_REACH)
    lowest = -_highest(-torch.where(values > 0, values, torch.inf), CONTACT_REACH)
    return (lowest < highest)[:, 0].float()


def _highest(values: torch.Tensor, reach: int) -> torch.Tensor:
    """Return the highest value in a square around each pixel."""
    return functional.max_pool2d(values, 2 * reach + 1, stride=1, padding=reach)


def _instance_loss(
    logits: torch.Tensor, labels: torch.Tensor, distance: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    foreground = (labels > 0).float()
    targets = torch.stack([foreground, distance, boundary(labels)], dim=1)
    per_pixel = _entropy(logits, targets)
    weight = weight * (1.0 + CONTACT_WEIGHT * contact_zone(labels))
    mean = (per_pixel * weight).sum() / weight.sum().clamp_min(1.0)
    return mean + _dice_loss(logits[:, 0].sigmoid(), foreground, weight)


def _entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum over the maps, shape (N, H, W)."""
    # `torch.tensor` would wait for the graphics card.
    scale = upload(np.array(MAP_WEIGHTS), logits.device)[:, None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (entropy * scale).sum(1)


def _class_loss(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    mean = (entropy * weight).sum() / weight.sum().clamp_min(1.0)
    probability = logits.softmax(1)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    # Without background, because the named classes matter.
    return mean + _dice_loss(probability[:, 1:], truth[:, 1:], weight[:, None])


def _dice_loss(
    probability: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    dims = (0, 2, 3) if probability.ndim == 4 else (0, 1, 2)
    overlap = (probability * truth * weight).sum(dims)
    total = ((probability + truth) * weight).sum(dims)
    # The pseudo-count keeps a batch without foreground quiet.
    return (1.0 - (2.0 * overlap + 10.0) / (total + 10.0)).mean()
