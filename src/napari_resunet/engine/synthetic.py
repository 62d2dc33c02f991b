"""Procedural microscopy with ground truth, for the sample data, demo and tests.

Random shapes, texture, blur, uneven background and noise; never photographs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.types import LabelArray

Image = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float64]


def nuclei(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image, LabelArray]:
    """Draw fluorescent nuclei on a dark, uneven background.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    image : uint8 array, shape (Y, X)
    labels : int32 array, shape (Y, X)
    """
    labels = scatter(shape, rng, radius=(8, 14), gap=-2, crowding=0.55)
    return _fluorescence(labels, rng), labels


def histology(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image, LabelArray]:
    """Draw purple nuclei in pink tissue, as after H&E staining.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    image : uint8 array, shape (Y, X, 3)
    labels : int32 array, shape (Y, X)
    """
    labels = scatter(shape, rng, radius=(7, 12), gap=-1, crowding=0.5)
    fibres = ndimage.gaussian_filter(rng.normal(size=shape), (2, 9))
    tissue = 0.5 + 0.5 * np.tanh(6 * fibres / fibres.std() / 6) * 0.6
    stain = _per_object(labels, rng, 0.55, 0.95)
    stain = stain * (1 + 0.35 * smooth_noise(shape, rng, 1.5))
    stain = ndimage.gaussian_filter(np.clip(stain, 0, 1.2), 1.0)[..., None]
    pink, purple = np.array([0.10, 0.45, 0.18]), np.array([0.85, 1.05, 0.40])
    light = np.exp(-(tissue[..., None] * pink * (1 - 0.5 * stain) + stain * purple))
    noisy = light + rng.normal(0, 0.02, light.shape)
    return np.clip(255 * noisy, 0, 255).astype(np.uint8), labels


def phase_cells(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Image, LabelArray]:
    """Draw whole cells in phase contrast: grey, textured, with bright halos.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    image : uint8 array, shape (Y, X)
    labels : int32 array, shape (Y, X)
    """
    labels = scatter(shape, rng, radius=(15, 27), gap=-4, crowding=0.6, irregular=0.22)
    inside = labels > 0
    edge = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    halo = 0.30 * np.exp(-(((edge + 2) / 2.5) ** 2))
    body = -0.16 * ndimage.gaussian_filter(_per_object(labels, rng, 0.5, 1.2), 2)
    grain = 0.10 * inside * smooth_noise(shape, rng, 1.2)
    spots = 0.20 * inside * (smooth_noise(shape, rng, 1.6) > 2.2)
    picture = 0.5 + 0.06 * smooth_noise(shape, rng, 60) + halo + body + grain + spots
    picture = ndimage.gaussian_filter(picture, 0.8) + rng.normal(0, 0.02, shape)
    return np.clip(255 * picture, 0, 255).astype(np.uint8), labels


def nuclei_over_time(
    n: int, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[Image, LabelArray]:
    """Draw nuclei that drift from frame to frame and slowly bleach.

    Parameters
    ----------
    n : int
        Number of frames.
    shape : tuple of int
        Height and width of a frame.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    image : uint8 array, shape (T, Y, X)
    labels : int32 array, shape (T, Y, X)
    """
    wide = scatter((shape[0] + 40, shape[1] + 40), rng, (8, 13), gap=1, crowding=0.45)
    frames, truths = [], []
    for t in range(n):
        labels = wide[3 * t : 3 * t + shape[0], 2 * t : 2 * t + shape[1]]
        picture = _fluorescence(labels, rng) * (1 - 0.06 * t)
        frames.append(picture.astype(np.uint8))
        truths.append(labels)
    return np.stack(frames), np.stack(truths).astype(np.int32)


def scatter(
    shape: tuple[int, int],
    rng: np.random.Generator,
    radius: tuple[float, float],
    gap: float,
    crowding: float,
    irregular: float = 0.1,
) -> LabelArray:
    """Scatter blobs over a field, some of them touching.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    rng : numpy Generator
        Source of all chance.
    radius : tuple of float
        Smallest and largest mean radius in pixels.
    gap : float
        Smallest distance of two outlines; negative lets them touch.
    crowding : float
        0 to 1: how much of the field is tried to be filled.
    irregular : float
        How far outlines depart from ellipses, relative to the radius.

    Returns
    -------
    int32 array
        Objects numbered from 1, each in one piece.
    """
    labels = np.zeros(shape, np.int32)
    placed: list[tuple[float, float, float]] = []
    area = np.pi * (sum(radius) / 2) ** 2
    for _ in range(int(6 * crowding * shape[0] * shape[1] / area)):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        size = rng.uniform(*radius)
        distances = [np.hypot(row - r, column - c) - s - size for r, c, s in placed]
        if distances and min(distances) < gap:
            continue
        placed.append((row, column, size))
        mask = _blob(shape, row, column, size, irregular, rng) & (labels == 0)
        labels[largest_piece(mask)] = len(placed)
    _, renumbered = np.unique(labels, return_inverse=True)
    return renumbered.reshape(shape).astype(np.int32)


def smooth_noise(shape: tuple[int, int], rng: np.random.Generator, sigma: float) -> Field:
    """Draw noise of mean 0 and deviation 1 with a correlation length of `sigma` pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    noise: Field = (field - field.mean()) / field.std()
    return noise


def largest_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the largest connected piece of a mask."""
    pieces, n_pieces = ndimage.label(mask)
    if n_pieces < 2:
        return mask
    largest: npt.NDArray[np.bool_] = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


def _blob(
    shape: tuple[int, int],
    row: float,
    column: float,
    size: float,
    irregular: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Fill an ellipse whose outline waves a little."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.35)
    y, x = rows - row, columns - column
    u = (x * np.cos(turn) + y * np.sin(turn)) / stretch
    v = (y * np.cos(turn) - x * np.sin(turn)) * stretch
    angle = np.arctan2(v, u)
    waves: Any = sum(
        rng.normal(0, irregular / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
        for k in range(2, 6)
    )
    inside: npt.NDArray[np.bool_] = np.hypot(u, v) < size * (1 + waves)
    return inside


def _per_object(
    labels: LabelArray, rng: np.random.Generator, low: float, high: float
) -> Field:
    """Give each object a random value, the background 0."""
    values = rng.uniform(low, high, int(labels.max(initial=0)) + 1)
    values[0] = 0
    field: Field = values[labels]
    return field


def _fluorescence(labels: LabelArray, rng: np.random.Generator) -> Image:
    shape = (labels.shape[0], labels.shape[1])
    signal = _per_object(labels, rng, 0.35, 1.0)
    signal = signal * (1 + 0.18 * smooth_noise(shape, rng, 2.5))
    signal = ndimage.gaussian_filter(signal, 1.3)
    background = 0.06 + 0.02 * smooth_noise(shape, rng, 70)
    photons = rng.poisson(np.clip(signal + background, 0, None) * 110) / 110
    noisy = photons + rng.normal(0, 0.008, shape)
    return np.clip(210 * noisy, 0, 255).astype(np.uint8)
