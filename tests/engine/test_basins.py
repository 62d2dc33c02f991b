import heapq
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from napari_resunet.engine.basins import find_basins

SHAPES = [(23, 31), (8, 12, 14)]


def drawn(shape, levels=None):
    """A smooth map and a foreground with several islands; few levels make plateaus."""
    rng = np.random.default_rng(len(shape))
    ridge = ndimage.gaussian_filter(rng.random(shape), 1)
    ridge = (ridge - ridge.min()) / np.ptp(ridge)
    ridge = ridge if levels is None else np.round(ridge * levels) / levels
    shown = ndimage.gaussian_filter(rng.random(shape), 1)
    return ridge.astype(np.float32), shown > np.quantile(shown, 0.55)


def on_map(basins, numbers, shape):
    """Paint the number of each basin on its pixels."""
    painted = np.zeros(shape, int)
    painted.ravel()[basins.pixels] = numbers[basins.basin]
    return painted


def flooded_pixel_by_pixel(basins, seeds, shape):
    """Flood with a queue: always across the highest of all edges that leave the flood."""
    heights = np.full(shape, np.iinfo(np.int32).min, int)
    heights.ravel()[basins.pixels] = basins.heights
    labels, queue = seeds.copy(), []

    def leave(place):
        for axis, step in product(range(len(shape)), (-1, 1)):
            there = tuple(i + step * (axis == k) for k, i in enumerate(place))
            inside = all(0 <= i < n for i, n in zip(there, shape, strict=True))
            if inside and heights[there] > np.iinfo(np.int32).min:
                edge = sorted([-heights[place], -heights[there]], reverse=True)
                heapq.heappush(queue, (*edge, there, labels[place]))

    for place in zip(*np.nonzero(seeds), strict=True):
        leave(place)
    while queue:
        *_, place, label = heapq.heappop(queue)
        if not labels[place]:
            labels[place] = label
            leave(place)
    return labels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("levels", [None, 6])
def test_the_graph_is_flooded_as_the_pixels_are(shape, levels):
    ridge, foreground = drawn(shape, levels)
    basins = find_basins(ridge, foreground, (0,) * len(shape))
    seeds = basins.parts_above(0.6)
    lone = ~np.isin(basins.islands, basins.islands[seeds > 0])
    seeds[lone] = basins.n + basins.islands[lone]
    seeds[0] = 0
    heights = np.zeros(shape)
    heights.ravel()[basins.pixels] = basins.heights / 2**30
    in_seed = (heights > 0.6) | (on_map(basins, seeds, shape) > basins.n)
    pixels = np.where(in_seed, on_map(basins, seeds, shape), 0)
    found = on_map(basins, basins.flooded(seeds), shape)
    assert (found[foreground] > 0).all()
    assert len(np.unique(pixels)) > 3
    assert (found != pixels).mean() > 0.1
    np.testing.assert_array_equal(found, flooded_pixel_by_pixel(basins, pixels, shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_above_a_level_are_what_is_connected_there(shape):
    ridge, foreground = drawn(shape)
    basins = find_basins(ridge, foreground, (0,) * len(shape))
    for level in (-1, 0.3, 0.6):
        there = foreground & (ridge > level)
        expected, n = ndimage.label(there)
        found = np.where(there, on_map(basins, basins.parts_above(level), shape), 0)
        assert n > 1
        pairs = np.unique(np.stack([found[there], expected[there]]), axis=1)
        assert pairs.shape == (2, n)
        areas = np.bincount(basins.parts_above(level), basins.areas_above(level))
        assert sorted(areas[areas > 0]) == sorted(np.bincount(expected.ravel())[1:])


def test_nothing_is_in_the_foreground():
    basins = find_basins(np.ones((4, 5), np.float32), np.zeros((4, 5), bool), (0, 0))
    assert basins.n == 1
    assert basins.flooded(basins.parts_above(0.5)).tolist() == [0]
