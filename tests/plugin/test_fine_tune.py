"""Fine-tune without a thread or a window: versions, offers, one wish at a time."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from harness import CLOSE, NEW, OLD, SHAPE, Headless

from napari_resunet._package import STARTER
from napari_resunet.corrections.training_set import Correction, CorrectionLog
from napari_resunet.engine.differences import compare
from napari_resunet.engine.outcome import IN_USE, HeldOutScore
from napari_resunet.errors import Cancelled
from napari_resunet.plugin.layers import targets
from napari_resunet.plugin.messages import interrupted_text
from napari_resunet.plugin.state import Interrupted
from napari_resunet.session.store.models import CheckpointRecord
from napari_resunet.session.workers import Comparison, FineTuneRequest, ResumeRequest
from napari_resunet.types import Lineage, ModelInfo, ObjectSize


def model(name):
    info = ModelInfo(lineage=Lineage(model_id=name, steps=3), object_size=ObjectSize(16.0))
    return SimpleNamespace(info=info, notice="")


def result(outcome="better"):
    improved, new = outcome in IN_USE, model("better")
    after = {"better": NEW, "too close": CLOSE, "worse": BAD}[outcome]
    return SimpleNamespace(
        model=new if improved else OLD_MODEL, outcome=outcome, improved=improved,
        candidate=new if outcome == "too close" else None, before=OLD, after=after,
        summary=f"It is {outcome}.", n_objects=4, n_regions=1, n_images=1, steps=3,
        elsewhere=None, seconds=None, too_short="",
    )  # fmt: skip


OLD_MODEL = model("old")
BAD = HeldOutScore(0.1, 0.9, 1, 14)
STEP = SimpleNamespace(
    step=1, loss=0.25, held_out=NEW, fraction=0.5, seconds_left=3.0,
    checkpoint=None, before=OLD,
)  # fmt: skip


class FakeWorkers:
    def __init__(self):
        self.requests, self.events, self.result = [], [STEP], result()
        self.segmented, self.compared = [], []
        self.corrections = CorrectionLog()

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

    def compare(self, request, token):
        self.compared.append(request)
        yield from ()
        window = request.target.window
        labels = np.zeros([s.stop - s.start for s in window], np.int32)
        return Comparison(request.target, compare(labels, labels, {"instances"}, None))


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

    def verified(self):
        """Add labels with one object, and mark the slice as verified."""
        binding = self.painted()
        self.app.review.mark_verified()
        return binding

    def learn(self, outcome="better"):
        """Fine-tune to its end, with this outcome."""
        self.workers.result = result(outcome)
        self.app.fine_tune.fine_tune()
        self.step(2)

    def requests_after(self, n):
        """Let it run for some steps; return what the workers were asked for."""
        self.step(n)
        return self.workers.requests

    @property
    def result_text(self):
        return self.view.fine_tune.set_result_text.call_args.args[0]

    @property
    def data_text(self):
        self.timers.fire()
        return self.view.fine_tune.set_data_text.call_args.args[0]

    @property
    def offer(self):
        """The choice between two versions that is shown."""
        return self.view.fine_tune.candidate.set_text.call_args.args[0]


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.app.shut_down()


def test_a_better_model_is_a_version_in_use_and_proposes_again(bench):
    binding = bench.painted()
    whole = tuple(slice(0, n) for n in SHAPE)
    binding.apply((), whole, whole, binding.plane(()).copy(), "instances")
    bench.app.review.mark_verified()
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    (request,) = bench.workers.requests
    assert isinstance(request, FineTuneRequest)
    assert request.seconds == 120
    assert request.others is None  # there is only this image
    assert request.images[0].corrections[0].verified.all()
    title = "1: learned from 4 objects, finds 12 of 14"
    assert bench.state.versions.current.title == title
    words = "Finds 12 of the 14 held-out objects right (before: 7)."
    assert bench.result_text == words
    assert bench.log == ["begin", "before", "step", "end"]
    plot = bench.view.fine_tune.plot
    plot.set_before.assert_called_once_with(7, 14)
    plot.add.assert_called_once_with(1, 0.25, 12)
    assert bench.offer == ""
    assert len(bench.workers.segmented) == 0
    bench.step()
    assert len(bench.workers.segmented) == 1
    assert bench.workers.segmented[0].model is bench.state.model
    assert bench.workers.segmented[0].scale == 24 / 16


def test_after_a_run_that_was_too_short_a_longer_one_is_offered(bench):
    bench.verified()
    bench.workers.result = short = result()
    short.steps, short.seconds, short.too_short = 5, 60.0, "Give it 6 minutes."
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    offers = bench.view.fine_tune.longer
    assert offers.set_text.call_args.args == ("Give it 6 minutes.",)
    assert bench.message == "Give it 6 minutes."
    bench.app.jobs.abandon()
    bench.view.fine_tune.longer.longer_clicked.emit()
    assert offers.set_text.call_args.args == ("",)
    bench.step()
    assert [request.seconds for request in bench.workers.requests] == [120.0, 360.0]
    assert bench.view.fine_tune.minutes == 6


def test_a_model_that_is_no_better_is_not_used(bench):
    bench.verified()
    bench.learn("worse")
    assert bench.state.versions.current.key == STARTER
    assert len(bench.state.versions.all()) == 1
    assert bench.result_text.startswith(
        "Not better, so the old model stays: before 7 of 14"
    )
    assert bench.view.set_message.call_args.args == ("It is worse.", "warning")
    assert bench.offer == ""
    assert bench.app.jobs.current is None


# What is learned from -----------------------------------------------------------------


def propose(binding):
    """Propose two objects on the whole slice."""
    labels = np.zeros(SHAPE, np.int32)
    labels[2:8, 2:8], labels[30:38, 40:48] = 1, 2
    whole = tuple(slice(0, n) for n in SHAPE)
    binding.apply((), whole, whole, labels, "instances")


@pytest.mark.parametrize("answer", [None, "draw"])
def test_fine_tune_verifies_nothing_by_itself(bench, answer):
    binding = bench.app.layers.make_binding(bench.image)
    propose(binding)
    ask = bench.view.fine_tune.ask_what_is_right
    ask.return_value = answer
    bench.app.fine_tune.fine_tune()
    ask.assert_called_once_with("You have not edited anything in this image yet.")
    assert not binding.review.verified_planes()
    assert bench.app.jobs.current is None
    assert bench.workers.requests == []


def test_everything_in_view_is_right(bench):
    binding = bench.painted()
    propose(binding)
    bench.view.fine_tune.ask_what_is_right.return_value = "view"
    bench.app.fine_tune.fine_tune()
    bench.view.fine_tune.ask_what_is_right.assert_called_once_with(
        ""
    )  # something is edited
    (request,) = bench.requests_after(1)
    seen = targets.seen(bench.image, bench.viewer)
    assert np.array_equal(binding.review.plane(()).verified, seen)
    assert request.images[0].corrections[0].n_objects == 3


def test_only_what_was_edited_and_its_surroundings(bench):
    binding = bench.painted()
    propose(binding)
    binding.layer.data[12:20, 12:20] = 9  # a new object
    bench.state.chosen.scale = 4.0  # an object has 6 pixels
    bench.view.fine_tune.ask_what_is_right.return_value = "edited"
    bench.app.fine_tune.fine_tune()
    bench.requests_after(1)
    verified = binding.review.plane(()).verified
    rows, columns = np.nonzero(verified)
    assert (rows.min(), columns.min()) == (0, 0)  # the first object, from 5 on
    assert (rows.max(), columns.max()) == (25, 25)  # the new one, to 19
    assert verified[:21, :21].all()
    assert not verified[30:].any()  # what was only proposed


def test_what_is_verified_is_learned_from_without_a_question(bench):
    binding = bench.painted()
    propose(binding)
    region = np.zeros(SHAPE, bool)
    region[:20, :25] = True
    binding.verify((), region)
    bench.app.fine_tune.fine_tune()
    bench.view.fine_tune.ask_what_is_right.assert_not_called()
    (request,) = bench.requests_after(1)
    assert request.images[0].corrections[0].verified.sum() == 500
    assert np.array_equal(binding.review.plane(()).verified, region)


def test_without_labels_there_is_no_question(bench):
    bench.app.fine_tune.fine_tune()
    bench.app.layers.make_binding(bench.image)
    bench.app.fine_tune.fine_tune()
    bench.view.fine_tune.ask_what_is_right.assert_not_called()
    assert "nothing there to learn from" in bench.message


def test_the_dock_tells_what_will_be_learned_from(bench):
    binding = bench.painted()
    propose(binding)
    assert bench.data_text.startswith("Nothing is marked as verified yet")
    region = np.zeros(SHAPE, bool)
    region[:16, :16] = region[28:, 38:] = True
    binding.verify((), region)
    bench.state.changed.emit()
    assert bench.data_text == (
        "Will learn from 3 objects in 2 areas on 1 image, 1 of them edited by you."
    )
    binding.layer.fill((33, 43), 0)
    assert "2 objects in 2 areas on 1 image" in bench.data_text


def test_what_was_learned_from_other_images_counts(bench):
    other = np.ones((30, 30), bool)
    labels = np.zeros((30, 30), np.int32)
    labels[3:9, 3:9] = 4
    window = slice(0, 30), slice(0, 30)
    correction = Correction("other", (), window, labels, other, labels > 0)
    bench.app.workers.corrections.restore(correction, None)
    bench.verified()
    assert bench.data_text == (
        "Will learn from 2 objects in 2 areas on 2 images, 2 of them edited by you."
    )


def verified_on_two(bench):
    """Verify the slices of two images of other sizes, channels, and object sizes."""
    bench.verified()
    bench.state.chosen.auto, bench.state.chosen.scale = False, 2.0
    wide = bench.viewer.add_image(np.zeros((2, 60, 70)), axis_labels=("c", "y", "x"))
    bench.state.choose(str(wide.unique_id))
    bench.state.chosen.choose_channels((1,))
    bench.app.layers.make_binding(wide).layer.data[20:40, 20:40] = 3
    bench.app.review.mark_verified()


def test_it_learns_from_every_image_with_verified_areas(bench):
    verified_on_two(bench)
    assert bench.data_text == (
        "Will learn from 2 objects in 2 areas on 2 images, 2 of them edited by you."
    )
    bench.app.fine_tune.fine_tune()
    (request,) = bench.requests_after(1)
    assert [x.image.channels for x in request.images] == [None, (1,)]
    assert [x.scale for x in request.images] == [2.0, None]
    assert [x.auto_scale for x in request.images] == [False, True]
    shapes = [x.corrections[0].labels.shape for x in request.images]
    assert shapes == [SHAPE, (60, 70)]


def test_what_is_verified_on_another_image_needs_no_question(bench):
    bench.verified()
    another = bench.viewer.add_image(np.ones(SHAPE), name="another")
    bench.state.choose(str(another.unique_id))
    bench.app.fine_tune.fine_tune()
    bench.view.fine_tune.ask_what_is_right.assert_not_called()
    (request,) = bench.requests_after(1)
    assert len(request.images) == 1


def test_after_the_image_was_removed_the_new_model_proposes_the_shown_one(bench):
    bench.verified()
    bench.app.fine_tune.fine_tune()
    bench.step()
    another = bench.viewer.add_image(np.ones(SHAPE), name="another")
    bench.viewer.layers.remove(bench.image)
    bench.app.layers.make_binding(another)
    bench.app.segment.segment = None  # only `renew` may ask for it
    bench.state.chosen.cache(proposal_of(SHAPE))
    bench.step()
    bench.step()
    assert [r.image.image_id for r in bench.workers.segmented] == [str(another.unique_id)]


def proposal_of(shape):
    """Make a stand-in for a proposal of a whole plane."""
    whole = tuple(slice(0, n) for n in shape)
    maps = SimpleNamespace(maps=np.zeros((3, 1, 1)))
    return SimpleNamespace(index=(), roi=whole, maps=maps, diameter=None)


def test_after_segment_nobody_is_asked_to_learn_from_guesses(bench):
    bench.painted()
    bench.app.segment.segment()
    bench.step()
    hint = bench.view.status.set_hint.call_args.args[0]
    assert "Mark as verified" in hint
    assert "Fine-tune" not in hint + bench.message


def test_what_was_verified_on_images_that_are_not_open_is_enough(bench):
    bench.painted()
    labels, mask = np.ones(SHAPE, np.int32), np.ones(SHAPE, bool)
    whole = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    known = Correction("another image", (), whole, labels, mask, mask)
    bench.workers.corrections.restore(known, None)
    bench.app.fine_tune.fine_tune()
    bench.view.fine_tune.ask_what_is_right.assert_not_called()
    assert [request.images for request in bench.requests_after(1)] == [()]


# Too close to call --------------------------------------------------------------------


def test_what_is_too_close_to_call_is_shown_and_the_user_chooses(bench):
    bench.verified()
    bench.learn("too close")
    assert bench.offer == "Too close to call: before 7 of 14 right, now 6."
    words = "Too close to call: before 7 of 14 held-out objects right, now 6."
    assert bench.result_text == words
    assert bench.state.versions.current.key == STARTER
    assert bench.state.versions.candidate.title.startswith("1: candidate, learned from 4")
    assert "look at both" in bench.message
    assert bench.app.jobs.kind == "compare"
    bench.step()
    (request,) = bench.workers.compared
    assert request.models == (bench.state.versions.candidate.model, STARTER)
    names = [layer.name for layer in bench.viewer.layers]
    assert any(name.startswith("compare 1: candidate") for name in names)
    assert bench.view.fine_tune.candidate.show_comparison.call_args.args[0]
    assert len(bench.workers.segmented) == 0


def test_the_new_one_is_used(bench):
    bench.verified()
    bench.learn("too close")
    bench.step()
    edited = []
    bench.state.version_edited.connect(edited.append)
    bench.view.fine_tune.candidate.use_clicked.emit()
    assert bench.state.versions.current.key == "better"
    assert [record.candidate for record in edited] == [False]
    assert bench.offer == ""
    assert bench.result_text == "Finds 6 of the 14 held-out objects right (before: 7)."
    assert not any(layer.name.startswith("compare") for layer in bench.viewer.layers)
    assert bench.state.versions.previous().key == STARTER


def test_the_old_one_is_kept(bench):
    bench.verified()
    bench.learn("too close")
    bench.step()
    deleted = []
    bench.state.version_deleted.connect(deleted.append)
    bench.view.fine_tune.candidate.keep_clicked.emit()
    assert bench.state.versions.current.key == STARTER
    assert [v.key for v in bench.state.versions.all()] == [STARTER]
    assert [record.model_id for record in deleted] == ["better"]
    assert bench.offer == ""
    assert not any(layer.name.startswith("compare") for layer in bench.viewer.layers)


def test_both_are_shown_and_hidden_as_often_as_the_user_wants(bench):
    bench.verified()
    bench.learn("too close")
    bench.step()

    def is_compared():
        return any(layer.name.startswith("compare") for layer in bench.viewer.layers)

    click = bench.view.fine_tune.candidate.compare_clicked.emit
    assert is_compared()
    click()
    assert not is_compared()
    click()
    bench.step()
    assert is_compared()


def test_one_chosen_in_the_list_of_versions_is_no_candidate_any_more(bench):
    bench.verified()
    bench.learn("too close")
    bench.step()
    bench.app.versions.choose("better")
    assert bench.offer == ""
    assert bench.state.versions.current.title == "1: learned from 4 objects, finds 6 of 14"


@pytest.mark.parametrize(
    ("outcome", "left"), [("better", []), ("too close", ["newer"]), ("worse", ["better"])]
)
def test_the_next_fine_tuning_decides(bench, outcome, left):
    bench.verified()
    bench.app.fine_tune.switch_auto(True)
    bench.learn("too close")
    assert "next verified area" in bench.message
    assert bench.app.jobs.current is None  # nothing covers what the user corrects
    deleted = []
    bench.state.version_deleted.connect(deleted.append)
    bench.workers.result = after = result(outcome)
    newer = model("newer")
    after.model = newer if after.improved else OLD_MODEL
    after.candidate = newer if outcome == "too close" else None
    bench.app.review.mark_verified()
    bench.timers.fire()
    bench.step(2)
    assert bench.workers.requests[1].model == STARTER  # not the candidate
    versions = bench.state.versions
    assert [v.key for v in versions.all() if v.is_candidate] == left
    assert versions.current.key == ("newer" if outcome == "better" else STARTER)
    assert [r.model_id for r in deleted] == ([] if outcome == "worse" else ["better"])


def test_go_back_uses_the_version_before(bench):
    bench.verified()
    bench.app.fine_tune.fine_tune()
    bench.step(2)
    if bench.app.jobs.current is not None:
        bench.app.jobs.abandon()
    bench.app.versions.go_back()
    assert bench.state.versions.current.key == STARTER
    # The score is not the starter's.
    assert bench.view.fine_tune.set_result_text.call_args.args == ("",)


def test_the_image_may_go_while_it_learns(bench):
    labels = bench.verified().layer
    before = labels.data.copy()
    bench.app.fine_tune.fine_tune()
    bench.step()
    bench.viewer.layers.remove(bench.image)
    bench.step()
    assert bench.state.versions.current.key == "better"
    assert np.array_equal(labels.data, before)
    assert bench.workers.segmented == []


def test_cancel_leaves_everything_and_offers_nothing(bench):
    labels = bench.verified().layer
    before, over = labels.data.copy(), []
    bench.state.training_over.connect(lambda: over.append(1))
    bench.app.fine_tune.fine_tune()
    bench.step()
    bench.app.status.cancel()
    bench.step()
    assert bench.message == "Cancelled. Your labels stay as they are."
    assert bench.state.versions.current.key == STARTER
    assert over == [1]
    assert np.array_equal(labels.data, before)


def test_labels_that_cannot_be_learned_from_are_refused_in_a_sentence(bench):
    bench.verified().layer.data[20, 20] = -1
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
    bench.workers.result = result("worse")
    bench.step()
    bench.timers.fire()  # the wish that waited
    bench.step(2)
    bench.timers.fire()
    assert len(bench.workers.requests) == 2
    assert bench.app.jobs.current is None
    assert np.array_equal(labels.data, before)


def test_it_learns_from_the_image_that_was_verified_whatever_is_shown_by_then(bench):
    key = bench.painted().image_id
    bench.app.fine_tune.switch_auto(True)
    bench.app.review.mark_verified()
    bench.viewer.add_image(np.ones(SHAPE), name="another")
    assert bench.state.image_key != key
    bench.timers.fire()
    bench.step()
    (request,) = bench.workers.requests
    assert request.images[0].image.image_id == key


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


def test_an_interrupted_one_tells_what_its_best_finds():
    record = CheckpointRecord(base=0, share=0.4, score=0.5, right=9, held_out=14)
    text = "the best so far finds 9 of the 14 held-out objects right."
    assert interrupted_text(record).endswith(text)
    assert "score of 0.50" in interrupted_text(record.model_copy(update={"right": None}))


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
    assert bench.log == ["go on", "before", "step", "end"]
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
