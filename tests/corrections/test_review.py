import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_resunet.corrections.review import (
    ReviewMask,
    ReviewState,
    edited_pixels,
    merge_objects,
    surroundings,
)

SHAPE = (12, 14)
ALL = slice(0, 12), slice(0, 14)
small = hnp.arrays(np.int32, SHAPE, elements=st.integers(0, 5))
masks = hnp.arrays(np.bool_, SHAPE)


@settings(max_examples=150, deadline=None)
@given(current=small, proposal=small, protected=masks, top=st.integers(0, 6))
def test_protected_pixels_never_change(current, proposal, protected, top):
    core = slice(top, top + 6), slice(2, 9)
    result = merge_objects(current, proposal, protected, core, int(current.max()) + 1)
    assert np.array_equal(result[protected], current[protected])


@settings(max_examples=100, deadline=None)
@given(current=small, proposal=small, protected=masks)
def test_new_objects_never_take_a_label_that_is_in_use(current, proposal, protected):
    result = merge_objects(current, proposal, protected, ALL, 6)
    fresh = result[~protected & (result > 5)]
    assert not np.isin(fresh, current).any()


@settings(max_examples=150, deadline=None)
@given(current=small, proposal=small)
def test_no_label_goes_on_to_two_objects(current, proposal):
    result = merge_objects(current, proposal, np.zeros(SHAPE, bool), ALL, 6)
    for label in np.unique(result[result > 0]):
        assert len(np.unique(proposal[result == label])) == 1
    assert np.array_equal(result > 0, proposal > 0)


def boxes(**places):
    labels = np.zeros((40, 60), np.int32)
    for name, (top, left, height, width) in places.items():
        labels[top : top + height, left : left + width] = int(name[1:])
    return labels


def merge_prediction(current, proposal, protected=None):
    protected = np.zeros(current.shape, bool) if protected is None else protected
    window = slice(0, 40), slice(0, 60)
    return merge_objects(current, proposal, protected, window, int(current.max()) + 1)


def test_the_same_object_keeps_its_label_and_a_new_one_gets_a_new_label():
    current = boxes(n4=(2, 2, 10, 10), n9=(20, 20, 10, 10))
    proposal = boxes(n1=(20, 22, 10, 10), n2=(30, 45, 8, 8), n3=(3, 2, 10, 10))
    result = merge_prediction(current, proposal)
    assert result[25, 25] == 9
    assert result[5, 5] == 4
    assert result[32, 47] == 11


def test_of_an_object_that_is_cut_in_two_only_the_larger_part_keeps_the_label():
    current = boxes(n5=(10, 10, 10, 30))
    result = merge_prediction(current, boxes(n1=(10, 10, 10, 20), n2=(10, 30, 10, 10)))
    assert result[15, 15] == 5
    assert result[15, 35] not in (0, 5)
    halves = merge_prediction(current, boxes(n1=(10, 10, 10, 15), n2=(10, 25, 10, 15)))
    assert 5 not in halves


def test_joined_objects_get_the_label_of_the_one_that_is_most_of_them():
    current = boxes(n5=(10, 10, 10, 20), n6=(10, 30, 10, 8))
    assert set(np.unique(merge_prediction(current, boxes(n1=(10, 10, 10, 28))))) == {0, 5}


def test_the_label_stays_across_the_border_of_a_small_verified_part():
    current = boxes(n5=(10, 10, 10, 20))
    protected = np.zeros(current.shape, bool)
    protected[:, :14] = True
    result = merge_prediction(current, boxes(n1=(10, 10, 10, 22)), protected)
    assert set(np.unique(result)) == {0, 5}


def test_labels_stay_over_many_rounds_of_drifting_proposals():
    rng = np.random.default_rng(0)
    current = boxes(n1=(2, 2, 12, 12), n2=(20, 4, 12, 12), n3=(4, 30, 14, 12))
    for _ in range(20):
        order = rng.permutation(3) + 1
        moved = np.array([0, *order])[np.where(current > 0, current, 0)]
        proposal = np.roll(moved, rng.integers(-1, 2, 2), (0, 1))
        current = merge_prediction(current, proposal)
        assert set(np.unique(current)) == {0, 1, 2, 3}


def test_an_object_counts_as_edited_as_a_whole():
    last_written = np.zeros(SHAPE, np.int32)
    last_written[2:6, 2:6] = 1
    last_written[8:11, 8:11] = 2
    current = last_written.copy()
    current[2, 2] = 0  # one pixel erased
    edited = edited_pixels(current, last_written)
    assert edited[2:6, 2:6].all()
    assert not edited[8:11, 8:11].any()


def test_a_deleted_object_does_not_come_back():
    review = ReviewMask.empty(SHAPE)
    proposal = np.zeros(SHAPE, np.int32)
    proposal[2:6, 2:6] = 1
    first = review.merge_prediction(
        np.zeros(SHAPE, np.int32), proposal, ALL, ALL, "instances"
    )
    erased = np.zeros_like(first)
    again = review.merge_prediction(erased, proposal, ALL, ALL, "instances")
    assert not again.any()


def test_an_unchecked_untouched_object_follows_the_new_proposal():
    review = ReviewMask.empty(SHAPE)
    proposal = np.zeros(SHAPE, np.int32)
    proposal[2:6, 2:6] = 1
    first = review.merge_prediction(
        np.zeros(SHAPE, np.int32), proposal, ALL, ALL, "instances"
    )
    moved = np.roll(proposal, 2, axis=1)
    second = review.merge_prediction(first, moved, ALL, ALL, "instances")
    assert np.array_equal(second > 0, moved > 0)


