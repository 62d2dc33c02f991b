import pytest
import torch
from samples import squares

from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.patches import inner_distance


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
