"""Reads labels of any number of planes, and what a file of labels says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import ArgumentError, CorrectionError
from napari_resunet.session.arguments.arrays import array_of
from napari_resunet.session.arguments.values import (
    MAX_FLOAT,
    of_type,
    real_number,
    shown,
    whole_number,
)
from napari_resunet.session.formats.geojson import Measurements
from napari_resunet.session.formats.layout import guessed_axes
from napari_resunet.tiff_reader import PIXEL_AXES, STACK_AXES
from napari_resunet.types import MAX_MAPS

MAX_SIDE, MAX_PIXELS = 2**31 - 1, 2**36


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
            f"not {shown(value)}."
        )
    return axes


def shape_of(value: Any) -> tuple[int, ...] | None:
    """Read the shape of labels."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise ArgumentError(
            f"shape must be a tuple of whole numbers, rows and columns last, not "
            f"{shown(value)}."
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
            f"class_names must be a list of names, background first, not {shown(value)}."
        )
    return tuple(value)


def measurements_of(value: Any) -> Measurements | None:
    """Read the measurements of each label, the same at all places of a stack."""
    if value is None:
        return None
    of_type("measurements", value, Mapping, "a mapping of each label to its values")
    found: dict[int, dict[str, float]] = {}
    for label, values in value.items():
        number = whole_number("A label of measurements", label, 0, MAX_SIDE)
        of_type("measurements", values, Mapping, "a mapping of names to values")
        found[number] = {str(name): _measured(one) for name, one in values.items()}
    return lambda place, label: found.get(label, {})


def _measured(value: Any) -> float:
    """Read a number that may be unknown."""
    if isinstance(value, (float, np.floating)):
        return float(value)
    return real_number("A measurement", value, -MAX_FLOAT, MAX_FLOAT)
