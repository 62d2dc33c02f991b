"""Masks of any tool become labels, or one true sentence."""

from itertools import product

import numpy as np
import pytest

from napari_resunet import masks
from napari_resunet.errors import CorrectionError
from napari_resunet.masks import labels_from_mask


@pytest.fixture
def two_objects():
    labels = np.zeros((8, 10), np.int32)
    labels[1:3, 1:4], labels[5:7, 5:9] = 1, 2
    return labels


@pytest.mark.parametrize(
    "kind",
    [
        np.uint8, np.int64, np.float32,
        lambda x: x[..., None],
        lambda x: np.dstack([x.astype(np.uint8)] * 3),
        lambda x: np.where(x > 0, x, np.nan),
    ],
)  # fmt: skip
def test_labels_stay_the_labels_they_are(two_objects, kind):
    mask = two_objects.astype(kind) if isinstance(kind, type) else kind(two_objects)
    found = labels_from_mask(mask)
    assert found.labels.dtype == np.int32
    np.testing.assert_array_equal(found.labels, two_objects)
    assert not found.notice


@pytest.mark.parametrize("value", [True, np.uint8(255), 1.0])
def test_a_binary_mask_is_split_into_its_pieces_and_says_so(two_objects, value):
    mask = np.where(two_objects > 0, value, np.zeros_like(value))
    found = labels_from_mask(mask)
    np.testing.assert_array_equal(found.labels, two_objects)
    assert "2 objects" in found.notice


@pytest.mark.parametrize("factor", [16_000_003, 2**40])
def test_huge_labels_are_numbered_anew(two_objects, factor):
    found = labels_from_mask(two_objects.astype(np.int64) * factor)
    np.testing.assert_array_equal(found.labels, two_objects)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x: x / 2, "fractions"),
        (lambda x: np.where(x > 0, np.inf, 0), "infinities"),
        (lambda x: x * np.nan, "no numbers"),
        (lambda x: x - 1, "negative"),
        (lambda x: np.dstack([x, x, 0 * x]), "colour"),
        (lambda x: np.stack([x, x]), "one plane"),
        (lambda x: x.astype(complex), "complex"),
        (lambda x: x.astype(str), "whole numbers"),
    ],
)
def test_what_is_no_labels_image_is_refused_with_a_true_sentence(two_objects, change, word):
    with pytest.raises(CorrectionError, match=word):
        labels_from_mask(change(two_objects))


def test_classes_keep_their_numbers_and_unknown_ones_are_refused(two_objects):
    found = labels_from_mask(two_objects * 2, "classes", 5)
    np.testing.assert_array_equal(found.labels, two_objects * 2)
    with pytest.raises(CorrectionError, match="class 4"):
        labels_from_mask(two_objects * 2, "classes", 3)


def test_half_precision_masks_are_read_without_a_warning(two_objects):
    found = labels_from_mask(two_objects.astype(np.float16))
    np.testing.assert_array_equal(found.labels, two_objects)


def test_absurd_class_numbers_are_refused(two_objects):
    with pytest.raises(CorrectionError, match="class 4294967296"):
        labels_from_mask(two_objects.astype(np.int64) * 2**31, "classes")


def test_the_numbers_of_objects_are_found_across_bands(monkeypatch):
    labels = np.array([[0, 7, 7, 2], [2, 0, 0, 9], [5, 5, 3, 3]])
    for band, other in product((1, 3, 100), (0, -4, 10**12)):
        monkeypatch.setattr(masks, "BAND", band)
        given = np.where(labels == 9, other, labels)
        expected = [n for n in np.unique(given) if n]
        np.testing.assert_array_equal(masks.numbers_in(given), expected)
    assert masks.numbers_in(np.zeros((0, 4), np.int32)).size == 0
