"""What a server computes: prediction maps and fine-tuned models, from what was sent.

No HTTP here. What was sent is checked, because it may come from anyone who has the key.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from napari_resunet.engine.device import Compute
from napari_resunet.engine.finetune import FineTuneStep, fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.image_reader import NUMBERS
from napari_resunet.engine.normalize import N_INPUTS
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.prepare import Pixels, PredictionRequest
from napari_resunet.errors import ImageError
from napari_resunet.events import CancelToken, Notice, Progress, relayed
from napari_resunet.network.model_file import Model
from napari_resunet.remote.client import UnknownModel
from napari_resunet.remote.predict import file_of, model_of
from napari_resunet.remote.wire import (
    Buffers,
    ExampleFacts,
    FineTuneMessage,
    MapsEvent,
    NoticeEvent,
    OtherFacts,
    PredictMessage,
    ProgressEvent,
    StepEvent,
    TunedEvent,
    frame,
    not_understood,
)
from napari_resunet.types import Example, OtherImage, Statistics

MAX_MODELS = 4
"""Models that stay in memory, each with the copy that predicts: 0.15 GB."""

MAX_MAPS = 2**32
"""Most bytes of the maps of one request."""

MAX_CHANNELS = 100
"""Most channels of an image to learn from; the network sees three of them at most."""

R = TypeVar("R")
Work = Generator[Buffers, None, Buffers]
"""Yields messages that say how far it is, and returns the one with the result."""

Arrays = Sequence[npt.NDArray[Any]]


class Models:
    """The models that were sent, the oldest of which is forgotten.

    Parameters
    ----------
    compute : Compute
        The device.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute, self._lock = compute, Lock()
        self._predictors: OrderedDict[str, Predictor] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        with self._lock:
            return digest in self._predictors

    def add(self, model: Model) -> str:
        """Add a model; return its digest."""
        digest, predictor = model.digest, Predictor(model, self._compute)
        with self._lock:
            self._predictors[digest] = predictor
            while len(self._predictors) > MAX_MODELS:
                self._predictors.popitem(last=False)
        return digest

    def receive(self, digest: str, data: bytearray) -> None:
        """Add a model from the bytes of its file.

        Raises
        ------
        ModelFileError
            If they are damaged.
        RemoteError
            If it is another model than was announced.
        DiskFullError
            If the temporary folder has no room for the file.
        """
        model = model_of(data)
        if model.digest != digest:
            raise not_understood()
        self.add(model)

    def predictor(self, digest: str) -> Predictor:
        """Return what predicts with a model.

        Raises
        ------
        UnknownModel
            If the model was not sent, or forgotten.
        """
        with self._lock:
            if digest not in self._predictors:
                raise UnknownModel("The server does not have the model: try again.")
            self._predictors.move_to_end(digest)
            return self._predictors[digest]


def predict(
    models: Models, message: PredictMessage, arrays: Arrays, token: CancelToken
) -> Work:
    """Predict the maps of a window.

    Raises
    ------
    ResunetError
        If what was sent makes no sense, or as `Predictor.maps`.
    """
    predictor = models.predictor(message.model)
    pixels = _window(arrays, message)
    height, width = pixels.shape[:2]
    request = PredictionRequest(
        Pixels(pixels),  # the window that was sent is all that the network sees
        (),
        (slice(0, height), slice(0, width)),
        message.scale,
        message.statistics,
    )
    n_pixels = math.prod(axis.n_network for axis in request.axes)
    if 2 * predictor.model.info.n_maps * n_pixels > MAX_MAPS:
        raise ImageError(
            "The area is too large for one request at this object size: choose a smaller "
            "area."
        )
    events = predictor.maps(request, token, tta=message.tta)
    maps = yield from _told(events)
    return frame(MapsEvent(), [maps])


def _window(arrays: Arrays, message: PredictMessage) -> npt.NDArray[Any]:
    if len(arrays) != 1 or arrays[0].ndim != 3:
        raise not_understood()
    pixels, measured = arrays[0], message.statistics
    n_channels = pixels.shape[2]
    fits = (
        pixels.size > 0
        and pixels.dtype.kind in NUMBERS
        and n_channels <= N_INPUTS
        and _fits_channels(measured, n_channels)
    )
    if not fits:
        raise not_understood()
    return pixels


