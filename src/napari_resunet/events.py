"""What long work reports, how it is cancelled, and how it is run to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

E = TypeVar("E")
F = TypeVar("F")
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


def relayed(
    events: Generator[E, None, R], change: Callable[[E], F | None]
) -> Generator[F, None, R]:
    """Pass events on as what `change` makes of them, without None; return the result."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        changed = change(event)
        if changed is not None:
            yield changed


def only_notices(events: Generator[Any, None, R]) -> Generator[Notice, None, R]:
    """Pass notices on, without the progress of what is only a part."""
    return relayed(events, lambda event: event if isinstance(event, Notice) else None)


def ignore(event: object) -> None:
    """Ignore an event."""
