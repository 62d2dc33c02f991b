"""What is held out of a plane stays held out as its verified area grows.

Else a strip that was learned from in one round would be the judge of the next, which the
model knows by heart, and no new one would ever be better.
"""

from __future__ import annotations

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.engine.validation import choose_holdout_region
from napari_resunet.types import Example, MaskArray, Window
from napari_resunet.windows import moved, overlap, relative

MOSTLY_FRESH = 0.5
"""A strip of which less is newly verified would judge by what was learned."""


def holdout_regions(
    correction: Correction, earlier: tuple[Correction, Example] | None, scale: float
) -> tuple[Window, ...]:
    """Choose a strip of what is newly verified, beside those of before.

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
        verified any more.
    """
    strips: list[Window] = []
    fresh = correction.verified
    if earlier is not None:
        before, example = earlier
        inside = (
            relative(overlap(moved(s, before.window), correction.window), correction.window)
            for s in example.held_out
        )
        strips = [s for s in inside if correction.verified[s].any()]
        fresh = fresh & ~_verified(before, correction.window)
    new = choose_holdout_region(correction.labels, fresh, correction.edited, scale)
    if new is not None and fresh[new].mean() > MOSTLY_FRESH:
        strips.append(new)
    return tuple(strips)


def _verified(correction: Correction, window: Window) -> MaskArray:
    """Place its mask in another window of the plane."""
    mask = np.zeros([s.stop - s.start for s in window], bool)
    common = overlap(correction.window, window)
    mask[relative(common, window)] = correction.verified[
        relative(common, correction.window)
    ]
    return mask
