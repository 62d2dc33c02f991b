"""Checks numbers, names, and choices: types and ranges, or an error in one sentence."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from napari_resunet.errors import ArgumentError
from napari_resunet.network.model_file import Model
from napari_resunet.session.settings import (
    DIAMETER_WANTED,
    FOREGROUND,
    OBJECT_SIZE,
    PIXEL_SIZE,
    SPLIT,
    Number,
    Stack,
    read_diameter,
)
from napari_resunet.types import (
    PIXEL_SIZES,
    Decoding,
    DeviceChoice,
    ObjectSize,
    RemoteServer,
)

MAX_STEPS = 10**9
MAX_FLOAT = sys.float_info.max
MAX_SEED = 2**63 - 1


def of_type(name: str, value: Any, kind: type, hint: str) -> None:
    """Refuse a value of another type; the hint says what to give instead."""
    if not isinstance(value, kind):
        raise ArgumentError(f"{name} must be {hint}, not {shown(value)}.")


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """Read a whole number, from Python or numpy, within a range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)) or not least <= number <= most:
        raise ArgumentError(
            f"{name} must be a whole number from {least} to {most}, not {shown(value)}."
        )
    return number


def real_number(name: str, value: Any, least: float, most: float) -> float:
    """Read a number, from Python or numpy, within a range."""
    real = isinstance(value, (int, float, np.integer, np.floating))
    if not real or isinstance(value, bool) or not least <= value <= most:
        raise ArgumentError(
            f"{name} must be a number from {least:g} to {most:g}, not {shown(value)}."
        )
    return float(value)


def number_of(name: str, value: Any, parameter: Number) -> float:
    """Read a number within the range that the parameter has everywhere."""
    return real_number(name, value, parameter.minimum, parameter.maximum)


def pixel_size_of(value: Any) -> float | None:
    """Read the side of a pixel in micrometres."""
    return None if value is None else number_of("pixel_size", value, PIXEL_SIZE)


def step_of(name: str, value: Any) -> float | None:
    """Read the distance of slices in micrometres, or the time between frames in seconds."""
    return None if value is None else real_number(name, value, *PIXEL_SIZES)


def diameter_of(value: Any) -> ObjectSize | None:
    """Read an object size: a number of pixels, or a text with its unit."""
    if value is None or isinstance(value, ObjectSize):
        return value
    size = read_diameter(value) if isinstance(value, str) else None
    if size is None and isinstance(value, str):
        raise ArgumentError(f"diameter must be {DIAMETER_WANTED}, not {shown(value)}.")
    return size or ObjectSize(number_of("diameter", value, OBJECT_SIZE))


def check_model(value: Any) -> None:
    """Refuse everything but a model."""
    of_type("model", value, Model, "what load_model() gives")


def check_device(value: Any) -> None:
    """Refuse everything but the name of a device, and another computer."""
    if isinstance(value, RemoteServer):
        return
    if not isinstance(value, str) or value not in get_args(DeviceChoice):
        names = ", ".join(repr(name) for name in get_args(DeviceChoice))
        raise ArgumentError(f"device must be one of {names}, not {shown(value)}.")


def check_stack(value: Any) -> None:
    """Refuse everything but what the slices of a stack can be."""
    if value is not None and (not isinstance(value, str) or value not in get_args(Stack)):
        names = ", ".join(repr(name) for name in get_args(Stack))
        raise ArgumentError(f"stack must be one of {names}, not {shown(value)}.")


def check_on_event(value: Any) -> None:
    """Refuse everything that cannot be called."""
    if value is not None and not callable(value):
        raise ArgumentError(f"on_event must be a function, not {shown(value)}.")


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
            f"channels must be a list of numbers, such as [0, 2], not {shown(value)}."
        )
    return tuple(whole_number("channels", c, 0, 10**6) for c in value)


def file_of(value: Any) -> Path:
    """Read the name of a file."""
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise ArgumentError(f"path must be the name of a file, not {shown(value)}.")
    return Path(value)


def shown(value: Any) -> str:
    """Show a value in a few characters, however long its repr is."""
    if isinstance(value, (int, float, complex, str, np.generic)) or value is None:
        return f"{value!r:.60}"
    return f"a {type(value).__name__}"
