"""Checks the arguments of the Python API: types and ranges, or an error in one sentence.

Arrays become numpy arrays, masks of other tools become labels, and an example's image
becomes the pixels that `segment` would see. The code below the API trusts its arguments.
"""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import CHANNEL_AXES, ImageReader
from napari_resunet.errors import ArgumentError, CorrectionError, ImageError
from napari_resunet.masks import MaskLabels, labels_from_mask
from napari_resunet.network.model_file import Model
from napari_resunet.network.torch_import import torch
from napari_resunet.session.formats.layout import guessed_axes
from napari_resunet.session.measurements import DEPTH, MeasureRequest
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.settings import (
    DIAMETER_WANTED,
    FOREGROUND,
    OBJECT_SIZE,
    PIXEL_SIZE,
    SCALE,
    SPLIT,
    Number,
    Stack,
    read_diameter,
)
from napari_resunet.tiff_reader import PIXEL_AXES, STACK_AXES
from napari_resunet.types import (
    MAX_MAPS,
    PIXEL_SIZES,
    Decoding,
    DeviceChoice,
    Example,
    MaskArray,
    MeasureGroup,
    ModelInfo,
    ObjectSize,
    Statistics,
    Window,
)

MAX_STEPS = 10**9
MAX_FLOAT = sys.float_info.max
MAX_SEED = 2**63 - 1
MAX_SIDE, MAX_PIXELS = 2**31 - 1, 2**36


def of_type(name: str, value: Any, kind: type, hint: str) -> None:
    """Refuse a value of another type; the hint says what to give instead."""
    if not isinstance(value, kind):
        raise ArgumentError(f"{name} must be {hint}, not {_shown(value)}.")


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """Read a whole number, from Python or numpy, within a range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)) or not least <= number <= most:
        raise ArgumentError(
            f"{name} must be a whole number from {least} to {most}, not {_shown(value)}."
        )
    return number


def real_number(name: str, value: Any, least: float, most: float) -> float:
    """Read a number, from Python or numpy, within a range."""
    real = isinstance(value, (int, float, np.integer, np.floating))
    if not real or isinstance(value, bool) or not least <= value <= most:
        raise ArgumentError(
            f"{name} must be a number from {least:g} to {most:g}, not {_shown(value)}."
        )
    return float(value)


def number_of(name: str, value: Any, parameter: Number) -> float:
    """Read a number within the range that the parameter has everywhere."""
    return real_number(name, value, parameter.minimum, parameter.maximum)


def pixel_size_of(value: Any) -> float | None:
    """Read the side of a pixel in micrometres."""
    return None if value is None else number_of("pixel_size", value, PIXEL_SIZE)


def diameter_of(value: Any) -> ObjectSize | None:
    """Read an object size: a number of pixels, or a text with its unit."""
    if value is None or isinstance(value, ObjectSize):
        return value
    size = read_diameter(value) if isinstance(value, str) else None
    if size is None and isinstance(value, str):
        raise ArgumentError(f"diameter must be {DIAMETER_WANTED}, not {_shown(value)}.")
    return size or ObjectSize(number_of("diameter", value, OBJECT_SIZE))


def check_model(value: Any) -> None:
    """Refuse everything but a model."""
    of_type("model", value, Model, "what load_model() gives")


def check_device(value: Any) -> None:
    """Refuse everything but the name of a device."""
    if not isinstance(value, str) or value not in get_args(DeviceChoice):
        names = ", ".join(repr(name) for name in get_args(DeviceChoice))
        raise ArgumentError(f"device must be one of {names}, not {_shown(value)}.")


def check_stack(value: Any) -> None:
    """Refuse everything but what the slices of a stack can be."""
    if value is not None and (not isinstance(value, str) or value not in get_args(Stack)):
        names = ", ".join(repr(name) for name in get_args(Stack))
        raise ArgumentError(f"stack must be one of {names}, not {_shown(value)}.")


def check_on_event(value: Any) -> None:
    """Refuse everything that cannot be called."""
    if value is not None and not callable(value):
        raise ArgumentError(f"on_event must be a function, not {_shown(value)}.")


def decoding_of(value: Any) -> Decoding:
    """Read foreground threshold and split level; None gives the defaults."""
    if value is None:
        return Decoding()
    of_type("decoding", value, Decoding, "a Decoding(foreground, split)")
    return Decoding(
        number_of("Decoding.foreground", value.foreground, FOREGROUND),
        number_of("Decoding.split", value.split, SPLIT),
    )


def channels_of(value: Any) -> tuple[int, ...] | None:
    """Read a choice of channels."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        raise ArgumentError(
            f"channels must be a list of numbers, such as [0, 2], not {_shown(value)}."
        )
    return tuple(whole_number("channels", c, 0, 10**6) for c in value)


