"""The same network function, but faster.

Inference: BatchNorm is folded into the convolutions, tensors are channels last, and the
precision is native.

Training on a CPU: PyTorch's backward pass of the upsampling copies slices of a
concatenation to another layout and back, an eighth of a step. Interpolation is linear and
separable, so two products with small matrices do the same. On CPUs with AVX2 and nothing
wider, oneDNN takes two to three times as long for the gradient of a convolution's weights
as for the convolution; nine matrix products, one for each kernel tap, are faster.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any, TypeGuard

from napari_resunet.engine.device import Compute, to_device
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import functional, nn, torch


def fast_copy(network: ResNetUNet, compute: Compute) -> ResNetUNet:
    """Copy a network in evaluation mode to its device, for inference only."""
    fast = copy.deepcopy(network).eval().requires_grad_(False)
    with torch.no_grad():
        fast.layer0[0] = _folded(fast.layer0[0], fast.layer0[1])
        fast.layer0[1] = nn.Identity()
        for module in fast.base_model.modules():
            if module.__class__.__name__ == "BasicBlock":
                _fold_block(module)
    # The aliases in base_model are not used, and one of them still has its BatchNorm.
    del fast.base_model
    return to_device(fast.to(compute.dtype), compute)


def prepare_for_training(network: ResNetUNet, compute: Compute) -> None:
    """Move a network to its device and speed up its backward pass on a CPU, in place."""
    to_device(network, compute)
    if compute.kind == "cpu":
        network.upsample = FastUpsample()
        if compute.dtype is torch.float32 and has_only_avx2():
            use_fast_convolutions(network)


def use_fast_convolutions(network: nn.Module) -> None:
    """Give the convolutions of features a faster backward pass, in place."""
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


class FastUpsample(nn.Upsample):
    """``nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)``."""

    def __init__(self) -> None:
        super().__init__(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 as in torch
        """Double height and width of (N, C, H, W)."""
        doubled: torch.Tensor = _Doubling.apply(input)
        return doubled


class _Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return _doubled(x, "bilinear")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        n, channels, height, width = gradient.shape
        rows = _matrix(height // 2, gradient.dtype, gradient.device).T
        columns = _matrix(width // 2, gradient.dtype, gradient.device).T
        last = gradient.movedim(1, -1).contiguous()
        half = rows @ last.view(n, height, width * channels)
        both = columns @ half.view(n * height // 2, width, channels)
        return both.view(n, height // 2, width // 2, channels).movedim(-1, 1)


@lru_cache(maxsize=32)
def _matrix(n: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return doubling along an axis of `n` pixels as a matrix, shape (2 n, n)."""
    return _doubled(torch.eye(n)[None], "linear")[0].T.contiguous().to(device, dtype)


def _doubled(x: torch.Tensor, mode: str) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode=mode, align_corners=True)


CHUNK = 4096
"""Pixels in one matrix product: the images and the gradient of all taps fit the cache."""

SMALL_BATCH = 1024
"""Pixels of a batch up to which oneDNN is as fast."""


def has_only_avx2() -> bool:
    """Return whether the fast convolutions pay off; on two cores a step takes 0.8."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class FastConvolution(nn.Conv2d):
    """A 3x3 convolution that keeps the size and shares the parameters of another."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        bias = convolution.bias
        channels = convolution.in_channels, convolution.out_channels
        super().__init__(*channels, 3, padding=1, bias=bias is not None, device="meta")
        self.weight, self.bias = convolution.weight, bias

    @staticmethod
    def suits(module: nn.Module) -> TypeGuard[nn.Conv2d]:
        """Return whether a module can be replaced and its input is features, not images."""
        return (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and module.stride == module.padding == (1, 1)
            and module.in_channels > 3
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 as in torch
        """Convolve (N, C, H, W)."""
        if input[:, 0].numel() <= SMALL_BATCH:
            return super().forward(input)
        result: torch.Tensor = _Convolution.apply(input, self.weight, self.bias)
        return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _gradient_of_input(x, weight, gradient) if of_x else None,
            _gradient_of_weight(x, gradient) if of_weight else None,
            gradient.sum((0, 2, 3)) if of_bias else None,
        )


def _gradient_of_input(
    x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Do what `torch.nn.grad.conv2d_input` does, which is slower because it has no x."""
    strides, no_padding = [1, 1], [0, 0]
    wanted: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, strides, [1, 1], [1, 1], False, no_padding, 1,
        [True, False, False],
    )[0]  # fmt: skip
    return wanted


def _gradient_of_weight(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Sum over all pixels what a kernel tap sees times the gradient."""
    row = x.shape[3] + 2
    seen = _framed(x)
    # From the first pixel inside the frame to the last.
    gradient = _framed(gradient)[row + 1 : -row - 1]
    taps = gradient.new_zeros(9, x.shape[1], gradient.shape[1])
    for begin in range(0, len(gradient), CHUNK):
        part = gradient[begin : begin + CHUNK]
        for i, tap in enumerate(taps):
            first = begin + i // 3 * row + i % 3
            tap.addmm_(seen[first : first + len(part)].T, part)
    return taps.unflatten(0, (3, 3)).permute(3, 2, 0, 1)


def _framed(x: torch.Tensor) -> torch.Tensor:
    """Put zeros around each image, and return all pixels in one row, shape (pixels, C)."""
    return functional.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1)).flatten(0, 2)
