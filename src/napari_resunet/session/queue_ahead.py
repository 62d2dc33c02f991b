"""What is read of images that are not open: the next ones, and verified areas.

Generators for background threads, as those of `workers`.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_resunet.corrections.training_set import correction_of
from napari_resunet.errors import ResunetError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.session.queue_images import OpenedItem, is_large, read_item
from napari_resunet.session.queue_workers import ItemToPropose, ProposeAllRequest
from napari_resunet.session.store.delta import VERIFIED
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.session.workers import (
    CorrectedImage,
    ImageSnapshot,
    ModelReady,
    RecordRequest,
    SegmentRequest,
    Workers,
    plain_errors,
)
from napari_resunet.types import Channels, Target

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal

log = logging.getLogger(__name__)
MAX_AHEAD = 2**26
"""Bytes of an image that is read before it is opened; twice as many are in memory."""


@dataclass(frozen=True, eq=False)
class ReadAhead:
    """An image that was read, and perhaps proposed, before it is opened.

    Attributes
    ----------
    item : QueueItem
        The item as it was then.
    opened : OpenedItem
        Its pixels and its labels.
    channels : tuple of int or of tuple of int, or None
        The channels that were proposed.
    proposals : tuple of Proposal
        What the model proposes; empty if it has labels, or is a stack.
    """

    item: QueueItem
    opened: OpenedItem
    channels: Channels | None = None
    proposals: tuple[Proposal, ...] = ()


def read_ahead(
    workers: Workers, request: ProposeAllRequest, token: CancelToken
) -> Generator[ReadAhead | Progress, None, None]:
    """Read images before they are opened, and propose those without labels."""
    for item in request.items:
        yield Progress(0, 0, "reading ahead")
        try:
            found = yield from _read_ahead(workers, request, item, token)
        except ResunetError as error:
            # It is said when the image is opened.
            log.warning("An image was not read ahead", exc_info=error)
            continue
        if token.cancelled:
            return
        if found is not None:
            yield found


def _read_ahead(
    workers: Workers, request: ProposeAllRequest, item: ItemToPropose, token: CancelToken
) -> Generator[Progress, None, ReadAhead | None]:
    if is_large(item.file.item):
        return None
    with plain_errors():
        opened = read_item(item.file)
    image = opened.image
    if image is None or image.levels[0].nbytes > MAX_AHEAD:
        return None
    image = item.choices.settled(image)
    channels = item.choices.channels_of(image)
    found = ReadAhead(item.file.item, opened, channels)
    snapshot = ImageSnapshot(item.key, image.levels, image.axes, channels)
    is_plane = not set(image.axes) - set("CYXS")
    if is_plane and not image.unclear and item.file.record is None:
        proposals = yield from _proposals(workers, request, item, snapshot, token)
        found = replace(found, proposals=tuple(proposals))
    return found


def _proposals(
    workers: Workers,
    request: ProposeAllRequest,
    item: ItemToPropose,
    snapshot: ImageSnapshot,
    token: CancelToken,
) -> Generator[Progress, None, list[Proposal]]:
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.session.segmenter import Proposal

    with plain_errors():
        reader = ImageReader(snapshot.levels, snapshot.axes, snapshot.channels)
    wanted = SegmentRequest(
        request.model,
        request.device,
        snapshot,
        (Target((), reader.window),),
        item.choices.scale,
        request.decoding,
    )
    found: list[Proposal] = []
    for event in workers.segment(wanted, token):
        if isinstance(event, Proposal):
            found.append(event)
        yield Progress(0, 0, "proposing ahead")
    return found


def record_saved(
    workers: Workers, request: ProposeAllRequest, token: CancelToken
) -> Generator[str | Progress | Notice | ModelReady, None, None]:
    """Add what is verified on images that are not open to the training set.

    After a crash, it may be in the session without having been added.

    Yields
    ------
    str, Progress, Notice or ModelReady
        The key of each image that was added.
    """
    for item in request.items:
        yield Progress(0, 0, "reading verified areas")
        try:
            with plain_errors():
                corrected = _corrected(item)
            if corrected is not None and not token.cancelled:
                added = RecordRequest(request.model, request.device, corrected)
                yield from workers.record(added, token)
                yield item.key
        except ResunetError as error:
            log.warning("Verified areas of an image were not read", exc_info=error)


def _corrected(item: ItemToPropose) -> CorrectedImage | None:
    """Read an image and what is verified on it; None if one of them is not there."""
    record, opened = item.file.record, read_item(item.file)
    if opened.image is None or record is None:
        return None
    corrections = [
        correction_of(item.key, index, state.labels, state.review())
        for index, state in opened.states.items()
        if (state.marks & VERIFIED).any()
    ]
    channels = record.channels or item.choices.channels_of(opened.image)
    image = ImageSnapshot(item.key, opened.image.levels, record.axes, channels)
    return CorrectedImage(
        image, tuple(corrections), record.object_scale, record.auto
    )  # fmt: skip
