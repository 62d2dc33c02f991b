"""The expected outcome for an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Alternative = tuple[Any, str | None]


@dataclass(frozen=True)
class Expected:
    """The expected outcome for a file.

    Attributes
    ----------
    arrays : sequence of (array, axes)
        Readings of the file; the labels of one of them are right.
    must : {"right", "refuse", "either"}
        Whether it has to be read.
    reported : bool
        Whether the program must report that something was left out.
    each : bool
        Whether the arrays may be several images, each with labels of its own.
    shapes : sequence of tuple of int
        Possible shapes of the labels, if only the shape is known.
    """

    arrays: Sequence[Alternative] = ()
    must: str = "either"
    reported: bool = False
    each: bool = False
    shapes: Sequence[tuple[int, ...]] = ()


def is_same(labels: Any, right: Any, exact: bool) -> bool:
    """Compare labels, roughly if another process may use another precision."""
    if labels.shape != right.shape:
        return False
    if exact:
        return bool(np.array_equal(labels, right))
    return bool(((labels > 0) == (right > 0)).mean() > 0.97)
