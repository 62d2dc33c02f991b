"""Reads what to measure: labels and their image, and what is known of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import CHANNEL_AXES, ImageReader
from napari_resunet.errors import ArgumentError, CorrectionError, ImageError
from napari_resunet.session.arguments.arrays import array_of, reader_of
from napari_resunet.session.arguments.values import check_stack, number_of, shown, step_of
from napari_resunet.session.measurements import MeasureRequest, depth_of
from napari_resunet.session.settings import PIXEL_SIZE, Stack
from napari_resunet.session.stacks import stack_of
from napari_resunet.tiff_reader import PIXEL_AXES
from napari_resunet.types import MeasureGroup

AXES_OF_LABELS = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "PTZYX"}


def measure_request(
    labels: Any,
    image: Any,
    axes: Any,
    *,
    channel_names: Any = None,
    pixel_size: Any = None,
    z_step: Any = None,
    verified: Any = None,
    class_names: Any = None,
    stack: Any = None,
    group: Any = "basic",
) -> MeasureRequest:
    """Read what to measure; `labels_api.measure` says what each argument is."""
    array = array_of("labels image", labels, CorrectionError)
    if array.dtype.kind not in "iu":
        raise CorrectionError(
            f"The labels image holds {array.dtype}, not whole numbers: give each object a "
            "number, for example with skimage.measure.label."
        )
    if image is None and axes is None:
        axes = AXES_OF_LABELS.get(array.ndim)
    reader = reader_of(array if image is None else image, axes, None)
    if not isinstance(group, str) or group not in get_args(MeasureGroup):
        raise ArgumentError(f"group must be 'basic' or 'all', not {shown(group)}.")
    mask = None if verified is None else array_of("mask 'verified'", verified, ImageError)
    planes = None if mask is None else _planes(mask != 0, reader, "The mask 'verified'")
    names = _names_of("class_names", class_names)
    known = _stack_of(stack, reader.stack_axes, names)
    sides, step = _sides_of(pixel_size), step_of("z_step", z_step)
    if depth_of(reader.stack_axes, known) is not None:
        sides = None if sides is None or step is None else (step, *sides)
    return MeasureRequest(
        labels=_planes(array, reader, "The labels image"),
        stack_axes=reader.stack_axes,
        levels=() if image is None else reader.levels,
        axes=reader.axes,
        channel_names=_names_of("channel_names", channel_names),
        verified=None if planes is None else planes.__getitem__,
        pixel_size=sides,
        class_names=names,
        stack=known,
        group=cast("MeasureGroup", group),
    )


def _stack_of(
    asked: Any, stack_axes: tuple[str, ...], class_names: tuple[str, ...]
) -> Stack:
    """Read what the slices are, or guess as `segment` does; classes may be volumes."""
    check_stack(asked)
    if class_names and asked is None:
        return "separate"
    if class_names and asked == "film":
        raise ArgumentError(
            "Classes have no tracks: measure them with stack='separate', or 'volume'."
        )
    return stack_of(asked, stack_axes, "instances") or "separate"


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


def _sides_of(value: Any) -> tuple[float, ...] | None:
    """Read the sides of a pixel, rows first: one number, or one for each axis."""
    if value is None:
        return None
    if isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes)):
        if len(value) != len(PIXEL_AXES):
            raise ArgumentError(
                "pixel_size must be one number of micrometres, or two in the order y, x, "
                f"not {len(value)} numbers; z_step is the distance of slices."
            )
        return tuple(number_of("pixel_size", side, PIXEL_SIZE) for side in value)
    return (number_of("pixel_size", value, PIXEL_SIZE),) * len(PIXEL_AXES)


def _names_of(name: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = isinstance(value, Sequence) and all(isinstance(x, str) for x in value)
    if isinstance(value, str) or not texts:
        raise ArgumentError(
            f"{name} must be a list of names, such as ['DAPI', 'actin'], not "
            f"{shown(value)}."
        )
    return tuple(value)
