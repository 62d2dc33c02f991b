"""Large windows are proposed in blocks, the middle first, with the same objects."""

from __future__ import annotations

import numpy as np
import pytest

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.metrics import score
from napari_resunet.session import segmenter
from napari_resunet.session.segmenter import Proposal, Segmenter, blocks_of, in_view_first
from napari_resunet.types import Decoding, ModelInfo, Target


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
    segmenter = Segmenter(starter, "cpu")
    whole, n_whole = propose(segmenter, image, None)
    parts, n_parts = propose(segmenter, image, 80)
    assert (n_whole, n_parts) == (1, 4)
    assert abs(len(np.unique(whole)) - len(np.unique(parts))) <= 1
    assert score(whole, parts).ap75 > 0.95


def proposed(begin, index=()):
    """A proposal of 100² pixels, from a column on."""
    window = slice(0, 100), slice(begin, begin + 100)
    maps = PredictionMaps(
        np.zeros((3, 100, 100), np.float16), (Axis(100, 100),) * 2, ModelInfo(diameter=5)
    )
    return Proposal(index, window, window, np.zeros((100, 100), np.int32), maps, 1.0)


def test_a_slider_redraws_at_once_what_is_in_view_and_the_rest_later(monkeypatch):
    proposals = [proposed(0), proposed(0, (1,)), proposed(100), proposed(200)]
    view = Target((), (slice(10, 20), slice(90, 150)))
    whole = [proposals[0], proposals[2]], [proposals[1], proposals[3]]
    assert list(in_view_first(proposals, view)) == [*whole]
    monkeypatch.setattr(segmenter, "LARGE", 50 * 50)
    first, later = in_view_first(proposals, view)
    assert [p.roi[1] for p in first] == [slice(90, 100), slice(100, 150)]
    assert later == proposals
    everything = Target((), (slice(0, 100), slice(0, 300)))
    first, later = in_view_first(proposals, everything)
    assert [p.roi for p in first] == [p.roi for p in proposals if not p.index]
    assert later == [proposals[1]]


def test_of_many_proposals_only_a_few_are_kept_until_they_are_drawn(monkeypatch):
    monkeypatch.setattr(segmenter, "AT_ONCE", 2)
    proposals = [proposed(0, (i,)) for i in range(5)]
    view = Target((3,), (slice(0, 100), slice(0, 100)))
    groups = list(in_view_first(proposals, view))
    assert [[p.index[0] for p in group] for group in groups] == [[3], [0, 1], [2, 4]]
