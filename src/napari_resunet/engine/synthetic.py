"""Generated microscopy images with ground truth.

Sample data, demo, and tests use images that look like nuclei, tissue, or cells. Training
also uses random shapes, textures, and contrasts (domain randomization, Tobin et al. 2017,
https://arxiv.org/abs/1703.06907).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.engine.patches import inner_distance
from napari_resunet.types import LabelArray

Image = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float64]


def nuclei(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image, LabelArray]:
    """Draw fluorescent nuclei on a dark, uneven background."""
    labels = scatter(shape, rng, radius=(8, 14), gap=-2, crowding=0.55)
    return _fluorescence(labels, rng), labels


def histology(shape: tuple[int, int], rng: np.random.Generator) -> tuple[Image, LabelArray]:
    """Draw purple nuclei in pink tissue, as after H&E staining, in RGB."""
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
    """Draw whole cells in phase contrast: grey, textured, with bright halos."""
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
    """Draw `n` frames of nuclei that drift and slowly bleach."""
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
        Random number generator.
    radius : tuple of float
        Smallest and largest mean radius in pixels.
    gap : float
        Smallest distance between outlines; if negative, they may touch.
    crowding : float
        How much of the field to fill, 0 to 1.
    irregular : float
        How far outlines deviate from ellipses, relative to the radius.

    Returns
    -------
    int32 array, shape (Y, X)
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
    """Draw noise with mean 0, deviation 1, and a correlation length of `sigma` pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    noise: Field = (field - field.mean()) / field.std()
    return noise


