"""What was held out once is never learned from, however the verified area grows."""

import numpy as np
import pytest

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.session.holdout import holdout_regions
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.folder import SessionFolder

SIDE = 200


def correct(window, earlier=None):
    """All that is in the window is verified and edited."""
    shape = tuple(s.stop - s.start for s in window)
    labels, mask = np.ones(shape, np.int32), np.ones(shape, bool)
    correction = Correction("x", (), window, labels, mask, mask)
    strips = holdout_regions(correction, earlier, scale=1.0)
    image = np.zeros((*shape, 1), np.uint8)
    return correction, as_example(correction, image, scale=1.0, held_out=strips)


def in_plane(learned) -> list[np.ndarray]:
    correction, example = learned
    masks = []
    for strip in example.held_out:
        mask = np.zeros((2 * SIDE, 2 * SIDE), bool)
        mask[correction.window][strip] = True
        masks.append(mask)
    return masks


@pytest.fixture
def first():
    return correct((slice(0, SIDE), slice(100, 100 + SIDE)))


def test_a_strip_stays_and_one_of_what_is_new_is_added(first):
    grown = correct((slice(0, SIDE), slice(0, 100 + SIDE)), first)
    (before,), (same, new) = in_plane(first), in_plane(grown)
    assert np.array_equal(same, before)
    assert new[:, :100].any()
    assert not new[:, 100:].any()
    assert 0.2 < new.sum() / (SIDE * 100) < 0.3


def test_nothing_new_adds_none(first):
    again = correct(first[0].window, first)
    assert again[1].held_out == first[1].held_out
    little = correct((slice(0, SIDE + 10), slice(90, 100 + SIDE)), first)
    assert len(little[1].held_out) == 1


def test_what_is_not_verified_any_more_holds_none():
    low = correct((slice(0, SIDE), slice(0, SIDE)))
    elsewhere = correct((slice(SIDE, 2 * SIDE), slice(SIDE, 2 * SIDE)), low)
    (mask,) = in_plane(elsewhere)
    assert mask[SIDE:, SIDE:].sum() == mask.sum()


def test_it_is_kept_in_the_session_folder(first, tmp_path):
    folder = SessionFolder.create(tmp_path / "cells")
    save_correction(folder.root, "a1", *first)
    ((saved,), _) = load_corrections(folder.root)
    assert saved.example.held_out == first[1].held_out
    assert folder.close()
