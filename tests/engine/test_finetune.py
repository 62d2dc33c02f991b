import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import scored
from skimage.segmentation import expand_labels
from torch.utils._python_dispatch import TorchDispatchMode

from napari_resunet.engine import finetune
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.checkpoint import Checkpoint
from napari_resunet.engine.device import Compute
from napari_resunet.engine.finetune import FineTuneStep, fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.model_selection import SPREAD
from napari_resunet.engine.optim import make_optimizer, train_step
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    cut_patch,
    stack_patches,
    training_image,
)
from napari_resunet.engine.synthetic import phase_cells
from napari_resunet.engine.validation import split
from napari_resunet.errors import Cancelled, CorrectionError, FileError, OutOfMemoryError
from napari_resunet.events import CancelToken, drain
from napari_resunet.network.model_file import new_model, with_new_maps
from napari_resunet.types import Example, ModelInfo, Normalization, OtherImage

FLOAT = Compute("cpu", torch.float32)
QUICK = FineTuneConfig(steps=3, batch=1, patch=64, n_evaluations=9)


def weights(model):
    return {k: v.clone() for k, v in model.network.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def cells():
    """Cells whose user draws the outlines wider than the starter does."""
    image, labels = phase_cells((220, 240), np.random.default_rng(5))
    return Example(image, expand_labels(labels, 3), scale=0.6)


def run(model, examples, config=QUICK, token=None, on_event=None, others=()):
    events = fine_tune_steps(model, examples, config, FLOAT, token, others=others)
    return drain(events, on_event)


@pytest.fixture(scope="module")
def learned(starter, cells):
    """What learning from the cells ends with, and the steps on the way."""
    before, steps = weights(starter), []
    config = FineTuneConfig(steps=12, batch=2, patch=64, n_evaluations=4)
    result = run(starter, [cells], config, on_event=steps.append)
    assert same(before, weights(starter))
    return result, steps


def test_it_learns_from_corrections_and_says_so(starter, learned):
    result, steps = learned
    assert result.outcome == "better"
    before, after = result.before, result.after
    assert after.value > before.value
    # It found them all before, but with other outlines.
    assert before.n_right == after.n_right == after.n_objects == before.n_objects == 8
    words = f"Finds {after.n_right} of the {after.n_objects} held-out objects right"
    assert (
        result.message
        == f"{words} (before: {before.n_right}): too few to judge; verify about 10 more."
    )
    assert result.candidate is None
    assert result.model.info.lineage.parent_id == starter.info.lineage.model_id
    assert result.model.info.lineage.corrected_objects > 5
    assert result.model.info.object_size.pixels == pytest.approx(24 / 0.6)
    assert [s.step for s in steps] == list(range(1, result.steps + 1))
    assert steps[-1].fraction > 0.99
    scores = [s.held_out for s in steps if s.held_out is not None]
    assert len(scores) >= 3
    assert max(s.n_right for s in scores) >= after.n_right
    assert all(s.before == before for s in steps)


def test_an_interrupted_run_can_end_with_the_best_so_far(starter, cells, learned):
    (checkpoint,) = [s.checkpoint for s in learned[1] if s.checkpoint is not None]
    token = CancelToken()
    token.stop()
    result = go_on(starter, [cells], checkpoint, token)
    assert result.steps == checkpoint.trainer_state.steps == 9
    assert result.improved
    best = checkpoint.trainer_state.best
    assert result.after.value >= best.value > result.before.value
    assert best.n_objects == result.before.n_objects


@pytest.fixture(scope="module")
def tiny(cells):
    """A corner of the cells, of which nothing is held out."""
    return Example(cells.image[:60, :60], cells.labels[:60, :60], scale=0.3)


def test_batchnorm_follows_the_new_images_on_the_copy(random_model, tiny):
    old = weights(random_model)
    after = weights(run(random_model, [tiny]).model)
    running = [k for k in old if "running" in k]
    assert running
    assert not any(torch.equal(old[k], after[k]) for k in running)
    assert same(old, weights(random_model))
    # The same seed gives the same weights.
    assert same(after, weights(run(random_model, [tiny]).model))


def test_unchecked_labels_have_no_influence(random_model, cells):
    verified = np.zeros(cells.labels.shape, bool)
    verified[:40, :40] = True
    near = np.zeros_like(verified)
    near[:44, :44] = True
    theirs = np.isin(cells.labels, np.unique(cells.labels[near]))
    assert (cells.labels[~theirs] > 0).any()
    elsewhere = np.where(theirs, cells.labels, 0)
    results = [
        run(random_model, [Example(cells.image, labels, verified, scale=0.5)])
        for labels in (cells.labels, elsewhere)
    ]
    assert same(weights(results[0].model), weights(results[1].model))
    assert not same(weights(results[0].model), weights(random_model))


def test_a_model_that_gets_worse_is_not_taken(starter, nuclei):
    # Learning that nuclei are background cannot raise the score on held-out nuclei.
    image, labels = nuclei
    wrong = np.zeros_like(labels)
    wrong[:, 132:] = labels[:, 132:]  # the strip that is held out
    config = FineTuneConfig(steps=6, batch=1, patch=64, n_evaluations=2, lr=3e-3)
    result = run(starter, [Example(image, wrong, scale=1.1)], config)
    assert result.outcome == "worse"
    assert result.model is starter
    assert result.candidate is None
    assert "the old model stays" in result.message


class Readings(TorchDispatchMode):
    """Counts numbers that Python reads from tensors: a graphics card waits for each."""

    n = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.n += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(named or {}))


