"""What long work reports, how it is cancelled, and how it is run to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

E = TypeVar("E")
R = TypeVar("R")


@dataclass(frozen=True)
class Progress:
    """How much of the work is done."""

    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class Resumed(Progress):
    """How much of the work an earlier run has done."""


@dataclass(frozen=True)
class Notice:
    """Something the user should know; the work continues."""

    message: str


class CancelToken:
    """Requests to a running job, which it checks between steps."""

    def __init__(self) -> None:
        self.cancelled = False
        self.stopped = False

    def cancel(self) -> None:
        """Ask the job to end and discard its result."""
        self.cancelled = True

    def stop(self) -> None:
        """Ask the job to end and return the best result so far."""
        self.stopped = True


def drain(events: Generator[E, None, R], on_event: Callable[[E], None] | None = None) -> R:
    """Run a generator for its return value and pass its events to a callback."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        if on_event is not None:
            on_event(event)


def ignore(event: object) -> None:
    """Ignore an event."""
