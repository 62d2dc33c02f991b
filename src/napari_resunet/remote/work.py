"""What a server computes: prediction maps and fine-tuned models, from what was sent.

No HTTP here. What was sent is checked, because it may come from anyone who has the key.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from napari_resunet.engine.device import Compute
from napari_resunet.engine.finetune import FineTuneConfig, FineTuneStep, fine_tune_steps
from napari_resunet.engine.image_reader import NUMBERS
from napari_resunet.engine.model_selection import FineTuneResult
from napari_resunet.engine.normalize import N_INPUTS
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.errors import ImageError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.network.model_file import Model
from napari_resunet.remote.client import UnknownModel
from napari_resunet.remote.predict import file_of, model_of
from napari_resunet.remote.wire import (
    Buffers,
    ExampleFacts,
    FineTuneMessage,
    MapsEvent,
    NoticeEvent,
    PredictMessage,
    ProgressEvent,
    StepEvent,
    TunedEvent,
    frame,
    not_understood,
)
from napari_resunet.types import Example, Index

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


@dataclass(frozen=True)
class _Pixels:
    """The window that was sent, which is all that the network sees."""

    pixels: npt.NDArray[Any]

    def read(self, index: Index, rows: slice, columns: slice) -> npt.NDArray[Any]:
        return self.pixels[rows, columns]


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
        _Pixels(pixels),
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
        and len(measured.low) == len(measured.high) == n_channels
        and bool(np.isfinite([*measured.low, *measured.high]).all())
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
    examples = list(_examples(message.examples, arrays))
    events = fine_tune_steps(model, examples, config, compute, token, message.decoding)
    result = yield from _told(events)
    if (new := _new_model(result)) is not None:
        models.add(new)  # the client asks for its labels next
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
        and image.ndim in (2, 3)
        and image.shape[:2] == labels.shape
        and math.prod(image.shape[2:]) in range(1, MAX_CHANNELS + 1)
        and image.dtype.kind in NUMBERS
        and all(m.shape == labels.shape and m.dtype == bool for m in masks)
        and all(t <= b <= height and x <= r <= width for t, b, x, r in facts.held_out)
    )
    if not fits:
        raise not_understood()


def _told(events: Generator[Any, None, R]) -> Generator[Buffers, None, R]:
    """Turn events into messages; return the result."""
    while True:
        try:
            event = next(events)
        except StopIteration as stop:
            result: R = stop.value
            return result
        match event:
            case Progress():
                yield frame(
                    ProgressEvent(done=event.done, total=event.total, text=event.message)
                )
            case Notice():
                yield frame(NoticeEvent(text=event.message))
            case FineTuneStep():
                yield frame(
                    StepEvent(
                        step=event.step,
                        loss=event.loss,
                        held_out=event.held_out,
                        fraction=event.fraction,
                        seconds_left=event.seconds_left,
                        before=event.before,
                    )
                )


def _new_model(result: FineTuneResult) -> Model | None:
    return result.candidate or (result.model if result.improved else None)


def _tuned(result: FineTuneResult) -> Buffers:
    new = _new_model(result)
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
    )
    files = [] if new is None else [np.frombuffer(file_of(new), np.uint8)]
    return frame(event, files)
