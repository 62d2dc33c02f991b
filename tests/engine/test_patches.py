"""Targets, where patches are cut, and what counts there."""

from dataclasses import replace

import numpy as np
import pytest
from samples import squares
from skimage.segmentation import expand_labels

from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    Sampler,
    cut_patch,
    inner_distance,
    median_diameter,
    training_image,
)
from napari_resunet.engine.validation import split
from napari_resunet.types import Example, ModelInfo

INFO = ModelInfo()


@pytest.fixture
def corrected(nuclei) -> Example:
    """All is verified; the user corrected the objects of the left half."""
    image, labels = nuclei
    edited = labels > 0
    edited[:, labels.shape[1] // 2 :] = False
    return Example(image, labels, verified=np.ones(labels.shape, bool), edited=edited)


def test_a_corrected_object_counts_as_much_as_the_background_around_it(corrected):
    weight = training_image(corrected, INFO, edited_weight=3.0).weight
    around = expand_labels(corrected.edited.astype(int), 3) > 0
    assert np.unique(weight[around]).tolist() == [3.0], "else outlines are learned too wide"
    assert (weight == 1).any(), "the rest counts less"


def test_what_was_accepted_counts_once(corrected):
    passed = replace(corrected, edited=np.zeros_like(corrected.edited))
    weight = training_image(passed, INFO, edited_weight=3.0).weight
    assert np.unique(weight).tolist() == [1.0]


def test_half_of_the_patches_are_cut_at_what_was_corrected(corrected):
    image = training_image(corrected, INFO)
    rng = np.random.default_rng(0)
    draws = [Sampler([image], edited_fraction=0.5).sample(rng)[1] for _ in range(300)]
    at = np.mean([corrected.edited[int(row), int(column)] for row, column in draws])
    elsewhere = 0.5 * corrected.edited.mean()
    assert at == pytest.approx(0.5 + elsewhere, abs=0.08)


def test_no_patch_is_cut_at_what_is_held_out(corrected):
    image, parts = split(training_image(corrected, INFO), INFO.task)
    assert parts, "something is held out"
    rng = np.random.default_rng(0)
    sampler = Sampler([image], edited_fraction=1.0)
    for _ in range(100):
        row, column = sampler.sample(rng)[1]
        assert image.weight[int(row), int(column)] > 0


def test_what_a_patch_shows_beyond_the_image_is_not_learned():
    labels = squares()
    image = training_image(
        Example(np.arange(2400.0).reshape(40, 60), labels, scale=1.0), INFO
    )
    straight = Geometry(zoom=0.0, stretch=0.0, rotate=False)
    rng = np.random.default_rng(0)
    patch = cut_patch(PatchSource.of(image), (20, 30), 64, straight, rng)
    inside = slice(12, 52), slice(2, 62)
    assert np.array_equal(patch.pixels[:, *inside], image.pixels)
    assert np.array_equal(patch.labels[inside], image.labels)
    weight = np.zeros((64, 64))
    weight[inside] = 1
    assert np.array_equal(patch.weight, weight)
    missing = (12, 12), (2, 2)
    shown = np.pad(image.distance, missing, mode="symmetric")
    np.testing.assert_allclose(patch.distance, shown, atol=1e-6)


def test_inner_distance_peaks_at_one_in_each_object_and_sinks_between_neighbours():
    labels = squares()
    distance = inner_distance(labels)
    assert (distance[labels == 0] == 0).all()
    for label in (1, 7, 3):
        assert distance[labels == label].max() == pytest.approx(1)
    assert distance[10, 14] < 0.5
    assert distance[10, 15] < 0.5


def test_median_diameter_is_that_of_a_disc_of_equal_area():
    assert median_diameter(squares()) == pytest.approx(np.sqrt(4 * 100 / np.pi))
    assert median_diameter(np.zeros((5, 5), int)) is None
