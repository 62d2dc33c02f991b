"""Jobs in napari's worker threads, and Qt's timers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from napari.qt.threading import GeneratorWorker, create_worker
from qtpy.QtCore import QTimer

from napari_resunet.plugin.jobs import Listener


class ThreadBackend:
    """Runs each generator in one of napari's worker threads."""

    def run(
        self, steps: Callable[[], Generator[Any, None, Any]], listener: Listener
    ) -> ThreadJob:
        """Start a generator."""
        return ThreadJob(steps, listener)


class ThreadJob:
    """A generator in a thread; its signals arrive on the main thread."""

    def __init__(
        self, steps: Callable[[], Generator[Any, None, Any]], listener: Listener
    ) -> None:
        self._listener = listener
        # A real generator function, because napari would run a lambda as a plain function.
        # Errors are ignored by napari, because we show them.
        self._worker: GeneratorWorker = create_worker(
            _run, steps, _start_thread=False, _ignore_errors=True
        )
        self._worker.yielded.connect(self._listener.yielded)
        self._worker.returned.connect(self._listener.returned)
        self._worker.errored.connect(self._listener.errored)
        self._worker.start()

    def quit(self) -> None:
        """End it at its next step."""
        self._worker.quit()


def _run(
    steps: Callable[[], Generator[Any, None, Any]],
) -> Generator[Any, None, Any]:
    result = yield from steps()
    return result


class QtTimers:
    """Timers of the main thread's event loop."""

    def once(self, milliseconds: int, call: Callable[[], None]) -> QTimer:
        """Make a timer that calls once for each start."""
        timer = self.every(milliseconds, call)
        timer.setSingleShot(True)
        return timer

    def every(self, milliseconds: int, call: Callable[[], None]) -> QTimer:
        """Make a timer that calls again and again until it is stopped."""
        timer = QTimer()
        timer.setInterval(milliseconds)
        timer.timeout.connect(call)
        return timer
