"""Where to look next: the region of all open images where the model is least sure.

Areas that were proposed are ranked by their prediction maps. For areas that were not, a few
evenly spread windows are proposed first.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar, assert_never

import numpy as np

from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.session.workers import (
    ImageSnapshot,
    ModelReady,
    SegmentRequest,
    plain_errors,
)
from napari_resunet.types import Decoding, Device, MaskArray, Target, Window
from napari_resunet.windows import moved, relative

if TYPE_CHECKING:
    from napari_resunet.engine.uncertainty import Region
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal
    from napari_resunet.session.workers import Workers

PROBES = 6
"""Windows to propose in areas that were never proposed."""

LOOKING = "looking where the model is unsure"
Index = tuple[int, ...]
Place = tuple[str, Index, Window]
"""An image, a plane, and a window of it."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image to look at.

    Attributes
    ----------
    image : ImageSnapshot
        Its pixels.
    scale : float or None
        Rescale factor from image pixels to network resolution, if known.
    proposals : sequence of Proposal
        What was proposed so far, the shown plane first.
    verified : mapping of index to bool array, shape (Y, X)
        Verified pixels of each plane. Copies: the job runs while the user paints.
    """

    image: ImageSnapshot
    scale: float | None
    proposals: Sequence[Proposal]
    verified: Mapping[Index, MaskArray]


@dataclass(frozen=True, eq=False)
class NextRequest:
    """Find the next region; among equal images, the first of the candidates wins.

    What was `seen` already comes only if there is nothing else.
    """

    model: Model | str
    device: Device
    candidates: tuple[Candidate, ...]
    decoding: Decoding
    seen: tuple[Place, ...] = ()


@dataclass(frozen=True, eq=False)
class Found:
    """The region to look at next.

    Attributes
    ----------
    image_id : str
        Its image.
    index : tuple of int
        Its plane.
    region : Region
        Its window in image pixels, and how unsure the model is.
    verified : float
        Verified fraction of the plane.
    proposal : Proposal or None
        Labels of the region, if it was proposed to find out.
    again : bool
        Whether it was seen before.
    """

    image_id: str
    index: Index
    region: Region
    verified: float
    proposal: Proposal | None
    again: bool = False

    @property
    def place(self) -> Place:
        """Image, plane, and window."""
        return self.image_id, self.index, self.region.window


NextEvent: TypeAlias = Progress | Notice | ModelReady


def find_next(
    workers: Workers, request: NextRequest, token: CancelToken
) -> Generator[NextEvent, None, Found | None]:
    """Find the unverified region where the model is least sure; None if there is none.

    Planes with a smaller verified fraction come first.
    """
    yield Progress(0, 0, LOOKING)
    found: list[Found] = []
    with plain_errors():
        for candidate in request.candidates:
            for proposal in candidate.proposals:
                found += _least_sure(candidate, proposal, request.seen)
        probes = _spread(list(_unseen(request.candidates)), PROBES)
    probe = _Probe(workers, request, token)
    for number, (candidate, target) in enumerate(probes):
        yield Progress(number, len(probes), LOOKING)
        for proposal in (yield from probe.propose(candidate, target)):
            regions = _least_sure(candidate, proposal, request.seen)
            found += [replace(f, proposal=proposal) for f in regions]
    new = [one for one in found if one.place not in request.seen]
    best = max(new or found, key=_priority, default=None)
    return replace(best, again=True) if best and not new else best


class _Probe:
    """Proposes windows; remembers the loaded model and the scales that were estimated."""

    def __init__(self, workers: Workers, request: NextRequest, token: CancelToken) -> None:
        self._workers, self._request, self._token = workers, request, token
        self._model = request.model
        self._scales: dict[str, float] = {}

    def propose(
        self, candidate: Candidate, target: Target
    ) -> Generator[NextEvent, None, list[Proposal]]:
        from napari_resunet.session.segmenter import Proposal, SizeFound

        key, proposals = candidate.image.image_id, []
        request = SegmentRequest(
            model=self._model,
            device=self._request.device,
            image=candidate.image,
            targets=(target,),
            scale=candidate.scale or self._scales.get(key),
            decoding=self._request.decoding,
        )
        for event in self._workers.segment(request, self._token):
            match event:
                case Proposal():
                    proposals.append(event)
                case SizeFound():
                    self._scales[key] = event.scale
                case ModelReady():
                    self._model = event.model
                    yield event
                case Notice():
                    yield event
                case Progress():
                    pass  # the bar counts probes, not their tiles
                case _:
                    assert_never(event)
        return proposals


def _priority(found: Found) -> tuple[float, float]:
    from napari_resunet.engine.uncertainty import priority

    return priority(found.region, found.verified)


def _least_sure(
    candidate: Candidate, proposal: Proposal, seen: Sequence[Place]
) -> list[Found]:
    """Find the least sure region of a proposal, unless it is mostly verified.

    One that was seen comes only if all were.
    """
    from napari_resunet.engine.uncertainty import rank

    index, padded = proposal.index, proposal.padded_roi
    verified = candidate.verified.get(index)
    ranked = rank(
        proposal.maps,
        proposal.labels,
        None if verified is None else verified[padded],
        relative(proposal.roi, padded),
    )
    fraction = 0.0 if verified is None else float(verified.mean())
    regions = [
        Found(candidate.image.image_id, index, _in_image(region, padded), fraction, None)
        for region in ranked
    ]
    return [*(f for f in regions if f.place not in seen), *regions][:1]


def _in_image(region: Region, padded: Window) -> Region:
    return replace(region, window=moved(region.window, padded))


def _unseen(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Target]]:
    """List the windows of all images that were neither proposed nor verified."""
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.engine.uncertainty import MOSTLY_VERIFIED, windows

    known = next((c.scale for c in candidates if c.scale), 1.0)
    for candidate in candidates:
        image, scale = candidate.image, candidate.scale or known
        reader = ImageReader(image.levels, image.axes, image.channels)
        proposed = [(p.index, p.roi) for p in candidate.proposals]
        for index in reader.indices():
            verified = candidate.verified.get(index)
            for window in windows(reader.window, (scale, scale)):
                seen = any(i == index and _holds(roi, window) for i, roi in proposed)
                done = verified is not None and verified[window].mean() > MOSTLY_VERIFIED
                if not seen and not done:
                    yield candidate, Target(index, window)


def _holds(roi: Window, window: Window) -> bool:
    """Return whether the centre of a window lies in a part of the image."""
    return all(
        r.start <= (w.start + w.stop) / 2 < r.stop for r, w in zip(roi, window, strict=True)
    )


def _spread(items: Sequence[T], n: int) -> list[T]:
    """Choose up to `n` items, evenly spread."""
    positions = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)
    return [items[i] for i in positions.tolist()]
