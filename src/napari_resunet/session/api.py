"""The Python API: a few functions that run the engine's generators to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import FineTuneStep, FineTuning, fine_tune_steps
from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.metrics import Score, score
from napari_resunet.engine.planes import Planes
from napari_resunet.errors import CorrectionError
from napari_resunet.events import drain
from napari_resunet.network.model_file import Model, read_model
from napari_resunet.resources import starter_path
from napari_resunet.session.segmenter import Proposal, Segmenter, SizeFound
from napari_resunet.types import DeviceChoice, Example, LabelArray, Notice, Progress, Target

STARTER = "starter"
OnEvent = Callable[[Progress | Notice], None]

__all__ = ["Example", "Model", "Score", "fine_tune", "load_model", "score", "segment"]


def load_model(name: str | Path = STARTER) -> Model:
    """Load a model.

    Parameters
    ----------
    name : str or Path
        "starter", or the path of a ``.safetensors`` file or of a plain state_dict
        (``.pt``, ``.pth``).

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or unsafe.
    """
    return read_model(starter_path() if str(name) == STARTER else Path(name))


def segment(
    image: Any,
    model: Model,
    axes: str | None = None,
    *,
    channels: Sequence[int] | None = None,
    scale: float | None = None,
    decoding: Decoding | None = None,
    device: DeviceChoice = "auto",
    on_event: OnEvent | None = None,
) -> LabelArray:
    """Segment an image.

    Parameters
    ----------
    image : array
        numpy, dask, zarr …, any real dtype; stacks go plane by plane.
    model : Model
        See `load_model`.
    axes : str or None
        One letter of "TZCYXS" for each dimension; None guesses.
    channels : sequence of int or None
        Which one to three channels feed the network.
    scale : float or None
        Factor from image to working pixels; None estimates it.
    decoding : Decoding or None
        Foreground threshold and split level.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    on_event : callable or None
        Called with each Progress and Notice.

    Returns
    -------
    int32 array, the image's shape without channels
        Objects from 1 in each plane, or classes.

    Raises
    ------
    ImageError, DeviceError, OutOfMemoryError
    """
    array = image if hasattr(image, "dtype") else np.asarray(image)
    planes = Planes([array], axes, channels)
    return segment_planes(
        planes, model, scale=scale, decoding=decoding, device=device, on_event=on_event
    )[0]


def segment_planes(
    planes: Planes,
    model: Model,
    *,
    scale: float | None = None,
    decoding: Decoding | None = None,
    device: DeviceChoice = "auto",
    on_event: OnEvent | None = None,
) -> tuple[LabelArray, float | None]:
    """Segment all planes of an image; see `segment`.

    Returns
    -------
    labels : int32 array
    scale : float or None
        Factor from image to working pixels, as given or estimated; None of no pixels.
    """
    targets = [Target(index, planes.window) for index in planes.indices()]
    labels = np.zeros(planes.shape, np.int32)
    segmenter = Segmenter(model, choose(device))
    decoding = decoding or Decoding()
    for event in segmenter.propose(planes, targets, scale=scale, decoding=decoding):
        if isinstance(event, Proposal):
            labels[event.target.index] = event.labels
        elif isinstance(event, SizeFound):
            scale = event.scale
        elif on_event is not None:
            on_event(event)
    return labels, scale


def fine_tune(
    model: Model,
    examples: Sequence[Example],
    *,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    device: DeviceChoice = "auto",
    on_event: OnEvent | None = None,
) -> Model:
    """Learn from corrections, on a copy.

    Parameters
    ----------
    model : Model
        The start; not changed.
    examples : sequence of Example
        Images with labels, and where these are checked.
    steps : int or None
        Number of steps; None goes by `seconds`.
    seconds : float or None
        Time to spend where `steps` is None; None is about a minute.
    seed : int
        Source of all chance.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    on_event : callable or None
        Called with each Progress and Notice; the last Notice is the verdict.

    Returns
    -------
    Model
        The new model, or `model` itself where the new one was not better on the
        held-out part.

    Raises
    ------
    CorrectionError, DeviceError, OutOfMemoryError
    """
    _check(examples)
    recipe = FineTuning(steps=steps, seconds=seconds or FineTuning.seconds, seed=seed)
    events = fine_tune_steps(model, examples, recipe, choose(device))
    result = drain(events, _Reporter(on_event) if on_event else None)
    if on_event is not None:
        on_event(Notice(result.message))
    return result.model


class _Reporter:
    """Turns training steps into progress."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._begin = time.monotonic()

    def __call__(self, event: FineTuneStep | Notice) -> None:
        if isinstance(event, FineTuneStep):
            text = f"step {event.step}, loss {event.loss:.3f}"
            event_out: Progress | Notice = Progress(round(1000 * event.share), 1000, text)
        else:
            event_out = event
        self._on_event(event_out)


def _check(examples: Sequence[Example]) -> None:
    for example in examples:
        if example.image.shape[:2] != example.labels.shape:
            raise CorrectionError(
                f"An image of {example.image.shape[:2]} pixels and labels of "
                f"{example.labels.shape} do not fit together: give a plane and its labels."
            )
        _check_kind(example.labels)


def _check_kind(labels: npt.NDArray[Any]) -> None:
    if labels.dtype.kind not in "bui":
        raise CorrectionError(f"Labels must be whole numbers, not {labels.dtype}.")
