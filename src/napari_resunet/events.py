"""Long work is a generator of typed events; this runs one to its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

E = TypeVar("E")
R = TypeVar("R")


def drain(events: Generator[E, None, R], on_event: Callable[[E], None] | None = None) -> R:
    """Run a generator of events for its return value.

    Parameters
    ----------
    events : generator
        The work.
    on_event : callable or None
        Called with each event.

    Returns
    -------
    object
        What the generator returns.
    """
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        if on_event is not None:
            on_event(event)