def reader_of(image: Any, axes: Any, channels: Any) -> ImageReader:
    """Make a reader for an image of any library; a lazy image stays lazy."""
    if axes is not None:
        of_type("axes", axes, str, "a string with one letter for each dimension")
    return ImageReader([_image(image)], axes, channels_of(channels))


def _image(image: Any) -> Any:
    if isinstance(image, torch.Tensor):
        return _from_torch(image)
    if isinstance(image, np.ma.MaskedArray):
        raise _masked("image", ImageError)
    if hasattr(image, "dtype") and hasattr(image, "shape"):
        return image
    return array_of("image", image, ImageError)


def _from_torch(image: torch.Tensor) -> npt.NDArray[Any]:
    try:
        return image.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise ImageError(
            f"A tensor of {image.dtype} cannot be used as an image: give a numpy array."
        ) from error


def array_of(name: str, value: Any, kind: type[CorrectionError | ImageError]) -> Any:
    """Read an array of any library, or nested lists, into memory."""
    if isinstance(value, np.ma.MaskedArray):
        raise _masked(name, kind)
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own
        raise kind(
            f"The {name} cannot be read as an array: give a numpy array, with one number "
            "for each pixel."
        ) from error


def labels_and_axes(labels: Any, axes: Any) -> tuple[npt.NDArray[Any], str]:
    """Read labels of any number of planes, and what their axes are."""
    array = array_of("labels image", labels, CorrectionError)
    if array.dtype.kind not in "bui":
        raise CorrectionError(
            f"The labels image holds {array.dtype}: give whole numbers, one per object."
        )
    axes = guessed_axes(array.ndim) if axes is None else axes_of(axes, array.ndim)
    return (array.astype(np.uint8) if array.dtype.kind == "b" else array), axes


def axes_of(value: Any, ndim: int | None) -> str:
    """Read the axes of labels: one letter for each dimension, without channels."""
    of_type("axes", value, str, "a string with one letter for each dimension")
    axes = str(value).upper()
    letters = len(set(axes)) == len(axes) and set(axes) <= set(STACK_AXES + PIXEL_AXES)
    if not letters or not set(PIXEL_AXES) <= set(axes) or ndim not in (None, len(axes)):
        raise ArgumentError(
            "axes must have one letter for each dimension, each once, of P, T, Z, Y and X, "
            f"not {_shown(value)}."
        )
    return axes


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Read the shape of labels."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise ArgumentError(
            f"shape must be a tuple of whole numbers, rows and columns last, not "
            f"{_shown(value)}."
        )
    shape = tuple(whole_number("shape", n, 1, MAX_SIDE) for n in value)
    if math.prod(shape) > MAX_PIXELS:
        raise ArgumentError(f"shape must be that of labels that fit into memory: {shape}.")
    return shape


def names_of(value: Any) -> tuple[str, ...]:
    """Read the names of classes."""
    known = isinstance(value, (tuple, list)) and all(isinstance(n, str) for n in value)
    if not known or len(value) > MAX_MAPS:
        raise ArgumentError(
            f"class_names must be a list of names, background first, not {_shown(value)}."
        )
    return tuple(value)


def step_of(name: str, value: Any) -> float | None:
    """Read the distance of slices in micrometres, or the time between frames in seconds."""
    return None if value is None else real_number(name, value, *PIXEL_SIZES)


def measurements_of(value: Any) -> dict[int, dict[str, float]]:
    """Read the measurements of each label."""
    if value is None:
        return {}
    of_type("measurements", value, Mapping, "a mapping of each label to its values")
    found: dict[int, dict[str, float]] = {}
    for label, values in value.items():
        number = whole_number("A label of measurements", label, 0, MAX_SIDE)
        of_type("measurements", values, Mapping, "a mapping of names to values")
        found[number] = {str(name): _measured(one) for name, one in values.items()}
    return found


