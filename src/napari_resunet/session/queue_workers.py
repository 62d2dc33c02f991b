"""Proposes labels for images of the queue that are not in the viewer.

A generator for a background thread, as those of `workers`. An image that fails costs only
itself.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias, assert_never

import numpy as np

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.errors import Cancelled, FileError, ImageError, ResunetError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.files import content_hash
from napari_resunet.session.link_proposed import ProposedLabels, StackToLink
from napari_resunet.session.queue_images import (
    NOT_THERE,
    UNCLEAR,
    OpenRequest,
    ReadImage,
    read_item,
)
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import guess_shown_stack, stack_axes
from napari_resunet.session.store.delta import LabelDelta, LabelsSnapshot
from napari_resunet.session.store.manifest import fitting_image
from napari_resunet.session.store.schema import ImageRecord, plain_name
from napari_resunet.session.workers import (
    ImageSnapshot,
    ModelReady,
    SegmentRequest,
    Workers,
    plain_errors,
)
from napari_resunet.types import (
    Channels,
    Decoding,
    Device,
    Index,
    Target,
    new_id,
)

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal

log = logging.getLogger(__name__)
PARTS = 1000
"""Parts into which the progress of one image is divided."""

NO_ROOM = "A session cannot hold such an image: convert it to a usual type of pixels first."


@dataclass(frozen=True, eq=False)
class ImageChoices:
    """What the user chose for an image, or for the one that is open.

    Attributes
    ----------
    channels : tuple of int or of tuple of int, or None
        Channels that the network sees, for images with `n_channels` channels.
    n_channels : int
        See there.
    scale : float or None
        Rescale factor from image pixels to network resolution; None estimates it.
    auto : bool
        Whether the user has set no object size.
    planes : int
        How many planes of the open image are known to be channels or slices.
    are_channels : bool
        What they are.
    stack : {"separate", "volume", "film"} or None
        What the slices are of an image with the axes `stack_axes`; None guesses it.
    stack_axes : tuple of str
        See there.
    """

    channels: Channels | None = None
    n_channels: int = 0
    scale: float | None = None
    auto: bool = True
    planes: int = 0
    are_channels: bool = False
    stack: Stack | None = None
    stack_axes: tuple[str, ...] = ()

    def stack_of(self, image: ReadImage) -> Stack:
        """Return what the slices of an image are: as of the open one, or else guessed."""
        labels = image.meta.get("axis_labels", ())
        axes = stack_axes(image.axes, labels)
        known = self.stack if axes == self.stack_axes else None
        return known or guess_shown_stack(image.axes, labels)

    def settled(self, image: ReadImage) -> ReadImage:
        """Take as many planes for what those of the open image are."""
        if not image.unclear or image.levels[0].shape[0] != self.planes:
            return image
        first = "c" if self.are_channels else "z"
        meta = {**image.meta, "axis_labels": (first, "y", "x")}
        return replace(image, unclear=False, axes=f"{first}yx".upper(), meta=meta)

    def channels_of(self, image: ReadImage) -> Channels | None:
        """Return the channels to see of an image: the chosen ones, or the first one."""
        n = image.levels[0].shape[image.axes.index("C")] if "C" in image.axes else 0
        if n == self.n_channels:
            return self.channels or ((0,) if n else None)
        return (0,) if n else None


@dataclass(frozen=True, eq=False)
class ItemToPropose:
    """An image of the queue to propose.

    Attributes
    ----------
    file : OpenRequest
        How it is read.
    choices : ImageChoices
        How it is segmented.
    snapshot : ImageSnapshot or None
        Its pixels, if it is in the viewer: then nothing is read.
    """

    file: OpenRequest
    choices: ImageChoices
    snapshot: ImageSnapshot | None = None

    @property
    def key(self) -> str:
        """Key of the item."""
        return self.file.item.key


@dataclass(frozen=True, eq=False)
class ProposeAllRequest:
    """Propose labels for all slices of some images."""

    model: Model | str
    device: Device
    items: tuple[ItemToPropose, ...]
    decoding: Decoding


@dataclass(frozen=True, eq=False)
class ShownProposal:
    """A proposal for an image that is in the viewer."""

    key: str
    proposal: Proposal


@dataclass(frozen=True, eq=False)
class ProposedPlane:
    """The changes of one plane of an image that is not in the viewer."""

    key: str
    record: ImageRecord
    index: Index
    deltas: list[LabelDelta]


@dataclass(frozen=True, eq=False)
class ProposedItem:
    """An image that is proposed.

    Attributes
    ----------
    key : str
        Key of the item.
    objects : int or None
        Number of objects; None for classes.
    unsure : float
        How unsure the model is, 0 to 1.
    scale : float or None
        The rescale factor, if it was estimated.
    names : tuple of str
        The names of all images in its file, if it was read by a plugin.
    """

    key: str
    objects: int | None
    unsure: float
    scale: float | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedItem:
    """An image that cannot be proposed, and why, in a sentence."""

    key: str
    reason: str


ProposeAllEvent: TypeAlias = (
    "Progress | Notice | ModelReady | ShownProposal | ProposedPlane | ProposedItem "
    "| FailedItem"
)


def propose_all(
    workers: Workers, request: ProposeAllRequest, token: CancelToken
) -> Generator[ProposeAllEvent, None, None]:
    """Propose labels for images, one after the other.

    What was edited or verified on them stays. If it is cancelled, what is proposed by then
    stays.
    """
    model = yield from workers.loaded(request.model, request.device)
    total = PARTS * len(request.items)
    for number, item in enumerate(request.items):
        if token.cancelled:
            raise Cancelled
        text = f"image {number + 1} of {len(request.items)}"
        yield Progress(PARTS * number, total, text)
        job = _Item(workers, replace(request, model=model), item, token)
        try:
            with plain_errors():
                for event in job.steps():
                    if isinstance(event, Progress):
                        part = PARTS * event.done // max(1, event.total)
                        event = Progress(PARTS * number + part, total, text)
                    yield event
        except Cancelled:
            raise
        except ResunetError as error:
            log.warning("An image of the list failed", exc_info=error)
            yield FailedItem(item.key, str(error))
        workers.forget(item.key)


@dataclass
class _Item:
    """Proposes one image, plane by plane, so that only one plane is in memory."""

    workers: Workers
    request: ProposeAllRequest
    item: ItemToPropose
    token: CancelToken
    objects: int = 0
    unsure: list[tuple[float, int]] = field(default_factory=list)
    scale: float | None = None
    is_classes: bool = False
    names: tuple[str, ...] = ()

    def steps(self) -> Generator[ProposeAllEvent, None, None]:
        from napari_resunet.engine.image_reader import ImageReader

        snapshot, record, states = self._image()
        reader = ImageReader(snapshot.levels, snapshot.axes, snapshot.channels)
        stack = None if record is None else StackToLink.of(record, reader.stack_shape)
        for index in reader.indices():
            target = Target(index, reader.window)
            if record is None:
                yield from self._shown(snapshot, target, reader.stack_shape)
                continue
            state = states.get(index) or LabelsSnapshot.empty(record.plane_shape)
            plane = ProposedLabels(state, state.labels.copy(), state.review())
            for event in self._segment(snapshot, target, reader.stack_shape):
                if isinstance(event, Progress | Notice | ModelReady):
                    yield event
                else:
                    _merge(plane, event)
            self.objects += count_objects(plane.labels)
            yield ProposedPlane(self.item.key, record, index, plane.changes())
            if stack is not None and not self.is_classes:
                stack.add(index, plane)
        yield from self._link(stack)
        yield self._result()

    def _link(self, stack: StackToLink | None) -> Generator[ProposeAllEvent, None, None]:
        """Give the objects of a volume or a film one number in all slices."""
        if stack is None or not stack.states:
            return
        for event in stack.linked(self.token):
            if isinstance(event, Progress):
                yield Progress(PARTS, PARTS, event.message)
            else:
                yield ProposedPlane(self.item.key, stack.record, *event)

    def _result(self) -> ProposedItem:
        weight = max(1, sum(n for _, n in self.unsure))
        unsure = sum(value * n for value, n in self.unsure) / weight
        objects = None if self.is_classes else self.objects
        unsure = min(1.0, unsure)
        return ProposedItem(self.item.key, objects, unsure, self.scale, self.names)

    def _image(
        self,
    ) -> tuple[ImageSnapshot, ImageRecord | None, dict[Index, LabelsSnapshot]]:
        """Return the pixels, the record, and the labels; no record if it is shown."""
        item = self.item
        if item.snapshot is not None:
            return item.snapshot, None, {}
        opened = read_item(item.file)
        self.names = opened.names
        if opened.image is None:
            raise FileError(NOT_THERE)
        record, image = item.file.record, item.choices.settled(opened.image)
        if record is None:
            if image.unclear:
                raise ImageError(UNCLEAR)
            record = record_for(item, image)
        channels = record.channels or item.choices.channels_of(image)
        snapshot = ImageSnapshot(item.key, image.levels, record.axes, channels)
        return snapshot, record, dict(opened.states)

    def _shown(
        self, snapshot: ImageSnapshot, target: Target, stack: tuple[int, ...]
    ) -> Generator[ProposeAllEvent, None, None]:
        for event in self._segment(snapshot, target, stack):
            if isinstance(event, Progress | Notice | ModelReady):
                yield event
            else:
                self.objects += count_objects(event.labels)
                yield ShownProposal(self.item.key, event)

    def _segment(
        self, snapshot: ImageSnapshot, target: Target, stack: tuple[int, ...]
    ) -> Generator[Progress | Notice | ModelReady | Proposal, None, None]:
        """Propose one plane; its progress is that of the whole stack."""
        from napari_resunet.session.segmenter import Proposal, SizeFound

        request = SegmentRequest(
            self.request.model,
            self.request.device,
            snapshot,
            (target,),
            self.item.choices.scale or self.scale,
            self.request.decoding,
        )
        done = int(np.ravel_multi_index(target.index, stack)) if stack else 0
        n_planes = int(np.prod(stack, dtype=int))
        for event in self.workers.segment(request, self.token):
            match event:
                case Progress():
                    of_plane = event.done / max(1, event.total)
                    parts = round(PARTS * (done + of_plane) / n_planes)
                    yield Progress(parts, PARTS, event.message)
                case SizeFound():
                    self.scale = event.scale
                case Proposal():
                    self._note(event)
                    yield event
                case Notice() | ModelReady():
                    yield event
                case _:
                    assert_never(event)

    def _note(self, proposal: Proposal) -> None:
        """Note how unsure the model is."""
        from napari_resunet.engine.uncertainty import uncertainty

        maps = proposal.maps.maps.astype(np.float32)
        value = float(uncertainty(maps, proposal.maps.info).mean())
        self.unsure.append((value, int(maps[0].size)))
        self.is_classes = proposal.maps.info.task == "classes"


def _merge(plane: ProposedLabels, proposal: Proposal) -> None:
    merged = plane.review.merge_prediction(
        plane.labels,
        proposal.labels,
        proposal.padded_roi,
        proposal.roi,
        proposal.maps.info.task,
    )
    plane.labels[proposal.padded_roi] = merged


def record_for(item: ItemToPropose, image: ReadImage) -> ImageRecord:
    """Describe an image that was never in the viewer, for the session file.

    Raises
    ------
    ImageError
        If a session cannot hold such an image.
    """
    data = image.levels[0]
    name = plain_name(image.name)
    record = fitting_image(
        {
            "key": new_id(),
            "name": name,
            "shape": tuple(int(n) for n in data.shape),
            "dtype": str(np.dtype(data.dtype)),
            "axes": image.axes,
            "rgb": image.rgb,
            "axis_labels": tuple(map(plain_name, image.meta.get("axis_labels", ()))),
            **{k: tuple(image.meta[k]) for k in ("scale", "units") if k in image.meta},
            "source": item.file.item.path,
            "reader": image.reader,
            "content_hash": content_hash(data),
            "labels_name": f"{name} labels",
            "channels": item.choices.channels_of(image),
            "object_scale": item.choices.scale,
            "auto": item.choices.auto,
            "stack": item.choices.stack_of(image),
        }
    )
    if record is None:
        raise ImageError(NO_ROOM)
    return record