def test_nothing_waits_for_a_card_within_a_step(random_model, cells):
    network = copy.deepcopy(random_model.network).train().requires_grad_(True)
    optimizer = make_optimizer(network, 1e-3)
    source = PatchSource.of(training_image(cells, ModelInfo()))
    rng = np.random.default_rng(0)
    with Readings() as readings:
        patch = cut_patch(source, (90, 90), 32, Geometry(), rng)
        pixels = vary_intensity(patch.pixels, Normalization(), rng)
        batch = stack_patches([patch._replace(pixels=pixels)] * 2)
        loss = train_step(network, optimizer, batch, "instances", FLOAT)
        assert readings.n == 0
        float(loss)
    assert readings.n == 1


def test_a_card_tells_the_loss_of_the_step_before():
    losses = [torch.tensor(float(n)) for n in (3, 2, 1)]
    here, card = (
        finetune._LossReader(Compute(kind, torch.float32)) for kind in ("cpu", "cuda")
    )
    assert [here.read(loss) for loss in losses] == [3, 2, 1]
    assert [card.read(loss) for loss in losses] == [3, 3, 2]


def test_too_few_held_out_objects_are_told(random_model, nuclei):
    image, labels = (a[:30, :100] for a in nuclei)
    result = run(random_model, [Example(image, labels, scale=1.1)])
    assert result.after is None or result.after.n_objects < 10
    assert "too few to judge" in result.message


def test_earlier_corrections_must_not_get_worse(starter, nuclei):
    # Many nuclei drawn too large: learning them gains more than it loses on the few.
    image, labels = nuclei
    twice = np.tile(labels, (2, 1))
    twice[160:][labels > 0] += 100
    too_large = Example(np.tile(image, (2, 1)), expand_labels(twice, 4), scale=1.1)
    few = Example(image[:110], labels[:110], scale=1.1)
    config = FineTuneConfig(steps=10, batch=2, patch=64, n_evaluations=1, lr=6e-3, zoom=0.3)
    result = run(starter, [few, too_large], config)
    parts = split(training_image(few, starter.info), "instances")[1]
    before, after = (scored(model, parts) for model in (starter, result.model))
    # Seven objects; without the gate they fall from 1.0 to 0.6.
    assert after >= before - SPREAD / sum(part.n_objects for part in parts) ** 0.5


def test_cancel_throws_away_and_stop_keeps(starter, cells):
    token = CancelToken()
    with pytest.raises(Cancelled):
        run(starter, [cells], QUICK, token, lambda event: token.cancel())
    token = CancelToken()
    long = FineTuneConfig(steps=1000, batch=1, patch=64)
    result = run(starter, [cells], long, token, lambda event: token.stop())
    assert result.steps == 1


def test_time_bounds_the_work(random_model, tiny):
    result = run(random_model, [tiny], FineTuneConfig(seconds=1.0, batch=1, patch=64))
    assert result.steps >= 1


def test_a_fast_computer_ends_when_the_area_is_learned(random_model, tiny, monkeypatch):
    monkeypatch.setattr(finetune, "STEPS_PER_REGION", 2)
    config = FineTuneConfig(seconds=1e5, batch=1, patch=64)
    assert run(random_model, [tiny], config).steps == 2
    monkeypatch.setattr(finetune, "REGION", tiny.labels.shape[0] * tiny.scale / 2)
    assert run(random_model, [tiny], config).steps > 2  # as large as several regions


