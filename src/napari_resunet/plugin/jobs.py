"""Background work: one generator function in one of napari's worker threads.

The worker gets plain data and yields events; its signals arrive on the main thread.
What the events mean is the controller's matter.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any, Protocol

from napari.qt.threading import GeneratorWorker, create_worker

from napari_resunet.errors import Cancelled, ResunetError
from napari_resunet.types import CancelToken

log = logging.getLogger(__name__)
UNFORESEEN = "Unexpected error. Your labels are as they were; the log has the details."


class Listener(Protocol):
    """Who hears what a job does, always on the main thread."""

    def on_event(self, job: Job, event: Any) -> None:
        """Handle one yielded event."""

    def on_result(self, job: Job, result: Any) -> None:
        """Handle the returned value."""

    def on_error(self, job: Job, sentence: str) -> None:
        """Handle a failure, told in one sentence; an empty one means cancelled."""

    def on_end(self, job: Job) -> None:
        """Handle the end, whatever it was."""


class Job:
    """A running piece of work.

    Parameters
    ----------
    kind : str
        Told back to the listener.
    work : callable
        A generator function; not a lambda, which napari would not recognise.
    arguments : tuple
        Of the generator function.
    token : CancelToken
        The same that the work looks at.
    listener : Listener
        Who hears of it.
    """

    def __init__(
        self,
        kind: str,
        work: Callable[..., Generator[Any, None, Any]],
        arguments: tuple[Any, ...],
        token: CancelToken,
        listener: Listener,
    ) -> None:
        self.kind = kind
        self.token = token
        self._listener = listener
        self._worker: GeneratorWorker = create_worker(
            work, *arguments, _start_thread=False, _ignore_errors=True
        )
        self._worker.yielded.connect(self._yielded)
        self._worker.returned.connect(self._returned)
        self._worker.errored.connect(self._errored)
        self._worker.finished.connect(self._finished)

    def start(self) -> None:
        """Begin in a thread."""
        self._worker.start()

    def abandon(self) -> None:
        """End as soon as may be, and hear nothing more of it."""
        self.token.cancel()
        self._listener = _Deaf()
        self._worker.quit()

    def _yielded(self, event: Any) -> None:
        self._listener.on_event(self, event)

    def _returned(self, result: Any) -> None:
        self._listener.on_result(self, result)

    def _errored(self, error: BaseException) -> None:
        if isinstance(error, Cancelled):
            self._listener.on_error(self, "")
            return
        log.error("A background job failed", exc_info=error)
        sentence = str(error) if isinstance(error, ResunetError) else UNFORESEEN
        self._listener.on_error(self, sentence)

    def _finished(self) -> None:
        self._listener.on_end(self)


class _Deaf:
    """Listens to an abandoned job."""

    def on_event(self, job: Job, event: Any) -> None:
        """Ignore."""

    def on_result(self, job: Job, result: Any) -> None:
        """Ignore."""

    def on_error(self, job: Job, sentence: str) -> None:
        """Ignore."""

    def on_end(self, job: Job) -> None:
        """Ignore."""