def _measured(value: Any) -> float:
    """Read a number that may be unknown."""
    if isinstance(value, (float, np.floating)):
        return float(value)
    return real_number("A measurement", value, -MAX_FLOAT, MAX_FLOAT)


def file_of(value: Any) -> Path:
    """Read the name of a file."""
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise ArgumentError(f"path must be the name of a file, not {_shown(value)}.")
    return Path(value)


def _masked(name: str, kind: type[CorrectionError | ImageError]) -> Any:
    return kind(
        f"The {name} is a masked array, whose mask would be lost: fill it first, for "
        "example with .filled(0)."
    )


def examples_of(
    examples: Any, info: ModelInfo, channels: Any, size: ObjectSize | None = None
) -> Iterator[tuple[Example, str]]:
    """Read what to learn from; `size` is that of the examples that state none.

    Yields
    ------
    example : Example
        Pixels of the chosen channels, shape (Y, X, C), with the intensities that `segment`
        would measure; int32 labels.
    notice : str
        What was done to the labels; empty if nothing.
    """
    if isinstance(examples, (str, Example)) or not isinstance(examples, Sequence):
        raise ArgumentError(
            f"examples must be a list of Example, such as [Example(image, labels)], not "
            f"{_shown(examples)}."
        )
    for number, example in enumerate(examples):
        of_type(f"examples[{number}]", example, Example, "an Example(image, labels)")
        yield _example(example, info, channels, size)


def _example(
    example: Example, info: ModelInfo, channels: Any, size: ObjectSize | None
) -> tuple[Example, str]:
    reader = _reader_of_plane(example.image, channels)
    made = labels_of(example.labels, info)
    shape = made.labels.shape
    if reader.shape != shape:
        raise CorrectionError(
            f"An image of {reader.shape} pixels and labels of {shape} do not fit together: "
            "give a plane and its labels."
        )
    for name in ("verified", "edited"):
        _check_mask(name, getattr(example, name), shape)
    measured = example.statistics
    if measured is None:
        measured = reader.measure(info.normalization)
    _check_statistics(measured, len(reader.channels))
    pixel_size = pixel_size_of(example.pixel_size)
    plain = replace(
        example,
        image=reader.read((), *reader.window),
        labels=made.labels,
        scale=_scale_of(example, size, info, pixel_size),
        statistics=measured,
        held_out=tuple(_windows(example.held_out, shape)),
        pixel_size=pixel_size,
    )
    return plain, made.notice


def _scale_of(
    example: Example, size: ObjectSize | None, info: ModelInfo, pixel_size: float | None
) -> float | None:
    """Read the rescale factor of an example; None measures its objects."""
    if example.scale is not None:
        return number_of("scale", example.scale, SCALE)
    # Classes cannot be measured, so they stay as large as the model knows them.
    if size is None and info.task != "classes":
        return None
    return scale_from(size, info, pixel_size)


def _reader_of_plane(image: Any, channels: Any) -> ImageReader:
    """Make a reader for the image of an example: a last axis of many is channels."""
    image = _image(image)
    shape = image.shape
    many = isinstance(shape, tuple) and len(shape) == 3 and shape[-1] > 4
    return reader_of(image, "YXC" if many else None, channels)


def labels_of(labels: Any, info: ModelInfo | None = None) -> MaskLabels:
    """Read labels, or a mask of another tool; without `info`, as labels of objects."""
    array = array_of("labels image", labels, CorrectionError)
    if info is None:
        return labels_from_mask(array)
    return labels_from_mask(array, info.task, info.n_maps)


AXES_OF_LABELS = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "PTZYX"}


def measure_request(
    labels: Any,
    image: Any,
    axes: Any,
    channel_names: Any,
    pixel_size: Any,
    verified: Any,
    class_names: Any,
    volume: Any,
    group: Any,
) -> MeasureRequest:
    """Read what to measure."""
    array = array_of("labels image", labels, CorrectionError)
    if array.dtype.kind not in "iu":
        raise CorrectionError(
            f"The labels image holds {array.dtype}, not whole numbers: give each object a "
            "number, for example with skimage.measure.label."
        )
    if image is None and axes is None:
        axes = AXES_OF_LABELS.get(array.ndim)
    reader = reader_of(array if image is None else image, axes, None)
    of_type("volume", volume, bool, "True or False")
    if not isinstance(group, str) or group not in get_args(MeasureGroup):
        raise ArgumentError(f"group must be 'basic' or 'all', not {_shown(group)}.")
    mask = None if verified is None else array_of("mask 'verified'", verified, ImageError)
    planes = None if mask is None else _planes(mask != 0, reader, "The mask 'verified'")
    return MeasureRequest(
        labels=_planes(array, reader, "The labels image"),
        stack_axes=reader.stack_axes,
        levels=() if image is None else reader.levels,
        axes=reader.axes,
        channel_names=_names_of("channel_names", channel_names),
        verified=None if planes is None else planes.__getitem__,
        pixel_size=_sides_of(pixel_size, 3 if volume else 2),
        class_names=_names_of("class_names", class_names),
        volume=volume,
        group=cast("MeasureGroup", group),
    )


