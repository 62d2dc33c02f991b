"""One job at a time; what arrives late is dropped; every end is heard once."""

import pytest
from synchronous import SteppedBackend, SyncBackend

from napari_resunet.errors import Cancelled, ImageError
from napari_resunet.events import Notice, Progress
from napari_resunet.plugin.jobs import UNEXPECTED, Job, JobRunner


class Heard:
    """Whatever a job and its runner say."""

    def __init__(self, backend):
        self.runner, self.said = JobRunner(backend), []
        self.runner.progress.connect(self._progress)
        self.runner.notice.connect(self._notice)
        self.runner.failed.connect(self._failed)

    def _progress(self, job, progress):
        self.said.append(("progress", progress.done))

    def _notice(self, sentence):
        self.said.append(("notice", sentence))

    def _failed(self, sentence):
        self.said.append(("failed", sentence))

    def job(self, steps, kind="segment"):
        return Job(
            kind,
            steps,
            lambda result: self.said.append(("result", result)),
            lambda event: self.said.append(("event", event)),
            lambda sentence: self.said.append(("error", sentence)),
        )


def count(token):
    yield Progress(1, 2)
    yield Notice("careful")
    yield "an event"
    return 7


def test_events_and_the_result_reach_who_asked():
    heard = Heard(SyncBackend())
    heard.runner.start(heard.job(count))
    assert heard.said == [
        ("progress", 1), ("notice", "careful"), ("event", "an event"), ("result", 7),
    ]  # fmt: skip
    assert heard.runner.current is None


def test_an_abandoned_job_is_heard_of_no_more():
    backend = SteppedBackend()
    heard = Heard(backend)
    heard.runner.start(heard.job(count))
    backend.running[0].step()
    heard.runner.abandon()
    assert backend.running[0].quitted
    for _ in range(3):
        backend.running[0].step()
    assert heard.said == [("progress", 1)]


def test_late_events_of_an_old_job_do_not_reach_the_next():
    backend = SteppedBackend()
    heard = Heard(backend)
    heard.runner.start(heard.job(count))
    heard.runner.abandon()
    heard.runner.start(heard.job(count, "load"))
    backend.running[0].step()
    assert heard.said == []
    assert heard.runner.kind == "load"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ImageError("No pixels."), "No pixels."),
        (ValueError("x"), UNEXPECTED),
        (Cancelled(), ""),
    ],
)
def test_an_error_is_one_sentence_and_makes_room(error, sentence):
    def fail(token):
        yield Progress(0, 1)
        raise error

    heard = Heard(SyncBackend())
    heard.runner.start(heard.job(fail))
    assert heard.said[1:] == [("failed", sentence), ("error", sentence)]
    assert heard.runner.current is None


def test_a_result_can_start_the_next_job():
    heard, began = Heard(SyncBackend()), []
    heard.runner.changed.connect(lambda: began.append(heard.runner.kind))
    second = heard.job(count, "load")
    first = Job("segment", count, lambda result: heard.runner.start(second))
    heard.runner.start(first)
    assert began == ["segment", None, "load", None]


def test_cancel_and_stop_are_wishes_that_the_work_looks_at():
    backend, tokens = SteppedBackend(), []

    def steps(token):
        tokens.append(token)
        yield Progress(0, 1)

    heard = Heard(backend)
    heard.runner.start(heard.job(steps))
    backend.running[0].step()
    heard.runner.stop()
    assert (tokens[0].stopped, tokens[0].cancelled) == (True, False)
    heard.runner.cancel()
    assert tokens[0].cancelled
    heard.runner.abandon()
    heard.runner.start(heard.job(steps), stopped=True)
    backend.running[1].step()
    assert tokens[1].stopped