def fine_tune(
    models: Models,
    compute: Compute,
    message: FineTuneMessage,
    arrays: Arrays,
    token: CancelToken,
) -> Work:
    """Fine-tune a model on examples.

    Raises
    ------
    ResunetError
        If what was sent makes no sense, or as `fine_tune_steps`.
    """
    model = models.predictor(message.model).model
    try:
        config = TypeAdapter(FineTuneConfig).validate_python(message.config)
    except ValidationError as error:
        raise not_understood() from error
    n_others = len(message.others)
    if n_others >= len(arrays):
        raise not_understood()
    own, rest = arrays[: len(arrays) - n_others], arrays[len(arrays) - n_others :]
    events = fine_tune_steps(
        model,
        list(_examples(message.examples, own)),
        config,
        compute,
        token,
        message.decoding,
        others=list(_others(message.others, rest)),
    )
    result = yield from _told(events)
    if result.new is not None:
        models.add(result.new)  # the client asks for its labels next
    return _tuned(result)


def _examples(facts: Sequence[ExampleFacts], arrays: Arrays) -> Iterator[Example]:
    if sum(one.n_arrays for one in facts) != len(arrays):
        raise not_understood()
    left = iter(arrays)
    for one in facts:
        image, labels = next(left), next(left)
        verified = next(left) if one.verified else None
        edited = next(left) if one.edited else None
        _check_example(one, image, labels, [m for m in (verified, edited) if m is not None])
        yield Example(
            image,
            labels,
            verified,
            edited,
            scale=one.scale,
            statistics=one.statistics,
            held_out=tuple((slice(t, b), slice(x, r)) for t, b, x, r in one.held_out),
            pixel_size=one.pixel_size,
        )


def _others(facts: Sequence[OtherFacts], arrays: Arrays) -> Iterator[OtherImage]:
    for one, image in zip(facts, arrays, strict=True):
        measured = one.statistics
        n_channels = math.prod(image.shape[2:])
        fits = (
            _is_image(image)
            and n_channels <= N_INPUTS
            and (measured is None or _fits_channels(measured, n_channels))
        )
        if not fits:
            raise not_understood()
        yield OtherImage("", image, one.scale, measured)


def _is_image(image: npt.NDArray[Any]) -> bool:
    """Return whether an array is a plane with pixels, and perhaps with channels."""
    return (
        image.ndim in (2, 3)
        and image.size > 0
        and image.dtype.kind in NUMBERS
        and math.prod(image.shape[2:]) <= MAX_CHANNELS
    )


def _fits_channels(measured: Statistics, n_channels: int) -> bool:
    same = len(measured.low) == len(measured.high) == n_channels
    return same and bool(np.isfinite([*measured.low, *measured.high]).all())


def _check_example(
    facts: ExampleFacts,
    image: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    masks: Sequence[npt.NDArray[Any]],
) -> None:
    height, width = labels.shape if labels.ndim == 2 else (0, 0)
    fits = (
        labels.size > 0
        and labels.dtype.kind in "ui"
        and image.shape[:2] == labels.shape
        and _is_image(image)
        and all(m.shape == labels.shape and m.dtype == bool for m in masks)
        and all(t <= b <= height and x <= r <= width for t, b, x, r in facts.held_out)
    )
    if not fits:
        raise not_understood()


def _told(events: Generator[Any, None, R]) -> Generator[Buffers, None, R]:
    """Turn events into messages; return the result."""
    return relayed(events, _message)


def _message(event: Any) -> Buffers | None:
    match event:
        case Progress():
            return frame(
                ProgressEvent(done=event.done, total=event.total, text=event.message)
            )
        case Notice():
            return frame(NoticeEvent(text=event.message))
        case FineTuneStep():
            return frame(
                StepEvent(
                    step=event.step,
                    loss=event.loss,
                    held_out=event.held_out,
                    fraction=event.fraction,
                    seconds_left=event.seconds_left,
                    before=event.before,
                )
            )
    return None


def _tuned(result: FineTuneResult) -> Buffers:
    new = result.new
    kind = "candidate" if result.candidate else "model" if new else ""
    event = TunedEvent(
        outcome=result.outcome,
        before=result.before,
        after=result.after,
        text=result.message,
        n_objects=result.n_objects,
        n_regions=result.n_regions,
        steps=result.steps,
        new=kind,
        elsewhere=None
        if result.elsewhere is None
        else tuple(image.changes for image in result.elsewhere.images),
        seconds=result.seconds,
    )
    files = [] if new is None else [np.frombuffer(file_of(new), np.uint8)]
    return frame(event, files)
