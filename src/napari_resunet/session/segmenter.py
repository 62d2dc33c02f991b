"""Image in, proposals out: the pipeline that the API, the CLI and the plugin share."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TypeVar, cast

import numpy as np

from napari_resunet.engine import blocks
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.device import Compute
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.object_size import estimate_scale, found_diameter
from napari_resunet.engine.predict import PredictionRequest, Predictor
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.network.model_file import Model
from napari_resunet.types import (
    Decoding,
    FloatArray,
    LabelArray,
    Statistics,
    Target,
    Window,
)
from napari_resunet.windows import grown, overlap, relative

CONTEXT_DIAMETERS = 2
"""Object diameters of context around a window, so that no object is cut at its edge."""

LARGE = 1200 * 1200
"""Pixels at network resolution; sliders decode the visible part of larger ones first."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the network found in a window of a plane.

    Attributes
    ----------
    index : tuple of int
        Plane of the stack.
    roi : tuple of slice
        Rows and columns that were asked for, in image pixels.
    padded_roi : tuple of slice
        The same with context, in image pixels.
    labels : int32 array, shape of `padded_roi`, read-only
        Objects numbered from 1, or class values.
    maps : PredictionMaps
        What the labels were decoded from, over `padded_roi`.
    scale : float
        Rescale factor from image pixels to network resolution.
    diameter : float or None
        Median diameter of the objects in image pixels; None if they are too few to tell.
    """

    index: tuple[int, ...]
    roi: Window
    padded_roi: Window
    labels: LabelArray
    maps: PredictionMaps
    scale: float
    diameter: float | None = None


@dataclass(frozen=True)
class SizeFound:
    """The object size was estimated: the rescale factor to network resolution."""

    scale: float


R = TypeVar("R")
Events = Generator[Progress | Notice, None, R]
ProposeEvents = Generator[Progress | Notice | SizeFound | Proposal, None, None]


class Segmenter:
    """A model on a device."""

    def __init__(self, model: Model, compute: Compute) -> None:
        self.model = model
        self.predictor = Predictor(model, compute)

    @property
    def compute(self) -> Compute:
        """The device in use: the CPU, once the GPU has run out of memory."""
        return self.predictor.plan.compute

    def propose(
        self,
        reader: ImageReader,
        targets: Sequence[Target],
        *,
        scale: float | None,
        decoding: Decoding,
        statistics: Statistics | None = None,
        token: CancelToken | None = None,
        block: int | None = None,
    ) -> ProposeEvents:
        """Propose labels for windows of an image.

        Parameters
        ----------
        reader : ImageReader
            The image.
        targets : sequence of Target
            Planes and windows.
        scale : float or None
            Rescale factor from image pixels to network resolution; None estimates it on
            the planes of the targets.
        decoding : Decoding
            How maps become labels.
        statistics : Statistics or None
            Intensities of the whole image; None measures them.
        token : CancelToken or None
            Checked between tiles.
        block : int or None
            Split larger windows into blocks with about this side, in pixels at network
            resolution, the middle first; None leaves them whole.

        Yields
        ------
        Progress, Notice, SizeFound or Proposal
            One Proposal for each target or block, as soon as it is ready.
        """
        if 0 in reader.shape or not targets:
            return
        measured = statistics or reader.measure(self.model.info.normalization)
        if scale is None:
            indices = list(dict.fromkeys(target.index for target in targets))
            estimate = estimate_scale(self.predictor, reader, indices, measured, token)
            scale = yield from without_count(estimate, "estimating the object size")
            yield SizeFound(scale)
        if block is not None:
            targets = [part for t in targets for part in blocks_of(t, block / scale)]
        for number, target in enumerate(targets):
            padded = self._padded(reader, target.window, scale)
            plane = PredictionRequest(reader, target.index, padded, scale, measured)
            events = self.predictor.maps(plane, token, tta=self.model.info.tta)
            arrays = yield from _counted(events, number, targets)
            maps = PredictionMaps(arrays, plane.axes, self.model.info)
            labels = _decoded(maps, decoding)
            found = found_diameter(labels, self.model.info)
            yield Proposal(
                target.index, target.window, padded, labels, maps, plane.scale, found
            )

    def measure_speed(self) -> float:
        """Measure how many pixels at network resolution are predicted in a second.

        The object size and decoding take time, too, so expect a little less.
        """
        side, batch = self.model.info.tile, self.predictor.plan.batch
        reader = ImageReader([np.zeros((side, side * batch), np.uint8)], "YX", None)
        blank = PredictionRequest(reader, (), reader.window, 1.0, Statistics((0,), (1,)))
        seconds = []
        for _ in range(2):  # the first one makes everything ready
            began = time.perf_counter()
            drain(self.predictor.maps(blank, tta=self.model.info.tta))
            seconds.append(time.perf_counter() - began)
        return side * side * batch / seconds[-1]

    def _padded(self, reader: ImageReader, window: Window, scale: float) -> Window:
        margin = round(CONTEXT_DIAMETERS * self.model.info.diameter / scale)
        return grown(window, margin, (reader.height, reader.width))


def _decoded(maps: PredictionMaps, decoding: Decoding) -> LabelArray:
    labels = decode_labels(maps, decoding)
    labels.setflags(write=False)
    return labels


def decode_again(proposal: Proposal, decoding: Decoding) -> Proposal:
    """Decode the maps of a proposal with other settings."""
    return replace(proposal, labels=_decoded(proposal.maps, decoding))


def is_large(proposal: Proposal) -> bool:
    """Return whether decoding takes too long to follow a slider."""
    return int(proposal.maps.maps[0].size) > LARGE


def part_of(proposal: Proposal, visible: Target) -> Proposal | None:
    """Crop a proposal to the visible window and its context; None if they do not meet."""
    if proposal.index != visible.index:
        return None
    margin = round(CONTEXT_DIAMETERS * proposal.maps.info.diameter)
    network, padded, roi = [], [], []
    for axis, whole, asked, seen in zip(
        proposal.maps.axes,
        proposal.padded_roi,
        proposal.roi,
        visible.window,
        strict=True,
    ):
        inner = slice(max(asked.start, seen.start), min(asked.stop, seen.stop))
        if inner.start >= inner.stop:
            return None
        begin = max(0, int((inner.start - whole.start) * axis.scale) - margin)
        end = min(axis.n_network, int((inner.stop - whole.start) * axis.scale) + margin)
        window = axis.image_window(begin, end)
        network.append((slice(begin, end), Axis(window.stop - window.start, end - begin)))
        padded.append(slice(window.start + whole.start, window.stop + whole.start))
        roi.append(inner)
    rows, columns = network
    maps = replace(
        proposal.maps,
        maps=proposal.maps.maps[:, rows[0], columns[0]],
        axes=(rows[1], columns[1]),
    )
    return replace(
        proposal, roi=(roi[0], roi[1]), padded_roi=(padded[0], padded[1]), maps=maps
    )


def without_count(events: Events[R], text: str) -> Events[R]:
    """Pass events on without their counts: the number of rounds is not known."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return cast("R", stop.value)
        yield Progress(0, 0, text) if isinstance(event, Progress) else event


