"""Edits of objects in all slices of a volume or a film."""

import numpy as np
import pytest

from napari_resunet.corrections import through_slices

SHAPE = (7, 60, 80)


def discs(*centres, radius=10):
    """Draw a disc around each centre, with labels from 1."""
    rows, columns = np.indices(SHAPE[1:])
    plane = np.zeros(SHAPE[1:], np.int32)
    for label, (row, column) in enumerate(centres, 1):
        plane[np.hypot(rows - row, columns - column) < radius] = label
    return plane


def applied(labels, edits):
    after = labels.copy()
    for index, edit in edits.items():
        after[(*index, edit.rows, edit.columns)] = edit.after
    return after


@pytest.fixture
def leaning():
    """Two cells that lean to the right, the second one in slices 2 to 5 only."""
    return np.stack(
        [
            discs((30, 20 + 3 * z), *([(30, 37 + 3 * z)] if 2 <= z <= 5 else []))
            for z in range(SHAPE[0])
        ]
    )


def test_an_object_is_deleted_in_all_of_its_slices(leaning):
    edits = through_slices.delete(leaning, (3,), (30, 46), (0,))
    assert sorted(edits) == [(2,), (3,), (4,), (5,)]
    after = applied(leaning, edits)
    assert np.array_equal(after, np.where(leaning == 2, 0, leaning))


def test_an_object_may_be_missing_in_one_slice_but_not_in_two():
    labels = np.stack([discs((30, 30))] * 7)
    labels[2] = 0
    edits = through_slices.delete(labels, (3,), (30, 30), (0,))
    assert not applied(labels, edits).any()
    labels[1] = 0
    edits = through_slices.delete(labels, (3,), (30, 30), (0,))
    assert applied(labels, edits).any(axis=(1, 2)).tolist() == [True] + 6 * [False]


def test_another_object_of_the_same_number_elsewhere_stays():
    labels = np.stack([discs((30, 15)), discs((30, 15)), discs((30, 60))])
    after = applied(labels, through_slices.delete(labels, (0,), (30, 15), (0,)))
    assert after.any(axis=(1, 2)).tolist() == [False, False, True]


def test_only_the_given_axes_are_followed():
    labels = np.stack([np.stack([discs((30, 30))] * 3)] * 2)
    after = applied(labels, through_slices.delete(labels, (1, 1), (30, 30), (1,)))
    assert after.any(axis=(2, 3)).tolist() == [[True] * 3, [False] * 3]
    after = applied(labels, through_slices.delete(labels, (1, 1), (30, 30), (0, 1)))
    assert not after.any()


def test_merged_objects_are_one_in_all_slices_of_both(leaning):
    path = np.array([(30.0, 46.0), (30.0, 29.0)])
    edits = through_slices.merge(leaning, (3,), path, (0,))
    after = applied(leaning, edits)
    assert set(np.unique(after)) == {0, 2}
    assert np.array_equal(after[6] > 0, leaning[6] > 0)
    assert sorted(edits) == [(z,) for z in range(7)]


def test_gaps_between_merged_objects_are_closed_in_all_slices():
    labels = np.stack([discs((30, 20), (30, 42))] * 3)
    path = np.array([(30.0, 20.0), (30.0, 42.0)])
    after = applied(labels, through_slices.merge(labels, (1,), path, (0,)))
    assert (after[:, 30, 20:43] == 1).all()


def test_pieces_of_one_object_are_joined_in_their_slice_only():
    labels = np.stack([np.minimum(discs((30, 20), (30, 45)), 1)] * 3)
    path = np.array([(30.0, 20.0), (30.0, 45.0)])
    edits = through_slices.merge(labels, (1,), path, (0,))
    assert list(edits) == [(1,)]


def test_a_split_follows_the_necks_of_cells_that_lean(leaning):
    joined = np.minimum(leaning, 1)
    line = np.array([(15.0, 37.5), (45.0, 37.5)])
    after = applied(joined, through_slices.split(joined, (3,), line, 9, (0,)))
    assert np.array_equal(after > 0, joined > 0)
    for plane, truth in zip(after, leaning, strict=True):
        assert len(np.unique(plane)) == len(np.unique(truth))
    names = [after[3, 30, 29], after[3, 30, 46]]
    for name, label in zip(names, (1, 2), strict=True):
        both = ((after == name) & (leaning == label)).sum()
        assert both > 0.95 * ((after == name) | (leaning == label)).sum()


def test_a_split_goes_on_after_a_slice_without_the_object():
    labels = np.stack([np.minimum(discs((30, 20), (30, 37)), 1)] * 4)
    labels[1] = 0
    line = np.array([(15.0, 28.5), (45.0, 28.5)])
    after = applied(labels, through_slices.split(labels, (0,), line, 9, (0,)))
    assert [len(np.unique(plane)) for plane in after] == [3, 1, 3, 3]
    assert (after[0, 30, 20], after[0, 30, 37]) == (after[3, 30, 20], after[3, 30, 37])


def test_far_pieces_become_objects_in_all_slices():
    labels = np.stack([np.minimum(discs((30, 15), (30, 60)), 1)] * 3)
    line = np.array([(30.0, 10.0), (30.0, 65.0)])
    after = applied(labels, through_slices.split(labels, (1,), line, 9, (0,)))
    assert [len(np.unique(plane)) for plane in after] == [3, 3, 3]


def test_what_does_not_divide_or_is_no_object_changes_nothing(leaning):
    line = np.array([(2.0, 2.0), (5.0, 5.0)])
    assert not through_slices.split(leaning, (3,), line, 9, (0,))
    assert not through_slices.delete(leaning, (3,), (2, 2), (0,))
    assert not through_slices.merge(leaning, (3,), line, (0,))
