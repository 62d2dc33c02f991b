"""Image in, proposals out: the pipeline that the API, the CLI and the plugin share."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TypeVar

import numpy as np

from napari_resunet.engine import blocks
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.large_plane import WindowMaps, label_window
from napari_resunet.engine.object_size import estimate_scale, found_diameter
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.prepare import PixelReader, PredictionRequest
from napari_resunet.events import CancelToken, Notice, Progress, drain, relayed
from napari_resunet.network.model_file import Model
from napari_resunet.session.devices import predictor_on
from napari_resunet.types import (
    Decoding,
    Device,
    FloatArray,
    Index,
    LabelArray,
    Statistics,
    Target,
    Window,
)
from napari_resunet.windows import grown, moved, overlap, relative

CONTEXT_DIAMETERS = 2
"""Object diameters of context around a window, so that no object is cut at its edge."""

LARGE = 2048 * 2048
"""Pixels at network resolution; sliders decode the visible part of larger ones first."""

AT_ONCE = 16
"""Proposals that a slider decodes before they are drawn: drawing takes longer than one."""


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
    beyond : WindowMaps or None
        What the labels were decoded from instead, if the image is a part of a larger plane.
    """

    index: tuple[int, ...]
    roi: Window
    padded_roi: Window
    labels: LabelArray
    maps: PredictionMaps
    scale: float
    diameter: float | None = None
    beyond: WindowMaps | None = None


@dataclass(frozen=True, eq=False)
class PlaneAround:
    """The plane of a large image out of which an image was cut.

    Attributes
    ----------
    reader : PixelReader
        Its pixels.
    index : tuple of int
        Its position in its stack.
    shape : tuple of int
        Its rows and columns.
    window : tuple of slice
        Where the image is in it.
    """

    reader: PixelReader
    index: Index
    shape: tuple[int, int]
    window: Window

    def request(self, scale: float, statistics: Statistics) -> PredictionRequest:
        """Say how the whole plane is predicted."""
        rows, columns = self.shape
        everything = slice(0, rows), slice(0, columns)
        return PredictionRequest(self.reader, self.index, everything, scale, statistics)

    def place(self, window: Window) -> Window:
        """Return where a window of the image is in the plane."""
        return moved(window, self.window)


@dataclass(frozen=True)
class SizeFound:
    """The object size was estimated: the rescale factor to network resolution."""

    scale: float


R = TypeVar("R")
Events = Generator[Progress | Notice, None, R]
Labelled = tuple[LabelArray, PredictionMaps, WindowMaps | None]
ProposeEvents = Generator[Progress | Notice | SizeFound | Proposal, None, None]


class Segmenter:
    """A model on a device, of this computer or of another one.

    Parameters
    ----------
    model : Model
        The model.
    device : {"auto", "cuda", "mps", "cpu"} or RemoteServer
        Where to compute.

    Raises
    ------
    DeviceError
        If this computer does not have the device.
    """

    def __init__(self, model: Model, device: Device) -> None:
        self.model = model
        self.predictor = predictor_on(model, device)

    @property
    def device_text(self) -> str:
        """The device in use, for the user."""
        return self.predictor.description

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
        around: PlaneAround | None = None,
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
        around : PlaneAround or None
            What the image was cut out of: its labels are then equal, pixel for pixel, to
            those of that plane, also at the edge of the image. Not with a server.

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
            if around is None:
                plane = PredictionRequest(reader, target.index, padded, scale, measured)
                events = self._label(plane, decoding, token)
            else:
                whole, place = around.request(scale, measured), around.place(padded)
                events = self._label_in(whole, place, decoding, token)
            labels, maps, beyond = yield from _counted(events, number, targets)
            labels.setflags(write=False)
            found = found_diameter(labels, self.model.info)
            yield Proposal(
                target.index, target.window, padded, labels, maps, scale, found, beyond
            )

    def _label(
        self, plane: PredictionRequest, decoding: Decoding, token: CancelToken | None
    ) -> Events[Labelled]:
        """Label a window that is seen alone."""
        info = self.model.info
        arrays = yield from self.predictor.maps(plane, token, tta=info.tta)
        maps = PredictionMaps(arrays, plane.axes, info)
        return decode_labels(maps, decoding), maps, None

    def _label_in(
        self,
        plane: PredictionRequest,
        window: Window,
        decoding: Decoding,
        token: CancelToken | None,
    ) -> Events[Labelled]:
        """Label a window as the whole plane would be labelled."""
        assert isinstance(self.predictor, Predictor)
        beyond, labels = yield from label_window(
            self.predictor, plane, window, decoding, token
        )
        return labels, beyond.inside(), beyond

    def measure_speed(self) -> float:
        """Measure how many pixels at network resolution are predicted in a second.

        The object size and decoding take time, too, so expect a little less.
        """
        side, batch = self.model.info.tile, self.predictor.batch
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


def in_view_first(
    proposals: Sequence[Proposal], visible: Target
) -> Generator[list[Proposal], None, None]:
    """Put proposals into the order in which a slider redraws them, a few at once.

    Parameters
    ----------
    proposals : sequence of Proposal
        Of one image.
    visible : Target
        What is in view. Of proposals that take too long, this part comes first.
    """
    first, later = [], []
    for proposal in proposals:
        part = part_of(proposal, visible)
        whole = part is not None and part.padded_roi == proposal.padded_roi
        if part is not None:
            first.append(part if is_large(proposal) else proposal)
        if part is None or (is_large(proposal) and not whole):
            later.append(proposal)
    for group in (first, later):
        for begin in range(0, len(group), AT_ONCE):
            yield group[begin : begin + AT_ONCE]


def decode_again(
    proposals: Sequence[Proposal], decoding: Decoding, token: CancelToken
) -> list[Proposal]:
    """Decode the maps of proposals with other settings; fewer if the token ends it."""
    with ThreadPoolExecutor(blocks.N_THREADS) as pool:
        labels = pool.map(
            lambda p: None if token.cancelled else _decoded(p, decoding), proposals
        )
        return [
            replace(proposal, labels=found)
            for proposal, found in zip(proposals, labels, strict=True)
            if found is not None
        ]


def _decoded(proposal: Proposal, decoding: Decoding) -> LabelArray:
    if proposal.beyond is None:
        labels = decode_labels(proposal.maps, decoding)
    else:
        labels = proposal.beyond.decoded(decoding)
    labels.setflags(write=False)
    return labels


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
    shown, beyond = (padded[0], padded[1]), proposal.beyond
    if beyond is not None:
        place = moved(relative(shown, proposal.padded_roi), beyond.window)
        beyond = replace(beyond, window=place)
    return replace(
        proposal, roi=(roi[0], roi[1]), padded_roi=shown, maps=maps, beyond=beyond
    )


def without_count(events: Events[R], text: str) -> Events[R]:
    """Pass events on without their counts: the number of rounds is not known."""
    return relayed(events, lambda e: Progress(0, 0, text) if isinstance(e, Progress) else e)


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

    def counted(event: Progress | Notice) -> Progress | Notice:
        if not isinstance(event, Progress) or n_targets == 1:
            return event
        done, total = number * event.total + event.done, n_targets * event.total
        return Progress(done, total, f"{what} {number + 1} of {n_targets}")

    return relayed(events, counted)


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
