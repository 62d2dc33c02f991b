"""The network on another computer does what it does here."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
import pytest
from servers import window

import napari_resunet as nru
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import FineTuneConfig, FineTuneStep
from napari_resunet.engine.model_selection import FineTuneResult
from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.engine.predict import Predictor
from napari_resunet.errors import CorrectionError, DiskFullError
from napari_resunet.events import CancelToken, Notice, drain
from napari_resunet.remote import predict, work
from napari_resunet.remote.predict import RemotePredictor, fine_tune_steps
from napari_resunet.types import Example, Statistics


@pytest.fixture
def example(nuclei):
    image, labels = (array[:64, :64] for array in nuclei)
    half = np.zeros(labels.shape, bool)
    half[:, :32] = True
    return Example(
        image, labels, half, scale=1.0, statistics=Statistics((0.0,), (1.0,)),
        held_out=((slice(0, 20), slice(0, 32)),), pixel_size=0.5,
    )  # fmt: skip


def test_labels_are_those_that_this_computer_finds(server, starter, nuclei):
    stack = np.stack([nuclei[0], nuclei[0][::-1]])
    here, events = nru.segment(stack, starter, "ZYX", device="cpu"), []
    there = nru.segment(stack, starter, "ZYX", device=server, on_event=events.append)
    assert here.max() > 5
    np.testing.assert_array_equal(there, here)
    done = {event.done / event.total for event in events if event.total}
    assert done >= {0.5, 1.0}


def test_a_model_is_sent_once_and_again_when_the_server_forgot_it(
    server, service, random_model, monkeypatch
):
    there = RemotePredictor(random_model, server)
    expected = drain(Predictor(random_model, choose("cpu")).maps(window()))
    np.testing.assert_array_equal(drain(there.maps(window())), expected)

    def receive(digest, data):
        service.models._predictors[digest] = forgotten
        sent.append(data)

    forgotten, sent = service.models._predictors.pop(random_model.digest), []
    monkeypatch.setattr(predict, "file_of", lambda model: b"its file")
    monkeypatch.setattr(service.models, "receive", receive)
    for _ in range(2):
        np.testing.assert_array_equal(drain(there.maps(window())), expected)
    assert sent == [b"its file"]


def test_the_oldest_of_too_many_models_is_forgotten(starter, random_model, monkeypatch):
    monkeypatch.setattr(work, "MAX_MODELS", 1)
    models = work.Models(choose("cpu"))
    models.add(starter)
    models.add(random_model)
    assert random_model.digest in models
    assert starter.digest not in models


def test_a_full_disk_of_the_server_is_said(server, starter, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    other = replace(starter, info=replace(starter.info, tile=224))
    monkeypatch.setattr(predict, "file_of", lambda model: b"its file")
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DiskFullError, match=r"On the server: .*No space left on device"):
        drain(RemotePredictor(other, server).maps(window()))


def test_stop_ends_it_with_the_best_model_so_far(
    server, service, starter, example, monkeypatch
):
    asked, new = {}, replace(starter, info=replace(starter.info, tta=True))
    monkeypatch.setattr(work, "file_of", lambda model: b"its file")
    monkeypatch.setattr(predict, "model_of", {b"its file": new}.get)

    def steps(model, examples, config, compute, token, decoding):
        asked.update(examples=examples, config=config, decoding=decoding)
        yield Notice("Something to know.")
        score = HeldOutScore(0.5, 0.1, 3, 4)
        while not token.stopped:
            yield FineTuneStep(1, float("nan"), None, 0.5, 1.0, "too large", score)
            Event().wait(0.005)
        return FineTuneResult(
            model, "too close", score, score, "Too close.", 7, 1, 1, 9, candidate=new
        )

    monkeypatch.setattr(work, "fine_tune_steps", steps)
    token, events = CancelToken(), []
    running = fine_tune_steps(starter, [example], FineTuneConfig(seconds=5), server, token)

    def stop_after_a_step(event):
        events.append(event)
        if isinstance(event, FineTuneStep):
            token.stop()

    result = drain(running, stop_after_a_step)
    assert Notice("Something to know.") in events
    (step, *_) = [event for event in events if isinstance(event, FineTuneStep)]
    assert (step.step, step.before.n_right, step.checkpoint) == (1, 3, None)
    assert (result.outcome, result.steps, result.after.n_right) == ("too close", 9, 3)
    assert result.model is starter
    assert result.candidate is new
    assert new.digest in service.models
    assert asked["config"].seconds == 5
    (arrived,) = asked["examples"]
    for name in ("image", "labels", "verified"):
        np.testing.assert_array_equal(getattr(arrived, name), getattr(example, name))
    assert arrived.edited is None
    assert arrived.held_out == example.held_out
    assert (arrived.statistics, arrived.pixel_size) == (example.statistics, 0.5)


def test_an_error_of_the_server_keeps_its_kind_and_its_words(server, starter, example):
    empty = replace(example, verified=np.zeros_like(example.verified), held_out=())
    with pytest.raises(CorrectionError, match=r"^There is nothing to learn from"):
        drain(fine_tune_steps(starter, [empty], FineTuneConfig(steps=1), server))
