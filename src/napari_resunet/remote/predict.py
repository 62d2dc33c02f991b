"""The network on another computer: prediction maps and fine-tuned models from a server.

What is cheap stays here: reading the image, its intensities, decoding. So labels are those
of this computer's own network, up to the rounding of another device.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.changes import (
    MAX_IMAGES,
    Changes,
    Elsewhere,
    ImageChanges,
    evenly,
)
from napari_resunet.engine.finetune import FineTuneStep
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.predict import BATCH_ON_GPU, Event, KeptTiles, Maps
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.files import cannot_write
from napari_resunet.network.model_file import Model, read_model
from napari_resunet.remote.client import Asked, Received, UnknownModel, name_of
from napari_resunet.remote.wire import (
    FINE_TUNE,
    MAX_MODEL,
    MODELS,
    PREDICT,
    STOP,
    Buffers,
    ExampleFacts,
    FineTuneMessage,
    Known,
    MapsEvent,
    NoticeEvent,
    OtherFacts,
    PredictMessage,
    ProgressEvent,
    StepEvent,
    TunedEvent,
    frame,
    not_understood,
    read_message,
)
from napari_resunet.types import Decoding, Example, OtherImage, RemoteServer, new_id

MODEL_NAME = "model.safetensors"

E = TypeVar("E")


class RemoteModel:
    """A model that a server computes with; it is sent there once.

    Parameters
    ----------
    model : Model
        The model.
    server : RemoteServer
        Where to compute.
    """

    def __init__(self, model: Model, server: RemoteServer) -> None:
        self.model, self.server = model, server
        self._is_there = False

    @cached_property
    def digest(self) -> str:
        """What the server knows it by."""
        return self.model.digest

    def ask(
        self,
        path: str,
        body: Buffers,
        most: int,
        token: CancelToken,
        on_event: Callable[[Received], E | None],
    ) -> Generator[Progress | E, None, None]:
        """Ask for work with the model, and send it first if the server lacks it."""
        for is_last in (False, True):
            yield from self._ensure(token)
            try:
                asked = Asked(self.server, "POST", path, token, body, most=most)
                yield from asked.events(on_event)
            except UnknownModel:  # it was the oldest of too many, or the server is new
                self._is_there = False
                if is_last:
                    raise
            else:
                return

    def _ensure(self, token: CancelToken) -> Generator[Progress, None, None]:
        if self._is_there:
            return
        path = f"{MODELS}/{self.digest}"
        line = yield from Asked(self.server, "GET", path, token).line()
        if not read_message(Known, line).known:
            body: Buffers = [file_of(self.model)]
            doing = "sending the model to the server"
            yield from Asked(self.server, "PUT", path, token, body, doing=doing).line()
        self._is_there = True


class RemotePredictor:
    """Predicts maps on a server, as `Predictor` does on this computer.

    Parameters
    ----------
    model : Model
        The model.
    server : RemoteServer
        Where to compute.
    """

    batch = BATCH_ON_GPU

    def __init__(self, model: Model, server: RemoteServer) -> None:
        self.model = model
        self._remote = RemoteModel(model, server)

    @property
    def description(self) -> str:
        """The device, for the user."""
        server = self._remote.server
        return f"{server.device} at {name_of(server)}"

    def maps(
        self,
        request: PredictionRequest,
        token: CancelToken | None = None,
        *,
        tta: bool = False,
        kept: KeptTiles | None = None,
    ) -> Generator[Event, None, Maps]:
        """Predict the maps of a window; see `Predictor.maps`.

        Parts of a plane, and the tiles that they share, are for labels on the disk, which
        this computer makes itself.

        Raises
        ------
        RemoteError
            If the server is not there, goes away, or refuses.
        """
        assert request.part is None
        assert kept is None
        yield Progress(0, 0, "reading the image")
        rows, columns = request.axes
        shape = (self.model.info.n_maps, rows.n_network, columns.n_network)
        message = PredictMessage(
            job=new_id(),
            model=self._remote.digest,
            scale=request.scale,
            statistics=request.statistics,
            tta=tta,
        )
        body = frame(message, [request.reader.read(request.index, *request.window)])
        found: list[Maps] = []

        def received(got: Received) -> Event | None:
            if not isinstance(got[0], MapsEvent):
                return _reported(got[0])
            found.extend(got[1])
            return None

        most = np.dtype(np.float16).itemsize * prod(shape)
        token = token or CancelToken()
        events: Generator[Event, None, None] = self._remote.ask(
            PREDICT, body, most, token, received
        )
        yield from events
        if [(m.shape, m.dtype) for m in found] != [(shape, np.dtype(np.float16))]:
            raise not_understood()
        return found[0]


def fine_tune_steps(
    model: Model,
    examples: Sequence[Example],
    config: FineTuneConfig,
    server: RemoteServer,
    token: CancelToken | None = None,
    decoding: Decoding | None = None,
    others: Sequence[OtherImage] = (),
) -> Generator[FineTuneStep | Event, None, FineTuneResult]:
    """Fine-tune a copy of a model on a server; see `engine.finetune.fine_tune_steps`.

    Steps have no checkpoint, which has several times the size of the model.

    Raises
    ------
    RemoteError
        If the server is not there, goes away, or refuses.
    """
    remote, job, token = RemoteModel(model, server), new_id(), token or CancelToken()
    compared = evenly([other for other in others if other.image.size], MAX_IMAGES)
    message = FineTuneMessage(
        job=job,
        model=remote.digest,
        decoding=decoding or Decoding(),
        config=asdict(config),
        examples=tuple(_facts(example) for example in examples),
        others=tuple(OtherFacts(scale=o.scale, statistics=o.statistics) for o in compared),
    )
    arrays = [array for example in examples for array in _arrays(example)]
    body = frame(message, [*arrays, *(other.image for other in compared)])
    results: list[FineTuneResult] = []

    def received(got: Received) -> FineTuneStep | Progress | Notice | None:
        event, arrays = got
        if isinstance(event, StepEvent):
            return _step(event)
        if not isinstance(event, TunedEvent):
            return _reported(event)
        results.append(_result(event, arrays, model, compared))
        return None

    was_stopped = False
    events: Generator[FineTuneStep | Event, None, None] = remote.ask(
        FINE_TUNE, body, MAX_MODEL, token, received
    )
    for event in events:
        yield event
        if token.stopped and not was_stopped:
            stop = Asked(server, "POST", f"{STOP}/{job}", token).line()
            was_stopped = read_message(Known, (yield from stop)).known
    if len(results) != 1:
        raise not_understood()
    return results[0]


def _reported(event: object) -> Event:
    """Turn an event that both kinds of work have into one of this computer's."""
    if isinstance(event, ProgressEvent):
        return Progress(event.done, event.total, event.text)
    if isinstance(event, NoticeEvent):
        return Notice(event.text)
    raise not_understood()


