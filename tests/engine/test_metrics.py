import numpy as np
import pytest
from samples import squares

from napari_resunet.engine.metrics import (
    Tolerance,
    count_found,
    dice,
    links_kept,
    mean_ap,
    score,
)


def test_score_of_the_truth_is_one_and_of_nothing_is_zero():
    labels = squares()
    perfect = score(labels, labels * 2)
    assert (perfect.ap50, perfect.ap75, perfect.f1, perfect.edits) == (1, 1, 1, 0)
    missed = score(labels, np.zeros_like(labels))
    assert (missed.ap50, missed.edits, missed.n_true) == (0, 3, 3)
    assert score(labels * 0, labels * 0).ap50 == 1


def test_score_counts_merged_objects_and_loose_outlines():
    labels = squares()
    merged = np.where(labels == 7, 1, labels)
    result = score(labels, merged)
    assert result.ap50 == pytest.approx(2 / 3)  # the pair has IoU 0.5 with one of them
    assert result.ap75 == pytest.approx(1 / 4)
    loose = labels.copy()
    loose[20:35, 40:55] = 0  # 40 % of the object is left
    assert score(labels, loose).edits == 2  # missed and false


def test_mean_ap_tells_how_exact_outlines_are():
    labels = squares()
    nearly = labels.copy()
    nearly[20:24] = 0
    assert 0.8 < mean_ap(labels, nearly) < 1


def test_mean_ap_is_lenient_with_what_was_accepted_or_is_cut():
    labels, none = squares(), np.zeros(0, int)
    nearly = labels.copy()
    nearly[20:24] = 0
    assert mean_ap(labels, nearly, Tolerance(np.unique(labels), none, none)) == 1
    lost = np.where(labels == labels.max(), 0, labels)
    assert mean_ap(labels, lost, Tolerance(np.unique(labels), none, none)) < 1
    assert mean_ap(labels, lost, Tolerance(None, np.array([labels.max()]), none)) == 1
    assert mean_ap(lost, labels, Tolerance(None, none, np.array([labels.max()]))) == 1


def test_scores_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="Shapes differ"):
        score(np.zeros((2, 2), int), np.zeros((3, 3), int))


def test_dice_by_class():
    truth = np.array([[0, 1, 1, 2]])
    assert dice(truth, np.array([[0, 1, 2, 2]]), 3) == pytest.approx((2 / 3, 2 / 3))
    assert dice(truth * 0, truth * 0, 2) == (1.0,)


def test_objects_that_are_found_are_counted():
    truth = squares()
    found = np.where(truth == 3, 0, truth)
    none = np.zeros(0, int)
    assert count_found(truth, truth, none) == (3, 3)
    assert count_found(truth, found, none) == (2, 3)
    assert count_found(truth, found, np.array([3])) == (2, 2)
    assert count_found(np.zeros_like(truth), found, none) == (0, 0)


def test_links_between_frames_are_right_if_the_number_stays():
    frame = squares()
    film = np.stack([frame, frame, frame])
    assert links_kept(film, 2 * film) == (6, 6)
    switched = 2 * film
    switched[2][frame == 3] = 99
    assert links_kept(film, switched) == (5, 6)
    missed = film.copy()
    missed[1][frame == 7] = 0
    assert links_kept(film, missed) == (4, 6)
    assert links_kept(film[:1], film[:1]) == (0, 0)
