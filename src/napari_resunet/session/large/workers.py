"""Large images for background threads: generators as those of `session.workers`.

Their labels are in an OME-Zarr, of which parts are read and written back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.errors import FileError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.files import shown
from napari_resunet.session.large.label_store import LabelStore, StoreReady, open_store
from napari_resunet.session.large.surroundings import open_image, other_shape
from napari_resunet.session.store.parts import PartRecord
from napari_resunet.session.store.safety import local_folder
from napari_resunet.session.workers import (
    HERE,
    CorrectedImage,
    ImageSnapshot,
    ModelReady,
    RecordRequest,
    Workers,
    plain_errors,
)
from napari_resunet.types import (
    Decoding,
    Device,
    Index,
    LabelArray,
    ObjectSize,
    RemoteServer,
    Window,
    local_device,
)

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.large.run import LargeRun

N_SAMPLES = 3
ALIVE_SECONDS = 0.3
"""Time after which a run without news yields all the same, so that it can be ended."""

MADE_ANEW = (
    "The labels of the whole image were made anew since this part was cut out: export those"
    " of the part if you need them, remove its layers, and click Work here again."
)

R = TypeVar("R")
Event = Progress | Notice


@dataclass(frozen=True, eq=False)
class WholeRequest:
    """Segment a large image into an OME-Zarr.

    Attributes
    ----------
    model : Model or str
        The model, or the name by which it is loaded.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    source, target : Path
        The image and the labels, which are replaced if they are ours.
    image : ImageSnapshot
        What the viewer shows of the image.
    scale : float or None
        Rescale factor of its finest level; None estimates it.
    decoding : Decoding
        The sliders.
    """

    model: Model | str
    device: Device
    source: Path
    target: Path
    image: ImageSnapshot
    scale: float | None
    decoding: Decoding


@dataclass(frozen=True, eq=False)
class PartRequest:
    """Read a part of a large image, with its labels.

    Attributes
    ----------
    store : Path
        The labels of the whole image.
    index : tuple of int
        The plane.
    window : tuple of slice
        Rows and columns in pixels of the labels.
    """

    store: Path
    index: Index
    window: Window


@dataclass(frozen=True, eq=False)
class PartRead:
    """A part of a large image.

    Attributes
    ----------
    record : PartRecord
        Where it belongs.
    pixels : array, shape (Y, X), (C, Y, X), or (Y, X, S)
        The channels that the network saw.
    axes : {"YX", "CYX", "YXS"}
        Its dimensions.
    labels : int32 array, shape (Y, X)
        The labels as they are.
    review : ReviewMask
        They count as proposed.
    scale : float
        Rescale factor to network resolution, as in the run.
    """

    record: PartRecord
    pixels: npt.NDArray[Any]
    axes: str
    labels: LabelArray
    review: ReviewMask
    scale: float


@dataclass(frozen=True, eq=False)
class WriteRequest:
    """Write the labels of a part back.

    Attributes
    ----------
    model : Model or str
        What verified areas are learned with later.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    part : PartRecord
        Where they belong.
    labels : int32 array, shape (Y, X)
        All labels of the part.
    corrected : CorrectedImage or None
        What is verified there; it goes into the training set.
    """

    model: Model | str
    device: Device
    part: PartRecord
    labels: LabelArray
    corrected: CorrectedImage | None = None


WholeEvent: TypeAlias = "Progress | Notice | ModelReady"


def segment_whole(
    workers: Workers, request: WholeRequest, token: CancelToken
) -> Generator[WholeEvent, None, StoreReady]:
    """Segment a large image; if it is cancelled, the next run goes on with what is done."""
    model = yield from workers.loaded(request.model, request.device)
    if isinstance(request.device, RemoteServer):
        yield Notice(HERE.format(what="An image larger than memory is segmented"))
    yield Progress(0, 0, "opening the image")
    with plain_errors():
        from napari_resunet.session.large.run import segment_large

        run = _run(request, model)
        yield from _in_thread(lambda on_event: segment_large(run, on_event, token), token)
        return open_store(request.target)


def read_part(
    request: PartRequest, token: CancelToken
) -> Generator[Progress, None, PartRead]:
    """Read a part of a large image, with its labels.

    Raises
    ------
    FileError, ImageError
        If labels or image are missing or damaged, or do not fit each other.
    """
    yield Progress(0, 0, "reading the labels in view")
    with plain_errors():
        store = LabelStore(request.store)
        labels = store.read(request.index, request.window)
        pixels, axes = _pixels(store, request.index, request.window)
        rows, columns = ((s.start, s.stop) for s in request.window)
        known = store.note.run.statistics
        record = PartRecord(
            store=str(request.store),
            index=request.index,
            rows=rows,
            columns=columns,
            made=store.note.created,
            low=known.low,
            high=known.high,
        )
        review = ReviewMask.empty(labels.shape)
        review.last_written[:] = labels
        review.proposed[:] = True
        return PartRead(record, pixels, axes, labels, review, store.note.run.scale)


def write_part(
    workers: Workers, request: WriteRequest, token: CancelToken
) -> Generator[WholeEvent, None, StoreReady]:
    """Write the labels of a part back, and learn later from what is verified there.

    Raises
    ------
    FileError
        If they cannot be written; then nothing changed, or it is written when the labels
        are opened again.
    """
    if request.corrected is not None:
        record = RecordRequest(request.model, request.device, request.corrected)
        yield from workers.record(record, token)
    yield Progress(0, 0, "writing the labels back")
    with plain_errors():
        part, folder = request.part, local_folder(request.part.store)
        if folder is None:
            raise FileError(
                f"The labels in {shown(request.part.store)} are not there: put them back, "
                "and click Done again."
            )
        store = LabelStore(folder)
        if part.made not in ("", store.note.created):
            raise FileError(MADE_ANEW)
        store.write(part.index, part.window, request.labels)
        return open_store(folder)


def _pixels(
    store: LabelStore, index: Index, window: Window
) -> tuple[npt.NDArray[Any], str]:
    """Read the pixels that the network saw, with their axes."""
    reader = open_image(store.note)
    if reader.shape != store.shape:
        raise other_shape(store.note)
    pixels = reader.read(index, *window)
    if reader.is_rgb and pixels.shape[-1] == N_SAMPLES:
        return pixels, "YXS"
    if pixels.shape[-1] == 1:
        return pixels[..., 0], "YX"
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), "CYX"


def _run(request: WholeRequest, model: Model) -> LargeRun:
    from napari_resunet.session.large.layer_file import channels_in_file
    from napari_resunet.session.large.run import LargeRun
    from napari_resunet.session.segment_files import SegmentOptions

    request.target.parent.mkdir(parents=True, exist_ok=True)
    size = None if request.scale is None else model.info.diameter / request.scale
    channels = channels_in_file(request.source, request.image)
    options = SegmentOptions(
        output=None,
        channels=cast("tuple[int, ...] | None", channels),
        diameter=None if size is None else ObjectSize(size),
        stack="separate",
        device=local_device(request.device),
        overwrite=True,  # the user was asked before
    )
    return LargeRun(
        request.source,
        request.target,
        model,
        options,
        decoding=request.decoding,
        model_digest=model.digest,
    )


def _in_thread(
    call: Callable[[Callable[[Event], None]], R], token: CancelToken
) -> Generator[Event, None, R]:
    """Yield the events of a call that reports them to a function; return its result."""
    events: SimpleQueue[Event] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        running, latest = pool.submit(call, events.put), Progress(0, 0)
        try:
            while not (running.done() and events.empty()):
                with suppress(Empty):
                    event = events.get(timeout=ALIVE_SECONDS)
                    latest = event if isinstance(event, Progress) else latest
                    yield event
                    continue
                yield latest  # so that the job can be ended here
        except GeneratorExit:
            token.cancel()
            raise
        return running.result()
