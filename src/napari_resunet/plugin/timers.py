"""Timers without Qt, for layers and controllers; tests fire them by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Calls something later, on the main thread."""

    def start(self) -> None:
        """Start, or start from the beginning."""

    def stop(self) -> None:
        """Stop without a call."""


class Timers(Protocol):
    """Makes timers: Qt's, or ones that tests fire."""

    def once(self, milliseconds: int, call: Callable[[], None]) -> Timer:
        """Make a timer that calls once for each start."""

    def every(self, milliseconds: int, call: Callable[[], None]) -> Timer:
        """Make a timer that calls again and again until it is stopped."""
