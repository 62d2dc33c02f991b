"""Arguments, their meaning, and their expected outcome."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks.verdict import Called, call

Rng = np.random.Generator


@dataclass(frozen=True)
class Odd:
    """An argument.

    Attributes
    ----------
    value : object
        The argument.
    plain : object
        Its plain form, which must give the same result.
    must : {"right", "refuse", "either"}
        The expected outcome.
    """

    value: Any
    plain: Any = None
    must: str = "refuse"


def ok(value: Any, plain: Any = None) -> Odd:
    """Make an argument that must work."""
    return Odd(value, value if plain is None else plain, "right")


def may(value: Any, plain: Any = None) -> Odd:
    """Make an argument that works or is refused."""
    return Odd(value, value if plain is None else plain, "either")


def no(*values: Any) -> list[Odd]:
    """Arguments that must be refused."""
    return [Odd(value) for value in values]


class Fake:
    """Says that it is an array."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Path2(pathlib.PurePosixPath):
    """A path of another library."""


NOTHING_NUMERIC = (
    "x",
    "",
    [1],
    {},
    (1.0,),
    1j,
    b"1",
    object(),
    np.array([1.0, 2.0]),
    float,
)


def called_in(what: str, room: Any, function: Callable[[], Any]) -> Called:
    """Call a function as an input of this room."""
    room.tell(what)
    called = call(function)
    room.watch.armed = False
    return called


def drawn(rng: Rng, table: dict[str, list[Odd]]) -> dict[str, Odd]:
    """Choose one or two arguments, and a value for each."""
    n = min(len(table), int(rng.choice([1, 1, 1, 2])))
    names = rng.choice(list(table), n, replace=False)
    return {str(name): one_of(rng, table[name]) for name in names}


def one_of(rng: Rng, odds: list[Odd]) -> Odd:
    """Choose a right value as often as a wrong one."""
    must = str(rng.choice(["right", "either", "refuse"], p=[0.4, 0.2, 0.4]))
    some = [odd for odd in odds if odd.must == must] or odds
    return some[int(rng.integers(len(some)))]


def must_of(odds: dict[str, Odd]) -> str:
    """Return the expected outcome of several arguments together."""
    musts = {odd.must for odd in odds.values()}
    return "refuse" if "refuse" in musts else "either" if "either" in musts else "right"


def shown(name: str, odds: dict[str, Odd]) -> str:
    """Format a call."""
    parts = (f"{key}={_text(odd.value)}" for key, odd in odds.items())
    return f"{name}({', '.join(parts)})"


def _text(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"<{type(value).__name__} {value.dtype} {value.shape}>"
    try:
        return f"{type(value).__name__} {str(value)[:60]!r}"
    except Exception:  # noqa: BLE001 it may be anything
        return type(value).__name__
