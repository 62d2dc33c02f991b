from functools import cache
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_resunet.engine import blocks
from napari_resunet.engine.blocks import (
    PredictionMaps,
    decode_labels,
    decode_part,
    number_labels,
)
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.patches import inner_distance
from napari_resunet.engine.synthetic import scatter
from napari_resunet.types import Decoding, Levels, ModelInfo

SMALL = ModelInfo(diameter=12.0)


@cache
def crowd(seed, shape):
    """Touching objects, whose places take longer to find than all else here."""
    return scatter(shape, np.random.default_rng(seed), (4, 8), gap=-2, crowding=0.7)


def noisy_maps(seed, shape=(150, 170), zoom=1.0, noise=0.12, info=SMALL):
    """Maps of touching objects, and of what a network is unsure of."""
    rng = np.random.default_rng(seed)
    truth = crowd(seed, shape)
    unsure = ndimage.gaussian_filter(rng.normal(0, 1, shape), 2) * 4 * noise
    foreground = np.clip((truth > 0) * 0.8 + 0.1 + unsure, 0, 1)
    distance = np.clip(inner_distance(truth) + unsure, 0, 1)
    maps = np.stack([foreground, distance, 0 * distance]).astype(np.float16)
    axes = tuple(Axis(round(n * zoom), n) for n in shape)
    return PredictionMaps(maps, axes, info)


def in_parts(predicted, rows, columns, decoding):
    """Decode parts which see a margin only, and put their labels together."""
    spans = [
        [slice(a, b) for a, b in pairwise([0, *sorted(set(cuts)), n])]
        for cuts, n in zip((rows, columns), predicted.n_network, strict=True)
    ]
    found = [decode_part(predicted, decoding, core) for core in product(*spans)]
    assert all(part.whole for part in found)
    names = np.concatenate([part.owned for part in found])
    assert len(set(names)) == len(names)  # each object has one owner
    labels = [number_labels(part, np.sort(names)) for part in found]
    n = len(spans[1])
    return np.block([labels[i : i + n] for i in range(0, len(labels), n)])


def cuts(n):
    return st.lists(st.integers(1, n - 1), max_size=3)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.sampled_from([3, 4, 5]),
    rows=cuts(150),
    columns=cuts(170),
    zoom=st.sampled_from([1.0, 0.7, 1.6]),
    split=st.sampled_from([0.2, 0.5, 0.8]),
    foreground=st.sampled_from([0.4, 0.6]),
)
def test_parts_of_any_size_are_equal_to_the_whole(
    seed, rows, columns, zoom, split, foreground
):
    predicted = noisy_maps(seed, zoom=zoom)
    decoding = Decoding(foreground, split)
    whole = decode_labels(predicted, decoding)
    assert whole.max() > 20
    np.testing.assert_array_equal(in_parts(predicted, rows, columns, decoding), whole)


def test_blocks_within_a_plane_are_equal_to_the_whole(monkeypatch):
    predicted = noisy_maps(5)
    whole = decode_labels(predicted, Decoding())
    monkeypatch.setattr(blocks, "BLOCK", 40)
    np.testing.assert_array_equal(decode_labels(predicted, Decoding()), whole)


def snake(shape=(120, 160)):
    """One object that winds through the plane, with a seed at one end only."""
    labels = np.zeros(shape, bool)
    for i, row in enumerate(range(10, 110, 20)):
        labels[row : row + 8, 10:150] = True
        labels[row : row + 28, slice(142, 150) if i % 2 == 0 else slice(10, 18)] = True
    distance = np.zeros(shape)
    distance[10:18, 10:20] = 1
    maps = np.stack([labels, distance, 0 * distance]).astype(np.float16)
    return PredictionMaps(maps, tuple(Axis(n, n) for n in shape), SMALL)


def test_an_object_larger_than_any_margin_is_whole_and_not_cut(monkeypatch):
    whole = decode_labels(snake(), Decoding())
    assert whole.max() == 1
    monkeypatch.setattr(blocks, "BLOCK", 40)
    np.testing.assert_array_equal(decode_labels(snake(), Decoding()), whole)


def test_a_part_says_when_its_maps_do_not_reach_far_enough(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 40)
    predicted = snake()
    part = slice(0, 120), slice(60, 160)
    seen = PredictionMaps(predicted.read(part), predicted.axes, SMALL, part)
    core = slice(0, 120), slice(100, 160)
    assert not decode_part(seen, Decoding(), core).whole
    assert decode_part(predicted, Decoding(), core).whole


def test_small_objects_need_a_small_margin_only():
    predicted = noisy_maps(4, noise=0.02)
    core, part = ((slice(m, n), slice(m, n)) for m, n in ((60, 90), (20, 130)))
    seen = PredictionMaps(predicted.read(part), predicted.axes, SMALL, part)
    assert decode_part(seen, Decoding(), core).whole


@pytest.mark.parametrize("smoothing", [0.0, 3.0])
def test_any_smoothing_is_seen_in_the_margin(smoothing, monkeypatch):
    info = ModelInfo(diameter=12.0, levels=Levels(smoothing=smoothing))
    predicted = noisy_maps(3, info=info)
    whole = decode_labels(predicted, Decoding())
    monkeypatch.setattr(blocks, "BLOCK", 50)
    np.testing.assert_array_equal(decode_labels(predicted, Decoding()), whole)
