"""The optimizer and one training step, for `train` and `finetune`."""

from __future__ import annotations

from napari_resunet.engine import device
from napari_resunet.engine.losses import distillation_loss, loss_of
from napari_resunet.engine.patches import TrainingPatch
from napari_resunet.engine.teacher import SoftTargets
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import nn, torch
from napari_resunet.types import Task

WEIGHT_DECAY = 1e-4
MAX_GRADIENT_NORM = 5.0
ENCODER = "base_model."


def make_optimizer(network: ResNetUNet, lr: float) -> torch.optim.AdamW:
    """Create AdamW (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101)."""
    # The encoder comes last, as in every checkpoint: moments are stored by position.
    named = sorted(network.named_parameters(), key=lambda item: item[0].startswith(ENCODER))
    parameters = [parameter for _, parameter in named]
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def lr_factor(fraction: float) -> float:
    """Compute the factor of the learning rate from the fraction of the work that is done.

    It rises from 0.1 over the first twentieth and falls to 0.1 over the last half.
    """
    return min(1.0, 0.1 + 18 * fraction, 0.1 + 1.8 * (1 - fraction))


def train_step(
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    batch: TrainingPatch,
    task: Task,
    compute: device.Compute,
    taught: SoftTargets | None = None,
) -> torch.Tensor:
    """Learn from one batch.

    Parameters
    ----------
    network : ResNetUNet
        On the device, channels last; changed in place.
    optimizer : torch.optim.Optimizer
        Of the network's parameters.
    batch : TrainingPatch
        Stacked, with augmented pixels of shape (N, 3, S, S).
    task : {"instances", "classes"}
        What the maps mean.
    compute : Compute
        Device and precision.
    taught : SoftTargets or None
        Patches of the same size without labels, and what the start says of them.

    Returns
    -------
    Tensor
        The loss of the batch before the step, a scalar on the device; reading it waits for
        the step.
    """
    on_device = (part.to(compute.device, non_blocking=True) for part in batch)
    pixels, labels, distance, weight = on_device
    optimizer.zero_grad(set_to_none=True)
    logits = _logits(network, pixels, compute)
    loss = loss_of(task, logits, labels, distance, weight)
    total = loss
    if taught is not None:
        total = loss + _distance_from_teacher(network, taught, compute)
    optimizer_step(network, optimizer, total)
    return loss.detach()


def _logits(
    network: ResNetUNet, pixels: torch.Tensor, compute: device.Compute
) -> torch.Tensor:
    with device.autocast(device.for_training(compute)):
        logits: torch.Tensor = network(pixels.contiguous(memory_format=torch.channels_last))
    return logits


def _distance_from_teacher(
    network: ResNetUNet, taught: SoftTargets, compute: device.Compute
) -> torch.Tensor:
    """Return the loss with the BatchNorm statistics that the network will be used with."""
    network.eval()
    logits = _logits(network, taught.pixels, compute)
    network.train()
    return distillation_loss(logits, taught.maps, taught.weight)


def optimizer_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor
) -> None:
    """Follow the gradient of a loss for one step, with its norm clipped."""
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
    optimizer.step()
