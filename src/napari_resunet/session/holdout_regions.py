"""What is held out of a plane stays held out as its checked area grows.

Else a strip that was learned from in one round would be the judge of the next, which the
model knows by heart, and no new one would ever be better.
"""

from __future__ import annotations

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.engine.validation import choose_strip
from napari_resunet.types import Example, MaskArray, Window
from napari_resunet.windows import moved, overlap, relative

MOSTLY_FRESH = 0.5
"""A strip of which less is newly checked would judge by what was learned."""


def held_out_strips(
    correction: Correction, earlier: tuple[Correction, Example] | None, scale: float
) -> tuple[Window, ...]:
    """Choose a strip of what is newly checked, beside those of before.

    Parameters
    ----------
    correction : Correction
        The plane as it is now.
    earlier : (Correction, Example) or None
        The same plane when it was last learned from.
    scale : float
        Factor from image to working pixels.

    Returns
    -------
    tuple of (slice, slice)
        In pixels of the correction's window, the new one last; without those that are not
        checked any more.
    """
    strips: list[Window] = []
    fresh = correction.checked
    if earlier is not None:
        before, example = earlier
        inside = (
            relative(overlap(moved(s, before.window), correction.window), correction.window)
            for s in example.held_out
        )
        strips = [s for s in inside if correction.checked[s].any()]
        fresh = fresh & ~_checked(before, correction.window)
    new = choose_strip(correction.labels, fresh, correction.touched, scale)
    if new is not None and fresh[new].mean() > MOSTLY_FRESH:
        strips.append(new)
    return tuple(strips)


def _checked(correction: Correction, window: Window) -> MaskArray:
    """Place its mask in another window of the plane."""
    mask = np.zeros([s.stop - s.start for s in window], bool)
    common = overlap(correction.window, window)
    mask[relative(common, window)] = correction.checked[relative(common, correction.window)]
    return mask
