"""Which regions of a plane stay held out as its verified area grows."""

from __future__ import annotations

from napari_resunet.corrections.training_set import Correction
from napari_resunet.types import Example, Window
from napari_resunet.windows import moved, overlap, relative

MIN_NEW_FRACTION = 0.5
"""Fraction of a new held-out region that was not verified before, so never learned from."""


def holdout_regions(
    correction: Correction, earlier: tuple[Correction, Example] | None, scale: float
) -> tuple[Window, ...]:
    """Keep the held-out regions of a plane, and choose one in the newly verified area.

    A region that was learned from cannot judge later models: the model knows it by heart,
    so no new model would score better there.

    Parameters
    ----------
    correction : Correction
        The plane as it is now.
    earlier : (Correction, Example) or None
        The same plane as it was last learned from.
    scale : float
        Rescale factor from image pixels to network resolution.

    Returns
    -------
    tuple of (slice, slice)
        Rows and columns in pixels of the correction's window, the new region last.
        Regions that are no longer verified are left out.
    """
    from napari_resunet.engine.validation import choose_holdout_region

    regions: list[Window] = []
    unseen = correction.verified
    if earlier is not None:
        before, example = earlier
        inside = (
            relative(overlap(moved(s, before.window), correction.window), correction.window)
            for s in example.held_out
        )
        regions = [s for s in inside if correction.verified[s].any()]
        unseen = unseen & ~before.verified_in(correction.window)
    new = choose_holdout_region(correction.labels, unseen, correction.edited, scale)
    if new is not None and unseen[new].mean() > MIN_NEW_FRACTION:
        regions.append(new)
    return tuple(regions)
