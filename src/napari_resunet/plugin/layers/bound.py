"""Connections to napari's events, listed once for both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol


class Emitter(Protocol):
    """Something that calls the methods connected to it."""

    def connect(self, callback: Callable[..., Any], /) -> object:
        """Call this method from now on."""

    def disconnect(self, callback: Callable[..., Any], /) -> object:
        """Stop calling this method."""


Connection = tuple[Emitter, Callable[..., Any]]


class Bound:
    """Base class of everything that listens to napari from `bind` until `unbind`.

    A subclass lists its connections in `connections`; the list must not change while it is
    bound.
    """

    def connections(self) -> Iterable[Connection]:
        """Yield each emitter with the method that it calls."""
        raise NotImplementedError

    def bind(self) -> None:
        """Start listening; `unbind` is the exact inverse."""
        connect(self.connections())

    def unbind(self) -> None:
        """Stop listening; nothing happens if this was not bound."""
        disconnect(self.connections())


LEFT_BUTTON = 1
"""napari's number of the left mouse button."""


class MouseCallbacks:
    """A layer's list of mouse callbacks as an emitter.

    Parameters
    ----------
    callbacks : list of callable
        For example ``layer.mouse_drag_callbacks``.
    """

    def __init__(self, callbacks: list[Callable[..., Any]]) -> None:
        self._callbacks = callbacks

    def connect(self, callback: Callable[..., Any], /) -> None:
        """Append the callback."""
        self._callbacks.append(callback)

    def disconnect(self, callback: Callable[..., Any], /) -> None:
        """Remove the callback, if it is there."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)


def connect(connections: Iterable[Connection]) -> None:
    """Connect each emitter to its method."""
    for emitter, method in connections:
        emitter.connect(method)


def disconnect(connections: Iterable[Connection]) -> None:
    """Disconnect each emitter from its method."""
    for emitter, method in connections:
        emitter.disconnect(method)
