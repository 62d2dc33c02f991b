"""The reference's upsampling with a backward pass that suits CPUs; the same function.

PyTorch's own backward copies gradients that are slices of a concatenation to another
layout and back: an eighth of a training step. Interpolation is linear and separable, so
its backward pass is two products with small fixed matrices.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from napari_resunet.network.torch_import import functional, nn, torch


class FastUpsample(nn.Upsample):
    """``nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)``."""

    def __init__(self) -> None:
        super().__init__(scale_factor=2, mode="bilinear", align_corners=True)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 as in torch
        """Double height and width.

        Parameters
        ----------
        input : Tensor
            Shape (N, C, H, W).

        Returns
        -------
        Tensor
            Shape (N, C, 2 H, 2 W).
        """
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
    """Write doubling along one axis of `n` pixels as a matrix, shape (2 n, n)."""
    return _doubled(torch.eye(n)[None], "linear")[0].T.contiguous().to(device, dtype)


def _doubled(x: torch.Tensor, mode: str) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=2, mode=mode, align_corners=True)
