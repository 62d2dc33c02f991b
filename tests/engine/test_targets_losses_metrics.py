import numpy as np
import pytest
import torch

from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.metrics import Rough, dice, mean_ap, score
from napari_resunet.engine.patches import inner_distance, median_diameter


def squares():
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 7  # touches the first
    labels[20:35, 30:55] = 3
    return labels


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


def test_mean_ap_is_lenient_with_what_was_let_pass_or_is_cut():
    labels, none = squares(), np.zeros(0, int)
    nearly = labels.copy()
    nearly[20:24] = 0
    assert mean_ap(labels, nearly, Rough(np.unique(labels), none, none)) == 1
    lost = np.where(labels == labels.max(), 0, labels)
    assert mean_ap(labels, lost, Rough(np.unique(labels), none, none)) < 1
    assert mean_ap(labels, lost, Rough(None, np.array([labels.max()]), none)) == 1
    assert mean_ap(lost, labels, Rough(None, none, np.array([labels.max()]))) == 1


def test_scores_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="Shapes differ"):
        score(np.zeros((2, 2), int), np.zeros((3, 3), int))


def test_joining_two_neighbours_costs_more_than_the_same_error_elsewhere():
    apart = squares()
    apart[:, 15] = 0  # a gap between the first two
    labels = torch.from_numpy(apart)[None].long()

    def cost(wrong):
        logits = torch.where(labels > 0, 6.0, -6.0)[:, None].repeat(1, 3, 1, 1)
        logits[0, 0][wrong] = 6.0
        truth = torch.from_numpy(inner_distance(apart))[None]
        return loss_of("instances", logits, labels, truth, torch.ones(labels.shape))

    joined = (slice(5, 15), slice(15, 16))
    beside = (slice(5, 15), slice(4, 5))  # as many pixels, at a free edge
    assert cost(joined) > 2 * cost(beside) - cost((slice(0), slice(0)))


def test_dice_by_class():
    truth = np.array([[0, 1, 1, 2]])
    assert dice(truth, np.array([[0, 1, 2, 2]]), 3) == pytest.approx((2 / 3, 2 / 3))
    assert dice(truth * 0, truth * 0, 2) == (1.0,)


@pytest.mark.parametrize("task", ["instances", "classes"])
def test_pixels_of_weight_zero_do_not_count(task):
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 16, 16)
    labels = torch.randint(0, 3, (1, 16, 16))
    distance = (labels > 0).float()
    weight = torch.zeros(1, 16, 16)
    weight[:, 4:12, 4:12] = 1
    before = loss_of(task, logits, labels, distance, weight)
    spoiled = torch.where(weight[:, None] > 0, logits, 50 * torch.randn(1, 3, 16, 16))
    assert loss_of(task, spoiled, labels, distance, weight) == pytest.approx(before.item())
    nothing = loss_of(task, logits, labels, distance, weight * 0)
    assert torch.isfinite(nothing)


@pytest.mark.parametrize("task", ["instances", "classes"])
def test_the_right_answer_costs_less_than_a_wrong_one(task):
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, 4:12, 4:12] = 1
    distance, weight = labels.float(), torch.ones(1, 16, 16)
    classes = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    maps = torch.stack([labels.float()] * 3, 1)
    right = 12 * (classes if task == "classes" else maps) - 6
    losses = [loss_of(task, sign * right, labels, distance, weight) for sign in (1, -1)]
    assert losses[0] < 0.3 * losses[1]
