"""Large windows are proposed in blocks, the middle first, with the same objects."""

from __future__ import annotations

import numpy as np
import pytest

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import score
from napari_resunet.session.segmenter import Proposal, Segmenter, blocks_of
from napari_resunet.types import Decoding, Target


def target(height, width):
    return Target((), (slice(0, height), slice(10, 10 + width)))


@pytest.mark.parametrize("size", [(100, 100), (149, 60), (1000, 1000), (333, 1717)])
def test_blocks_cover_the_window_once(size):
    seen = np.zeros((size[0], size[1] + 10), int)
    blocks = blocks_of(target(*size), 100)
    for block in blocks:
        seen[block.window] += 1
        assert max(s.stop - s.start for s in block.window) <= 151
    assert (seen[:, 10:] == 1).all()
    assert not seen[:, :10].any()


def test_a_window_that_is_little_larger_stays_whole():
    assert blocks_of(target(140, 90), 100) == [target(140, 90)]


def test_the_middle_comes_first_and_the_corners_last():
    blocks = blocks_of(target(500, 500), 100)
    assert blocks[0].window == (slice(200, 300), slice(210, 310))
    corners = {0, 400}
    assert all(b.window[0].start in corners for b in blocks[-4:])


def propose(segmenter, image, block):
    """Propose a whole image, and merge the proposals as the plugin does."""
    reader = ImageReader((image,), "YX", None)
    whole = Target((), (slice(0, image.shape[0]), slice(0, image.shape[1])))
    review = ReviewMask.empty(image.shape)
    labels, n = np.zeros(image.shape, np.int32), 0
    for event in segmenter.propose(
        reader, [whole], scale=1.0, decoding=Decoding(), block=block
    ):
        if isinstance(event, Proposal):
            n += 1
            labels[event.padded_roi] = review.merge_prediction(
                labels, event.labels, event.padded_roi, event.roi, "instances"
            )
    return labels, n


def test_blocks_give_the_objects_of_the_whole(starter, nuclei):
    image = np.ascontiguousarray(nuclei[0])
    segmenter = Segmenter(starter, choose("cpu"))
    whole, n_whole = propose(segmenter, image, None)
    parts, n_parts = propose(segmenter, image, 80)
    assert (n_whole, n_parts) == (1, 4)
    assert abs(len(np.unique(whole)) - len(np.unique(parts))) <= 1
    assert score(whole, parts).ap75 > 0.95
