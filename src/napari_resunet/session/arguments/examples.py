"""Reads what to learn from: an image becomes the pixels that `segment` would see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import ArgumentError, CorrectionError
from napari_resunet.session.arguments.arrays import image_of, labels_of, reader_of
from napari_resunet.session.arguments.values import (
    MAX_FLOAT,
    number_of,
    of_type,
    pixel_size_of,
    real_number,
    shown,
    whole_number,
)
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.settings import SCALE
from napari_resunet.types import (
    Example,
    MaskArray,
    ModelInfo,
    ObjectSize,
    Statistics,
    Window,
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
            f"{shown(examples)}."
        )
    for number, example in enumerate(examples):
        of_type(f"examples[{number}]", example, Example, "an Example(image, labels)")
        yield _example(example, info, channels, size)


def _example(
    example: Example, info: ModelInfo, channels: Any, size: ObjectSize | None
) -> tuple[Example, str]:
    reader = reader_of_plane(example.image, channels)
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


def reader_of_plane(image: Any, channels: Any) -> ImageReader:
    """Make a reader for the image of an example: a last axis of many is channels."""
    image = image_of(image)
    shape = image.shape
    many = isinstance(shape, tuple) and len(shape) == 3 and shape[-1] > 4
    return reader_of(image, "YXC" if many else None, channels)


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
        f"{shown(value)}."
    )
