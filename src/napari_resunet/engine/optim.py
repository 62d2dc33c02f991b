"""One training step and the optimiser around it, for `train` and `finetune` alike.

AdamW: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

from napari_resunet.engine import device
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.patches import TrainingPatch
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import nn, torch
from napari_resunet.types import Task

WEIGHT_DECAY = 1e-4
LARGEST_GRADIENT = 5.0
ENCODER = ("base_model.",)


def make_optimizer(
    network: ResNetUNet, lr: float, encoder_share: float = 1.0
) -> torch.optim.AdamW:
    """Build AdamW with a rate of its own for the encoder.

    Parameters
    ----------
    network : ResNetUNet
        Whose parameters are learned.
    lr : float
        Learning rate of the decoder.
    encoder_share : float
        The encoder's rate is this times `lr`.

    Returns
    -------
    torch.optim.AdamW
    """
    encoder: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        (encoder if name.startswith(ENCODER) else decoder).append(parameter)
    groups = [
        {"params": decoder, "lr": lr, "share": 1.0},
        {"params": encoder, "lr": lr * encoder_share, "share": encoder_share},
    ]
    return torch.optim.AdamW(groups, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the decoder's learning rate; the encoder keeps its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["share"]


def short_schedule(share: float) -> float:
    """Compute the factor of the learning rate for a run of minutes.

    Parameters
    ----------
    share : float
        How much of the run is done, 0 to 1.

    Returns
    -------
    float
        Up from 0.1 over the first twentieth, down to 0.1 over the last half.
    """
    return min(1.0, 0.1 + 18 * share, 0.1 + 1.8 * (1 - share))


def train_step(
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    batch: TrainingPatch,
    task: Task,
    compute: device.Compute,
) -> torch.Tensor:
    """Learn from one batch.

    Parameters
    ----------
    network : ResNetUNet
        On `compute`'s device, channels_last; changed in place.
    optimizer : torch.optim.Optimizer
        Of the network's parameters.
    batch : TrainingPatch
        Stacked, with augmented pixels of shape (N, 3, S, S).
    task : {"instances", "classes"}
        What the maps mean.
    compute : Compute
        Device and precision.

    Returns
    -------
    Tensor
        The loss before the step, a scalar on the device: reading it waits for the step.
    """
    there = (part.to(compute.device, non_blocking=True) for part in batch)
    pixels, labels, distance, weight = there
    optimizer.zero_grad(set_to_none=True)
    with device.autocast(compute):
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
    loss = loss_of(task, logits, labels, distance, weight)
    descend(network, optimizer, loss)
    return loss.detach()


def descend(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor
) -> None:
    """Go one step down the gradient of a loss, no further than `LARGEST_GRADIENT` allows.

    Parameters
    ----------
    network : Module
        Changed in place.
    optimizer : torch.optim.Optimizer
        Of the network's parameters, whose gradients were cleared.
    loss : Tensor
        A scalar that the network's output gave.
    """
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimizer.step()
