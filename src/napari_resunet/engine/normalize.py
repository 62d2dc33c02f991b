"""Intensity normalization by robust percentiles of the whole image.

A tile, a crop, and the full image use the same percentiles, in training and in inference,
as is common (CSBDeep, Weigert et al. 2018, https://doi.org/10.1038/s41592-018-0216-7).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import ImageError
from napari_resunet.types import FloatArray, Normalization, Statistics

SAMPLE_PIXELS = 2_000_000
"""Statistics of larger images come from a regular sample of about this size."""

N_INPUTS = 3
"""Channels of the network's input; an image with as many is in colour."""

MIN_STEPS = 256
"""An image with fewer levels than this in float64 has lost its differences."""

SAFE_EXPONENT = 100
"""Numbers within this power of two multiply without overflow."""


def statistics(
    pixels: npt.NDArray[Any], normalization: Normalization, *, joint: bool
) -> Statistics:
    """Measure the percentiles of an image, ignoring values that are not finite.

    Parameters
    ----------
    pixels : array, shape (..., C)
        The image or a regular sample of it, any real dtype.
    normalization : Normalization
        Which percentiles.
    joint : bool
        Whether all channels share one pair, so that RGB keeps its colour.

    Returns
    -------
    Statistics
        One pair per channel; (0, 0) if no value is finite.

    Raises
    ------
    ImageError
        If differences between large whole numbers would be lost.
    """
    n_channels = pixels.shape[-1]
    flat = pixels.reshape(-1, n_channels)
    step = max(1, flat.shape[0] // SAMPLE_PIXELS)
    flat = flat[::step]
    if joint:
        pair = _percentiles(flat.reshape(-1), normalization)
        return Statistics(low=(pair[0],) * n_channels, high=(pair[1],) * n_channels)
    pairs = [_percentiles(flat[:, c], normalization) for c in range(n_channels)]
    return Statistics(low=tuple(p[0] for p in pairs), high=tuple(p[1] for p in pairs))


def with_statistics(
    image: npt.NDArray[Any], known: Statistics | None, normalization: Normalization
) -> tuple[npt.NDArray[Any], Statistics]:
    """Return a plane, (Y, X) or (Y, X, C), with channels last, and its intensities.

    Known ones, as of the whole image that it is a part of, are not measured again.
    """
    pixels = image if image.ndim == 3 else image[..., None]
    joint = pixels.shape[-1] == N_INPUTS
    return pixels, known or statistics(pixels, normalization, joint=joint)


def _percentiles(
    values: npt.NDArray[Any], normalization: Normalization
) -> tuple[float, float]:
    _check_exact(values)
    with np.errstate(over="ignore"):  # float128 may become infinite, which is ignored
        values = values.astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    exponent = _exponent(float(np.abs(values).max()))
    values = np.ldexp(values, -exponent)
    low, high = np.percentile(
        values, [normalization.low_percentile, normalization.high_percentile]
    )
    if low == high:
        # A flat background and too few bright pixels to reach the percentile.
        low, high = values.min(), values.max()
    return float(np.ldexp(low, exponent)), float(np.ldexp(high, exponent))


def _check_exact(values: npt.NDArray[Any]) -> None:
    if values.dtype.kind not in "ui" or values.dtype.itemsize < 8 or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    step = float(np.spacing(float(max(abs(low), abs(high)))))
    if step > 1 and 0 < high - low < MIN_STEPS * step:
        raise ImageError(
            f"Pixel values from {low} to {high} are too large to tell their differences: "
            "subtract the smallest value from the image first."
        )


def _exponent(largest: float) -> int:
    """Return the power of two to divide by so that differences and quotients are finite."""
    exponent = int(np.frexp(largest)[1])
    return 0 if abs(exponent) <= SAFE_EXPONENT else exponent


@dataclass(frozen=True)
class Span:
    """What is subtracted from the pixels of each channel, and then multiplied.

    Attributes
    ----------
    low, inverse : float64 array, shape (C,)
        The low percentile, and 1 by the distance to the high one; 0 if they are equal.
        Both after division by a power of two.
    exponent : int
        That power, which keeps differences and quotients finite.
    """

    low: npt.NDArray[np.float64]
    inverse: npt.NDArray[np.float64]
    exponent: int

    @classmethod
    def of(cls, measured: Statistics) -> Span:
        """Compute it from the percentiles."""
        ends = np.asarray([measured.low, measured.high], dtype=np.float64)
        exponent = _exponent(float(np.abs(ends).max(initial=0.0)))
        low, high = np.ldexp(ends, -exponent)
        spread = high - low
        inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
        return cls(low, inverse, exponent)

    def is_wide(self, dtype: np.dtype[Any]) -> bool:
        """Return whether float32 would lose the differences of large numbers."""
        large = np.abs(self.low).max(initial=0.0) > 2**20
        return bool(dtype.itemsize >= 8 or self.exponent or large)


def normalize(
    pixels: npt.NDArray[Any], measured: Statistics, normalization: Normalization
) -> FloatArray:
    """Bring intensities into the model's range.

    Parameters
    ----------
    pixels : array, shape (..., C), C from 1 to 3
        Any real dtype. NaN counts as the low percentile.
    measured : Statistics
        Of the whole image.
    normalization : Normalization
        Of the model.

    Returns
    -------
    float32 array, shape (..., C)
        About -3 to 5 by default; a constant channel becomes ``(0 - mean) / std``.
    """
    span = Span.of(measured)
    values: npt.NDArray[np.floating[Any]]
    # Values far from the percentiles become infinite and are clipped; inf * 0 in a
    # constant channel is NaN, which becomes 0.
    with np.errstate(over="ignore", invalid="ignore"):
        values = pixels.astype(np.float64 if span.is_wide(pixels.dtype) else np.float32)
        if span.exponent:
            values = np.ldexp(values, -span.exponent)
        values -= span.low.astype(values.dtype)
        values *= span.inverse.astype(values.dtype)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    np.clip(values, normalization.clip_low, normalization.clip_high, out=values)
    values -= normalization.mean
    values /= normalization.std
    return values.astype(np.float32, copy=False)
