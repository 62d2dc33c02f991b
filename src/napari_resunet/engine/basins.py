"""Basins of a map: all pixels from which one climbs to the same summit, and their borders.

A watershed usually floods pixel by pixel, with a queue. Here each pixel points to its
highest neighbour, and who follows these pointers reaches the summit of its basin. What is
left of the map is a small graph: basins are nodes, and pairs of pixels where they meet are
edges. What is connected above a level, and what is flooded from which seed, is asked of the
graph. The answers are those for the pixels: a watershed is a maximum spanning forest with
the seeds as its roots (Cousty et al. 2009, https://doi.org/10.1109/TPAMI.2008.173), and the
pointers are the first round of Borůvka's algorithm for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_resunet.types import FloatArray, MaskArray

Numbers = npt.NDArray[np.intp]
Heights = npt.NDArray[np.int32]

Rim = Sequence[tuple[slice, ...]]
"""The outermost pixels on each side where the plane goes on, as slices."""

ONE = 2**30
"""The height that stands for a value of 1."""

NOWHERE = -2 * ONE
"""The height of the background: lower than all others."""

MOVE, PLACE = 0b111, 0b11111111000
"""Bits of a height for the way to a neighbour, and for the order of equal values."""

PRIMES = 7919, 104729, 15485863
"""Equal values are ordered by a sum of these, once for each row and column."""


@dataclass(frozen=True)
class Basins:
    """The foreground of a map as a graph of `n` - 1 basins; node 0 is the background.

    Attributes
    ----------
    pixels : int array, shape (n_pixels,)
        Positions of the foreground pixels in the flattened map, ascending.
    heights : int32 array, shape (n_pixels,)
        Their values in units of 1 / `ONE`. Neighbours never have the same.
    basin : int array, shape (n_pixels,)
        The basin of each pixel, from 1.
    summits : int array, shape (n,)
        Position in the flattened map of the highest pixel of each basin.
    summit_heights : int32 array, shape (n,)
        Heights of these pixels.
    at_rim : int array
        Basins with their summit on the rim.
    edges : int array, shape (2, n_edges)
        Basins on the two sides of each pair of neighbours that are in different ones.
    edge_heights : int32 array, shape (2, n_edges)
        Heights of the two pixels, the lower one first.
    """

    pixels: Numbers
    heights: Heights
    basin: Numbers
    summits: Numbers
    summit_heights: Heights
    at_rim: Numbers
    edges: Numbers
    edge_heights: Heights

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.summits)

    @cached_property
    def areas(self) -> Numbers:
        """Number of pixels of each basin."""
        return np.bincount(self.basin, minlength=self.n)

    def areas_above(self, level: float) -> Numbers:
        """Count the pixels of each basin that are higher than a level."""
        return np.bincount(self.basin[self.heights > int(level * ONE)], minlength=self.n)

    def sums(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Add up the values of a map, in each basin."""
        here = values.ravel()[self.pixels]
        sums: npt.NDArray[Any] = np.bincount(self.basin, here, self.n)
        return sums

    @cached_property
    def islands(self) -> Numbers:
        """Number of the connected foreground that each basin is in."""
        return self.parts_above(NOWHERE / ONE)

    def parts_above(self, level: float) -> Numbers:
        """Give a number to all that is connected above a level; lower basins get 0."""
        limit = int(level * ONE)
        ends = self.edges[:, self.edge_heights[0] > limit]
        graph = coo_array((np.ones(len(ends[0]), bool), tuple(ends)), (self.n, self.n))
        _, part = connected_components(graph, directed=False)
        return np.where(self.summit_heights > limit, part + 1, 0).astype(np.intp)

    def flooded(self, seeds: Numbers) -> Numbers:
        """Return the seed that floods each basin.

        In each round, each basin without a seed joins a neighbour, across the highest edge.

        Parameters
        ----------
        seeds : int array, shape (n,)
            The seed of each basin, or 0. In each island one has a seed.
        """
        open_edges = np.flatnonzero((seeds[self.edges] == 0).any(axis=0))
        order = open_edges[np.lexsort(self.edge_heights[::-1, open_edges])]
        ways = np.repeat(self.edges[:, order], 2, axis=1)
        ways[:, 1::2] = ways[::-1, ::2]
        nodes = group = np.arange(self.n)
        while True:
            here, there = group[ways]
            leaving = (seeds[here] == 0) & (here != there)
            if not leaving.any():
                return seeds[group]
            ways, here, there = ways[:, leaving], here[leaving], there[leaving]
            joined = nodes.copy()
            joined[here] = there  # of several, the last and highest one stays
            mutual = (joined[joined] == nodes) & (nodes < joined)
            joined[mutual] = nodes[mutual]
            group = _ends(joined)[group]


