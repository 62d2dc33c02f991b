"""What the network is punished for, pixel by weighted pixel.

Binary cross-entropy on each instance map plus a soft Dice term on the foreground
(Milletari et al. 2016, https://arxiv.org/abs/1606.04797); cross-entropy plus Dice
for classes. A weight of 0 takes a pixel out altogether.
"""

from __future__ import annotations

from napari_resunet.network.torch_import import functional, torch
from napari_resunet.types import Task

MAP_WEIGHTS = (1.0, 10.0, 0.5)
"""Of the foreground, distance and boundary maps. The distance's is high because its entropy
hardly falls: the truth lies between 0 and 1, and few corrections taught it too little."""

TOUCHING = 4.0
"""So much more a pixel counts where two objects meet, for most errors are neighbours that
become one (as in the U-Net, Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597)."""

REACH = 3
"""Objects meet where they are so many pixels from the same pixel, or less."""


def loss_of(
    task: Task,
    logits: torch.Tensor,
    labels: torch.Tensor,
    distance: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """Compare the network's output with the truth.

    Parameters
    ----------
    task : {"instances", "classes"}
        What the maps mean.
    logits : Tensor
        Shape (N, n_maps, H, W).
    labels : Tensor
        Shape (N, H, W), int64: objects, or class values.
    distance : Tensor
        Shape (N, H, W): normalised inner distance, 0 to 1 (instances only).
    weight : Tensor
        Shape (N, H, W), not negative; 0 where the truth is not known.

    Returns
    -------
    Tensor
        A scalar; 0 where nothing is known.
    """
    if task == "classes":
        return _class_loss(logits.float(), labels, weight)
    return _instance_loss(logits.float(), labels, distance, weight)


def boundary(labels: torch.Tensor) -> torch.Tensor:
    """Mark foreground pixels that touch another label, background included.

    Parameters
    ----------
    labels : Tensor
        Shape (N, H, W), int64.

    Returns
    -------
    Tensor
        float32, same shape, 0 or 1.
    """
    values = labels[:, None].float()
    highest, lowest = _highest(values, 1), -_highest(-values, 1)
    return ((highest != lowest) & (values > 0))[:, 0].float()


def meeting(labels: torch.Tensor) -> torch.Tensor:
    """Mark pixels that have two objects within `REACH`.

    Parameters
    ----------
    labels : Tensor
        Shape (N, H, W), int64; 0 is background.

    Returns
    -------
    Tensor
        float32, same shape, 0 or 1.
    """
    values = labels[:, None].float()
    highest = _highest(values, REACH)
    lowest = -_highest(-torch.where(values > 0, values, torch.inf), REACH)
    return (lowest < highest)[:, 0].float()


def _highest(values: torch.Tensor, reach: int) -> torch.Tensor:
    """Find the highest value within so many pixels, in a square."""
    return functional.max_pool2d(values, 2 * reach + 1, stride=1, padding=reach)


def _instance_loss(
    logits: torch.Tensor, labels: torch.Tensor, distance: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    foreground = (labels > 0).float()
    targets = torch.stack([foreground, distance, boundary(labels)], dim=1)
    scale = torch.tensor(MAP_WEIGHTS, device=logits.device)[:, None, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    per_pixel = (entropy * scale).sum(1)
    weight = weight * (1.0 + TOUCHING * meeting(labels))
    mean = (per_pixel * weight).sum() / weight.sum().clamp_min(1.0)
    return mean + _dice_loss(logits[:, 0].sigmoid(), foreground, weight)


def _class_loss(
    logits: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    mean = (entropy * weight).sum() / weight.sum().clamp_min(1.0)
    probability = logits.softmax(1)
    truth = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).float()
    # Background is what is left over: the classes that the user named decide.
    return mean + _dice_loss(probability[:, 1:], truth[:, 1:], weight[:, None])


def _dice_loss(
    probability: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    dims = (0, 2, 3) if probability.ndim == 4 else (0, 1, 2)
    overlap = (probability * truth * weight).sum(dims)
    total = ((probability + truth) * weight).sum(dims)
    # The pseudo-count keeps a batch without foreground quiet.
    return (1.0 - (2.0 * overlap + 10.0) / (total + 10.0)).mean()
