from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_resunet.engine.linking import link_slices, number_apart
from napari_resunet.engine.metrics import links_kept, score
from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress, drain

FILM = Path(__file__).parents[2] / "sample_data" / "timeseries_labels.tif"


def shuffled(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same objects, numbered anew in each slice."""
    rng = np.random.default_rng(seed)
    result = np.zeros_like(labels)
    for old, new in zip(labels, result, strict=True):
        ids = np.unique(old[old > 0])
        table = np.zeros(labels.max() + 1, labels.dtype)
        table[ids] = rng.permutation(len(ids)) + 1
        new[:] = table[old]
    return result


def ellipsoids(z_step: float) -> np.ndarray:
    """Ellipsoids in a volume, many of which touch; `z_step` is in pixels."""
    rng = np.random.default_rng(0)
    shape, found = np.array([16, 64, 64]), []
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * [z_step, 1, 1]
    nearest, labels = np.ones(shape), np.zeros(shape, np.int32)
    for _ in range(1000):
        centre, radius = rng.uniform(0, shape * [z_step, 1, 1]), rng.uniform(6, 10, 3)
        if all((((centre - c) / (radius + r)) ** 2).sum() > 0.9 for c, r in found):
            found.append((centre, radius))
            distance = (((at - centre) / radius) ** 2).sum(-1)
            labels[distance < nearest] = len(found)
            nearest = np.minimum(nearest, distance)
    sizes = np.bincount(labels.ravel())
    return np.where(sizes[labels] < 30, 0, labels)


def square(labels: np.ndarray, top: int, left: int, number: int, side: int = 10) -> None:
    labels[top : top + side, left : left + side] = number


def test_the_tracks_of_a_real_film_are_found_again():
    truth = tifffile.imread(FILM).astype(np.int32)
    linked = drain(link_slices(shuffled(truth)))
    assert links_kept(truth, linked) == (325, 325)
    assert np.array_equal(linked > 0, truth > 0)


@pytest.mark.parametrize(("z_step", "at_least"), [(1.0, 0.95), (2.5, 0.9), (4.0, 0.6)])
def test_touching_objects_of_a_volume_are_put_together(z_step, at_least):
    truth = ellipsoids(z_step)
    linked = drain(link_slices(shuffled(truth)))
    result = score(truth, linked)
    assert result.n_true > 15
    assert result.ap50 > at_least


def test_numbers_begin_at_one_and_have_no_gaps_and_do_not_depend_on_those_before():
    truth = tifffile.imread(FILM).astype(np.int32)
    linked = drain(link_slices(shuffled(truth)))
    assert np.array_equal(np.unique(linked), np.arange(linked.max() + 1))
    tracks = [drain(link_slices(shuffled(truth, seed))) for seed in (1, 2)]
    for other in tracks:
        pairs = np.unique(np.stack([linked.ravel(), other.ravel()]), axis=1)
        assert pairs.shape[1] == linked.max() + 1  # one number for each


def test_an_object_may_be_missing_in_one_slice_but_not_in_two():
    labels = np.zeros((6, 30, 30), np.int32)
    for k in (0, 2, 5):
        square(labels[k], 10, 10, 1)
    linked = drain(link_slices(labels))
    assert [linked[k].max() for k in range(6)] == [1, 0, 1, 0, 0, 2]


def test_an_object_goes_on_as_one_object_only():
    labels = np.zeros((2, 30, 30), np.int32)
    square(labels[0], 10, 10, 5)
    square(labels[1], 10, 10, 7)
    labels[1, 15:20, 10:20] = 8  # divided
    linked = drain(link_slices(labels))
    assert sorted(np.unique(linked[1])) == [0, 1, 2]


def test_of_crowded_objects_the_whole_overlaps_most():
    """Two neighbours that moved by nearly half their width keep their numbers."""
    labels = np.zeros((2, 10, 60), np.int32)
    for k, shift in enumerate((0, 4)):
        for n in range(4):
            square(labels[k], 0, 10 * n + shift, n + 1 if k == 0 else 4 - n)
    linked = drain(link_slices(labels))
    assert [linked[1, 0, 10 * n + 6] for n in range(4)] == [1, 2, 3, 4]


def test_the_small_end_of_an_object_belongs_to_it_but_a_neighbour_does_not():
    labels = np.zeros((2, 40, 40), np.int32)
    square(labels[0], 15, 15, 1, side=4)
    square(labels[0], 30, 30, 2, side=6)
    square(labels[1], 10, 10, 3, side=14)
    square(labels[1], 25, 25, 4, side=6)  # 1 pixel in common
    linked = drain(link_slices(labels))
    assert linked[1, 15, 15] == linked[0, 15, 15]
    assert linked[1, 25, 25] not in linked[0]


def test_slices_may_be_volumes_and_numbers_large_or_negative():
    labels = np.zeros((2, 3, 20, 20), np.int32)
    labels[0, :, 5:15, 5:15] = 2_000_000_000
    labels[1, :, 6:16, 5:15] = 3
    labels[1, 0, 0, 0] = -1
    linked = drain(link_slices(labels))
    assert linked.max() == 1
    assert (linked > 0).sum() == 600


@pytest.mark.parametrize("shape", [(0, 8, 8), (3, 0, 0), (3, 8, 8)])
def test_without_objects_nothing_is_linked(shape):
    assert not drain(link_slices(np.zeros(shape, np.int32))).any()


def test_progress_counts_slices_and_linking_can_be_cancelled():
    labels, token = np.ones((3, 4, 4), np.int32), CancelToken()
    events = link_slices(labels, token)
    assert next(events) == Progress(1, 3, "linking slice 1 of 3")
    token.cancel()
    with pytest.raises(Cancelled):
        next(events)


def test_slices_that_are_apart_share_no_number():
    labels = np.ones((3, 4, 4), np.int32)
    labels[1, 0] = 9
    apart = number_apart(labels)
    assert [np.unique(plane).tolist() for plane in apart] == [[1], [2, 3], [4]]