def largest_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Keep the largest connected component of a mask."""
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
    """Draw an ellipse with a slightly wavy outline."""
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
    """Give each object a random value; background is 0."""
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


Generator = np.random.Generator
COLOUR_FRACTION = 0.3
REACH = 2.6
"""No outline extends further from its centre than this many radii."""


def domain_randomization(
    shape: tuple[int, int], rng: Generator
) -> tuple[Image, LabelArray]:
    """Draw random objects of 15 to 70 pixels across, in grey or RGB."""
    labels = _objects(shape, rng)
    picture = _blurred(
        _bodies(labels, rng) + _edges(labels, rng) + _around(labels, rng), rng
    )
    if rng.random() < COLOUR_FRACTION:
        picture = _stained(picture, rng)
    noisy = picture + rng.normal(0, rng.uniform(0.003, 0.06), picture.shape)
    return np.clip(255 * noisy, 0, 255).astype(np.uint8), labels


def _objects(shape: tuple[int, int], rng: Generator) -> LabelArray:
    """Scatter outlines of one random kind; earlier ones hide later ones."""
    labels = np.zeros(shape, np.int32)
    radius = np.exp(rng.uniform(np.log(7), np.log(30)))
    stretch, waves, spikes = rng.uniform(1, 2.6), rng.uniform(0, 0.12), rng.uniform(0, 0.9)
    spikes *= rng.random() < 0.5
    n = int(rng.uniform(0.15, 1.5) * shape[0] * shape[1] / (np.pi * radius**2)) + 1
    for label in range(1, n + 1):
        size = radius * rng.uniform(0.75, 1.3)
        centre = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        box, inside = _outline(
            shape, centre, size, rng.uniform(1, stretch), waves, spikes, rng
        )
        free = inside & (labels[box] == 0)
        # Nobody would annotate the fragment of an object that is mostly hidden.
        if free.sum() > 0.6 * inside.sum():
            labels[box][largest_piece(free)] = label
    return labels


def _outline(
    shape: tuple[int, int],
    centre: tuple[float, float],
    size: float,
    stretch: float,
    waves: float,
    spikes: float,
    rng: Generator,
) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]]:
    """Draw a rotated ellipse with a wavy edge and a few pointed processes."""
    reach = REACH * size
    box = tuple(
        slice(max(0, int(c - reach)), min(n, int(c + reach) + 1))
        for c, n in zip(centre, shape, strict=True)
    )
    rows, columns = np.ogrid[box]
    turn = rng.uniform(0, np.pi)
    y, x = rows - centre[0], columns - centre[1]
    u = (x * np.cos(turn) + y * np.sin(turn)) / np.sqrt(stretch)
    v = (y * np.cos(turn) - x * np.sin(turn)) * np.sqrt(stretch)
    angle = np.arctan2(v, u)
    edge: Any = 1.0
    for k in range(2, 7):
        edge = edge + rng.normal(0, waves / np.sqrt(k)) * np.cos(
            k * angle + rng.uniform(0, 6.3)
        )
    for _ in range(int(rng.integers(2, 6)) if spikes else 0):
        sharp = rng.uniform(4, 25)
        edge = edge + spikes * rng.random() * np.exp(
            sharp * (np.cos(angle - rng.uniform(0, 6.3)) - 1)
        )
    return (box[0], box[1]), np.hypot(u, v) < size * np.clip(edge, 0.4, REACH / 1.7)


def _bodies(labels: LabelArray, rng: Generator) -> Field:
    """Draw the inside of objects: brightness, texture, a core, granules."""
    inside = labels > 0
    strength = rng.choice([-1, 1], p=[0.4, 0.6]) * rng.uniform(0.08, 0.6)
    brightness = strength * rng.uniform(rng.uniform(0.2, 1), 1.0, int(labels.max()) + 1)
    grain = rng.uniform(0, 0.2) * smooth_noise(_size(labels), rng, rng.uniform(0.7, 5))
    core = inner_distance(labels) > rng.uniform(0.3, 0.8)
    core = ndimage.gaussian_filter(core.astype(float), rng.uniform(0.5, 3))
    spots = smooth_noise(_size(labels), rng, rng.uniform(0.8, 2)) > rng.uniform(1.8, 3.5)
    body: Field = inside * (
        brightness[labels]
        + grain
        + rng.uniform(-0.3, 0.3) * (rng.random() < 0.5) * core
        + rng.uniform(-0.4, 0.4) * (rng.random() < 0.5) * spots
    )
    return body


def _edges(labels: LabelArray, rng: Generator) -> Field:
    """Draw rims inside the outlines, and halos around them."""
    inside = labels > 0
    distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(
        ~inside
    )
    field = np.zeros(labels.shape)
    if rng.random() < 0.6:
        width, rim = rng.uniform(1, 3), rng.uniform(-0.4, 0.4)
        field += rim * inside * np.exp(-((_inner_depth(labels) / width) ** 2))
    if rng.random() < 0.6:
        width, halo = rng.uniform(1, 5), rng.uniform(-0.15, 0.4)
        field += halo * np.exp(-(((distance + rng.uniform(0, 3)) / width) ** 2))
    return field


def _inner_depth(labels: LabelArray) -> Field:
    """Measure the distance from each pixel to its object's edge."""
    shifted = (np.roll(labels, step, axis) for axis in (0, 1) for step in (-1, 1))
    own = np.logical_and.reduce([labels == other for other in shifted])
    depth: Field = ndimage.distance_transform_edt(own & (labels > 0))
    return depth


def _around(labels: LabelArray, rng: Generator) -> Field:
    """Draw a background: uneven light, texture, and dirt that is not an object."""
    size = _size(labels)
    field = rng.uniform(0.1, 0.7) + rng.uniform(0, 0.12) * smooth_noise(size, rng, 60)
    field = field + rng.uniform(0, 0.06) * smooth_noise(size, rng, rng.uniform(0.8, 6))
    if rng.random() < 0.5:
        dirt = smooth_noise(size, rng, rng.uniform(1, 4)) > rng.uniform(2.3, 3.5)
        field = field + rng.uniform(-0.4, 0.4) * (dirt & (labels == 0))
    return field


def _blurred(picture: Field, rng: Generator) -> Field:
    blurred: Field = ndimage.gaussian_filter(picture, rng.uniform(0.3, 2.0))
    return blurred


def _stained(picture: Field, rng: Generator) -> Field:
    """Apply two random dyes in transmitted light."""
    strong, weak = rng.uniform(0.2, 1.2, 3), rng.uniform(0.0, 0.5, 3)
    other = 0.5 + 0.3 * smooth_noise(_size(picture), rng, rng.uniform(2, 12))
    stained: Field = np.exp(-(1 - picture[..., None]) * strong - other[..., None] * weak)
    return stained


def _size(array: npt.NDArray[Any]) -> tuple[int, int]:
    return array.shape[0], array.shape[1]
