"""Long work in the background: typed jobs, one at a time; late results are dropped.

A job is a generator of events that returns a result. It gets plain data, and must not touch
layers or widgets; its callbacks run on the main thread. Threads are in `qt_backend`; tests
use a synchronous backend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from psygnal import Signal

from napari_resunet.errors import Cancelled, ResunetError
from napari_resunet.events import CancelToken, Notice, Progress, ignore

log = logging.getLogger(__name__)
UNEXPECTED = "Unexpected error. Your labels are as they were; the log has the details."

JobKind = Literal[
    "segment", "fine-tune", "load", "compare", "next", "labels", "redraw", "session",
    "preview", "measure", "open", "record", "propose all", "export all", "picture",
    "ahead", "tracks", "whole",
]  # fmt: skip
E = TypeVar("E")
R = TypeVar("R")
Steps = Callable[[CancelToken], Generator[E | Progress | Notice, None, R]]


@dataclass(frozen=True, eq=False)
class Job(Generic[E, R]):
    """A piece of long work, and its callbacks.

    Attributes
    ----------
    kind : str
        Determines which buttons are disabled while it runs.
    steps : callable
        Makes the generator; called in the worker thread.
    on_result : callable
        Called with the result after the job has ended, so it can start the next job.
    on_event : callable
        Called with each event except progress and notices.
    on_error : callable
        Called with the message after it was shown; the message is empty if cancelled.
    image_key : str or None
        Key of its image.
    """

    kind: JobKind
    steps: Steps[E, R]
    on_result: Callable[[R], None]
    on_event: Callable[[E], None] = ignore
    on_error: Callable[[str], None] = ignore
    image_key: str | None = None


class Listener(Protocol):
    """Receives what a running generator does, on the main thread."""

    def yielded(self, event: Any) -> None:
        """Handle an event."""

    def returned(self, result: Any) -> None:
        """Handle the result."""

    def errored(self, error: BaseException) -> None:
        """Handle a failure."""


class Running(Protocol):
    """A generator that runs in the background."""

    def quit(self) -> None:
        """End it at its next step."""


class Backend(Protocol):
    """Runs generators: in threads, or synchronously in tests."""

    def run(
        self, steps: Callable[[], Generator[Any, None, Any]], listener: Listener
    ) -> Running:
        """Start a generator."""


class JobRunner:
    """Runs one job at a time.

    Each job has a number: this class alone drops the events and results of old numbers.
    """

    changed = Signal()
    """A job started or ended."""
    progress = Signal(object, Progress)
    """The job and its progress."""
    notice = Signal(str)
    """A sentence that the user should read; the job continues."""
    failed = Signal(str)
    """Why the job failed, in one sentence; empty if it was cancelled."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.generation = 0
        self.current: Job[Any, Any] | None = None
        self._token = CancelToken()
        self._running: Running | None = None

    @property
    def kind(self) -> JobKind | None:
        """Kind of the running job."""
        return None if self.current is None else self.current.kind

    def start(self, job: Job[Any, Any], stopped: bool = False) -> None:
        """Start a job; if `stopped`, it ends at once with its best result so far."""
        self.generation += 1
        self.current, self._token = job, CancelToken()
        if stopped:
            self._token.stop()
        self.changed.emit()
        listener = _Numbered(self, job, self.generation)
        token = self._token
        running = self._backend.run(lambda: job.steps(token), listener)
        if self.current is job:  # with a synchronous backend, it has already ended
            self._running = running

    def cancel(self) -> None:
        """Ask the running job to end, and discard its result."""
        self._token.cancel()

    def stop(self) -> None:
        """Ask the running job to end with its best result so far."""
        self._token.stop()

    def abandon(self) -> None:
        """End the running job, and drop everything that still arrives from it."""
        self._token.cancel()
        running = self._running
        self._end()
        if running is not None:
            running.quit()

    def handle(self, job: Job[Any, Any], event: Any) -> None:
        """Pass on an event of the running job."""
        if isinstance(event, Progress):
            self.progress.emit(job, event)
        elif isinstance(event, Notice):
            self.notice.emit(event.message)
        else:
            job.on_event(event)

    def finish(self, job: Job[Any, Any], result: Any) -> None:
        """Pass on the result, after making room for the next job."""
        self._end()
        job.on_result(result)

    def fail(self, job: Job[Any, Any], error: BaseException) -> None:
        """Report a failure in one sentence, after making room for the next job."""
        sentence = ""
        if not isinstance(error, Cancelled):
            log.error("A background job failed", exc_info=error)
            sentence = str(error) if isinstance(error, ResunetError) else UNEXPECTED
        self._end()
        self.failed.emit(sentence)
        job.on_error(sentence)

    def _end(self) -> None:
        self.generation += 1
        self.current = self._running = None
        self.changed.emit()


class _Numbered:
    """Listens to one job as long as it is the current one."""

    def __init__(self, runner: JobRunner, job: Job[Any, Any], generation: int) -> None:
        self._runner, self._job, self._generation = runner, job, generation

    @property
    def _is_current(self) -> bool:
        return self._runner.generation == self._generation

    def yielded(self, event: Any) -> None:
        if self._is_current:
            self._runner.handle(self._job, event)

    def returned(self, result: Any) -> None:
        if self._is_current:
            self._runner.finish(self._job, result)

    def errored(self, error: BaseException) -> None:
        if self._is_current:
            self._runner.fail(self._job, error)
