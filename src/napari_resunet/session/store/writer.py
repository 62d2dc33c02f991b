"""A thread that writes to the session folder, and tries again while writing fails.

A task replaces a waiting one with the same key, so that the queue does not grow while the
disk is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

from napari_resunet.errors import FileError

log = logging.getLogger(__name__)
FIRST_WAIT, MAX_WAIT = 0.1, 2.0
"""Seconds between two attempts while writing fails."""

STALLED = 4.0
"""Seconds that a small task may take before the drive counts as stalled."""

KEPT = "Your work is kept in memory and written as soon as that is possible."

Task = Callable[[], None]


class Writer:
    """Runs tasks one after another in a background thread.

    Parameters
    ----------
    name : str
        Name of the thread.
    on_idle : callable or None
        Called in the thread about once a second while nothing waits.
    patience : float
        How many times longer than a small task a task may take.
    """

    def __init__(
        self, name: str, on_idle: Task | None = None, patience: float = 1.0
    ) -> None:
        self._tasks: dict[Hashable, Task] = {}
        self._change = threading.Condition()
        self._closing = False
        self._began: float | None = None
        self._trouble = ""
        self._lost: list[str] = []
        self._wait = FIRST_WAIT
        self._on_idle = on_idle
        self._patience = patience
        # A daemon thread, so that a stalled drive does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, key: Hashable, task: Task) -> None:
        """Add a task; it replaces a waiting one with the same key."""
        with self._change:
            self._tasks[key] = task
            self._change.notify_all()

    @property
    def trouble(self) -> str:
        """Why writing fails now, in one or two sentences; empty while it works."""
        began = self._began
        if began is not None and time.monotonic() - began > STALLED * self._patience:
            return f"The drive of the session does not answer. {KEPT}"
        return self._trouble

    def take_lost(self) -> list[str]:
        """Return and clear the descriptions of tasks that failed permanently."""
        lost, self._lost = self._lost, []
        return lost

    @property
    def idle(self) -> bool:
        """Whether all tasks are done."""
        with self._change:
            return not self._tasks and self._began is None

    def flush(self, timeout: float) -> bool:
        """Wait until all tasks are done; return False after `timeout` seconds."""
        with self._change:
            return self._change.wait_for(
                lambda: not self._tasks and self._began is None, timeout
            )

    def close(self, timeout: float) -> bool:
        """End the thread; return whether all tasks were done within `timeout` seconds."""
        done = self.flush(timeout)
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(timeout if done else 0.0)
        return done

    def _run(self) -> None:
        while (found := self._next()) is not None:
            if found[1] is None:
                if self._on_idle is not None:
                    self._attempt(("idle",), self._on_idle)
            elif not self._attempt(found[0], found[1]):
                with self._change:
                    self._change.wait_for(lambda: self._closing, self._wait)
                self._wait = min(2 * self._wait, MAX_WAIT)

    def _next(self) -> tuple[Hashable, Task | None] | None:
        """Wait for a task; (None, None) if there is none, None if the thread must end."""
        with self._change:
            self._change.wait_for(lambda: bool(self._tasks) or self._closing, 1.0)
            if self._closing:
                return None
            if not self._tasks:
                return None, None
            key = next(iter(self._tasks))
            self._began = time.monotonic()
            return key, self._tasks.pop(key)

    def _attempt(self, key: Hashable, task: Task) -> bool:
        trouble, again = "", False
        try:
            task()
        except (OSError, FileError) as error:
            log.warning("The session could not be written", exc_info=error)
            trouble, again = f"{error} {KEPT}", True
        except Exception as error:  # a bad task must not end the thread
            log.exception("A part of the session could not be written")
            self._lost.append(f"{type(error).__name__}: {error}")
        with self._change:
            if again and key != ("idle",):
                # Last in the queue: a file that fails must not hold up the others.
                self._tasks.setdefault(key, task)
            if not again:
                self._wait = FIRST_WAIT
            self._trouble = trouble
            self._began = None
            self._change.notify_all()
        return not again
