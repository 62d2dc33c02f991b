"""What is held out can tell whether a model is better."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import moved, scored, with_weights

import napari_resunet as nru
from napari_resunet.engine import validation
from napari_resunet.engine.device import Compute, choose
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.patches import training_image
from napari_resunet.engine.synthetic import phase_cells
from napari_resunet.engine.validation import (
    HeldOutPart,
    choose_holdout_region,
    predict,
    split,
)
from napari_resunet.events import drain
from napari_resunet.types import Example

SCALE = 1.1


def held_out(example: Example, info):
    (part,) = split(training_image(example, info), "instances")[1]
    return part


@pytest.fixture(scope="module")
def proposed(starter, nuclei) -> Example:
    """Nuclei as the starter proposes them, all let pass."""
    image, _ = nuclei
    labels = nru.segment(image, starter, diameter=24.0 / SCALE, device="cpu")
    return Example(image, labels, edited=np.zeros(labels.shape, bool), scale=SCALE)


@pytest.mark.parametrize("quarter", range(4))
def test_it_holds_what_was_corrected(starter, proposed, quarter):
    edited = np.zeros(proposed.labels.shape, bool)
    edited[20:40, 44 * quarter + 10 : 44 * quarter + 25] = True
    edited |= np.roll(edited, (80, 44), axis=(0, 1))
    assert held_out(replace(proposed, edited=edited), starter.info).is_corrected


@pytest.mark.parametrize("shape", [(30, 300), (300, 30)])
def test_a_narrow_area_is_not_held_out_along_its_length(shape):
    # Such strips would be 8 pixels wide; one of them holds a fair share.
    edited = np.zeros((30, 300), bool)
    edited[[2, 9, 16, 26], 150] = True
    edited = edited if edited.shape == shape else edited.T
    strip = choose_holdout_region(np.ones(shape, int), np.ones(shape, bool), edited, 1.0)
    assert min(s.stop - s.start for s in strip) == 30


def test_the_only_correction_is_learned_from(starter, proposed):
    edited = np.zeros(proposed.labels.shape, bool)
    edited[20:40, 140:160] = True
    assert not held_out(replace(proposed, edited=edited), starter.info).is_corrected


def test_without_touch_all_is_the_truth_and_the_end_is_held_out(starter, nuclei):
    image, labels = nuclei
    example = Example(image, labels, scale=SCALE)
    learned, (part,) = split(training_image(example, starter.info), "instances")
    assert part.is_corrected
    assert part.accepted is None
    background = labels == 0
    assert (learned.weight[:, :132][background[:, :132]] == 1).all()
    assert (learned.weight[:, 132:][background[:, 132:]] == 0).all()


def test_no_object_is_cut_in_two(starter, nuclei):
    image, labels = nuclei
    example = Example(image, labels, scale=SCALE)
    learned, (part,) = split(training_image(example, starter.info), "instances")
    to_learn = set(np.unique(labels[learned.weight > 0]))
    to_judge = set(np.unique(labels[learned.weight == 0]))
    assert to_learn & to_judge == {0}
    assert len(to_judge) - 1 == part.n_objects > 3


def test_outlines_that_were_let_pass_are_no_reason_against_a_model(starter, proposed):
    part = HeldOutPart(training_image(proposed, starter.info))
    wider = with_weights(starter, moved(starter, 4.0))
    exact = replace(part, image=replace(part.image, edited=None))
    scores = [scored(wider, [p]) for p in (part, exact)]
    assert scores[0] > scores[1] + 0.02


def test_what_was_learned_elsewhere_is_taken_and_the_user_is_told(starter, proposed):
    """Only one corner was corrected: no model is better on the rest."""
    corner = np.zeros(proposed.labels.shape, bool)
    corner[:20, :20] = True
    example = replace(
        proposed,
        labels=np.where(corner, 0, proposed.labels),
        edited=corner,
    )
    config = FineTuneConfig(steps=3, batch=1, patch=64, n_evaluations=2, lr=3e-4)
    result = drain(fine_tune_steps(starter, [example], config, choose("cpu")))
    assert result.improved
    assert "Nothing was corrected there" in result.message


def test_missing_what_lies_in_a_narrow_strip_costs(starter):
    # The strip is mirrored to fill a tile; the copies do not excuse the objects.
    image, labels = phase_cells((220, 240), np.random.default_rng(5))
    part = held_out(Example(image, labels, scale=0.6), starter.info)
    blind = with_weights(starter, moved(starter, -60.0))
    assert part.n_objects > 3
    assert scored(blind, [part]) == 0


def test_parts_that_are_predicted_together_are_as_when_alone(starter, nuclei, monkeypatch):
    image, labels = nuclei
    windows = [np.s_[:64, :64], np.s_[:64, :96], np.s_[64:128, 64:128], np.s_[96:, :64]]
    parts = [
        HeldOutPart(training_image(Example(image[w], labels[w], scale=1.0), starter.info))
        for w in windows
    ]
    compute = Compute("cpu", torch.float32)
    alone = predict(starter.network, starter.info, parts, compute)
    sizes = []

    def network(images):
        sizes.append(len(images))
        return starter.network(images)

    # A card that is not here: the same computer under another name.
    monkeypatch.setattr(Compute, "device", torch.device("cpu"))
    monkeypatch.setattr(validation, "autocast", lambda compute: nullcontext())
    card = replace(compute, kind="cuda")
    together = predict(network, starter.info, parts, card)
    assert sizes == [3, 1]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.maps, other.maps, atol=2e-3)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
