"""Edits of whole objects: what they do and what they leave alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_resunet.corrections.object_edits import (
    Edit,
    copy,
    count_objects,
    delete,
    far_pieces,
    find_object,
    free_label,
    label_at,
    merge,
    smooth,
    split,
)


def disc(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def path(*points):
    return np.array(points, float)


def edited(plane, edit):
    result = plane.copy()
    result[edit.rows, edit.columns] = edit.after
    return result


@pytest.fixture
def plane():
    """Two discs that touch, a third one apart."""
    labels = np.zeros((100, 120), np.int32)
    labels[disc(labels.shape, (40, 30), 12)] = 1
    labels[disc(labels.shape, (40, 53), 12) & (labels == 0)] = 2
    labels[disc(labels.shape, (80, 90), 10)] = 7
    return labels


def test_delete_removes_the_object_and_nothing_else(plane):
    after = edited(plane, delete(plane, (40, 30)))
    assert not (after == 1).any()
    assert np.array_equal(after[plane != 1], plane[plane != 1])


@pytest.mark.parametrize("point", [(0, 0), (-3, 5), (500, 5)])
def test_there_is_nothing_to_edit_on_background_or_outside(plane, point):
    assert len(delete(plane, point)) == 0
    assert len(smooth(plane, point)) == 0
    assert len(copy(plane, point, plane)) == 0
    assert len(split(plane, path(point, point), 9)) == 0


def test_an_object_larger_than_the_first_search_is_found_whole():
    labels = np.zeros((700, 900), np.int32)
    labels[100:650, 30:880] = 3
    labels[0:5, 0:5] = 4
    window, members = find_object(labels, (640, 40))
    assert members.sum() == (labels == 3).sum()
    assert (window[0].start, window[1].start) == (99, 29)


def test_the_whole_plane_is_never_looked_at():
    class Watched(np.ndarray):
        largest = 0

        def __getitem__(self, key):
            part = super().__getitem__(key)
            Watched.largest = max(Watched.largest, getattr(part, "size", 1))
            return part

    labels = np.zeros((2000, 2000), np.int32).view(Watched)
    labels[990:1010, 990:1010] = 5
    assert len(delete(labels, (1000, 1000))) == 400
    assert len(merge(labels, path((900, 1000), (1100, 1000)))) == 0
    assert Watched.largest < 300**2


def test_merge_gives_all_the_label_of_the_first(plane):
    after = edited(plane, merge(plane, path((40, 60), (40, 25))))
    assert (after[plane == 1] == 2).all()
    assert not (after == 1).any()
    assert (after == 7).sum() == (plane == 7).sum()


def test_merged_neighbours_across_a_thin_gap_hang_together():
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:25], labels[10:30, 27:45] = 1, 2
    labels[0:8, 20:30] = 3
    after = edited(labels, merge(labels, path((20, 15), (20, 40))))
    assert ndimage.label(after == 1)[1] == 1
    assert (after == 3).sum() == (labels == 3).sum()


def test_merge_of_one_object_changes_nothing(plane):
    assert len(merge(plane, path((40, 30), (44, 31), (70, 10)))) == 0


@pytest.mark.parametrize(
    "line",
    [
        [(20, 31), (60, 31)],  # all across
        [(34, 31), (46, 31)],  # within: drawn on to the edge
        [(60, 31), (42, 31)],  # from outside to the middle
        [(20, 31), (38, 33), (60, 31)],  # bent
    ],
)
def test_split_divides_the_object_and_loses_no_pixel(plane, line):
    after = edited(plane, split(plane, path(*line), 8))
    parts = after[plane == 1]
    assert set(parts) == {1, 8}
    assert min((parts == 1).sum(), (parts == 8).sum()) > 0.3 * (plane == 1).sum()
    assert np.array_equal(after[plane != 1], plane[plane != 1])
    for label in (1, 8):
        assert ndimage.label(after == label)[1] == 1
    left, right = (np.argwhere(after == value)[:, 1].mean() for value in sorted((1, 8)))
    assert abs(left - right) > 6


def test_the_largest_part_keeps_the_label(plane):
    after = edited(plane, split(plane, path((20, 24), (60, 24)), 8))
    assert (after == 1).sum() > (after == 8).sum() > 0
    assert np.argwhere(after == 8)[:, 1].max() <= 25


def test_a_ring_is_divided_by_a_line_through_one_side():
    labels = np.zeros((60, 60), np.int32)
    labels[disc(labels.shape, (30, 30), 20) & ~disc(labels.shape, (30, 30), 10)] = 4
    after = edited(labels, split(labels, path((5, 30), (28, 30)), 5))
    sizes = [(after == value).sum() for value in (4, 5)]
    assert min(sizes) > 0.4 * (labels == 4).sum()
    assert sum(sizes) == (labels == 4).sum()


def test_a_click_or_a_line_along_the_edge_divides_nothing(plane):
    assert len(split(plane, path((40, 30), (40, 30)), 8)) == 0
    assert len(split(plane, path((40, 30)), 8)) == 0
    square = np.zeros((30, 30), np.int32)
    square[5:25, 5:25] = 1
    assert len(split(square, path((5, 2), (5, 28)), 2)) == 0


@pytest.fixture
def apart():
    """One label on two boxes, far from each other, and a neighbour."""
    labels = np.zeros((60, 120), np.int32)
    labels[10:30, 10:30] = labels[10:25, 90:110] = 6
    labels[40:50, 40:50] = 7
    return labels


def test_far_pieces_are_counted_and_near_ones_hang_together(apart):
    assert far_pieces(apart, 6) == 2
    assert far_pieces(apart, 7) == 1
    assert far_pieces(apart, 99) == 0
    apart[10:30, 33:40] = 6
    assert far_pieces(apart, 6) == 2
    apart[12, 30:90] = 6
    assert far_pieces(apart, 6) == 1


def test_a_line_across_two_pieces_makes_them_two_objects_without_a_cut(apart):
    after = edited(apart, split(apart, path((20, 20), (20, 100)), 9))
    assert np.array_equal(after == 6, (apart == 6) & (np.arange(120) < 60))
    assert np.array_equal(after == 9, (apart == 6) & (np.arange(120) > 60))
    assert np.array_equal(after == 7, apart == 7)


def test_a_line_across_one_of_two_pieces_cuts_it(apart):
    after = edited(apart, split(apart, path((5, 20), (35, 20)), 9))
    assert (after[10:25, 90:110] == 6).all()
    assert set(np.unique(after[10:30, 10:30])) == {6, 9}


def test_a_drag_across_two_pieces_joins_them_over_background(apart):
    apart[0:60, 70] = 8
    assert len(merge(apart, path((20, 20), (20, 28)))) == 0
    apart[0:60, 70] = 0
    after = edited(apart, merge(apart, path((20, 20), (20, 100))))
    assert ndimage.label(after == 6)[1] == 1
    assert np.array_equal(after == 7, apart == 7)
    assert (after[apart == 6] == 6).all()


def test_smooth_fills_drops_and_rounds_but_keeps_the_size(plane):
    plane[38:42, 20:23] = 0  # a hole
    plane[30, 8:14] = 1  # a speck
    before = plane.copy()
    after = edited(plane, smooth(plane, (40, 30)))
    assert (after[38:42, 20:23] == 1).all()
    assert not (after[30, 8:14] == 1).any()
    assert np.array_equal(after[before > 1], before[before > 1])
    area = ((before == 1) & disc(before.shape, (40, 30), 13)).sum() + 12
    assert (after == 1).sum() == pytest.approx(area, rel=0.02)


def test_smoothing_again_does_not_wear_the_object_off(plane):
    once = edited(plane, smooth(plane, (80, 90)))
    again = once
    for _ in range(10):
        again = edited(again, smooth(again, (80, 90)))
    assert (again == 7).sum() == pytest.approx((once == 7).sum(), rel=0.03)


def test_a_hole_with_another_object_in_it_is_not_filled():
    labels = np.zeros((40, 40), np.int32)
    labels[5:35, 5:35] = 1
    labels[15:25, 15:25] = 0
    labels[18:22, 18:22] = 2
    after = edited(labels, smooth(labels, (7, 20)))
    assert (after[18:22, 18:22] == 2).all()


def test_copy_takes_free_pixels_and_a_free_label(plane):
    empty = np.zeros_like(plane)
    assert np.array_equal(edited(empty, copy(plane, (80, 90), empty)) == 7, plane == 7)
    other = np.zeros_like(plane)
    other[78:200, 85:200], other[0, 0] = 3, 7  # far larger than what is copied
    after = edited(other, copy(plane, (80, 90), other))
    assert np.array_equal(after[other > 0], other[other > 0])
    assert np.array_equal(after == 8, (plane == 7) & (other == 0))


def shifted():
    """An object on a slice, and a smaller one, shifted, on the next; and a neighbour."""
    here, there = np.zeros((2, 60, 70), np.int32)
    here[20:40, 20:40] = 5
    there[24:42, 26:44] = 9
    there[34:50, 10:23] = 4
    return here, there


def test_copy_leaves_no_crescent_of_the_object_that_was_there():
    here, there = shifted()
    after = edited(there, copy(here, (30, 30), there))
    assert not (after == 9).any()
    assert (after == 4).sum() == (there == 4).sum()  # the neighbour is only touched
    assert np.array_equal(after == 5, (here == 5) & (there != 4))


def test_copy_keeps_its_label_where_it_replaces_the_same_object():
    here, there = shifted()
    there[there == 9] = 5
    after = edited(there, copy(here, (30, 30), there))
    assert np.array_equal(after == 5, (here == 5) & (there != 4))


def test_copy_never_replaces_what_is_protected():
    here, there = shifted()
    protected = np.zeros(there.shape, bool)
    protected[41, 43] = True
    after = edited(there, copy(here, (30, 30), there, protected))
    assert np.array_equal(after == 9, there == 9)
    assert np.array_equal(after == 5, (here == 5) & (there == 0))


labels_strategy = hnp.arrays(np.int32, (24, 26), elements=st.integers(0, 3))
points = st.tuples(st.integers(-2, 26), st.integers(-2, 28))


@settings(max_examples=100, deadline=None)
@given(labels_strategy, st.lists(points, min_size=1, max_size=5))
def test_every_edit_lists_what_changes_and_touches_no_other_object(labels, drawn):
    first, line = drawn[0], np.array(drawn, float)
    on = label_at(labels, first)
    single = [delete(labels, first), smooth(labels, first)]
    for edit in [*single, merge(labels, line), split(labels, line, free_label(labels))]:
        after = edited(labels, edit)
        assert len(edit) == (after != labels).sum()
    for edit in single:
        assert set(labels[edit.rows, edit.columns].tolist()) <= {0, on}
        assert set(edit.after.tolist()) <= {0, on}


def test_an_edit_is_data(plane):
    window = slice(10, 30), slice(20, 40)
    changed = plane[window] + 1
    edit = Edit.between(plane[window], changed, window)
    assert len(edit) == 400
    assert np.array_equal(edited(plane, edit)[window], changed)


@pytest.mark.parametrize("largest", [9, 2**30])
def test_objects_are_counted_whatever_their_labels(plane, largest):
    plane[0, 0] = largest
    assert count_objects(plane) == 4
    assert free_label(plane) == largest + 1


HUGE = np.iinfo(np.int32).max


@pytest.mark.parametrize(
    ("used", "free"),
    [((), 1), ((1, 2, 7), 8), ((HUGE,), 1), ((3, HUGE), 4), ((-4,), 1), ((HUGE - 9,), 1)],
)
def test_a_free_label_is_free_and_so_are_those_after_it(used, free):
    assert free_label(np.array([[0, *used]], np.int32)) == free


@pytest.mark.parametrize(
    ("used", "n"), [((1, 1, 2), 2), ((HUGE, 3), 2), ((-1, 5), 1), ((0,), 0)]
)
def test_background_and_negative_numbers_are_no_objects(used, n):
    assert count_objects(np.array(used, np.int32)) == n
