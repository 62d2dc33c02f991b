"""Masks of nuclei made into masks of whole cells: warped, grown, merged.

Labels that were changed need their inner distance again.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import label

from napari_resunet.network.torch_import import functional, torch
from napari_resunet.types import FloatArray, LabelArray

Generator = np.random.Generator

COARSE_SIGMA = 2.0
"""Noise smoother than this is drawn on a coarse grid, which takes a tenth of the time."""

MERGED = 0.3
"""Largest fraction of contacts whose two objects become one."""

POINTED = 0.7
"""Fraction of the patches whose whole cells have pointed processes."""

DIRECTIONS = 181
"""In how many directions an outline is drawn."""

HIDDEN = 0.2
"""An object of which more is hidden by others is left out."""

SMALLEST = 20
"""Of what is left of a moved object, pieces with fewer pixels are removed."""


def noise(side: int, rng: Generator, sigma: float) -> FloatArray:
    """Draw a square of noise with mean 0, deviation 1, and this correlation length.

    Parameters
    ----------
    side : int
        Of the square, in pixels.
    rng : numpy Generator
        Random number generator.
    sigma : float
        Correlation length in pixels.
    """
    if sigma > COARSE_SIGMA:
        n = int(side / (1.5 * sigma)) + 3
        coarse = torch.from_numpy(rng.random((1, 1, n, n), np.float32))
        field = functional.interpolate(coarse, (side, side), mode="bicubic")[0, 0].numpy()
    else:
        field = rng.random((side, side), np.float32)
        field = ndimage.gaussian_filter(field, sigma)
    result: FloatArray = (field - field.mean()) / max(1e-6, float(field.std()))
    return result


def sampled(
    field: npt.NDArray[Any], places: FloatArray, mode: Literal["nearest", "bilinear"]
) -> FloatArray:
    """Look up a square field at other places, rows and columns; beyond it is mirrored."""
    side = field.shape[0]
    grid = torch.from_numpy(np.stack([places[1], places[0]], -1)) * (2 / (side - 1)) - 1
    plane = torch.from_numpy(field.astype(np.float32))
    found: FloatArray = functional.grid_sample(
        plane[None, None], grid[None], mode, "reflection", align_corners=True
    )[0, 0].numpy()
    return found


def pieces(labels: npt.NDArray[Any]) -> LabelArray:
    """Give each connected piece of each object its own number."""
    found: LabelArray = label(labels, connectivity=1).astype(np.int32)
    return found


def _large_pieces(labels: npt.NDArray[Any]) -> LabelArray:
    found = pieces(labels)
    found[np.bincount(found.ravel())[found] < SMALLEST] = 0
    return found


def crowded(labels: LabelArray, rng: Generator) -> LabelArray:
    """Add turned copies of the patch, behind the objects that are there."""
    for turns in rng.permutation(4)[: rng.integers(1, 4)].tolist():
        copy = np.rot90(labels, turns)[:: rng.choice([-1, 1])]
        hidden = np.bincount(copy[labels > 0], minlength=int(labels.max()) + 1)
        few = hidden <= HIDDEN * np.bincount(copy.ravel(), minlength=hidden.size)
        free = (labels == 0) & (copy > 0) & few[copy]
        labels = np.where(free, copy + labels.max(), labels)
    return _large_pieces(labels)


def warped(labels: LabelArray, rng: Generator) -> LabelArray:
    """Stretch all objects along one direction, by up to 2.2, and bend each of them."""
    side = labels.shape[0]
    stretch, turn = np.sqrt(rng.uniform(1.0, 2.2)), rng.uniform(0, np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    linear = np.eye(2) * stretch + np.outer(along, along) * (1 / stretch - stretch)
    places = np.indices(labels.shape, np.float32) - side / 2
    places = np.tensordot(linear.astype(np.float32), places, axes=1) + side / 2
    bend, length = rng.uniform(0, 5), rng.uniform(6, 20)
    places += bend * np.stack([noise(side, rng, length) for _ in range(2)])
    return _large_pieces(sampled(labels, places, "nearest").astype(np.int32))


def merged(labels: LabelArray, rng: Generator) -> LabelArray:
    """Join some of the objects that touch."""
    contacts = np.concatenate([_contacts(labels), _contacts(labels.T)])
    chosen = contacts[rng.random(len(contacts)) < rng.uniform(0, MERGED)]
    n = int(labels.max(initial=0)) + 1
    graph = coo_array((np.ones(len(chosen)), (chosen[:, 0], chosen[:, 1])), (n, n))
    _, group = connected_components(graph, directed=False)
    # The background is in no contact, and comes first.
    result: LabelArray = group.astype(np.int32)[labels]
    return result


def _contacts(labels: LabelArray) -> npt.NDArray[np.int32]:
    """List pairs of different objects in neighbouring columns, each once."""
    left, right = labels[:, :-1], labels[:, 1:]
    where = (left != right) & (left > 0) & (right > 0)
    return np.unique(np.sort(np.stack([left[where], right[where]], 1), axis=1), axis=0)


def grown(labels: LabelArray, growth: float, rng: Generator) -> LabelArray:
    """Surround each object with a body: wavy, elongated, or with pointed processes.

    Parameters
    ----------
    labels : int32 array, shape (S, S)
        Objects, each in one piece.
    growth : float
        About how many times as wide they become.
    rng : numpy Generator
        Random number generator.

    Returns
    -------
    int32 array, shape (S, S)
        The same numbers; bodies that meet share a border halfway between the objects.
    """
    n = int(labels.max(initial=0)) + 1
    if n == 1:
        return labels
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    owner = labels[tuple(nearest)]
    y, x = np.indices(labels.shape, np.float32) - _centres(labels, n)[:, owner]
    radius = np.sqrt(np.bincount(labels.ravel(), minlength=n) / np.pi)
    outlines = _outlines(n, rng) * (radius * growth * rng.uniform(0.8, 1.25, n))[:, None]
    step = (np.arctan2(y, x) + np.pi) * ((DIRECTIONS - 1) / (2 * np.pi))
    reach = outlines[owner, np.rint(step).astype(np.intp)]
    waves = 1 + rng.uniform(0, 0.12) * noise(labels.shape[0], rng, rng.uniform(4, 9))
    body = (np.hypot(y, x) * waves < reach) | (labels > 0)
    return _largest_pieces(np.where(body, owner, 0))


def _centres(labels: LabelArray, n: int) -> FloatArray:
    """Return the centroid of each label, shape (2, n)."""
    flat, places = labels.ravel(), np.indices(labels.shape).reshape(2, -1)
    sums = np.stack([np.bincount(flat, place, n) for place in places])
    return (sums / np.maximum(1, np.bincount(flat, minlength=n))).astype(np.float32)


def _outlines(n: int, rng: Generator) -> FloatArray:
    """Draw how far each body reaches in each direction, on average about 1."""
    angle = np.linspace(-np.pi, np.pi, DIRECTIONS)
    stretch = rng.uniform(1.0, rng.uniform(1.0, 3.0), (n, 1))
    across = np.sin(angle - rng.uniform(0, np.pi, (n, 1))) ** 2
    reach = np.sqrt(stretch / (1 + (stretch**2 - 1) * across))
    if rng.random() < POINTED:
        longest = rng.uniform(0.5, 2.5)
        each = (int(rng.integers(2, 6)), n, 1)
        away = 1 - np.cos(angle - rng.uniform(-np.pi, np.pi, each))
        pointed = rng.uniform(0, longest, each) * np.exp(-rng.uniform(5, 30, each) * away)
        reach = (reach + pointed.sum(0)) / (1 + 0.3 * longest)
    return reach.astype(np.float32)


def _largest_pieces(labels: LabelArray) -> LabelArray:
    """Keep the largest piece of each object."""
    found = label(labels, connectivity=1)
    owner = np.zeros(int(found.max()) + 1, np.int64)
    owner[found.ravel()] = labels.ravel()
    by_size = np.argsort(np.bincount(found.ravel()), kind="stable")
    largest = np.zeros(int(labels.max()) + 1, np.int64)
    largest[owner[by_size]] = by_size  # the last one of each owner stays
    return np.where(found == largest[labels], labels, 0).astype(np.int32)
