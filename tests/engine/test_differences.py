"""Two proposals are compared: what is more, gone, changed, or the same, and its picture."""

import numpy as np

from napari_resunet.engine.differences import compare, compare_objects

SHAPE = (60, 100)


def boxes(*places):
    """Draw boxes of 10 x 10 pixels, or of another size, numbered from 1."""
    labels = np.zeros(SHAPE, np.int32)
    for number, (row, column, *size) in enumerate(places, 1):
        height, width = size or (10, 10)
        labels[row : row + height, column : column + width] = number
    return labels


FIRST = boxes((5, 5), (5, 25), (5, 45), (40, 5))
SECOND = boxes((40, 80), (5, 45, 10, 6), (5, 25), (5, 5))


def number_at(differences, place, shown):
    return int(differences.pictures[shown][place])


def test_objects_are_counted_by_how_they_differ():
    found = compare_objects(FIRST, SECOND)
    counts = {kind: found.count(kind) for kind in ("more", "gone", "changed")}
    assert counts == {"more": 1, "gone": 1, "changed": 1}
    assert found.n_same == 2
    assert found.fraction is None


def test_an_object_that_is_the_same_has_one_number_and_only_its_contour():
    found = compare_objects(FIRST, SECOND)
    for place in ((5, 5), (5, 25)):
        number = number_at(found, place, 0)
        assert number == number_at(found, place, 1) > 0
        assert number not in found.kinds
        inside = place[0] + 4, place[1] + 4
        assert number_at(found, inside, 0) == number_at(found, inside, 1) == 0


def test_what_differs_is_an_area_where_it_is_and_a_contour_where_it_is_not():
    found = compare_objects(FIRST, SECOND)
    for (row, column), there, kind in (((40, 5), 0, "gone"), ((40, 80), 1, "more")):
        number = number_at(found, (row, column), there)
        assert found.kinds[number] == kind
        assert (found.pictures[there] == number).sum() == 100
        assert (found.pictures[1 - there] == number).sum() == 36
        assert number_at(found, (row + 5, column + 5), 1 - there) == 0


def test_two_areas_that_touch_are_kept_apart():
    pair = boxes((5, 5), (5, 15))
    picture = compare_objects(pair, np.zeros_like(pair)).pictures[0]
    assert not picture[5:15, 14].any()
    assert np.count_nonzero(picture) == 190


def test_colours_follow_the_users_labels():
    known = boxes((5, 25)) * 71
    found = compare_objects(FIRST, SECOND, known)
    assert found.names == {number_at(found, (5, 25), 1): 71}


def test_each_difference_is_framed_the_largest_first():
    found = compare_objects(boxes((5, 5), (30, 30, 20, 30)), boxes((5, 60, 12, 12)))
    windows = [(d.kind, d.window[0].start, d.window[1].start) for d in found.each]
    assert windows == [("gone", 30, 30), ("more", 5, 60), ("gone", 5, 5)]


def test_equal_and_empty_proposals_do_not_differ():
    same = compare_objects(FIRST, FIRST)
    assert (same.each, same.n_same) == ((), 4)
    nothing = compare_objects(np.zeros_like(FIRST), np.zeros_like(FIRST))
    assert (nothing.each, nothing.n_same) == ((), 0)
    assert compare_objects(np.zeros_like(FIRST), FIRST).count("more") == 4


def test_classes_are_compared_pixel_by_pixel():
    first, second = np.ones(SHAPE, np.int32), np.ones(SHAPE, np.int32)
    second[10:20, 10:30] = 2
    second[50, 50] = 0
    found = compare(first, second, {"classes"}, None)
    assert found.fraction == 201 / 6000
    assert (found.pictures[1] == 2).sum() == 200
    assert not found.pictures[1][0, 0]
    (patch,) = found.each
    assert patch.window == (slice(10, 20), slice(10, 30))
