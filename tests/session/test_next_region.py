"""Where to look next, without a GUI: proposals made before, and probes."""

import numpy as np
import pytest

from napari_resunet.engine import uncertainty
from napari_resunet.events import CancelToken, drain
from napari_resunet.session.next_region import PROBES, Candidate, NextRequest, find_next
from napari_resunet.session.segmenter import Proposal
from napari_resunet.session.workers import ImageSnapshot, SegmentRequest, Workers
from napari_resunet.types import Decoding, Target


@pytest.fixture
def image(nuclei, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    stack = np.stack([nuclei[0], nuclei[0][::-1]])
    return ImageSnapshot("cells", (stack,), "ZYX", None)


def look(model, candidate):
    events = []
    request = NextRequest(model, "cpu", (candidate,), Decoding())
    found = drain(find_next(Workers(), request, CancelToken()), events.append)
    return found, events


def test_of_what_was_never_proposed_a_few_windows_are(starter, image):
    found, events = look(starter, Candidate(image, 1.0, (), {}))
    assert len(events) <= PROBES + 1
    assert isinstance(found.proposal, Proposal)
    assert found.proposal.index == found.index
    again, _ = look(starter, Candidate(image, 1.0, (), {}))
    assert (again.index, again.region) == (found.index, found.region)


def test_what_was_proposed_is_ranked_without_the_network(starter, image, monkeypatch):
    window = slice(0, 160), slice(0, 176)
    targets = tuple(Target((z,), window) for z in (0, 1))
    request = SegmentRequest(starter, "cpu", image, targets, 1.0, Decoding())
    events = Workers().segment(request, CancelToken())
    made = tuple(event for event in events if isinstance(event, Proposal))

    def forbidden(self, tiles, tta):
        raise AssertionError("the network ran")

    monkeypatch.setattr("napari_resunet.engine.predict.Predictor._run", forbidden)
    found, _ = look(starter, Candidate(image, 1.0, made, {}))
    assert found.proposal is None
    done = np.zeros((160, 176), bool)
    done[found.region.window] = True
    second, _ = look(starter, Candidate(image, 1.0, made, {found.index: done}))
    assert second.index != found.index
    assert (found.verified, second.verified) == (0, 0)
    half = np.zeros((160, 176), bool)
    half[:96] = True
    third, _ = look(
        starter, Candidate(image, 1.0, made, {found.index: half, second.index: half})
    )
    assert third.verified == pytest.approx(0.6)
    everything = {(z,): np.ones((160, 176), bool) for z in (0, 1)}
    assert look(starter, Candidate(image, 1.0, made, everything))[0] is None
