"""The intensity contract: robust percentiles of the whole image, once for all.

The same numbers serve a tile, a crop and the full image, in training and in
inference. The percentiles follow common practice in the field (CSBDeep, Weigert
et al. 2018, https://doi.org/10.1038/s41592-018-0216-7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import ImageError
from napari_resunet.types import FloatArray, Normalization, Statistics

SAMPLE_PIXELS = 2_000_000
"""Statistics of larger images are taken from a regular sample of about this size."""

N_INPUTS = 3
FEWEST_STEPS = 256
"""An image of fewer levels than this, as far as float64 tells them apart, is spoiled."""

ORDINARY = 100
"""Powers of two within which numbers can be multiplied without overflow."""


def statistics(
    pixels: npt.NDArray[Any], contract: Normalization, *, joint: bool
) -> Statistics:
    """Measure the percentiles of an image.

    Parameters
    ----------
    pixels : array, shape (..., C)
        A whole image or a regular sample of it, any real dtype, channels last.
        Values that are not finite are left out.
    contract : Normalization
        Which percentiles.
    joint : bool
        One pair for all channels (RGB: the colour stays) or one for each.

    Returns
    -------
    Statistics
        One pair for each channel; (0, 0) where no value is finite.

    Raises
    ------
    ImageError
        If the differences between large whole numbers would be lost.
    """
    n_channels = pixels.shape[-1]
    flat = pixels.reshape(-1, n_channels)
    step = max(1, flat.shape[0] // SAMPLE_PIXELS)
    flat = flat[::step]
    if joint:
        pair = _percentiles(flat.reshape(-1), contract)
        return Statistics(low=(pair[0],) * n_channels, high=(pair[1],) * n_channels)
    pairs = [_percentiles(flat[:, c], contract) for c in range(n_channels)]
    return Statistics(low=tuple(p[0] for p in pairs), high=tuple(p[1] for p in pairs))


def _percentiles(values: npt.NDArray[Any], contract: Normalization) -> tuple[float, float]:
    _check_exact(values)
    with np.errstate(over="ignore"):  # of a type wider than float64: infinite, left out
        values = values.astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 0.0
    exponent = _exponent(float(np.abs(values).max()))
    values = np.ldexp(values, -exponent)
    low, high = np.percentile(values, [contract.low_percentile, contract.high_percentile])
    if low == high:
        # Sparse bright objects on a flat background: fewer pixels than the percentile.
        low, high = values.min(), values.max()
    return float(np.ldexp(low, exponent)), float(np.ldexp(high, exponent))


def _check_exact(values: npt.NDArray[Any]) -> None:
    if values.dtype.kind not in "ui" or values.dtype.itemsize < 8 or not values.size:
        return
    low, high = int(values.min()), int(values.max())
    step = float(np.spacing(float(max(abs(low), abs(high)))))
    if step > 1 and 0 < high - low < FEWEST_STEPS * step:
        raise ImageError(
            f"Pixel values from {low} to {high} are too large to tell their differences: "
            "subtract the smallest value from the image first."
        )


def _exponent(largest: float) -> int:
    """Find the power of two to divide by, so that differences and quotients are finite."""
    exponent = int(np.frexp(largest)[1])
    return 0 if abs(exponent) <= ORDINARY else exponent


def normalize(
    pixels: npt.NDArray[Any], measured: Statistics, contract: Normalization
) -> FloatArray:
    """Bring intensities into the model's range.

    Parameters
    ----------
    pixels : array, shape (..., C), C from 1 to 3
        Any real dtype; NaN counts as the low percentile, infinities as its ends.
    measured : Statistics
        Of the whole image that the pixels come from.
    contract : Normalization
        The model's.

    Returns
    -------
    float32 array, shape (..., C)
        About -3 to 5 with the default contract; a constant channel gives its middle
        of the background, ``(0 - mean) / std``, everywhere.
    """
    ends = np.asarray([measured.low, measured.high], dtype=np.float64)
    exponent = _exponent(float(np.abs(ends).max(initial=0.0)))
    low, high = np.ldexp(ends, -exponent)
    spread = high - low
    # Wide types lose the difference of large numbers in float32.
    wide = pixels.dtype.itemsize >= 8 or exponent or np.abs(low).max(initial=0.0) > 2**20
    inverse = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    values: npt.NDArray[np.floating[Any]]
    # Infinite far beyond the percentiles, which is clipped; inf * 0 of a constant channel
    # is NaN, which is handled.
    with np.errstate(over="ignore", invalid="ignore"):
        values = pixels.astype(np.float64 if wide else np.float32)
        if exponent:
            values = np.ldexp(values, -exponent)
        values -= low.astype(values.dtype)
        values *= inverse.astype(values.dtype)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    np.clip(values, contract.clip_low, contract.clip_high, out=values)
    values -= contract.mean
    values /= contract.std
    return values.astype(np.float32, copy=False)


def to_network_channels(pixels: FloatArray) -> FloatArray:
    """Turn one to three channels into the network's three.

    Parameters
    ----------
    pixels : float32 array, shape (Y, X, C), C from 1 to 3
        Normalised.

    Returns
    -------
    float32 array, shape (3, Y, X)
        One channel is repeated; after two comes a channel of zeros.
    """
    planes = np.moveaxis(pixels, -1, 0)
    if planes.shape[0] == 1:
        return np.ascontiguousarray(np.repeat(planes, N_INPUTS, axis=0))
    if planes.shape[0] < N_INPUTS:
        empty = np.zeros((N_INPUTS - planes.shape[0], *planes.shape[1:]), np.float32)
        planes = np.concatenate([planes, empty])
    return np.ascontiguousarray(planes)
