"""Where to look next, without a GUI: kept maps, probes, another criterion."""

import numpy as np
import pytest

from napari_resunet.engine import uncertainty
from napari_resunet.events import drain
from napari_resunet.session.next_region import PROBES, Candidate, find_next
from napari_resunet.session.segmenter import Proposal
from napari_resunet.session.workers import ImageSnapshot, Sliders, Workers
from napari_resunet.types import CancelToken, Target

SLIDERS = Sliders(0.5, 0.5)


@pytest.fixture
def image(nuclei, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    stack = np.stack([nuclei[0], nuclei[0][::-1]])
    return ImageSnapshot("cells", (stack,), "ZYX", None)


def look(model, candidate, criterion=None):
    events = []
    found = drain(
        find_next(Workers(), model, "cpu", [candidate], SLIDERS, CancelToken(), criterion),
        events.append,
    )
    return found, events


def test_of_what_was_never_proposed_a_few_windows_are(starter, image):
    found, events = look(starter, Candidate(image, 1.0, (), {}))
    assert len(events) <= PROBES + 1
    assert isinstance(found.proposal, Proposal)
    assert found.proposal.target.index == found.index
    again, _ = look(starter, Candidate(image, 1.0, (), {}))
    assert (again.index, again.region) == (found.index, found.region)


def test_what_is_kept_is_ranked_without_the_network(starter, image, monkeypatch):
    window = slice(0, 160), slice(0, 176)
    kept = tuple(
        event
        for z in (0, 1)
        for event in Workers().propose(
            starter, "cpu", image, [Target((z,), window)], 1.0, SLIDERS, CancelToken()
        )
        if isinstance(event, Proposal)
    )

    def forbidden(self, tiles, mirrored):
        raise AssertionError("the network ran")

    monkeypatch.setattr("napari_resunet.engine.predict.Predictor._run", forbidden)
    found, _ = look(starter, Candidate(image, 1.0, kept, {}))
    assert found.proposal is None
    done = np.zeros((160, 176), bool)
    done[found.region.window] = True
    second, _ = look(starter, Candidate(image, 1.0, kept, {found.index: done}))
    assert second.index != found.index
    assert (found.verified, second.verified) == (0, 0)
    half = np.zeros((160, 176), bool)
    half[:96] = True
    third, _ = look(
        starter, Candidate(image, 1.0, kept, {found.index: half, second.index: half})
    )
    assert third.verified == pytest.approx(0.6)
    surest, _ = look(starter, Candidate(image, 1.0, kept, {}), sureness)
    assert (surest.index, surest.region.window) != (found.index, found.region.window)
    everything = {(z,): np.ones((160, 176), bool) for z in (0, 1)}
    assert look(starter, Candidate(image, 1.0, kept, everything))[0] is None


def sureness(maps, counts, info):
    return -uncertainty.mean_doubt(maps, counts, info)
