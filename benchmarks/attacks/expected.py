"""What is right for an image file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Alternative = tuple[Any, str | None]


@dataclass(frozen=True)
class Expected:
    """What is right for a file.

    Attributes
    ----------
    arrays : sequence of (array, axes)
        The labels of one of these are right.
    must : {"right", "refuse", "either"}
        Whether it has to be read.
    told : bool
        Something is left out: a word about it is asked for.
    shapes : sequence of tuple of int
        Where only the labels' shape can be known: one of these.
    """

    arrays: Sequence[Alternative] = ()
    must: str = "either"
    told: bool = False
    shapes: Sequence[tuple[int, ...]] = ()


def is_same(labels: Any, right: Any, exact: bool) -> bool:
    """Compare labels; roughly where another process may compute in another precision."""
    if labels.shape != right.shape:
        return False
    if exact:
        return bool(np.array_equal(labels, right))
    return bool(((labels > 0) == (right > 0)).mean() > 0.97)
