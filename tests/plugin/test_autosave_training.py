"""An interrupted fine-tuning is on the disk and can be resumed: real training and sessions.

Which buttons do what is tested without either in `test_fine_tune`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.engine import finetune
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.delta import VERIFIED, LabelDelta
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import read_history
from napari_resunet.session.store.images import store_image
from napari_resunet.session.store.models import (
    CheckpointRecord,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from napari_resunet.session.store.schema import ImageRecord

STEPS = 4
LEARN = Path(__file__).with_name("learn_until_killed.py")


@pytest.fixture(scope="module")
def cells(nuclei):
    """A small image and its true labels."""
    return tuple(np.ascontiguousarray(array[:96, :128]) for array in nuclei)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory, starter, cells):
    """What a program leaves that was killed when half of a fine-tuning was done."""
    root = tmp_path_factory.mktemp("crash") / "cells"
    pixels, labels = cells
    folder = SessionFolder.create(root)
    image = ImageRecord(
        name="cells", shape=pixels.shape, dtype=str(pixels.dtype), axes="YX", stored=True
    )
    folder.update(folder.file.model_copy(update={"images": (image,)}))
    marks = np.full(labels.shape, VERIFIED, np.uint8)
    delta = LabelDelta(
        0, 0, labels.astype(np.int32), np.zeros_like(labels, np.int32), marks
    )
    folder.put_deltas(image.key, (), [delta])
    assert folder.close()
    store_image(root, image, pixels)
    mask = np.ones(labels.shape, bool)
    window = slice(0, labels.shape[0]), slice(0, labels.shape[1])
    correction = Correction("x", (), window, labels.astype(np.int32), mask, mask)
    example = as_example(correction, pixels[..., None], scale=1.2)
    save_correction(root, image.key, correction, example)
    examples = [saved.example for saved in load_corrections(root)[0]]
    # The starter knows these nuclei: without patience it may end before its steps are done.
    config = FineTuneConfig(
        steps=STEPS, batch=2, patch=64, n_evaluations=12, patience=STEPS
    )
    for event in fine_tune_steps(starter, examples, config, choose("cpu")):
        if event.checkpoint is not None and event.fraction >= 0.5:
            break
    trainer_state = event.checkpoint.trainer_state
    record = CheckpointRecord(
        image=image.key, base=0, steps=event.step, share=0.5, score=trainer_state.best.value
    )
    save_checkpoint(root, record, lambda path: write_checkpoint(event.checkpoint, path))
    return root


@pytest.fixture
def crashed(left_behind, tmp_path):
    return shutil.copytree(left_behind, tmp_path / "cells")


def offer(dock):
    row = dock.view.fine_tune.interrupted
    return "" if row.isHidden() else dock.find("interrupted_text").text()


def test_it_goes_on_and_ends_as_any_other(dock, crashed, cells):
    dock.open_session(crashed)
    assert "interrupted at 50%" in dock.message
    assert "interrupted at 50%" in offer(dock)
    assert np.array_equal(dock.labels.data, cells[1])
    assert [title for _, title, _ in dock.app.state.versions.listed()] == ["Starter"]
    dock.click("resume")
    assert not offer(dock)
    assert not dock.find("resume").isEnabled()
    dock.wait()
    autosave = dock.app.autosave
    assert autosave.flush(60)
    entries, _ = read_history(autosave.folder.root)
    steps = [entry["step"] for entry in entries if entry["event"] == "step"]
    assert steps == list(range(STEPS // 2 + 1, STEPS + 1))
    assert entries[-1]["event"] == "end"
    assert "held-out objects right" in dock.find("result_text").text()
    assert "learned from" in dock.app.state.versions.current.title
    assert dock.app.state.versions.current.model.info.lineage.steps == STEPS
    assert not offer(dock)
    assert not (autosave.folder.root / "training").exists()
    assert "held-out objects right" in dock.message


def test_the_best_so_far_becomes_a_version(dock, crashed):
    dock.open_session(crashed)
    dock.click("keep_best")
    dock.wait()
    assert dock.app.state.versions.current.model.info.lineage.steps == STEPS // 2
    assert dock.app.state.versions.current.record.number == 1
    assert not offer(dock)
    assert dock.app.autosave.flush(60)
    assert not (crashed / "training").exists()


@pytest.mark.parametrize("what", ["tensors", "record", "gone"])
def test_a_damaged_one_is_reported_and_the_session_opens(dock, crashed, cells, what):
    (tensors,) = crashed.glob("training/*.safetensors")
    if what == "tensors":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif what == "record":
        (crashed / "training" / "checkpoint.json").write_text('{"base": -1')
    else:
        tensors.unlink()
    dock.open_session(crashed)
    assert "checkpoint is damaged" in dock.message
    assert not offer(dock)
    assert np.array_equal(dock.labels.data, cells[1])


def test_it_is_not_resumed_with_other_corrections(dock, crashed):
    dock.open_session(crashed)
    dock.app.workers.corrections.clear()
    pixels, labels = np.zeros((40, 50, 1), np.uint8), np.ones((40, 50), np.int32)
    window, mask = (slice(0, 40), slice(0, 50)), labels > 0
    other = Correction("x", (), window, labels, mask, mask)
    dock.app.workers.corrections.record(other, as_example(other, pixels, scale=1.0))
    dock.click("resume")
    dock.wait()
    assert "other corrections" in dock.message
    assert offer(dock)


def test_while_it_learns_a_checkpoint_is_kept_and_cancel_removes_it(
    dock, cells, crashed, sure_fine_tuning
):
    earlier = find_checkpoint(crashed)
    sure_fine_tuning.endless = True
    sure_fine_tuning.checkpoint = load_checkpoint(crashed, earlier)
    dock.viewer.add_image(cells[0], name="cells")
    dock.segment()
    dock.labels.data = cells[1].copy()
    dock.mark("slice")
    dock.click("fine_tune")
    autosave = dock.app.autosave
    dock.until(lambda: dock.state.interrupted is not None)
    record = find_checkpoint(autosave.folder.root)
    assert record.base == 0
    assert autosave.folder.file.image(record.image).name == "cells"
    assert record.share == earlier.share
    assert not offer(dock)
    dock.click("cancel")
    dock.wait()
    assert autosave.flush(60)
    assert not (autosave.folder.root / "training").exists()
    assert not offer(dock)


def test_what_fails_on_the_way_can_go_on(dock, crashed, monkeypatch):
    real, steps = finetune.train_step, []

    def fails_late(*arguments):
        steps.append(1)
        if len(steps) > STEPS // 4:
            raise torch.OutOfMemoryError("full")
        return real(*arguments)

    monkeypatch.setattr(finetune, "train_step", fails_late)
    dock.open_session(crashed)
    dock.click("resume")
    dock.wait()
    assert "not enough memory" in dock.message
    assert dock.app.autosave.flush(60)
    dock.app.state.changed.emit()
    assert "interrupted at 75%" in offer(dock)
    monkeypatch.undo()
    dock.click("resume")
    dock.wait()
    assert dock.app.state.versions.current.model.info.lineage.steps == STEPS
    assert not offer(dock)


def killed_while_learning(sessions, tmp_path, pixels, labels):
    """Run the whole program; kill it once a checkpoint is on the disk."""
    paths = tmp_path / "pixels.npy", tmp_path / "labels.npy"
    for path, array in zip(paths, (pixels, labels), strict=True):
        np.save(path, array)
    program = subprocess.Popen([sys.executable, str(LEARN), *map(str, paths)])
    try:
        while not (found := list(sessions.glob("*/training/checkpoint.json"))):
            with pytest.raises(subprocess.TimeoutExpired):  # it did not end by itself
                program.wait(0.05)
    finally:
        program.kill()
        program.wait()
    return found[0].parents[1]


def is_beyond(plot, step):
    training, _ = plot.points()
    return any(x > step for x, _ in training)


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_program_killed_while_learning_loses_nothing_and_learns_on(
    dock, cells, tmp_path, sessions_elsewhere
):
    pixels, labels = cells
    root = killed_while_learning(sessions_elsewhere, tmp_path, pixels, labels)
    dock.open_session(root)
    painted = dock.labels.data == 999
    assert painted[5, 5]
    assert np.array_equal(np.where(painted, labels, dock.labels.data), labels)
    assert dock.app.layers.binding(dock.app.state.image_key).counts()[1] == labels.size
    before = dock.app.state.versions.current
    assert before.record.number == 1
    record = dock.state.interrupted.record
    assert f"{record.share:.0%}" in offer(dock)
    dock.click("resume")
    plot = dock.view.fine_tune.plot
    dock.until(lambda: is_beyond(plot, record.steps))
    dock.click("stop")
    dock.wait()
    assert "held-out objects right" in dock.find("result_text").text()
    newest = dock.app.state.versions.all()[-1]
    if newest.key != before.key:  # it was better
        assert newest.record.parent_id == before.key
        assert newest.model.info.lineage.steps > record.steps
    assert dock.app.autosave.flush(60)
    assert not (root / "training").exists()
