"""What is kept of proposals, read at any window of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_resunet.types import FloatArray, Window
from napari_resunet.windows import overlap, relative

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal


def maps_at(
    proposals: Sequence[Proposal], index: tuple[int, ...], window: Window
) -> FloatArray | None:
    """Read the maps of the proposal that covers most of a window.

    Parameters
    ----------
    proposals : sequence of Proposal
        Of one image; of equal ones, the first is read.
    index : tuple of int
        Which plane.
    window : tuple of slice
        Rows and columns in image pixels.

    Returns
    -------
    float32 array, shape (n_maps, h, w), or None
        Zeros where the proposal does not reach; None where there is no proposal.
    """
    here = [p for p in proposals if p.target.index == index]
    parts = [(overlap(p.target.window, window), p) for p in here]
    covering = [(part, p) for part, p in parts if all(s.stop > s.start for s in part)]
    if not covering:
        return None

    from napari_resunet.engine import postprocess

    part, proposal = max(covering, key=lambda c: _area(c[0]))
    found = postprocess.maps_at(proposal.kept, relative(part, proposal.target.window))
    maps = np.zeros((len(found), *(s.stop - s.start for s in window)), np.float32)
    rows, columns = relative(part, window)
    maps[:, rows, columns] = found
    return maps


def _area(window: Window) -> int:
    rows, columns = (int(s.stop) - int(s.start) for s in window)
    return rows * columns
