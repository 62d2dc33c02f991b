"""The same function, run faster.

In inference: folded BatchNorm, channels last, native precision; in training: a faster
backward pass.
"""

from __future__ import annotations

import copy

from napari_resunet.engine.device import Compute, place
from napari_resunet.engine.fast_convolution import FastConvolution, is_faster_here
from napari_resunet.engine.fast_upsample import FastUpsample
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import nn, torch


def fast_copy(network: ResNetUNet, compute: Compute) -> ResNetUNet:
    """Copy a network for inference.

    Parameters
    ----------
    network : ResNetUNet
        In evaluation mode; not changed.
    compute : Compute
        Device and precision.

    Returns
    -------
    ResNetUNet
        On the device, BatchNorm folded into the convolutions before it.
    """
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    with torch.no_grad():
        fast.layer0[0] = _folded(fast.layer0[0], fast.layer0[1])
        fast.layer0[1] = nn.Identity()
        for module in fast.base_model.modules():
            if module.__class__.__name__ == "BasicBlock":
                _fold_block(module)
    # The aliases in base_model are not called, and one of them still has its BatchNorm.
    del fast.base_model
    return place(fast.to(compute.dtype), compute)


def place_for_training(network: ResNetUNet, compute: Compute) -> None:
    """Move a network to its device and, on a CPU, speed its backward pass up; in place."""
    place(network, compute)
    if compute.kind == "cpu":
        network.upsample = FastUpsample()
        if compute.dtype is torch.float32 and is_faster_here():
            speed_convolutions_up(network)


def speed_convolutions_up(network: nn.Module) -> None:
    """Give the convolutions of features a faster backward pass; in place."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if FastConvolution.suits(child):
                setattr(parent, name, FastConvolution(child))


def _fold_block(block: nn.Module) -> None:
    block.conv1 = _folded(block.conv1, block.bn1)
    block.conv2 = _folded(block.conv2, block.bn2)
    block.bn1 = block.bn2 = nn.Identity()
    if isinstance(block.downsample, nn.Sequential):
        block.downsample = nn.Sequential(_folded(block.downsample[0], block.downsample[1]))


def _folded(convolution: object, norm: object) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return nn.utils.fuse_conv_bn_eval(convolution, norm)