def blocks_of(target: Target, side: float) -> list[Target]:
    """Split a window into about equal blocks, the middle first.

    Parameters
    ----------
    target : Target
        A window of a plane.
    side : float
        About the side of a block in image pixels; a window up to half larger stays whole.

    Returns
    -------
    list of Target
        Blocks that cover the window without overlap.
    """
    edges = []
    for span in target.window:
        n = max(1, round((span.stop - span.start) / side))
        edges.append(np.linspace(span.start, span.stop, n + 1).round().astype(int))
    spans = [
        [slice(int(a), int(b)) for a, b in pairwise(along_axis)] for along_axis in edges
    ]
    middle = [(span.start + span.stop) / 2 for span in target.window]

    def distance(window: Window) -> float:
        centre = [(span.start + span.stop) / 2 for span in window]
        return float(max(abs(a - b) for a, b in zip(centre, middle, strict=True)))

    windows = sorted(product(spans[0], spans[1]), key=distance)
    return [Target(target.index, window) for window in windows]


def _counted(events: Events[R], number: int, targets: Sequence[Target]) -> Events[R]:
    """Count the tiles of one target as part of all targets."""
    n_targets = len(targets)
    one_plane = len({target.index for target in targets}) == 1
    what = "part" if one_plane else "slice"
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            return cast("R", stop.value)
        if isinstance(event, Progress) and n_targets > 1:
            done, total = number * event.total + event.done, n_targets * event.total
            event = Progress(done, total, f"{what} {number + 1} of {n_targets}")
        yield event


def maps_at(
    proposals: Sequence[Proposal], index: tuple[int, ...], window: Window
) -> FloatArray | None:
    """Read the maps of the proposal that covers most of a window.

    Parameters
    ----------
    proposals : sequence of Proposal
        Of one image; the first wins if several cover the same area.
    index : tuple of int
        Plane of the stack.
    window : tuple of slice
        Rows and columns in image pixels.

    Returns
    -------
    float32 array, shape (n_maps, h, w), or None
        Zeros outside of the proposal; None if no proposal meets the window.
    """
    here = [p for p in proposals if p.index == index]
    parts = [(overlap(p.padded_roi, window), p) for p in here]
    covering = [(part, p) for part, p in parts if all(s.stop > s.start for s in part)]
    if not covering:
        return None

    part, proposal = max(covering, key=lambda c: _area(c[0]))
    found = blocks.maps_at(proposal.maps, relative(part, proposal.padded_roi))
    maps = np.zeros((len(found), *(s.stop - s.start for s in window)), np.float32)
    rows, columns = relative(part, window)
    maps[:, rows, columns] = found
    return maps


def _area(window: Window) -> int:
    rows, columns = (int(s.stop) - int(s.start) for s in window)
    return rows * columns
