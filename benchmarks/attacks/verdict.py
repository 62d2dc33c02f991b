"""Outcomes of inputs, and what a good sentence is."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

GOOD = ("right", "sentence")
BAD = ("poor", "traceback", "silent", "outside", "hang", "death")
"""poor: refused with a sentence that is not plain, or although the input is valid; or a
warning of a library was printed. outside: a file was opened, or a program started, that the
input had no right to."""

LONGEST = 600
JARGON = re.compile(
    r"Traceback|Error:|\b[A-Z]\w+(Error|Exception|Warning)\b|NoneType|subscript|ufunc"
    r"|has no attribute|broadcast|unhashable|<class|<function|<module| at 0x[0-9a-f]+"
    r"|codec can't|invalid literal|out of bounds|not callable|Errno|\bb'|\\x[0-9a-f]{2}"
    r"|\barray\(|\bnp\.|\btorch\.(?!\b)|site-packages|\bslice\(|positional argument"
)


@dataclass(frozen=True)
class Result:
    """The verdict on one input.

    Attributes
    ----------
    verdict : str
        One of `GOOD` or `BAD`.
    what : str
        The input, in words.
    detail : str
        What was observed, if it is not right.
    """

    verdict: str
    what: str
    detail: str = ""


@dataclass(frozen=True)
class Called:
    """What a call returned or raised, and its warnings."""

    value: Any
    error: BaseException | None
    warnings: tuple[str, ...]


def as_users_see_warnings() -> None:
    """Filter warnings as Python does by default."""
    warnings.simplefilter("default")
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning,
                     ResourceWarning):  # fmt: skip
        warnings.simplefilter("ignore", category)


def call(function: Callable[[], Any]) -> Called:
    """Call a function, and catch everything that it raises."""
    value, error = None, None
    with warnings.catch_warnings(record=True) as caught:
        as_users_see_warnings()
        try:
            value = function()
        except BaseException as raised:  # noqa: BLE001 it may be anything
            error = raised
    texts = tuple(f"{w.category.__name__}: {w.message}" for w in caught)
    return Called(value, error, texts)


def where(error: BaseException) -> str:
    """Describe an error and the line that raised it, ours if possible."""
    trace = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in trace if "napari_resunet" in frame.filename]
    frames, place = ours or trace, ""
    if frames:
        name = frames[-1].filename.rpartition("napari_resunet/")[2]
        place = f" at {name}:{frames[-1].lineno}"
    return f"{type(error).__name__}: {str(error)[:200]}{place}"


def flaw(text: str, names: Sequence[str] = ()) -> str:
    """Return what is wrong with a sentence for users; empty if nothing is.

    Parameters
    ----------
    text : str
        The sentence.
    names : sequence of str
        One of these must be in it; none asks for no name.
    """
    if not text.strip():
        return "no sentence"
    if len(text) > LONGEST:
        return f"{len(text)} characters: {text[:80]}"
    if "\n" in text.strip() or "\r" in text.strip():
        return f"several lines: {text!r}"
    if found := JARGON.search(text):
        return f"'{found[0]}' in: {text[:300]}"
    if text.strip()[-1] not in ".!?)":
        return f"no whole sentence: {text[:300]}"
    if names and not any(name in text for name in names):
        return f"does not name it: {text[:300]}"
    return ""


def judge(
    what: str,
    called: Called,
    expected: type[BaseException] | tuple[type[BaseException], ...],
    same: Callable[[Any], bool] | None,
    *,
    must: str = "either",
    names: Sequence[str] = (),
) -> Result:
    """Judge a call of the API.

    Parameters
    ----------
    what : str
        The input, in words.
    called : Called
        The outcome.
    expected : exception types
        Errors whose text is for users.
    same : callable or None
        Whether a value is right; None if there is no right value.
    must : {"right", "refuse", "either"}
        "right": refusing it is wrong.
    names : sequence of str
        For `flaw`.
    """
    error = called.error
    if error is not None:
        return _judge_error(what, error, expected, must, names)
    if same is None or must == "refuse":
        return Result("silent", what, f"accepted: {str(called.value)[:100]!r}")
    if not same(called.value):
        return Result("silent", what, f"another result: {str(called.value)[:100]!r}")
    # Without on_event, the notice about a mask is a warning.
    foreign = [text for text in called.warnings if "The mask is binary" not in text]
    if foreign:
        return Result("poor", what, f"warned: {foreign[0][:200]}")
    return Result("right", what)


def _judge_error(
    what: str, error: BaseException, expected: Any, must: str, names: Sequence[str]
) -> Result:
    if not isinstance(error, expected):
        return Result("traceback", what, where(error))
    if found := flaw(str(error), names):
        return Result("poor", what, found)
    if must == "right":
        return Result("poor", what, f"refused, though valid: {error}")
    return Result("sentence", what)
