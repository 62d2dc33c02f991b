"""What Segment works on: visible area, slice or whole stack, as targets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.corrections.review import Index, ReviewState
from napari_resunet.errors import CorrectionError
from napari_resunet.plugin import image_layers, in_view
from napari_resunet.types import Target
from napari_resunet.windows import bounding_window

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal


def targets_of(image: Image, viewer: ViewerModel, scope: str) -> list[Target]:
    """List the windows of a scope; of a stack, the shown plane first.

    Raises
    ------
    CorrectionError
        If nothing of the scope is seen; a whole stack need not be.
    """
    index = image_layers.shown_index(image, viewer)
    window = image_layers.whole_window(image)
    if scope != "stack":
        if sentence := image_layers.not_shown(image, viewer):
            raise CorrectionError(sentence)
        if scope == "visible":
            window = in_view.seen_window(image, viewer)
        return [Target(index, window)]
    shape, channel = image_layers.full_shape(image)[:-2], image_layers.channel_axis(image)
    planes = product(*(range(n) for axis, n in enumerate(shape) if axis != channel))
    return [Target(i, window) for i in sorted(planes, key=lambda i: (i != index, i))]


def again(proposals: Sequence[Proposal]) -> list[Target]:
    """List the windows that were proposed before."""
    return [Target(p.target.index, p.core) for p in proposals]


def proposed_earlier(review: ReviewState, shown: Index) -> list[Target]:
    """List what was proposed in an earlier run of the program, the shown plane first."""
    masks = {i: p.proposed for i, p in review.planes.items() if p.proposed.any()}
    order = sorted(masks, key=lambda index: (index != shown, index))
    return [Target(index, bounding_window(masks[index], 0)) for index in order]
