"""Where the model is least sure: windows of a plane, ranked."""

from dataclasses import replace

import numpy as np
import pytest

from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.uncertainty import (
    REGION,
    Region,
    count_uncertain,
    entropy,
    mean_uncertainty,
    priority,
    rank,
    windows,
)
from napari_resunet.types import ModelInfo

INFO = ModelInfo()
SIDE = 2 * REGION
CORE = slice(0, SIDE), slice(0, SIDE)


def draw(maps, labels, centre, probability, label=None):
    rows, columns = np.ogrid[: maps.shape[1], : maps.shape[2]]
    disc = np.hypot(rows - centre[0], columns - centre[1]) < 12
    maps[0][disc] = probability
    if label:
        labels[disc] = label


@pytest.fixture
def scene():
    """Sure objects everywhere; unsure ones at the bottom right; one missed, top right."""
    maps = np.zeros((3, SIDE, SIDE), np.float16)
    labels = np.zeros((SIDE, SIDE), np.int32)
    places = [(r, c) for r in range(40, SIDE, 60) for c in range(40, SIDE, 60)]
    for number, place in enumerate(places, start=1):
        unsure = min(place) > REGION
        draw(maps, labels, place, 0.6 if unsure else 0.999, number)
    draw(maps, labels, (70, 400), 0.4)
    return PredictionMaps(maps, (Axis(SIDE, SIDE),) * 2, INFO), labels


def test_the_unsure_objects_come_first_and_are_counted(scene):
    kept, labels = scene
    first, second, *rest = rank(kept, labels, None, CORE)
    assert [s.start for s in first.window] == [REGION, REGION]
    n_unsure = len(np.unique(labels[REGION:, REGION:])) - 1
    assert first.n_uncertain == pytest.approx(n_unsure, abs=1)
    assert [s.start for s in second.window] == [0, REGION]
    assert second.n_uncertain == 1
    assert all(region.n_uncertain == 0 for region in rest)


def test_what_is_verified_is_not_looked_at_again(scene):
    kept, labels = scene
    verified = np.zeros(labels.shape, bool)
    verified[REGION:, REGION:] = True
    regions = rank(kept, labels, verified, CORE)
    assert len(regions) == 3
    assert [s.start for s in regions[0].window] == [0, REGION]
    assert rank(kept, labels, np.ones(labels.shape, bool), CORE) == []


def test_a_part_that_is_verified_counts_no_more(scene):
    kept, labels = scene
    verified = np.zeros(labels.shape, bool)
    verified[REGION : REGION + 100, REGION:] = True
    part = rank(kept, labels, verified, CORE)[0]
    whole = rank(kept, labels, None, CORE)[0]
    assert part.score == pytest.approx(whole.score, abs=0.05)
    assert 0 < part.n_uncertain < whole.n_uncertain


def test_it_is_the_same_every_time_and_ties_keep_their_order(scene):
    kept, labels = scene
    assert rank(kept, labels, None, CORE) == rank(kept, labels, None, CORE)
    empty = replace(kept, maps=np.zeros_like(kept.maps))
    starts = [tuple(s.start for s in r.window) for r in rank(empty, labels * 0, None, CORE)]
    assert starts == sorted(starts)


def test_many_objects_of_some_doubt_come_before_few_of_more(scene):
    kept, labels = scene
    maps = kept.maps.copy()
    maps[0, REGION:, :REGION] = 0
    for place in ((400, 60), (400, 100)):
        draw(maps, labels, place, 0.5)
    first, second, *_ = rank(replace(kept, maps=maps), labels, None, CORE)
    assert [s.start for s in first.window] == [REGION, REGION]
    assert [s.start for s in second.window] == [REGION, 0]


def test_a_speck_is_no_reason_to_look(scene):
    kept, labels = scene
    maps = np.zeros_like(kept.maps)
    maps[0, :256, :256] = kept.maps[0, 256:, 256:]
    maps[0, 300:303, 300:303] = 0.5
    first, second, *_ = rank(replace(kept, maps=maps), labels * 0, None, CORE)
    assert [s.start for s in first.window] == [0, 0]
    assert 0 < second.score < first.score / 10


def test_where_less_is_verified_comes_first():
    sure, unsure = (Region(CORE, score, 0) for score in (0.1, 0.9))
    assert priority(sure, 0.0) > priority(unsure, 0.3)
    assert priority(unsure, 0.31) > priority(sure, 0.29)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_windows_are_given_in_image_pixels(scene, factor):
    kept, labels = scene
    n = round(SIDE / factor)
    axes = (Axis(n, SIDE),) * 2
    places = (np.arange(n) * factor).astype(int)
    core = slice(0, n), slice(0, n)
    first = rank(replace(kept, axes=axes), labels[np.ix_(places, places)], None, core)[0]
    assert [s.start for s in first.window] == [n // 2, n // 2]
    assert [s.stop for s in first.window] == [n, n]


def test_windows_cover_a_part_exactly_once():
    count = np.zeros((700, 500), int)
    for window in windows((slice(20, 690), slice(10, 480)), (1.0, 0.7)):
        count[window] += 1
    assert (count[20:690, 10:480] == 1).all()
    assert count.sum() == 670 * 470


def test_entropy_is_largest_at_a_half():
    bits = entropy(np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32))
    assert bits[2] == pytest.approx(1)
    assert bits[[0, 4]] == pytest.approx(0, abs=1e-4)
    assert bits[1] == pytest.approx(bits[3], abs=1e-4)


def test_of_classes_the_background_comes_first():
    info = ModelInfo(task="classes", class_names=("background", "axon"))
    background = np.full((64, 64), 0.99, np.float32)
    unsure = np.full((64, 64), 0.5, np.float32)
    counts = np.ones((64, 64), bool)
    sure, open_ = (
        mean_uncertainty(np.stack([b, 1 - b]), counts, info) for b in (background, unsure)
    )
    assert open_ == pytest.approx(1)
    assert sure < 0.1
    none = np.zeros((64, 64), np.int32)
    assert count_uncertain(np.stack([background, 1 - background]), none, counts, info) == 0
