"""The Python API: functions that run the engine's generators to their end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from napari_resunet._package import STARTER, STARTER_DIGEST, starter_path
from napari_resunet.engine import metrics
from napari_resunet.engine.device import memory_errors
from napari_resunet.engine.finetune import FineTuneStep
from napari_resunet.engine.finetune_config import MAX_SECONDS, FineTuneConfig
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import Score
from napari_resunet.errors import CorrectionError
from napari_resunet.events import Notice, Progress, drain
from napari_resunet.network.model_file import Model, model_path, read_model
from napari_resunet.session.arguments import values
from napari_resunet.session.arguments.arrays import labels_of, reader_of
from napari_resunet.session.arguments.examples import examples_of
from napari_resunet.session.arguments.others import others_of
from napari_resunet.session.devices import fine_tune_on
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.segment_volumes import segment_volumes, slice_step_for
from napari_resunet.session.segmenter import Proposal, Segmenter, SizeFound
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import number_stack, stack_of
from napari_resunet.types import (
    Decoding,
    Device,
    Example,
    LabelArray,
    ObjectSize,
    Target,
)

MIN_SECONDS = 0.1
OnEvent = Callable[[Progress | Notice], None]

__all__ = [
    "Decoding",
    "Example",
    "Model",
    "Score",
    "fine_tune",
    "load_model",
    "score",
    "segment",
]


def load_model(name: str | Path = STARTER) -> Model:
    """Load a model.

    Parameters
    ----------
    name : str or Path
        "starter" for the bundled model, or the path of a ``.safetensors`` file or of a
        plain state_dict (``.pt``, ``.pth``).

    Returns
    -------
    Model

    Warns
    -----
    UserWarning
        If the file has no checksum, because an older version saved it.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, unsafe, or of another program.
    OutOfMemoryError
        If the model does not fit into memory.
    """
    model = find_model(name)
    notify(model.notice, None)
    return model


def find_model(name: str | Path) -> Model:
    """Load a model, and leave it to the caller to show its notice."""
    if isinstance(name, (str, Path)) and str(name) == STARTER:
        return read_model(starter_path(), STARTER_DIGEST)
    return read_model(model_path(name))


def segment(
    image: Any,
    model: Model,
    axes: str | None = None,
    *,
    channels: Sequence[int] | None = None,
    diameter: float | str | ObjectSize | None = None,
    pixel_size: float | None = None,
    decoding: Decoding | None = None,
    stack: Stack | None = None,
    directions: int = 1,
    slice_step: float | None = None,
    device: Device = "auto",
    on_event: OnEvent | None = None,
) -> LabelArray:
    """Segment an image.

    Parameters
    ----------
    image : array
        numpy, dask, zarr, …, any real dtype. A stack is segmented plane by plane.
    model : Model
        From `load_model` or `fine_tune`.
    axes : str or None
        One letter of "TZCYXS" for each dimension; None guesses.
    channels : sequence of int or None
        One to three channels that the network sees; None takes the colours of an RGB
        image, or else the first channel.
    diameter : float, str, ObjectSize, or None
        Diameter of a typical object in pixels of the image, 0.5 to 9999, or with its unit
        ("30 px", "12 um"). None takes the size that the model learned from, or estimates
        it if the model learned none.
    pixel_size : float or None
        Side of a pixel in micrometres, if known.
    decoding : Decoding or None
        Foreground threshold and split level, each 0 to 1; None is 0.5 for both, the
        model's own levels.
    stack : {"separate", "volume", "film"} or None
        What the slices of a stack are. In a volume, an object has one number in all slices
        of Z, and in a film in all frames of T (and slices of Z, if there are any), where
        it can be followed from one to the next. If the stack has one axis, it is that one.
        None guesses: a film if there is T, else a volume if there is Z, else separate.
    directions : {1, 3}
        1 segments the slices and links their objects. 3 finds the objects of a volume in
        the planes of XY, XZ, and YZ, which keeps nuclei apart that lie above one another,
        but takes much more time and memory.
    slice_step : float or None
        From slice to slice, in pixels of the image, 0.1 to 100. Three directions need it.
    device : {"auto", "cuda", "mps", "cpu"} or RemoteServer
        Where to compute: on this computer, or on the one that `connect` returned.
    on_event : callable or None
        Called with each Progress and Notice.

    Returns
    -------
    int32 array, shape of the image without channels
        0 is background. Objects are numbered from 1 over the whole stack, without gaps;
        for a model of classes, the values are classes. The axes are in the order of the
        image's.

    Raises
    ------
    ArgumentError
        If an argument is missing, has the wrong type, or is out of range.
    ImageError
        If the image cannot be used as it is.
    DeviceError, OutOfMemoryError
        If the device is missing, fails, or has too little memory.
    RemoteError
        If the other computer is not there, goes away, or refuses.
    FileError
        If the temporary folder has no room for the maps of a large image.
    """
    reader = reader_of(image, axes, channels)
    return segment_planes(
        reader, model, diameter=diameter, pixel_size=pixel_size, decoding=decoding,
        stack=stack, directions=directions, slice_step=slice_step, device=device,
        on_event=on_event,
    )[0]  # fmt: skip


def segment_planes(
    reader: ImageReader,
    model: Model,
    *,
    diameter: float | str | ObjectSize | None = None,
    pixel_size: float | None = None,
    decoding: Decoding | None = None,
    stack: Stack | None = None,
    directions: int = 1,
    slice_step: float | None = None,
    device: Device = "auto",
    on_event: OnEvent | None = None,
) -> tuple[LabelArray, float | None]:
    """Segment all planes of an image, as `segment` does; return the scale as well.

    The scale is the rescale factor that was used; None for an image without pixels.
    """
    values.check_model(model)
    values.check_device(device)
    values.check_on_event(on_event)
    size, decoding = values.diameter_of(diameter), values.decoding_of(decoding)
    pixel_size = values.pixel_size_of(pixel_size)
    values.check_stack(stack)
    known = stack_of(stack, reader.stack_axes, model.info.task)
    step = slice_step_for(directions, slice_step, known)
    scale = scale_from(size, model.info, pixel_size)
    with memory_errors():
        if step is not None:
            volumes = segment_volumes(
                Segmenter(model, device), reader, scale=scale, slice_step=step,
                decoding=decoding,
            )  # fmt: skip
            labels, scale = drain(volumes, on_event)
            return reader.in_given_order(labels), scale
        targets = [Target(index, reader.window) for index in reader.indices()]
        labels = np.zeros(reader.shape, np.int32)
        segmenter = Segmenter(model, device)
        for event in segmenter.propose(reader, targets, scale=scale, decoding=decoding):
            match event:
                case Proposal():
                    labels[event.index] = event.labels
                case SizeFound():
                    scale = event.scale
                case Progress() | Notice():
                    if on_event is not None:
                        on_event(event)
                case _:
                    assert_never(event)
        if known is not None:
            labels = drain(number_stack(labels, reader.stack_axes, known), on_event)
        return reader.in_given_order(labels), scale


def fine_tune(
    model: Model,
    examples: Sequence[Example],
    *,
    channels: Sequence[int] | None = None,
    diameter: float | str | ObjectSize | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    others: Sequence[Any] = (),
    device: Device = "auto",
    on_event: OnEvent | None = None,
) -> Model:
    """Fine-tune a copy of a model on corrected labels.

    Parameters
    ----------
    model : Model
        The model to start from; it is not changed.
    examples : sequence of Example
        Images with labels and with masks of what is verified. Labels may be masks of
        other tools: a binary mask is split into its connected pieces, with a notice.
    channels : sequence of int or None
        One to three channels of each image that the network sees, as for `segment`.
    diameter : float, str, ObjectSize, or None
        Object size in the examples, as for `segment`; None measures each one's labels.
        The new model remembers the size of the last example, unless the examples' sizes
        differ by a factor of more than 1.4.
    steps : int or None
        Number of training steps, at least 1; None trains for `seconds`.
    seconds : float or None
        Time to train if `steps` is None, at least 0.1; None is a minute.
    seed : int
        Seed of the random number generator.
    others : sequence of arrays
        Images without labels, one plane each, that should not get worse. In the middle of
        up to six of them, a Notice says how many objects the new model finds anew, no
        longer, or with another outline.
    device : {"auto", "cuda", "mps", "cpu"} or RemoteServer
        Where to compute: on this computer, or on the one that `connect` returned.
    on_event : callable or None
        Called with each Progress and Notice; the last Notice says whether the new model
        is better. Without it, notices about the labels are warnings.

    Returns
    -------
    Model
        The new model, or `model` itself if the new one was not better on the held-out
        regions.

    Raises
    ------
    ArgumentError
        If an argument has the wrong type or is out of range.
    CorrectionError
        If nothing is verified, or labels and image do not fit together.
    ImageError
        If an image cannot be used as it is.
    DeviceError, OutOfMemoryError
        If the device is missing, fails, or has too little memory.
    RemoteError
        If the other computer is not there, goes away, or refuses.
    """
    values.check_model(model)
    values.check_device(device)
    values.check_on_event(on_event)
    config, size = _config(steps, seconds, seed), values.diameter_of(diameter)
    with memory_errors():
        training_set = []
        read = examples_of(examples, model.info, channels, size)
        for example, notice in read:
            notify(notice, on_event)
            training_set.append(example)
        unlabelled = list(others_of(others, model.info, channels, size, training_set))
        events = fine_tune_on(model, training_set, config, device, others=unlabelled)
        result = drain(events, partial(_report, on_event) if on_event else None)
    if on_event is not None:
        for text in filter(None, (result.too_short, result.summary)):
            on_event(Notice(text))
    return result.model


def _config(steps: int | None, seconds: float | None, seed: int) -> FineTuneConfig:
    if steps is not None:
        steps = values.whole_number("steps", steps, 1, values.MAX_STEPS)
    if seconds is None:
        seconds = FineTuneConfig.seconds
    seconds = values.real_number("seconds", seconds, MIN_SECONDS, MAX_SECONDS)
    seed = values.whole_number("seed", seed, 0, values.MAX_SEED)
    return FineTuneConfig(steps=steps, seconds=seconds, seed=seed)


def score(true_labels: npt.ArrayLike, labels: npt.ArrayLike) -> Score:
    """Compare the objects of one plane with the ground truth.

    Parameters
    ----------
    true_labels, labels : arrays, both of shape (Y, X)
        Whole numbers: one for each object, 0 for background. Masks of other tools are
        read as labels: a binary mask is split into its connected pieces, with a warning.

    Returns
    -------
    Score

    Raises
    ------
    CorrectionError
        If the shapes differ, or an array is not a labels image.
    OutOfMemoryError
        If there is too little memory.
    """
    with memory_errors():
        truth, found = (labels_of(array) for array in (true_labels, labels))
        if truth.labels.shape != found.labels.shape:
            raise CorrectionError(
                f"The labels are of different shapes, {truth.labels.shape} and "
                f"{found.labels.shape}: give two labels images of the same plane."
            )
        for made in (truth, found):
            notify(made.notice, None)
        return metrics.score(truth.labels, found.labels)


def notify(notice: str, on_event: OnEvent | None) -> None:
    """Send a notice as an event, or as a warning if nobody listens."""
    if notice and on_event is not None:
        on_event(Notice(notice))
    elif notice:
        warnings.warn(notice, stacklevel=3)


def _report(on_event: OnEvent, event: FineTuneStep | Progress | Notice) -> None:
    """Pass a notice on, and a training step as progress."""
    match event:
        case FineTuneStep():
            text = f"step {event.step}, loss {event.loss:.3f}"
            on_event(Progress(round(1000 * event.fraction), 1000, text))
        case Progress() | Notice():
            on_event(event)
        case _:
            assert_never(event)