def test_classes_are_learned_and_unknown_ones_refused(random_model, cells):
    info = ModelInfo(task="classes", class_names=("background", "cell"))
    model = with_new_maps(random_model, info)
    binary = (cells.labels > 0).astype(int)
    result = run(model, [Example(cells.image, binary, scale=0.5)])
    assert result.before.n_right is None
    assert "object" not in result.message.split(":")[0]
    with pytest.raises(CorrectionError, match="use the labels 1 to 1"):
        run(model, [Example(cells.image, 2 * binary, scale=0.5)])


def test_nothing_verified_is_told(random_model, cells):
    nothing = np.zeros(cells.labels.shape, bool)
    with pytest.raises(CorrectionError, match="nothing to learn from"):
        run(random_model, [Example(cells.image, cells.labels, nothing)])


def test_out_of_memory_is_told_and_the_model_is_as_it_was(random_model, cells, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    before = weights(random_model)
    monkeypatch.setattr(finetune, "train_step", full)
    with pytest.raises(OutOfMemoryError, match="The model is as it was"):
        run(random_model, [cells])
    assert same(before, weights(random_model))


def test_new_maps_keep_the_features(random_model):
    info = ModelInfo(task="classes", class_names=("background", "a", "b", "c"))
    fresh = with_new_maps(random_model, info)
    assert torch.equal(
        fresh.network.conv_up0[0].weight, random_model.network.conv_up0[0].weight
    )
    assert fresh.network.conv_last.out_channels == 4
    assert new_model(info).info.n_maps == 4


def interrupted(model, examples, config, at):
    """Run until a checkpoint with at least so many steps; return it."""
    for event in fine_tune_steps(model, examples, config, FLOAT):
        if event.checkpoint is not None and event.step >= at:
            return event.checkpoint
    raise AssertionError("there was no checkpoint")


def go_on(model, examples, checkpoint, token=None, on_event=None, others=()):
    config = FineTuneConfig(**checkpoint.trainer_state.config)
    events = fine_tune_steps(
        model, examples, config, FLOAT, token, start=checkpoint, others=others
    )
    return drain(events, on_event)


@pytest.mark.parametrize("held_out", [True, False])
def test_what_was_interrupted_goes_on_to_the_very_same_end(
    starter, cells, held_out, monkeypatch
):
    monkeypatch.setattr(finetune, "N_JUDGED", 1)
    others = [OtherImage("same cells", cells.image, scale=0.6)]
    size = 220 if held_out else 60
    example = Example(cells.image[:size, :size], cells.labels[:size, :size], scale=0.6)
    config = FineTuneConfig(steps=4, batch=1, patch=64, n_evaluations=12)
    whole, rest = [], []
    empty = OtherImage("nothing", np.zeros((0, 9), np.uint8))
    others.append(empty)  # it is left out
    straight = run(starter, [example], config, on_event=whole.append, others=others)
    checkpoint = whole[1].checkpoint
    result = go_on(starter, [example], checkpoint, on_event=rest.append, others=others)
    whole, rest = ([e for e in es if isinstance(e, FineTuneStep)] for es in (whole, rest))
    assert (straight.before is not None) == held_out
    assert [s.step for s in rest] == [3, 4]
    assert [(s.loss, s.held_out) for s in rest] == [(s.loss, s.held_out) for s in whole[2:]]
    assert result.message == straight.message
    assert same(weights(result.model), weights(straight.model))


def test_only_the_rest_of_the_time_is_spent(random_model, tiny):
    config = FineTuneConfig(seconds=60.0, batch=1, patch=64, n_evaluations=1000)
    checkpoint = interrupted(random_model, [tiny], config, 1)
    late = replace(checkpoint.trainer_state, fraction=59.5 / 60, seconds=59.5)
    steps = []
    go_on(random_model, [tiny], Checkpoint(late, checkpoint.tensors), on_event=steps.append)
    assert steps[0].fraction > 0.99
    assert steps[-1].fraction > 0.99


def test_another_model_or_other_corrections_cannot_go_on(starter, random_model, cells):
    checkpoint = interrupted(starter, [cells], QUICK, 1)
    other = Example(cells.image, np.roll(cells.labels, 1), scale=0.6)
    for model, example in ((random_model, cells), (starter, other)):
        with pytest.raises(CorrectionError, match="other corrections"):
            go_on(model, [example], checkpoint)
    for key in ("last.conv_last.bias", "optimizer.0.exp_avg"):
        tensors = {**checkpoint.tensors, key: torch.zeros(5, 5)}
        with pytest.raises(FileError, match="does not fit"):
            go_on(starter, [cells], Checkpoint(checkpoint.trainer_state, tensors))
    broken = replace(checkpoint.trainer_state, rng={"bit_generator": "none"})
    with pytest.raises(FileError, match="does not fit"):
        go_on(starter, [cells], Checkpoint(broken, checkpoint.tensors))