def find_basins(
    ridge: FloatArray, foreground: MaskArray, origin: tuple[int, ...], rim: Rim = ()
) -> Basins:
    """Find the basins of a map, and where they meet.

    On the rim it is not known where one climbs, so all its pixels are summits.

    Parameters
    ----------
    ridge : float32 array
        The map, 2D or 3D, with values from 0 to 1.
    foreground : bool array
        What belongs to a basin; of the same shape.
    origin : tuple of int
        Place of the first pixel in the plane.
    rim : sequence of tuple of slice
        Where the plane goes on.
    """
    # With a border of background, each neighbour is a fixed step away.
    heights = np.pad(_heights(ridge, foreground, origin), 1, constant_values=NOWHERE)
    steps = [stride // heights.itemsize for stride in heights.strides]
    flat = heights.ravel()
    places = np.flatnonzero(flat != NOWHERE)
    numbers = np.zeros(heights.shape, np.intp)
    numbers.ravel()[places] = np.arange(len(places))
    up = numbers.take(_highest_neighbours(flat, steps, places))
    inner = numbers[(slice(1, -1),) * ridge.ndim]
    at_rim = [inner[line][foreground[line]] for line in rim]
    on_rim = np.concatenate([np.zeros(0, np.intp), *at_rim])
    up[on_rim] = on_rim
    top = _ends(up)
    is_summit = top == np.arange(len(top))
    basin = np.cumsum(is_summit).take(top)
    names = np.zeros(flat.size, np.int32)
    names[places] = basin
    pixels, own = np.flatnonzero(foreground), flat.take(places)
    summits = np.append(0, pixels[is_summit])
    summit_heights = np.append(np.int32(NOWHERE), own[is_summit])
    edges = _edges(flat, names, steps)
    return Basins(pixels, own, basin, summits, summit_heights, basin[on_rim], *edges)


def _heights(ridge: FloatArray, foreground: MaskArray, origin: tuple[int, ...]) -> Heights:
    """Turn values into integers, of which neighbours never have the same.

    Where equal values are flooded from must depend on their place in the plane only.
    """
    order: Any = np.int32(0)
    for axis, (begin, n) in enumerate(zip(origin, ridge.shape, strict=True)):
        along = ((np.arange(n) + begin) * PRIMES[axis] * (MOVE + 1)).astype(np.int32)
        order = order + along.reshape([-1 if i == axis else 1 for i in range(ridge.ndim)])
    heights = (ridge * np.float32(ONE)).astype(np.int32)
    heights &= ~(PLACE | MOVE)
    heights |= order & PLACE
    return np.where(foreground, heights, np.int32(NOWHERE))


def _highest_neighbours(flat: Heights, steps: list[int], places: Numbers) -> Numbers:
    """Return where the highest neighbour of each place is, or the place itself."""
    moves = np.array([0, *steps, *(-step for step in steps)])
    highest = flat.copy()
    for number, step in enumerate(steps, 1):
        one, next_one = flat[:-step], flat[step:]
        before, after = highest[:-step], highest[step:]
        np.maximum(before, next_one | np.int32(number), out=before)
        np.maximum(after, one | np.int32(number + len(steps)), out=after)
    return places + moves.take(highest.take(places) & MOVE)


def _ends(pointers: Numbers) -> Numbers:
    """Follow pointers until they point to themselves."""
    while True:
        further = pointers.take(pointers)
        if np.array_equal(further, pointers):
            return pointers
        pointers = further


def _edges(
    flat: Heights, names: npt.NDArray[np.int32], steps: list[int]
) -> tuple[Numbers, Heights]:
    """List where neighbours are in different basins, and their heights."""
    edges, heights = [], []
    for step in steps:
        one, next_one = names[:-step], names[step:]
        at = np.flatnonzero((one != next_one) & (np.minimum(one, next_one) > 0))
        edges.append((one[at], next_one[at]))
        heights.append((flat[at], flat[at + step]))
    pairs = np.concatenate(heights, axis=1)
    return (
        np.concatenate(edges, axis=1).astype(np.intp),
        np.stack([pairs.min(axis=0), pairs.max(axis=0)]),
    )
