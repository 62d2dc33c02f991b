"""The Python API: a few functions that run the engine's generators to their end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet._package import STARTER_DIGEST, starter_path
from napari_resunet.engine import metrics
from napari_resunet.engine.device import choose, memory_errors
from napari_resunet.engine.finetune import FineTuneConfig, FineTuneStep, fine_tune_steps
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import Score
from napari_resunet.engine.postprocess import Decoding
from napari_resunet.errors import CorrectionError
from napari_resunet.events import drain
from napari_resunet.network.model_file import Model, model_path, read_model
from napari_resunet.session import arguments
from napari_resunet.session.segmenter import Proposal, Segmenter, SizeFound
from napari_resunet.types import DeviceChoice, Example, LabelArray, Notice, Progress, Target

STARTER = "starter"
OnEvent = Callable[[Progress | Notice], None]

__all__ = ["Example", "Model", "Score", "fine_tune", "load_model", "score", "segment"]


def load_model(name: str | Path = STARTER) -> Model:
    """Load a model.

    Warns where an older version saved the file without a checksum.

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
    OutOfMemoryError
    """
    model = find_model(name)
    _tell(model.notice, None)
    return model


def find_model(name: str | Path) -> Model:
    """Load a model without a warning: its notice is left to the caller."""
    if isinstance(name, (str, Path)) and str(name) == STARTER:
        return read_model(starter_path(), STARTER_DIGEST)
    return read_model(model_path(name))


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
        Which one to three channels feed the network; None takes the colours of RGB or the
        first channel.
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
        Objects from 1 in each plane, or classes; axes in the order of the image's.

    Raises
    ------
    ArgumentError, ImageError, DeviceError, OutOfMemoryError, ModelFileError
    FileError
        If the temporary folder has no room for the maps of a large image.
    """
    planes = arguments.planes_of(image, axes, channels)
    return segment_planes(
        planes, model, scale=scale, decoding=decoding, device=device, on_event=on_event
    )[0]


def segment_planes(
    planes: ImageReader,
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
    arguments.check_model(model)
    arguments.check_device(device)
    arguments.check_on_event(on_event)
    scale, decoding = arguments.scale_of(scale), arguments.decoding_of(decoding)
    with memory_errors():
        targets = [Target(index, planes.window) for index in planes.indices()]
        labels = np.zeros(planes.shape, np.int32)
        segmenter = Segmenter(model, choose(device))
        for event in segmenter.propose(planes, targets, scale=scale, decoding=decoding):
            if isinstance(event, Proposal):
                labels[event.target.index] = event.labels
            elif isinstance(event, SizeFound):
                scale = event.scale
            elif on_event is not None:
                on_event(event)
        return planes.in_given_order(labels), scale


def fine_tune(
    model: Model,
    examples: Sequence[Example],
    *,
    channels: Sequence[int] | None = None,
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
        Images with labels, and where these are verified. Labels may be masks of other
        tools; a binary mask is split into its pieces, with a notice.
    channels : sequence of int or None
        Which one to three channels of each image feed the network, as for `segment`.
    steps : int or None
        Number of steps, at least 1; None goes by `seconds`.
    seconds : float or None
        Time to spend where `steps` is None, 0.1 or more; None is about a minute.
    seed : int
        Source of all chance.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    on_event : callable or None
        Called with each Progress and Notice; the last Notice is the verdict. Without it,
        notices about the labels come as warnings.

    Returns
    -------
    Model
        The new model, or `model` itself where the new one was not better on the
        held-out part.

    Raises
    ------
    ArgumentError, CorrectionError, ImageError, DeviceError, OutOfMemoryError
    """
    arguments.check_model(model)
    arguments.check_device(device)
    arguments.check_on_event(on_event)
    config = _config(steps, seconds, seed)
    with memory_errors():
        learned_from = []
        for example, notice in arguments.examples_of(examples, model.info, channels):
            _tell(notice, on_event)
            learned_from.append(example)
        events = fine_tune_steps(model, learned_from, config, choose(device))
        result = drain(events, _Reporter(on_event) if on_event else None)
    if on_event is not None:
        on_event(Notice(result.message))
    return result.model


def _config(steps: int | None, seconds: float | None, seed: int) -> FineTuneConfig:
    if steps is not None:
        steps = arguments.whole_number("steps", steps, 1, arguments.MOST_STEPS)
    if seconds is None:
        seconds = FineTuneConfig.seconds
    seconds = arguments.real_number("seconds", seconds, 0.1, arguments.MOST_SECONDS)
    seed = arguments.whole_number("seed", seed, 0, arguments.LARGEST_SEED)
    return FineTuneConfig(steps=steps, seconds=seconds, seed=seed)


def score(true_labels: npt.ArrayLike, labels: npt.ArrayLike) -> Score:
    """Compare the objects of one plane with the truth.

    Parameters
    ----------
    true_labels, labels : arrays of equal shape (Y, X)
        Objects; 0 is background. Masks of other tools are read as labels; a binary mask
        is split into its pieces, with a warning.

    Returns
    -------
    Score

    Raises
    ------
    CorrectionError
        If the shapes differ, or one is no labels image.
    OutOfMemoryError
    """
    with memory_errors():
        truth, found = (arguments.labels_of(array) for array in (true_labels, labels))
        if truth.labels.shape != found.labels.shape:
            raise CorrectionError(
                f"The labels are of different shapes, {truth.labels.shape} and "
                f"{found.labels.shape}: give two labels images of the same plane."
            )
        for made in (truth, found):
            _tell(made.notice, None)
        return metrics.score(truth.labels, found.labels)


def _tell(notice: str, on_event: OnEvent | None) -> None:
    """Tell the user something: by an event, or by a warning where nobody listens."""
    if notice and on_event is not None:
        on_event(Notice(notice))
    elif notice:
        warnings.warn(notice, stacklevel=3)


class _Reporter:
    """Turns training steps into progress."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    def __call__(self, event: FineTuneStep | Notice) -> None:
        if isinstance(event, FineTuneStep):
            text = f"step {event.step}, loss {event.loss:.3f}"
            event_out: Progress | Notice = Progress(round(1000 * event.share), 1000, text)
        else:
            event_out = event
        self._on_event(event_out)