def _step(event: StepEvent) -> FineTuneStep:
    return FineTuneStep(
        event.step,
        event.loss,
        event.held_out,
        event.fraction,
        event.seconds_left,
        before=event.before,
    )


def _facts(example: Example) -> ExampleFacts:
    return ExampleFacts(
        scale=example.scale,
        statistics=example.statistics,
        held_out=tuple(
            (rows.start, rows.stop, columns.start, columns.stop)
            for rows, columns in example.held_out
        ),
        pixel_size=example.pixel_size,
        verified=example.verified is not None,
        edited=example.edited is not None,
    )


def _arrays(example: Example) -> list[npt.NDArray[Any]]:
    masks = (example.verified, example.edited)
    return [example.image, example.labels, *(m for m in masks if m is not None)]


def _result(
    event: TunedEvent, arrays: Sequence[Any], old: Model, others: Sequence[OtherImage]
) -> FineTuneResult:
    changes = event.elsewhere
    if len(arrays) != bool(event.new) or (changes and len(changes) != len(others)):
        raise not_understood()
    new = model_of(arrays[0].tobytes()) if arrays else None
    return FineTuneResult(
        model=new if new is not None and event.new == "model" else old,
        outcome=event.outcome,
        before=event.before,
        after=event.after,
        message=event.text,
        n_objects=event.n_objects,
        n_regions=event.n_regions,
        n_images=1,
        steps=event.steps,
        candidate=new if event.new == "candidate" else None,
        elsewhere=_named(changes, others) if changes else None,
        seconds=event.seconds,
    )


def _named(changes: Sequence[Changes], others: Sequence[OtherImage]) -> Elsewhere:
    """Give back the names, which the server is not told."""
    pairs = zip(others, changes, strict=True)
    return Elsewhere(tuple(ImageChanges(other.name, each) for other, each in pairs))


def file_of(model: Model) -> bytes:
    """Return the bytes of a model's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_NAME)
        model.save(path, half=model.is_half)
        return path.read_bytes()


def model_of(data: bytes | bytearray) -> Model:
    """Read a model from the bytes of its file.

    Raises
    ------
    ModelFileError
        If they are damaged or something else.
    DiskFullError
        If the temporary folder has no room for them.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_NAME)
        try:
            path.write_bytes(data)
        except OSError as error:
            raise cannot_write(path, error) from error
        return read_model(path)
