"""Random changes of intensity, as by another stain, camera, or exposure.

Geometry is in `patches`. Random numbers come from a numpy Generator, so a seed gives the
same patches whatever else runs in the process.
"""

from __future__ import annotations

import numpy as np

from napari_resunet.engine.device import upload
from napari_resunet.engine.normalize import N_INPUTS
from napari_resunet.network.torch_import import torch, transforms
from napari_resunet.types import Normalization


def vary_intensity(
    pixels: torch.Tensor,
    normalization: Normalization,
    rng: np.random.Generator,
    invert: float = 0.0,
    strength: float = 1.0,
    tint: float = 0.0,
) -> torch.Tensor:
    """Vary colour, contrast, gamma, sharpness, and noise of a patch.

    Parameters
    ----------
    pixels : Tensor, shape (C, S, S), C from 1 to 3
        Normalized; on the device where the work is to be done.
    normalization : Normalization
        Of the model.
    rng : numpy Generator
        Random number generator.
    invert : float
        Fraction of the patches whose contrast is inverted.
    strength : float
        How far and how often everything else varies, 0 to 1.
    tint : float
        Fraction of the single-channel patches that become RGB of one colour.

    Returns
    -------
    Tensor, shape (3, S, S)
        Normalized, float32.
    """
    unit = pixels.float() * normalization.std + normalization.mean
    if unit.shape[0] == N_INPUTS:
        unit = _vary_colour(unit, rng, strength)
    elif unit.shape[0] == 1 and tint and rng.random() < tint:
        colour = rng.uniform(0.0, 1.0, (N_INPUTS, 1, 1))
        unit = unit * upload(colour / colour.max(), unit.device)
    if rng.random() < invert:
        unit = 1.0 - unit
    unit = _vary_contrast(unit, rng, strength)
    if rng.random() < 0.3 * strength:
        unit = transforms.gaussian_blur(unit, [7, 7], [float(rng.uniform(0.3, 1.6))])
    if rng.random() < 0.4 * strength:
        noise = rng.normal(0.0, rng.uniform(0.0, 0.12), size=tuple(unit.shape))
        unit = unit + upload(noise, unit.device)
    unit = unit.clamp(normalization.clip_low, normalization.clip_high)
    normalized = (unit - normalization.mean) / normalization.std
    return complete_channels(normalized)


def complete_channels(pixels: torch.Tensor) -> torch.Tensor:
    """Bring (C, S, S) with one to three channels to three."""
    if pixels.shape[0] == 1:
        return pixels.expand(N_INPUTS, -1, -1)
    missing = N_INPUTS - pixels.shape[0]
    return torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, missing))


def _vary_contrast(
    unit: torch.Tensor, rng: np.random.Generator, strength: float
) -> torch.Tensor:
    gamma = float(2.0 ** (strength * rng.uniform(-0.8, 0.8)))
    inside = unit.clamp(0.0, 1.0)
    # Gamma applies between 0 and 1 only; values beyond keep their distance.
    unit = unit - inside + inside**gamma
    gain = float(2.0 ** (strength * rng.uniform(-0.7, 0.4)))
    offset = float(strength * rng.uniform(-0.15, 0.15))
    return (unit - 0.5) * gain + 0.5 + offset


def _vary_colour(
    unit: torch.Tensor, rng: np.random.Generator, strength: float
) -> torch.Tensor:
    kind = rng.random()
    if kind < 0.2 * strength:
        return unit.mean(0, keepdim=True)
    if kind < 0.4 * strength:
        # Rows sum to 1, mostly near one channel: other stains, and grey stays grey.
        mix = rng.dirichlet([0.3] * N_INPUTS, N_INPUTS)
        return torch.tensordot(upload(mix, unit.device), unit, dims=1)
    shape = (N_INPUTS, 1, 1)
    gains = 1.0 + strength * upload(rng.uniform(-0.2, 0.2, shape), unit.device)
    offsets = strength * upload(rng.uniform(-0.1, 0.1, shape), unit.device)
    return unit * gains + offsets
