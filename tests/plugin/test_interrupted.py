"""A fine-tuning that a crash cut off is offered by Continue, and goes on by one button."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.engine import finetune
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import FineTuneConfig, fine_tune_steps
from napari_resunet.session.store.checkpoint import (
    CheckpointRecord,
    find_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.delta import VERIFIED, LabelDelta
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import read_history
from napari_resunet.session.store.images import store_image
from napari_resunet.session.store.schema import ImageRecord

STEPS = 12
LEARN = Path(__file__).with_name("learn_until_killed.py")


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory, starter, nuclei):
    """What a program leaves that was killed when half of a fine-tuning was done."""
    root = tmp_path_factory.mktemp("crash") / "cells"
    pixels, labels = nuclei
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
        if event.checkpoint is not None and event.share >= 0.5:
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
    row = dock.view.interrupted
    return "" if row.isHidden() else dock.find("interrupted_text").text()


def test_it_goes_on_and_ends_as_any_other(dock, crashed, nuclei):
    dock.proceed(crashed)
    assert "interrupted at 50%" in dock.message
    assert "interrupted at 50%" in offer(dock)
    assert np.array_equal(dock.labels.data, nuclei[1])
    assert [title for _, title, _ in dock.work.versions.listed()] == ["Starter"]
    dock.click("go_on")
    assert not offer(dock)
    assert not dock.find("go_on").isEnabled()
    dock.wait()
    autosave = dock.controller.autosave
    assert autosave.flush(20)
    entries, _ = read_history(autosave.folder.root)
    steps = [entry["step"] for entry in entries if entry["event"] == "step"]
    assert steps == list(range(STEPS // 2 + 1, STEPS + 1))
    assert entries[-1]["event"] == "end"
    assert "Held-out score" in dock.find("result_text").text()
    assert "learned from" in dock.work.versions.current.title
    assert dock.work.versions.current.model.info.lineage.steps == STEPS
    assert not offer(dock)
    assert not (autosave.folder.root / "training").exists()
    assert "Score on the held-out part" in dock.message


def test_the_best_so_far_becomes_a_version(dock, crashed):
    dock.proceed(crashed)
    dock.click("keep_best")
    dock.wait()
    assert dock.work.versions.current.model.info.lineage.steps == STEPS // 2
    assert dock.work.versions.current.record.number == 1
    assert not offer(dock)
    assert dock.controller.autosave.flush(20)
    assert not (crashed / "training").exists()


def test_it_is_dropped(dock, crashed):
    dock.proceed(crashed)
    dock.click("drop_interrupted")
    assert not offer(dock)
    assert dock.controller.autosave.flush(20)
    assert not (crashed / "training").exists()
    assert len(dock.work.versions.listed()) == 1


@pytest.mark.parametrize("what", ["tensors", "record", "gone"])
def test_a_damaged_one_is_told_and_the_session_opens(dock, crashed, nuclei, what):
    (tensors,) = crashed.glob("training/*.safetensors")
    if what == "tensors":
        tensors.write_bytes(tensors.read_bytes()[:-5])
    elif what == "record":
        (crashed / "training" / "checkpoint.json").write_text('{"base": -1')
    else:
        tensors.unlink()
    dock.proceed(crashed)
    assert "checkpoint is damaged" in dock.message
    assert not offer(dock)
    assert np.array_equal(dock.labels.data, nuclei[1])


def test_it_does_not_go_on_from_another_model_or_a_deleted_one(dock, crashed):
    path = crashed / "training" / "checkpoint.json"
    fields = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps(fields | {"base": 7}))
    dock.proceed(crashed)
    dock.click("go_on")
    assert "was deleted" in dock.message
    assert offer(dock)
    shutil.rmtree(crashed / "corrections")
    dock.work.workers.corrections.clear()
    dock.controller.autosave.learned.interrupted = find_checkpoint(crashed).model_copy(
        update={"base": 0}
    )
    dock.click("go_on")
    dock.wait()
    assert "other corrections" in dock.message
    assert offer(dock)


def test_while_it_learns_a_checkpoint_is_kept_and_cancel_removes_it(dock, nuclei):
    dock.viewer.add_image(nuclei[0], name="cells")
    dock.segment()
    dock.labels.data = nuclei[1].copy()
    dock.controller.choose_region("slice")
    dock.view.minutes = 0.2
    dock.click("fine_tune")
    autosave = dock.controller.autosave
    dock.qtbot.waitUntil(lambda: autosave.learned.interrupted is not None, timeout=60_000)
    record = find_checkpoint(autosave.folder.root)
    assert record.base == 0
    assert autosave.folder.file.image(record.image).name == "cells"
    assert 0 < record.share < 1
    assert not offer(dock)
    dock.click("cancel_fine_tune")
    dock.wait()
    assert autosave.flush(20)
    assert not (autosave.folder.root / "training").exists()
    assert not offer(dock)


def test_what_fails_on_the_way_can_go_on(dock, crashed, monkeypatch):
    real, steps = finetune.train_step, []

    def fails_late(*arguments):
        steps.append(1)
        if len(steps) > STEPS // 4 + 1:
            raise torch.OutOfMemoryError("full")
        return real(*arguments)

    monkeypatch.setattr(finetune, "train_step", fails_late)
    dock.proceed(crashed)
    dock.click("go_on")
    dock.wait()
    assert "not enough memory" in dock.message
    assert dock.controller.autosave.flush(20)
    dock.controller.refresh()
    assert "interrupted at 75%" in offer(dock)
    monkeypatch.undo()
    dock.click("go_on")
    dock.wait()
    assert dock.work.versions.current.model.info.lineage.steps == STEPS
    assert not offer(dock)


def killed_while_learning(sessions, tmp_path, pixels, labels):
    """Run the whole program; kill it once a checkpoint is on the disk."""
    paths = tmp_path / "pixels.npy", tmp_path / "labels.npy"
    for path, array in zip(paths, (pixels, labels), strict=True):
        np.save(path, array)
    program = subprocess.Popen([sys.executable, str(LEARN), *map(str, paths)])
    try:
        while not (found := list(sessions.glob("*/training/checkpoint.json"))):
            assert program.poll() is None, "the program ended by itself"
            time.sleep(0.05)
    finally:
        program.kill()
        program.wait()
    return found[0].parents[1]


def is_beyond(plot, step):
    training, _ = plot.points()
    return any(x > step for x, _ in training)


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_program_killed_while_learning_loses_nothing_and_learns_on(
    dock, nuclei, tmp_path, sessions_elsewhere
):
    pixels, labels = (np.ascontiguousarray(array[:96, :128]) for array in nuclei)
    root = killed_while_learning(sessions_elsewhere, tmp_path, pixels, labels)
    dock.proceed(root)
    painted = dock.labels.data == 999
    assert painted[5, 5]
    assert np.array_equal(np.where(painted, labels, dock.labels.data), labels)
    assert dock.work.layers.binding(dock.controller.image_key).counts()[1] == labels.size
    before = dock.work.versions.current
    assert before.record.number == 1
    record = dock.controller.autosave.learned.interrupted
    assert f"{record.share:.0%}" in offer(dock)
    dock.click("go_on")
    plot = dock.view._fine_tune.plot
    dock.qtbot.waitUntil(lambda: is_beyond(plot, record.steps), timeout=30_000)
    dock.click("stop")
    dock.wait()
    assert "held-out part" in dock.message
    assert "Held-out score" in dock.find("result_text").text()
    newest = dock.work.versions.all()[-1]
    if newest.key != before.key:  # where the gate lets it through
        assert newest.record.parent_id == before.key
        assert newest.model.info.lineage.steps > record.steps
    assert dock.controller.autosave.flush(20)
    assert not (root / "training").exists()
