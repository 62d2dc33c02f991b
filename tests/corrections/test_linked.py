import numpy as np
import pytest

from napari_resunet.corrections.linked import with_linked_numbers


def bars(*rows):
    """One plane for each row; each number is an object of three pixels."""
    return np.repeat(np.array(rows, np.int32), 3, axis=1)[:, None]


NOTHING = np.zeros((3, 1, 9), bool)
TRACKS = bars([1, 2, 0], [1, 2, 3], [1, 2, 3])


def test_objects_that_are_linked_have_one_number():
    labels = bars([1, 2, 0], [2, 3, 1], [1, 3, 2])
    assert np.array_equal(
        with_linked_numbers(labels, TRACKS, NOTHING), bars([1, 2, 0], [1, 2, 4], [1, 2, 4])
    )
    again = with_linked_numbers(TRACKS, TRACKS, NOTHING)
    assert np.array_equal(again, TRACKS)


def test_an_object_of_the_user_keeps_its_number_and_gives_it_to_the_others():
    labels = bars([1, 2, 0], [2, 40, 1], [1, 3, 2])
    protected = NOTHING.copy()
    protected[1, 0, 4] = True  # one pixel of 40
    numbered = with_linked_numbers(labels, TRACKS, protected)
    assert np.array_equal(numbered, bars([1, 40, 0], [1, 40, 41], [1, 40, 41]))


def test_a_number_that_the_user_gave_to_two_objects_stays_on_both():
    labels = bars([5, 5, 0], [1, 5, 2], [5, 1, 2])
    labels[0, 0, 3:6] = 1
    protected = NOTHING.copy()
    protected[1, 0, 3:6] = protected[2, 0, :3] = True  # 5 of track 2, and of track 1
    numbered = with_linked_numbers(labels, TRACKS, protected)
    assert numbered[1, 0, 3] == numbered[2, 0, 0] == 5
    for plane, track in zip(numbered, TRACKS, strict=True):
        pairs = np.unique(np.stack([plane.ravel(), track.ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(plane)) == len(np.unique(track))


@pytest.mark.parametrize("seed", range(5))
def test_protected_pixels_never_change_and_objects_stay_apart(seed):
    rng = np.random.default_rng(seed)
    tracks = np.stack([rng.permutation(9) for _ in range(6)]).astype(np.int32)
    labels = np.stack([rng.permutation(20)[:9] - 1 for _ in range(6)]).astype(np.int32)
    tracks[labels <= 0] = 0
    labels[tracks <= 0] = np.minimum(labels[tracks <= 0], 0)
    protected = rng.random(labels.shape) < 0.3
    labels, tracks, protected = (x[:, None] for x in (labels, tracks, protected))
    numbered = with_linked_numbers(labels, tracks, protected)
    assert np.array_equal(numbered[protected], labels[protected])
    assert np.array_equal(numbered[labels <= 0], labels[labels <= 0])
    for before, after in zip(labels, numbered, strict=True):
        assert len(np.unique(before)) == len(np.unique(after))


@pytest.mark.parametrize("odd", [-3, 2_000_000_000])
def test_a_plane_with_numbers_that_no_model_gives_stays_as_it_is(odd):
    labels = bars([1, 2, 0], [odd, 3, 1], [3, 1, 2])
    numbered = with_linked_numbers(labels, np.where(labels > 0, TRACKS, 0), NOTHING)
    assert np.array_equal(numbered[1], labels[1])
    assert np.array_equal(numbered[2, 0, 3:6], [3, 3, 3])


def test_without_objects_nothing_happens():
    empty = np.zeros((2, 3, 4), np.int32)
    assert not with_linked_numbers(empty, empty, empty > 0).any()
