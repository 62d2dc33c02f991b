"""Segment without a thread, a window or the network: what each request and result does."""

import numpy as np
import pytest
from harness import SHAPE, Headless

from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.errors import Cancelled
from napari_resunet.events import Notice, Progress
from napari_resunet.plugin.controllers.segment import MIDDLE_FIRST
from napari_resunet.plugin.layers.labels import LOCKED
from napari_resunet.plugin.layers.targets import camera_of
from napari_resunet.plugin.messages import NO_IMAGE
from napari_resunet.session.segmenter import Proposal, SizeFound
from napari_resunet.types import ModelInfo

WHOLE = (slice(0, 40), slice(0, 50))


def proposal(top=5, shape=SHAPE):
    labels = np.zeros(shape, np.int32)
    labels[top : top + 10, 5:15] = 1
    maps = PredictionMaps(np.zeros((3, *shape), np.float16), (), ModelInfo())
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    return Proposal((), whole, whole, labels, maps, 1.0)


class FakeWorkers:
    """Answers requests at once with what the test put in."""

    def __init__(self):
        self.requests, self.events, self.forgotten = [], [], []

    def segment(self, request, token):
        self.requests.append(request)
        for event in self.events:
            if token.cancelled:
                raise Cancelled
            yield event

    def decode(self, request, token):
        self.requests.append(request)
        yield Progress(0, 1)
        if not token.cancelled:
            yield [proposal(top=25)]

    def forget(self, key):
        self.forgotten.append(key)


class Bench(Headless):
    def __init__(self):
        super().__init__(FakeWorkers())
        self.app.segment.choose_scope("slice")

    def segment(self, *events):
        self.workers.events = events
        self.app.segment.segment()
        self.step(len(events) + 1)


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.app.shut_down()


@pytest.fixture
def busy(bench):
    """A segmentation that has begun and has not proposed anything yet."""
    bench.workers.events = [Progress(0, 1), proposal()]
    bench.app.segment.segment()
    bench.step()
    return bench


def test_a_proposal_becomes_labels_and_says_what_to_do(bench):
    bench.segment(Progress(1, 2), SizeFound(2.0), proposal())
    assert bench.labels.layer.data[10, 10] == 1
    assert bench.message == ""
    assert bench.app.state.chosen.scale == 2.0
    assert bench.app.state.chosen.has_maps
    (request,) = bench.workers.requests
    assert request.model == "starter"
    assert [t.window for t in request.targets] == [WHOLE]


def test_progress_and_notices_are_shown(bench):
    bench.segment(Progress(1, 2, "tiles"), Notice("No GPU memory."))
    show = bench.view.status.show_progress
    assert any(c.args[:2] == (1, 2) and "tiles" in c.args[2] for c in show.call_args_list)
    assert show.call_args.args[:2] == (None, None)
    assert ("No GPU memory.", "warning") in [
        c.args for c in bench.view.set_message.call_args_list
    ]


def test_an_image_that_goes_takes_its_segmentation_along(busy):
    labels = busy.labels.layer
    busy.viewer.layers.remove(busy.image)
    assert "The image was removed" in busy.message
    assert busy.reason("segment") == NO_IMAGE
    assert busy.app.jobs.current is None
    before = list(busy.viewer.layers)
    busy.step(2)
    assert list(busy.viewer.layers) == before
    assert not labels.data.any()


def test_labels_that_go_take_the_job_along_and_segment_makes_new_ones(busy):
    labels = busy.labels.layer
    busy.viewer.layers.remove(labels)
    assert "The labels were removed" in busy.message
    assert busy.app.jobs.current is None
    busy.step(2)
    assert list(busy.viewer.layers) == [busy.image]
    busy.segment(proposal())
    assert busy.labels.layer is not labels
    assert busy.labels.layer.data[10, 10] == 1


def test_renaming_the_image_changes_nothing(busy):
    busy.image.name = "other"
    busy.step(2)
    assert busy.labels.layer.data[10, 10] == 1
    assert busy.app.layers.images()[0][1] == "other"
    assert busy.message == ""


@pytest.mark.parametrize("shape", [SHAPE, (30, 20)])
def test_other_pixels_make_the_result_stale(busy, shape):
    labels = busy.labels.layer
    busy.image.data = np.ones(shape)
    assert "The image was changed" in busy.message
    assert busy.app.jobs.current is None
    busy.step(2)
    assert not labels.data.any()
    busy.segment(proposal(shape=shape))
    assert busy.labels.layer.data.shape == shape
    assert busy.labels.layer.data[10, 10] == 1


def test_cancel_leaves_the_labels_as_they_were(busy):
    busy.app.status.cancel()
    assert busy.message == "Cancelling …"
    busy.step()
    assert not busy.labels.layer.data.any()
    assert busy.message == "Cancelled. Your labels stay as they are."
    assert busy.reason("segment") == ""
    assert busy.app.jobs.current is None


def test_what_is_there_stays_when_the_rest_is_cancelled(bench):
    part = Proposal(
        (), (slice(0, 20), slice(0, 50)), WHOLE, proposal().labels, proposal().maps, 1.0
    )
    bench.workers.events = [part, Progress(1, 2, "part 2 of 2"), proposal(top=25)]
    bench.app.segment.segment()
    bench.step()
    assert bench.message == MIDDLE_FIRST
    bench.app.status.cancel()
    bench.step(2)
    assert bench.labels.layer.data[10, 10] == 1
    assert not bench.labels.layer.data[25:].any()


