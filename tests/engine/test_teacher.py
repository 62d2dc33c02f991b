import numpy as np
import pytest
import torch
from samples import squares

from napari_resunet.engine import finetune
from napari_resunet.engine.device import Compute
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.normalize import normalize, statistics
from napari_resunet.engine.patches import training_image
from napari_resunet.engine.synthetic import histology
from napari_resunet.engine.teacher import accepted_fraction, reliability
from napari_resunet.events import drain
from napari_resunet.types import Example, OtherImage

FLOAT = Compute("cpu", torch.float32)


def at(*probabilities):
    return torch.tensor(probabilities)


def test_a_start_that_was_right_is_believed():
    foreground = at(0.97, 0.98, 0.02, 0.01)
    believed = reliability(foreground, torch.tensor([True, True, False, False]))
    assert believed[0] == believed[9] == 1
    # Of what it never said, nothing is known.
    assert not believed[1:9].any()


def test_deleted_objects_count_against_confident_foreground_only():
    truth = torch.tensor([True, False, False, False, False, False])
    believed = reliability(at(0.97, 0.98, 0.96, 0.02, 0.01, 0.03), truth)
    assert believed[0] == 1
    # Two of three were deleted; "object" everywhere would be wrong five times in six.
    assert believed[9] == pytest.approx(1 - (2 / 3) / (5 / 6))


def test_added_objects_count_against_confident_background_only():
    truth = torch.tensor([True, True, True, False])
    believed = reliability(at(0.97, 0.98, 0.02, 0.01), truth)
    assert believed[9] == 1
    assert believed[0] == pytest.approx(1 - (1 / 2) / (3 / 4))


def test_a_start_that_guesses_is_not_believed():
    truth = torch.tensor([True, False] * 20)
    for said in (0.02, 0.55, 0.97):
        assert not reliability(torch.full((40,), said), truth).any()


@pytest.mark.parametrize(("edited", "fraction"), [([], 1), ([1, 7], 1 / 3), (None, None)])
def test_the_fewer_objects_were_edited_the_more_it_is_believed(
    random_model, edited, fraction
):
    labels = squares()
    mask = None if edited is None else np.isin(labels, edited)
    image = training_image(Example(labels, labels, edited=mask), random_model.info)
    assert accepted_fraction(image) == fraction


def maps(model, image):
    contract = model.info.normalization
    pixels = normalize(image, statistics(image, contract, joint=True), contract)
    batch = torch.from_numpy(pixels[:32, :32]).movedim(-1, 0)[None]
    with torch.inference_mode():
        return model.network(batch).sigmoid()


def test_a_start_that_was_right_changes_less_in_other_images(starter, monkeypatch):
    monkeypatch.setattr(finetune, "N_JUDGED", 2)
    rng = np.random.default_rng(4)
    # Too small for a held-out region, so that the last weights are kept.
    (image, labels), (other, _) = (histology((60, 60), rng) for _ in range(2))
    other = 255 - other
    config, change = FineTuneConfig(steps=2, batch=1, patch=64, lr=3.5e-3), []
    for all_edited in (False, True):
        edited = np.full(labels.shape, all_edited)
        example = Example(image, labels, edited=edited, scale=1.0)
        others = [OtherImage("inverted", other)]
        new = drain(fine_tune_steps(starter, [example], config, FLOAT, others=others)).model
        change.append(float((maps(new, other) - maps(starter, other)).abs().mean()))
    accepted, corrected = change
    assert 0 < accepted < 0.8 * corrected
