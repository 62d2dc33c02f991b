"""Fine-tune without a thread or a window: versions, offers, one wish at a time."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from harness import SHAPE, Headless

from napari_resunet._package import STARTER
from napari_resunet.errors import Cancelled
from napari_resunet.plugin.state import Interrupted
from napari_resunet.session.store.models import CheckpointRecord
from napari_resunet.session.workers import FineTuneRequest, ResumeRequest
from napari_resunet.types import Lineage, ModelInfo


def model(name):
    info = ModelInfo(lineage=Lineage(model_id=name, steps=3))
    return SimpleNamespace(info=info, notice="")


def result(improved):
    return SimpleNamespace(
        model=model("better"), improved=improved,
        before=0.6, after=0.8 if improved else 0.5,
        message="Score 0.60 to 0.80." if improved else "The old one stays.", scale=1.5,
        n_objects=4, n_regions=1, n_images=1,
    )  # fmt: skip


STEP = SimpleNamespace(
    step=1, loss=0.25, held_out=None, fraction=0.5, seconds_left=3.0,
    checkpoint=None,
)  # fmt: skip


class FakeWorkers:
    def __init__(self):
        self.requests, self.events, self.result = [], [STEP], result(improved=True)
        self.segmented = []

    def fine_tune(self, request, token):
        self.requests.append(request)
        yield from self.events
        if token.cancelled:
            raise Cancelled
        return self.result

    def resume(self, request, token):
        self.stopped = token.stopped
        return (yield from self.fine_tune(request, token))

    def segment(self, request, token):
        self.segmented.append(request)
        yield from ()


class Bench(Headless):
    def __init__(self):
        super().__init__(FakeWorkers())
        self.view.fine_tune.minutes = 2.0
        self.app.review.choose_area("slice")
        self.log = []
        self.app.state.history.connect(self._logged)

    def _logged(self, entry):
        self.log.append(entry["event"])

    def painted(self):
        """Add labels with one object."""
        binding = self.app.layers.make_binding(self.image)
        binding.layer.data[5:15, 5:15] = 1
        return binding


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.app.shut_down()


def test_a_better_model_is_a_version_in_use_and_proposes_again(bench):
    binding = bench.painted()
    whole = tuple(slice(0, n) for n in SHAPE)
    binding.apply((), whole, whole, binding.plane(()).copy(), "instances")
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    (request,) = bench.workers.requests
    assert isinstance(request, FineTuneRequest)
    assert request.seconds == 120
    assert request.corrections[0].verified.all()
    assert bench.state.versions.current.title == "1: learned from 4 objects, score 0.80"
    assert bench.state.chosen.scale == 1.5
    assert (
        "0.60 before, 0.80 after (better"
        in (bench.view.fine_tune.set_result_text.call_args.args[0])
    )
    assert bench.log == ["begin", "step", "end"]
    assert len(bench.workers.segmented) == 0
    bench.step()
    assert len(bench.workers.segmented) == 1
    assert bench.workers.segmented[0].model is bench.state.model


def test_a_model_that_is_no_better_is_not_used(bench):
    bench.painted()
    bench.workers.result = result(improved=False)
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    assert bench.state.versions.current.key == STARTER
    assert "not better" in bench.view.fine_tune.set_result_text.call_args.args[0]
    assert bench.view.set_message.call_args.args == ("The old one stays.", "warning")
    assert bench.app.jobs.current is None


def test_go_back_uses_the_version_before(bench):
    bench.painted()
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    if bench.app.jobs.current is not None:
        bench.app.jobs.abandon()
    bench.app.versions.go_back()
    assert bench.state.versions.current.key == STARTER
    # The score is not the starter's.
    assert bench.view.fine_tune.set_result_text.call_args.args == ("",)


def test_the_image_may_go_while_it_learns(bench):
    labels = bench.painted().layer
    before = labels.data.copy()
    bench.app.fine_tune.fine_tune()
    bench.step()
    bench.viewer.layers.remove(bench.image)
    bench.step()
    assert bench.state.versions.current.key == "better"
    assert np.array_equal(labels.data, before)
    assert bench.workers.segmented == []


def test_cancel_leaves_everything_and_offers_nothing(bench):
    labels = bench.painted().layer
    before, over = labels.data.copy(), []
    bench.state.training_over.connect(lambda: over.append(1))
    bench.app.fine_tune.fine_tune()
    bench.step()
    bench.app.status.cancel()
    bench.step()
    assert bench.message == "Cancelled; your labels are as they were."
    assert bench.state.versions.current.key == STARTER
    assert over == [1]
    assert np.array_equal(labels.data, before)


def test_labels_that_cannot_be_learned_from_are_refused_in_a_sentence(bench):
    bench.painted().layer.data[20, 20] = -1
    bench.app.fine_tune.fine_tune()
    assert bench.app.jobs.current is None
    assert "negative numbers" in bench.message


def test_it_starts_by_itself_once_however_often_an_area_is_verified(bench):
    labels = bench.painted().layer
    before = labels.data.copy()
    bench.app.review.mark_verified()
    bench.timers.fire()
    assert bench.workers.requests == []  # it is switched off
    bench.app.fine_tune.switch_auto(True)
    for _ in range(3):
        bench.app.review.mark_verified()
        bench.timers.fire()
    bench.step()
    assert bench.app.jobs.kind == "fine-tune"
    assert len(bench.workers.requests) == 1
    bench.workers.result = result(improved=False)
    bench.step()
    bench.timers.fire()  # the wish that waited
    bench.step(2)
    bench.timers.fire()
    assert len(bench.workers.requests) == 2
    assert bench.app.jobs.current is None
    assert np.array_equal(labels.data, before)


def test_a_wish_that_waits_ends_with_the_dock(bench):
    bench.painted()
    bench.app.fine_tune.switch_auto(True)
    bench.app.review.mark_verified()
    bench.app.shut_down()
    bench.timers.fire()
    assert bench.app.jobs.current is None
    assert bench.workers.requests == []


@pytest.fixture
def interrupted(bench, tmp_path):
    record = CheckpointRecord(base=0, image="", steps=20, share=0.4, score=0.5)
    bench.state.folder = tmp_path
    bench.state.interrupted = Interrupted(record, bench.state.image_key)
    bench.painted()
    bench.state.changed.emit()
    return bench


def offer(bench):
    return bench.view.fine_tune.interrupted.set_text.call_args.args[0]


@pytest.mark.parametrize("stopped", [False, True])
def test_an_interrupted_one_is_resumed_or_ended_with_its_best(interrupted, stopped):
    bench = interrupted
    assert "40%" in offer(bench)
    (bench.app.fine_tune.keep_best if stopped else bench.app.fine_tune.resume)()
    assert offer(bench) == ""
    bench.step(2)
    (request,) = bench.workers.requests
    assert isinstance(request, ResumeRequest)
    assert request.record.steps == 20
    assert bench.workers.stopped is stopped
    assert bench.log == ["go on", "step", "end"]
    assert offer(bench) == ""


def test_it_is_discarded(interrupted):
    over = []
    interrupted.state.training_over.connect(lambda: over.append(1))
    interrupted.app.fine_tune.discard()
    assert over == [1]  # its files are removed
    assert offer(interrupted) == ""
    assert interrupted.state.interrupted is None
    assert interrupted.message == "The interrupted fine-tuning was discarded."
    assert interrupted.workers.requests == []
    assert len(interrupted.state.versions.all()) == 1


def test_without_its_model_it_cannot_be_resumed(interrupted):
    found = interrupted.state.interrupted
    gone = found.record.model_copy(update={"base": 7})
    interrupted.state.interrupted = replace(found, record=gone)
    interrupted.app.fine_tune.resume()
    assert "was deleted" in interrupted.message
    assert interrupted.workers.requests == []
    assert "40%" in offer(interrupted)