def test_an_object_across_the_verified_border_goes_on_with_its_label():
    review = ReviewMask.empty(SHAPE)
    proposal = np.zeros(SHAPE, np.int32)
    proposal[4:8, 2:7] = 1
    first = review.merge_prediction(
        np.zeros(SHAPE, np.int32), proposal, ALL, ALL, "instances"
    )
    review.sync(first)
    verified = np.zeros(SHAPE, bool)
    verified[:, :6] = True
    review.verify(verified)
    longer = np.zeros(SHAPE, np.int32)
    longer[4:8, 2:9] = 1
    second = review.merge_prediction(first, longer, ALL, ALL, "instances")
    assert np.array_equal(second[:, :6], first[:, :6])
    assert set(np.unique(second[4:8, 2:9])) == {first[4, 2]}


def test_a_window_replaces_whole_objects_and_leaves_the_rest():
    review = ReviewMask.empty(SHAPE)
    proposal = np.zeros(SHAPE, np.int32)
    proposal[1:4, 1:4], proposal[5:9, 5:9] = 1, 2
    first = review.merge_prediction(
        np.zeros(SHAPE, np.int32), proposal, ALL, ALL, "instances"
    )
    window, core = (slice(3, 12), slice(3, 14)), (slice(6, 12), slice(6, 14))
    nothing = np.zeros((9, 11), np.int32)
    merged = review.merge_prediction(first, nothing, window, core, "instances")
    assert not merged.any() or set(np.unique(merged)) <= {0, first[1, 1]}
    assert not review.last_written[5:9, 5:9].any()
    assert review.last_written[1:4, 1:4].any()


def test_classes_are_replaced_pixel_by_pixel():
    review = ReviewMask.empty(SHAPE)
    proposal = np.full(SHAPE, 2, np.int32)
    first = review.merge_prediction(
        np.zeros(SHAPE, np.int32), proposal, ALL, ALL, "classes"
    )
    assert (first == 2).all()
    verified = np.zeros(SHAPE, bool)
    verified[:5] = True
    review.verify(verified)
    second = review.merge_prediction(first, np.ones(SHAPE, np.int32), ALL, ALL, "classes")
    assert (second[:5] == 2).all()
    assert (second[5:] == 1).all()


def test_what_was_never_proposed_is_not_verified_as_background():
    review = ReviewMask.empty(SHAPE)
    left = slice(0, 12), slice(0, 7)
    review.merge_prediction(
        np.zeros(SHAPE, np.int32), np.zeros((12, 7), np.int32), left, left, "instances"
    )
    review.verify(np.ones(SHAPE, bool))
    assert review.verified[:, :7].all()
    assert not review.verified[:, 7:].any()


def test_without_any_proposal_the_region_is_as_the_user_says():
    review = ReviewMask.empty(SHAPE)
    review.verify(np.ones(SHAPE, bool))
    assert review.verified.all()


def test_planes_are_listed_once_they_are_verified():
    review = ReviewState(SHAPE)
    review.plane((3,))
    review.plane((1,)).verify(np.ones(SHAPE, bool))
    assert review.verified_planes() == [(1,)]


HUGE = np.iinfo(np.int32).max


@settings(max_examples=60, deadline=None)
@given(current=small, proposal=small, protected=masks)
def test_huge_and_negative_labels_are_merged_like_small_ones(current, proposal, protected):
    numbers = np.array([0, 1, 5000, 10**6, 2**31 - 5, HUGE])
    small_result = merge_objects(current, proposal, protected, ALL, 6)
    huge_result = merge_objects(numbers[current], proposal, protected, ALL, 6)
    names = np.concatenate([numbers, np.arange(6, 12)])
    assert np.array_equal(huge_result, names[small_result])
    negative = merge_objects(-current, proposal, protected, ALL, 6)
    assert np.array_equal(negative[protected], -current[protected])


def test_an_object_edited_is_edited_as_a_whole_whatever_its_label():
    last_written = boxes(n4=(2, 2, 10, 10), n9=(20, 20, 10, 10)).astype(np.int64)
    last_written[last_written == 9] = HUGE
    current = last_written.copy()
    current[20, 20] = 0
    current[5, 40] = -1
    edited = edited_pixels(current, last_written)
    assert np.array_equal(edited, (last_written == HUGE) | (current == -1))


def test_a_plane_with_the_largest_label_takes_a_proposal():
    review = ReviewMask.empty((40, 60))
    current = boxes(n4=(2, 2, 10, 10))
    current[20:30, 20:30] = HUGE
    window = slice(0, 40), slice(0, 60)
    proposal = boxes(n1=(2, 2, 10, 10), n2=(20, 40, 10, 10))
    result = review.merge_prediction(current, proposal, window, window, "instances")
    assert np.array_equal(result == HUGE, current == HUGE)
    assert 0 < result[25, 45] < HUGE
    assert result[25, 45] not in current


def test_surroundings_are_a_margin_on_all_sides_within_the_plane():
    edited = np.zeros((30, 40), bool)
    edited[10:14, 0:6] = True
    expected = np.zeros_like(edited)
    expected[7:17, :9] = True
    assert np.array_equal(surroundings(edited, 2.5), expected)
    assert not surroundings(np.zeros_like(edited), 5.0).any()


def test_what_is_edited_now_is_known_before_it_is_noted():
    review = ReviewMask.empty((30, 40))
    labels = np.zeros((30, 40), np.int32)
    labels[5:10, 5:10] = 1
    assert review.edited_now(labels).sum() == 25
    assert not review.edited.any()
    assert review.revision == 0
