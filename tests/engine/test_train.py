"""Training from folders: resumed as if never stopped, prepared by other processes."""

import os
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
from safetensors.torch import save_file

from napari_resunet.engine import train
from napari_resunet.engine.dataset import prefetch
from napari_resunet.engine.device import Compute
from napari_resunet.engine.patches import training_image
from napari_resunet.engine.train import (
    TrainConfig,
    check_checkpoint,
    sample_batch,
    train_steps,
)
from napari_resunet.errors import FileError, OutOfMemoryError, TrainingError
from napari_resunet.network.model_file import new_model
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, ModelInfo

CPU = Compute("cpu", torch.float32)
ELSEWHERE = Compute("mps", torch.float32)
RECIPE = TrainConfig(steps=3, batch=2, patch=32)


@pytest.fixture
def images(nuclei):
    return [("nuclei", training_image(Example(*nuclei), ModelInfo()))]


SMALLEST = TrainConfig(steps=1, batch=2, patch=32)


def weights_after(images, checkpoint=None, n_steps=None, config=RECIPE):
    network = new_model(ModelInfo(), seed=1).network
    events = train_steps(network, ModelInfo(), images, config, CPU, checkpoint)
    seen = [event.done for event in islice(events, n_steps)]
    return network.state_dict(), seen


def test_a_run_that_was_stopped_ends_as_one_that_was_not(images, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)
    whole, _ = weights_after(images)
    weights_after(images, tmp_path / "c.pt", n_steps=1)
    resumed, steps = weights_after(images, tmp_path / "c.pt")
    assert steps == [2, 3]
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_other_processes_draw_the_same_batches(images):
    make = partial(sample_batch, [[image for _, image in images]], ModelInfo(), RECIPE)
    for here, there in zip(
        prefetch(make, range(3), CPU), prefetch(make, range(3), ELSEWHERE), strict=True
    ):
        assert all(map(torch.equal, here, there))


def test_each_step_draws_another_batch(images):
    make = partial(sample_batch, [[image for _, image in images]], ModelInfo(), RECIPE)
    first, second = prefetch(make, range(2), CPU)
    assert first.pixels.shape == (RECIPE.batch, 3, RECIPE.patch, RECIPE.patch)
    assert not torch.equal(first.pixels, second.pixels)
    assert np.all(first.weight.numpy() >= 0)


def broken(job):
    raise FileError(f"'{job}.png' cannot be read.")


@pytest.mark.parametrize("compute", [CPU, ELSEWHERE])
def test_what_fails_in_another_process_is_told_in_a_sentence(compute):
    with pytest.raises(FileError) as told:
        list(prefetch(broken, range(2), compute))
    assert str(told.value) == "'0.png' cannot be read."


@pytest.mark.parametrize("checkpoint", [None, "c.safetensors"])
def test_a_training_that_goes_wrong_ends_in_a_sentence(images, tmp_path, checkpoint):
    path = checkpoint and tmp_path / checkpoint
    network = new_model(ModelInfo(), seed=1).network
    config = replace(SMALLEST, steps=2, lr=1e30, warm_up=0)
    with pytest.raises(TrainingError, match="smaller --rate"):
        list(train_steps(network, ModelInfo(), images, config, CPU, path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "pipe", "foreign", "cut"])
def test_what_is_no_checkpoint_is_known_before_the_training(images, tmp_path, kind):
    path = tmp_path / "c.safetensors"
    if kind == "text":
        path.write_text("hello")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "foreign":
        save_file({"weights": torch.zeros(3)}, path)
    else:
        weights_after(images, path, config=SMALLEST)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileError, match=r"c\.safetensors"):
        check_checkpoint(path)


def test_a_checkpoint_of_another_network_is_not_gone_on_from(images, tmp_path):
    path = tmp_path / "c.safetensors"
    weights_after(images, path, config=SMALLEST)
    info = ModelInfo(task="classes", class_names=("background", "one"))
    with pytest.raises(FileError, match="no checkpoint of a training like this"):
        list(train_steps(new_model(info).network, info, images, RECIPE, CPU, path))


def test_too_little_memory_is_told_in_a_sentence(images, monkeypatch):
    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr(train, "sample_batch", full)
    with pytest.raises(OutOfMemoryError, match="smaller --batch"):
        weights_after(images)
