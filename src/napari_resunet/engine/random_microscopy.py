"""Microscopy of no particular kind: shapes, textures and contrasts drawn at random.

For training only. A network that saw everything that could be a cell learns the look of a
real one from fewer corrections (domain randomisation, Tobin et al. 2017,
https://arxiv.org/abs/1703.06907). Images that look like something are `synthetic`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.engine.synthetic import Field, Image, largest_piece, smooth_noise
from napari_resunet.engine.targets import inner_distance
from napari_resunet.types import LabelArray

Generator = np.random.Generator
COLOUR_SHARE = 0.3
REACH = 2.6
"""No outline goes further from its centre than so many radii."""


def random_microscopy(shape: tuple[int, int], rng: Generator) -> tuple[Image, LabelArray]:
    """Draw an image of objects that look like nothing in particular.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    image : uint8 array, shape (Y, X) or (Y, X, 3)
    labels : int32 array, shape (Y, X)
        Objects numbered from 1, of 15 to 70 pixels across.
    """
    labels = _objects(shape, rng)
    picture = _blurred(
        _bodies(labels, rng) + _edges(labels, rng) + _around(labels, rng), rng
    )
    if rng.random() < COLOUR_SHARE:
        picture = _stained(picture, rng)
    noisy = picture + rng.normal(0, rng.uniform(0.003, 0.06), picture.shape)
    return np.clip(255 * noisy, 0, 255).astype(np.uint8), labels


def _objects(shape: tuple[int, int], rng: Generator) -> LabelArray:
    """Scatter outlines of one random kind; later ones lie under earlier ones."""
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
        # What is mostly hidden would be a fragment that nobody would draw.
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
    """Fill a turned ellipse with a wavy edge and a few pointed processes."""
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
    """Fill the objects: a brightness each, a texture, a core, granules."""
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
    """Draw rims inside the outlines and halos around them."""
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
    """Measure how many pixels lie between a pixel and its own object's edge."""
    shifted = (np.roll(labels, step, axis) for axis in (0, 1) for step in (-1, 1))
    own = np.logical_and.reduce([labels == other for other in shifted])
    depth: Field = ndimage.distance_transform_edt(own & (labels > 0))
    return depth


def _around(labels: LabelArray, rng: Generator) -> Field:
    """Make a background: uneven light, texture, dirt that is no object."""
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
    """Give the picture two random dyes in transmitted light."""
    strong, weak = rng.uniform(0.2, 1.2, 3), rng.uniform(0.0, 0.5, 3)
    other = 0.5 + 0.3 * smooth_noise(_size(picture), rng, rng.uniform(2, 12))
    stained: Field = np.exp(-(1 - picture[..., None]) * strong - other[..., None] * weak)
    return stained


def _size(array: npt.NDArray[Any]) -> tuple[int, int]:
    return array.shape[0], array.shape[1]
