"""Where to look next: over the slice, the stack and the other images.

What is kept of proposals is ranked as it is; of what was never proposed, a few windows
spread evenly are proposed to find out. Runs in a worker; moving the view is the plugin's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.session.workers import ImageSnapshot, Ready, Sliders, plain_errors
from napari_resunet.types import (
    CancelToken,
    DeviceChoice,
    MaskArray,
    Notice,
    Progress,
    Target,
    Window,
)
from napari_resunet.windows import moved, relative

if TYPE_CHECKING:
    from napari_resunet.engine.uncertainty import Criterion, Region
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal
    from napari_resunet.session.workers import Workers

PROBES = 6
"""Windows that are proposed to find out about what was never proposed."""

LOOKING = "looking where the model is unsure"
Index = tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """An image to look at.

    Attributes
    ----------
    image : ImageSnapshot
        Its pixels.
    scale : float or None
        Factor from image to working pixels, if known.
    kept : sequence of Proposal
        What was proposed, the shown plane first.
    verified : mapping of index to bool array, shape (Y, X)
        What is done; copies, or the work in a thread would see them change.
    """

    image: ImageSnapshot
    scale: float | None
    kept: Sequence[Proposal]
    verified: Mapping[Index, MaskArray]


@dataclass(frozen=True)
class Found:
    """The region to look at next.

    Attributes
    ----------
    image_id : str
        On which image.
    index : tuple of int
        On which plane of it.
    region : Region
        Its window in image pixels, and why.
    verified : float
        Share of the plane that is verified.
    proposal : Proposal or None
        Labels for it, where there were none yet.
    """

    image_id: str
    index: Index
    region: Region
    verified: float
    proposal: Proposal | None


FindEvents = Generator[Progress | Notice | Ready, None, Found | None]


def find_next(
    workers: Workers,
    model: Model | str,
    device: DeviceChoice,
    candidates: Sequence[Candidate],
    sliders: Sliders,
    token: CancelToken,
    criterion: Criterion | None = None,
) -> FindEvents:
    """Find the unverified region where the model is least sure.

    ImageReader of which less is verified come first.

    Parameters
    ----------
    workers : Workers
        Proposes at need.
    model : Model or str
        A name is loaded first.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    candidates : sequence of Candidate
        The images, the chosen one first: it wins among equals.
    sliders : Sliders
        For what is proposed.
    token : CancelToken
        Looked at between windows.
    criterion : callable or None
        What to rank by; None is `engine.uncertainty.mean_doubt`.

    Yields
    ------
    Progress, Notice or Ready

    Returns
    -------
    Found or None
        None where all is verified.
    """
    yield Progress(0, 0, LOOKING)
    found: list[Found] = []
    with plain_errors():
        for candidate in candidates:
            for proposal in candidate.kept:
                found += _best(candidate, proposal, criterion)
        probes = _spread(list(_unseen(candidates)), PROBES)
    probe = _Probe(workers, model, device, sliders, token)
    for number, (candidate, target) in enumerate(probes):
        yield Progress(number, len(probes), LOOKING)
        for proposal in (yield from probe.propose(candidate, target)):
            best = _best(candidate, proposal, criterion)
            found += [replace(f, proposal=proposal) for f in best]
    return max(found, key=_priority, default=None)


class _Probe:
    """Proposes windows; remembers the model that was loaded and the sizes found."""

    def __init__(
        self,
        workers: Workers,
        model: Model | str,
        device: DeviceChoice,
        sliders: Sliders,
        token: CancelToken,
    ) -> None:
        self._workshop, self._model, self._device = workers, model, device
        self._sliders, self._token = sliders, token
        self._scales: dict[str, float] = {}

    def propose(
        self, candidate: Candidate, target: Target
    ) -> Generator[Ready, None, list[Proposal]]:
        from napari_resunet.session.segmenter import Proposal, SizeFound

        key, proposals = candidate.image.image_id, []
        scale = candidate.scale or self._scales.get(key)
        for event in self._workshop.propose(
            self._model, self._device, candidate.image, [target], scale,
            self._sliders, self._token,
        ):  # fmt: skip
            if isinstance(event, Ready):
                self._model = event.model
                yield event
            elif isinstance(event, SizeFound):
                self._scales[key] = event.scale
            elif isinstance(event, Proposal):
                proposals.append(event)
        return proposals


def _priority(found: Found) -> tuple[float, float]:
    from napari_resunet.engine.uncertainty import priority

    return priority(found.region, found.verified)


def _best(
    candidate: Candidate, proposal: Proposal, criterion: Criterion | None
) -> list[Found]:
    """Find the least sure window of a proposal, if any is left."""
    from napari_resunet.engine.uncertainty import mean_doubt, rank

    index, whole = proposal.target.index, proposal.target.window
    verified = candidate.verified.get(index)
    ranked = rank(
        proposal.kept,
        proposal.labels,
        None if verified is None else verified[whole],
        relative(proposal.core, whole),
        criterion or mean_doubt,
    )
    share = 0.0 if verified is None else float(verified.mean())
    return [
        Found(candidate.image.image_id, index, _placed(region, whole), share, None)
        for region in ranked[:1]
    ]


def _placed(region: Region, whole: Window) -> Region:
    return replace(region, window=moved(region.window, whole))


def _unseen(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Target]]:
    """List the windows of all images that were neither proposed nor verified."""
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.engine.uncertainty import MOSTLY_VERIFIED, windows

    known = next((c.scale for c in candidates if c.scale), 1.0)
    for candidate in candidates:
        image, scale = candidate.image, candidate.scale or known
        planes = ImageReader(image.levels, image.axes, image.channels)
        cores = [(p.target.index, p.core) for p in candidate.kept]
        for index in planes.indices():
            verified = candidate.verified.get(index)
            for window in windows(planes.window, (scale, scale)):
                seen = any(i == index and _holds(core, window) for i, core in cores)
                done = verified is not None and verified[window].mean() > MOSTLY_VERIFIED
                if not seen and not done:
                    yield candidate, Target(index, window)


def _holds(core: Window, window: Window) -> bool:
    """Tell whether the centre of a window lies in a part of the image."""
    return all(
        c.start <= (w.start + w.stop) / 2 < c.stop
        for c, w in zip(core, window, strict=True)
    )


def _spread(items: list[Any], n: int) -> list[Any]:
    """Choose so many items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)
    return [items[i] for i in places.tolist()]