def test_another_version_drops_what_runs(busy):
    busy.app.versions.choose("starter")
    assert "is in use now: click Segment" in busy.message
    assert busy.app.jobs.current is None
    busy.step(2)
    assert not busy.labels.layer.data.any()


def test_another_object_size_drops_what_runs_and_what_was_found(bench):
    bench.segment(proposal())
    bench.app.segment.segment()
    bench.app.image.set_object_size(12)
    assert bench.app.jobs.current is None
    assert not bench.app.state.chosen.has_maps
    assert "click Segment again" in bench.message
    assert bench.app.state.chosen.scale == pytest.approx(2.0)


def test_locked_labels_are_not_segmented(bench):
    bench.segment(proposal())
    bench.labels.layer.editable = False
    bench.app.segment.segment()
    assert bench.message == LOCKED
    assert bench.app.jobs.current is None


def test_other_pixels_are_measured_again(bench):
    bench.segment(proposal())
    bench.image.data = np.ones(SHAPE)
    assert bench.workers.forgotten == [bench.app.state.image_key]
    assert not bench.app.state.chosen.has_maps


def test_a_moving_slider_waits_with_one_request_at_most(bench):
    bench.segment(proposal())
    for value in (0.6, 0.7, 0.8):
        bench.app.segment.move_foreground(value)
    first = bench.backend.running[-1]
    assert bench.workers.requests[1:] == []  # it starts with its first step
    first.step()
    first.step()  # cancelled: it ends, and its end starts the next
    assert bench.backend.running[-1] is not first
    bench.step(2)
    assert [r.decoding.foreground for r in bench.workers.requests[1:]] == [0.6, 0.8]
    labels = bench.labels.layer.data
    assert (labels[10, 10], labels[30, 10] > 0) == (0, True)


def test_objects_are_counted_again_after_a_slider_has_moved(bench, monkeypatch):
    bench.segment(proposal())
    assert bench.state.counts.found == (1,)
    two = proposal()
    two.labels[25:35, 5:15] = 2
    monkeypatch.setattr(bench.workers, "decode", lambda request, token: iter([[two]]))
    bench.app.segment.move_foreground(0.6)
    bench.step(2)
    assert bench.state.counts.found == (2,)


def test_what_a_slider_decoded_together_is_drawn_once(bench):
    bench.segment(proposal())
    drawn = []
    bench.labels.layer.events.data.connect(lambda event: drawn.append(event))
    bench.labels.write_proposals([proposal(top=2), proposal(top=25)])
    assert len(drawn) == 1
    assert bench.labels.layer.data[30, 10] > 0


def test_going_back_to_a_version_proposes_again_where_there_were_proposals(bench):
    bench.segment(proposal())
    bench.app.state.renew.emit(bench.app.state.image_key, "Gone back.")
    bench.step(2)
    assert len(bench.workers.requests) == 2
    assert bench.message == "Gone back."


def test_after_learning_what_was_only_drawn_the_visible_area_is_proposed(bench):
    binding = bench.app.layers.make_binding(bench.image)
    bench.state.renew.emit(bench.state.image_key, "Gone back.")
    assert not bench.backend.running  # nothing was proposed, and nothing is learned
    region = np.zeros(SHAPE, bool)
    region[:10] = True
    binding.plane(())[3:6, 3:6] = 1
    binding.verify((), region)
    bench.workers.events = [proposal(top=20)]
    bench.state.renew.emit(bench.state.image_key, "Learned.")
    bench.step(2)
    (request,) = bench.workers.requests
    assert [target.index for target in request.targets] == [()]
    assert bench.labels.layer.data[22, 8] > 0
    assert bench.labels.layer.data[4, 4] == 1
    assert bench.message.startswith("Learned.")


def test_another_image_in_the_dock_does_not_end_a_segmentation(bench):
    bench.app.segment.segment()
    key = bench.state.image_key
    bench.viewer.add_image(np.zeros(SHAPE), name="other")
    assert bench.state.image_key != key
    bench.app.image.set_object_size(9)
    assert bench.app.jobs.current.image_key == key
    bench.state.choose(key)
    bench.app.image.set_object_size(9)
    assert bench.app.jobs.current is None


def test_a_long_time_is_shown_before_segment_starts(bench):
    def shown():
        return bench.view.segment.set_segment_time.call_args.args[0]

    assert shown() == ""  # the speed is not known yet
    bench.state.speed = SHAPE[0] * SHAPE[1] / 120
    bench.state.changed.emit()
    assert shown() == "about 2 min"
    bench.state.image(bench.state.image_key).scale = 0.5
    bench.state.changed.emit()
    assert shown() == ""  # a quarter of the pixels: 30 s
    bench.state.image(bench.state.image_key).scale = 2.0
    bench.state.changed.emit()
    assert shown() == "about 8 min"
    bench.app.segment.choose_device("cpu")  # another device has another speed
    bench.state.changed.emit()
    assert shown() == ""


def test_the_time_follows_the_camera_when_the_visible_area_is_segmented(bench):
    def shown():
        return bench.view.segment.set_segment_time.call_args.args[0]

    bench.app.segment.choose_scope("visible")
    bench.state.speed = SHAPE[0] * SHAPE[1] / 120
    bench.viewer.canvas.size = (400, 500)
    camera_of(bench.viewer).center = (0, 20, 25)
    camera_of(bench.viewer).zoom = 10
    bench.timers.fire()
    assert shown() == "about 2 min"
    camera_of(bench.viewer).zoom = 16
    bench.timers.fire()
    assert shown() == "about 50 s"
