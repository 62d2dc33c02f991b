"""Image in, proposals out: the pipeline that API, command line and plugin share."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from napari_resunet.engine.device import Compute
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.object_size import estimate_scale
from napari_resunet.engine.postprocess import Decoding, PredictionMaps, decode_labels
from napari_resunet.engine.predict import Maps, PredictionRequest, Predictor
from napari_resunet.network.model_file import Model
from napari_resunet.types import (
    CancelToken,
    LabelArray,
    Notice,
    Progress,
    Statistics,
    Target,
    Window,
)
from napari_resunet.windows import grown

CONTEXT_DIAMETERS = 2
"""A window is proposed with so much of its surroundings, so that no object is cut."""

LARGE = 1200 * 1200
"""Working pixels from which the sliders show the visible part first."""


@dataclass(frozen=True)
class Proposal:
    """What the network says about a window of a plane.

    Attributes
    ----------
    target : Target
        Which window, context included.
    core : tuple of slice
        The window that was asked for.
    labels : int32 array, shape of the window, read-only
        Objects from 1, or classes.
    kept : PredictionMaps
        For the sliders.
    scale : float
        Factor from image to working pixels.
    """

    target: Target
    core: Window
    labels: LabelArray
    kept: PredictionMaps
    scale: float


@dataclass(frozen=True)
class SizeFound:
    """The object size was estimated: factor from image to working pixels."""

    scale: float


R = TypeVar("R")
Events = Generator[Progress | Notice, None, R]
ProposeEvents = Generator[Progress | Notice | SizeFound | Proposal, None, None]


class Segmenter:
    """A model on a device; remembers each image's statistics.

    Parameters
    ----------
    model : Model
        Which model.
    compute : Compute
        Where.
    """

    def __init__(self, model: Model, compute: Compute) -> None:
        self.model = model
        self.predictor = Predictor(model, compute)

    @property
    def compute(self) -> Compute:
        """Where it computes now (the CPU, once the graphics card's memory was short)."""
        return self.predictor.plan.compute

    def propose(
        self,
        planes: ImageReader,
        targets: Sequence[Target],
        *,
        scale: float | None,
        decoding: Decoding,
        statistics: Statistics | None = None,
        token: CancelToken | None = None,
    ) -> ProposeEvents:
        """Propose labels for windows of an image.

        Parameters
        ----------
        planes : ImageReader
            The image.
        targets : sequence of Target
            What of it.
        scale : float or None
            Factor from image to working pixels; None estimates it on the targets' planes
            that hold something.
        decoding : Decoding
            The sliders.
        statistics : Statistics or None
            Of the whole image; None measures them.
        token : CancelToken or None
            Looked at between tiles.

        Yields
        ------
        Progress, Notice, SizeFound or Proposal
            One Proposal for each target, as soon as it is done.
        """
        if 0 in planes.shape or not targets:
            return
        measured = statistics or planes.measure(self.model.info.normalization)
        if scale is None:
            indices = list(dict.fromkeys(target.index for target in targets))
            estimate = estimate_scale(self.predictor, planes, indices, measured, token)
            scale = yield from _as_notes(estimate, "estimating the object size")
            yield SizeFound(scale)
        for number, target in enumerate(targets):
            wide = self._with_context(planes, target, scale)
            plane = PredictionRequest(planes, wide.index, wide.window, scale, measured)
            mirrored = self.model.info.mirrored
            events = self.predictor.maps(plane, token, mirrored=mirrored)
            maps = yield from _counted(events, number, len(targets))
            yield self._decoded(wide, target.window, plane, maps, decoding)

    def _decoded(
        self,
        wide: Target,
        core: Window,
        plane: PredictionRequest,
        maps: Maps,
        decoding: Decoding,
    ) -> Proposal:
        kept = PredictionMaps(maps, plane.axes, self.model.info)
        labels = decode_labels(kept, decoding)
        labels.setflags(write=False)
        return Proposal(wide, core, labels, kept, plane.scale)

    def _with_context(self, planes: ImageReader, target: Target, scale: float) -> Target:
        margin = round(CONTEXT_DIAMETERS * self.model.info.diameter / scale)
        window = grown(target.window, margin, (planes.height, planes.width))
        return Target(target.index, window)


def decode_again(proposal: Proposal, decoding: Decoding) -> Proposal:
    """Decode the kept maps with other thresholds."""
    labels = decode_labels(proposal.kept, decoding)
    labels.setflags(write=False)
    return replace(proposal, labels=labels)


def is_large(proposal: Proposal) -> bool:
    """Tell whether decoding it takes longer than a slider should."""
    return int(proposal.kept.maps[0].size) > LARGE


def part_of(proposal: Proposal, visible: Target) -> Proposal | None:
    """Cut a proposal to what is visible, with a margin; None where nothing is."""
    if proposal.target.index != visible.index:
        return None
    margin = round(CONTEXT_DIAMETERS * proposal.kept.info.diameter)
    working, windows, cores = [], [], []
    for axis, whole, core, seen in zip(
        proposal.kept.axes,
        proposal.target.window,
        proposal.core,
        visible.window,
        strict=True,
    ):
        inner = slice(max(core.start, seen.start), min(core.stop, seen.stop))
        if inner.start >= inner.stop:
            return None
        begin = max(0, int((inner.start - whole.start) * axis.scale) - margin)
        end = min(axis.n_network, int((inner.stop - whole.start) * axis.scale) + margin)
        window = axis.image_window(begin, end)
        working.append((slice(begin, end), Axis(window.stop - window.start, end - begin)))
        windows.append(slice(window.start + whole.start, window.stop + whole.start))
        cores.append(inner)
    rows, columns = working
    kept = replace(
        proposal.kept,
        maps=proposal.kept.maps[:, rows[0], columns[0]],
        axes=(rows[1], columns[1]),
    )
    target = Target(visible.index, (windows[0], windows[1]))
    return replace(proposal, target=target, core=(cores[0], cores[1]), kept=kept)


def _as_notes(events: Events[R], text: str) -> Events[R]:
    """Pass events on without their count: how many rounds there will be is not known."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return cast("R", stop.value)
        yield Progress(0, 0, text) if isinstance(event, Progress) else event


def _counted(events: Events[R], number: int, n_targets: int) -> Events[R]:
    """Count the tiles of one target among those of all."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return cast("R", stop.value)
        if isinstance(event, Progress) and n_targets > 1:
            done, total = number * event.total + event.done, n_targets * event.total
            event = Progress(done, total, f"plane {number + 1} of {n_targets}")
        yield event
