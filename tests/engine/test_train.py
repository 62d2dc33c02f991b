"""Training from folders: resumed as if never stopped, prepared by other processes."""

from functools import partial
from itertools import islice

import numpy as np
import pytest

from napari_resunet.engine import train
from napari_resunet.engine.device import Compute
from napari_resunet.engine.loading import made_ahead
from napari_resunet.engine.patches import training_image
from napari_resunet.engine.train import Recipe, draw_batch, train_steps
from napari_resunet.errors import FileError
from napari_resunet.network.model_file import new_model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, ModelInfo

CPU = Compute("cpu", torch.float32)
ELSEWHERE = Compute("mps", torch.float32)
RECIPE = Recipe(steps=4, batch=2, patch=64)


@pytest.fixture
def images(nuclei):
    return [("nuclei", training_image(Example(*nuclei), ModelInfo()))]


def weights_after(images, checkpoint=None, n_steps=None):
    network = new_model(ModelInfo(), seed=1).network
    events = train_steps(network, ModelInfo(), images, RECIPE, CPU, checkpoint)
    seen = [event.done for event in islice(events, n_steps)]
    return network.state_dict(), seen


def test_a_run_that_was_stopped_ends_as_one_that_was_not(images, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    whole, _ = weights_after(images)
    weights_after(images, tmp_path / "c.pt", n_steps=2)
    resumed, steps = weights_after(images, tmp_path / "c.pt")
    assert steps == [3, 4]
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_other_processes_draw_the_same_batches(images):
    make = partial(draw_batch, [[image for _, image in images]], ModelInfo(), RECIPE)
    for here, there in zip(
        made_ahead(make, range(3), CPU), made_ahead(make, range(3), ELSEWHERE), strict=True
    ):
        assert all(map(torch.equal, here, there))


def test_each_step_draws_another_batch(images):
    make = partial(draw_batch, [[image for _, image in images]], ModelInfo(), RECIPE)
    first, second = made_ahead(make, range(2), CPU)
    assert first.pixels.shape == (RECIPE.batch, 3, RECIPE.patch, RECIPE.patch)
    assert not torch.equal(first.pixels, second.pixels)
    assert np.all(first.weight.numpy() >= 0)


def broken(job):
    raise FileError(f"'{job}.png' cannot be read.")


@pytest.mark.parametrize("compute", [CPU, ELSEWHERE])
def test_what_fails_in_another_process_is_told_in_a_sentence(compute):
    with pytest.raises(FileError) as told:
        list(made_ahead(broken, range(2), compute))
    assert str(told.value) == "'0.png' cannot be read."
