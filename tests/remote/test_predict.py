"""The network on another computer does what it does here."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
from servers import window

import napari_resunet as nru
from napari_resunet.engine.changes import Changes, Elsewhere, ImageChanges
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import FineTuneStep
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.engine.predict import Predictor
from napari_resunet.errors import CorrectionError, DiskFullError, RemoteError
from napari_resunet.events import CancelToken, Notice, drain
from napari_resunet.remote import predict, work
from napari_resunet.remote.predict import RemotePredictor, fine_tune_steps
from napari_resunet.remote.wire import FineTuneMessage, OtherFacts
from napari_resunet.types import Decoding, Example, OtherImage, Statistics


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

    secret = OtherImage("patient 7", np.ones((9, 8, 1)), 0.5, Statistics((0.0,), (1.0,)))
    changed = Elsewhere((ImageChanges("", Changes(new=3, same=4)),) * 2)

    def steps(model, examples, config, compute, token, decoding, others):
        asked.update(examples=examples, config=config, others=others)
        yield Notice("Something to know.")
        score = HeldOutScore(0.5, 0.1, 3, 4)
        while not token.stopped:
            yield FineTuneStep(1, float("nan"), None, 0.5, 1.0, "too large", score)
            Event().wait(0.005)
        return FineTuneResult(
            model, "too close", score, score, "Too close.", 7, 1, 1, 9, candidate=new,
            elsewhere=changed, seconds=5.0,
        )  # fmt: skip

    monkeypatch.setattr(work, "fine_tune_steps", steps)
    token, events = CancelToken(), []
    config = FineTuneConfig(seconds=5)
    running = fine_tune_steps(
        starter, [example], config, server, token, others=[secret] * 2
    )

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
    assert result.seconds == 5
    assert [image.name for image in result.elsewhere.images] == ["patient 7"] * 2
    assert result.elsewhere.total == Changes(new=6, same=8)
    assert [other.name for other in asked["others"]] == ["", ""]  # it is told no names
    np.testing.assert_array_equal(asked["others"][1].image, secret.image)
    assert (asked["others"][0].scale, asked["others"][0].statistics) == (
        0.5, Statistics((0.0,), (1.0,)))  # fmt: skip
    assert asked["config"].seconds == 5
    (arrived,) = asked["examples"]
    for name in ("image", "labels", "verified"):
        np.testing.assert_array_equal(getattr(arrived, name), getattr(example, name))
    assert arrived.edited is None
    assert arrived.held_out == example.held_out
    assert (arrived.statistics, arrived.pixel_size) == (example.statistics, 0.5)


@pytest.mark.parametrize(
    ("image", "n_low"),
    [
        (np.zeros((5, 6), np.uint8), 2),
        (np.zeros((5, 6, 4), np.uint8), 4),
        (np.zeros((0, 6), np.uint8), 1),
        (np.zeros(30, np.uint8), 1),
        (None, 1),
    ],
)
def test_other_images_that_do_not_fit_are_refused(starter, example, image, n_low):
    measured = Statistics((0.0,) * n_low, (1.0,) * n_low)
    message = FineTuneMessage(
        job="0" * 12,
        model="0" * 64,
        decoding=Decoding(),
        config={"steps": 1},
        examples=(predict._facts(example),),
        others=(OtherFacts(scale=1.0, statistics=measured),),
    )
    arrays = predict._arrays(example) + ([] if image is None else [image])
    models = SimpleNamespace(predictor=lambda digest: SimpleNamespace(model=starter))
    with pytest.raises(RemoteError, match="damaged"):
        drain(work.fine_tune(models, choose("cpu"), message, arrays, CancelToken()))


def test_an_error_of_the_server_keeps_its_kind_and_its_words(server, starter, example):
    empty = replace(example, verified=np.zeros_like(example.verified), held_out=())
    with pytest.raises(CorrectionError, match=r"^There is nothing to learn from"):
        drain(fine_tune_steps(starter, [empty], FineTuneConfig(steps=1), server))
