"""The reference's 3x3 convolutions, with a backward pass that suits small CPUs.

Where a CPU has AVX2 and nothing wider, oneDNN takes two to three times as long for the
gradient of the weights, channels last, as for the convolution itself. That gradient is nine
matrix products, one for each tap, of images in a frame of zeros: there a tap is a shift of
flat memory, and needs no copy of its own.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from napari_resunet.network.torch_import import functional, nn, torch

CHUNK = 4096
"""Pixels in one matrix product: images and gradient of all nine taps stay in the cache."""

SMALLEST = 1024
"""Pixels of a batch up to which oneDNN's own is as fast."""


def is_faster_here() -> bool:
    """Tell whether this CPU is one of those; on two cores a step takes 0.8."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class FastConvolution(nn.Conv2d):
    """A 3x3 convolution of stride 1 that keeps the size, with the parameters of another.

    Parameters
    ----------
    convolution : Conv2d
        One that `suits`; its parameters are shared.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        bias = convolution.bias
        channels = convolution.in_channels, convolution.out_channels
        super().__init__(*channels, 3, padding=1, bias=bias is not None, device="meta")
        self.weight, self.bias = convolution.weight, bias

    @staticmethod
    def suits(module: nn.Module) -> TypeGuard[nn.Conv2d]:
        """Tell whether a module is such a convolution, of features and not of an image."""
        return (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (3, 3)
            and module.stride == module.padding == (1, 1)
            and module.in_channels > 3
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 as in torch
        """Convolve.

        Parameters
        ----------
        input : Tensor
            Shape (N, C, H, W).

        Returns
        -------
        Tensor
            Shape (N, out_channels, H, W).
        """
        if input[:, 0].numel() <= SMALLEST:
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
    """Do what `torch.nn.grad.conv2d_input` does; given no x, that takes a sixth longer."""
    strides, no_padding = [1, 1], [0, 0]
    wanted: torch.Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, strides, [1, 1], [1, 1], False, no_padding, 1,
        [True, False, False],
    )[0]  # fmt: skip
    return wanted


def _gradient_of_weight(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Sum, over all pixels, what a tap sees times the gradient there."""
    row = x.shape[3] + 2
    seen = _framed(x)
    # From the first pixel on that is not in the frame to the last.
    gradient = _framed(gradient)[row + 1 : -row - 1]
    taps = gradient.new_zeros(9, x.shape[1], gradient.shape[1])
    for begin in range(0, len(gradient), CHUNK):
        part = gradient[begin : begin + CHUNK]
        for i, tap in enumerate(taps):
            first = begin + i // 3 * row + i % 3
            tap.addmm_(seen[first : first + len(part)].T, part)
    return taps.unflatten(0, (3, 3)).permute(3, 2, 0, 1)


def _framed(x: torch.Tensor) -> torch.Tensor:
    """Put zeros around each image; return all pixels in a row, shape (pixels, C)."""
    return functional.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1)).flatten(0, 2)