def _planes(array: npt.NDArray[Any], reader: ImageReader, what: str) -> Any:
    """Put the axes of labels or of a mask in the order (*stack, Y, X)."""
    axes = [a for a in reader.axes if a not in CHANNEL_AXES]
    have = dict(zip(reader.axes, reader.levels[0].shape, strict=True))
    if array.shape != tuple(have[a] for a in axes):
        raise CorrectionError(
            f"{what} has the shape {array.shape}, which does not fit an image of "
            f"{tuple(reader.levels[0].shape)} with the axes '{reader.axes}': name the axes "
            "as they are, for example axes='CYX'."
        )
    return array.transpose([axes.index(a) for a in (*reader.stack_axes, *PIXEL_AXES)])


def _sides_of(value: Any, n: int) -> tuple[float, ...] | None:
    """Read the sides of a pixel: one number, or one for each axis."""
    if value is None:
        return None
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes)):
        if len(value) != n:
            order = (DEPTH + PIXEL_AXES)[-n:].lower()
            raise ArgumentError(
                f"pixel_size must be one number of micrometres, or {n} in the order "
                f"{', '.join(order)}, not {len(value)} numbers."
            )
        return tuple(number_of("pixel_size", side, PIXEL_SIZE) for side in value)
    return (number_of("pixel_size", value, PIXEL_SIZE),) * n


def _names_of(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = isinstance(value, Sequence) and all(isinstance(x, str) for x in value)
    if isinstance(value, str) or not texts:
        raise ArgumentError(
            f"{name} must be a list of names, such as ['DAPI', 'actin'], not "
            f"{_shown(value)}."
        )
    return tuple(value)


def _check_mask(name: str, mask: MaskArray | None, shape: tuple[int, ...]) -> None:
    if mask is not None and mask.shape != shape:
        raise CorrectionError(
            f"'{name}' has the shape {mask.shape} and the labels {shape}: give a mask of "
            "the same rows and columns."
        )


def _check_statistics(value: Any, n_channels: int) -> None:
    of_type("Example.statistics", value, Statistics, "a Statistics(low, high)")
    pairs = (value.low, value.high)
    if not all(isinstance(p, tuple) and len(p) == n_channels for p in pairs):
        raise ArgumentError(
            f"Example.statistics must hold tuples low and high of {n_channels} numbers, "
            "one for each channel."
        )
    for number in (*value.low, *value.high):
        real_number("Example.statistics", number, -MAX_FLOAT, MAX_FLOAT)


def _windows(value: Any, shape: tuple[int, ...]) -> Iterator[Window]:
    if not isinstance(value, (tuple, list)):
        raise _bad_window(value)
    for window in value:
        if not isinstance(window, (tuple, list)) or len(window) != 2:
            raise _bad_window(window)
        rows, columns = (_part(s, n) for s, n in zip(window, shape, strict=True))
        yield rows, columns


def _part(value: Any, n: int) -> slice:
    if not isinstance(value, slice) or value.step not in (None, 1):
        raise _bad_window(value)
    start = whole_number("A held-out slice's start", value.start, 0, n)
    return slice(start, whole_number("A held-out slice's stop", value.stop, start, n))


def _bad_window(value: Any) -> ArgumentError:
    return ArgumentError(
        "Example.held_out must hold pairs of slices, rows and columns, with both ends, not "
        f"{_shown(value)}."
    )


def _shown(value: Any) -> str:
    """Show a value in a few characters, however long its repr is."""
    if isinstance(value, (int, float, complex, str, np.generic)) or value is None:
        return f"{value!r:.60}"
    return f"a {type(value).__name__}"
