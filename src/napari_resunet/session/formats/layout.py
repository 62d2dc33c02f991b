"""What the axes of labels mean, and how long their steps are: the same for every format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.tiff_metadata import MICROMETRES, SECONDS
from napari_resunet.tiff_reader import PIXEL_AXES, STACK_AXES

LENGTHS = MICROMETRES | {
    "meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0,
    "nanometer": 1e-3, "angstrom": 1e-4,
}  # fmt: skip
"""In a unit of length, as files and napari call it: micrometres."""

NAMES = {"time": "T", "frame": "T", "depth": "Z", "slice": "Z", "position": "P"}
"""Other names of axes than their letters."""


@dataclass(frozen=True)
class LabelsLayout:
    """What the dimensions and the numbers of labels mean.

    Attributes
    ----------
    axes : str
        One letter of "PTZYX" for each dimension.
    steps : mapping of str to float
        From pixel to pixel along an axis: seconds for T, micrometres for the others. Only
        what is known.
    class_names : tuple of str
        Names of the classes, background first; empty if the labels are objects.
    name : str
        Of the image.
    """

    axes: str
    steps: Mapping[str, float] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    name: str = "image"

    def class_of(self, label: int) -> str:
        """Return the name of a class."""
        known = 0 <= label < len(self.class_names)
        return self.class_names[label] if known else f"class {label}"


def layout_of(
    axes: str,
    axis_labels: Sequence[str] = (),
    scale: Sequence[float] = (),
    units: Sequence[str] = (),
    **known: Any,
) -> LabelsLayout:
    """Make a layout from what a layer or an image's record says of its axes.

    Parameters
    ----------
    axes : str
        One letter of "PTZYX" for each dimension.
    axis_labels, scale, units : sequences
        Names, steps, and units of the same dimensions, as napari calls them; empty if
        unknown. A name that says what an axis is counts more than `axes`.
    **known
        More fields of `LabelsLayout`.
    """
    n = len(axes)
    names = axis_labels if len(axis_labels) == n else [""] * n
    told = [stack_axis(name) or axis for name, axis in zip(names, axes, strict=True)]
    if len(set(told)) == n and "".join(told[-2:]) == PIXEL_AXES:
        axes = "".join(told)
    lengths = zip(axes, scale, units, strict=False)
    steps = {axis: _step(axis, float(number), str(unit)) for axis, number, unit in lengths}
    return LabelsLayout(axes, {a: s for a, s in steps.items() if s is not None}, **known)


def stack_axis(name: str) -> str:
    """Return the letter of a stack axis with a name such as "t" or "time"; or ""."""
    letter = NAMES.get(str(name).lower(), str(name).upper())
    return letter if letter in tuple(STACK_AXES) else ""


def _step(axis: str, number: float, unit: str) -> float | None:
    """Convert a step to seconds or micrometres; None if its unit is none of these."""
    known = SECONDS if axis == "T" else LENGTHS
    step = abs(number) * known.get(unit.lower(), 0.0)
    return step if step > 0 and math.isfinite(step) else None


def guessed_axes(ndim: int) -> str:
    """Name the axes of labels of which nothing is known.

    Raises
    ------
    FileError
        If there are too few or too many.
    """
    axes = STACK_AXES + PIXEL_AXES
    if not len(PIXEL_AXES) <= ndim <= len(axes):
        raise FileError(
            f"The labels have {ndim} dimensions: give two to {len(axes)}, with rows and "
            "columns last."
        )
    return axes[len(axes) - ndim :]


def planes_of(
    labels: npt.NDArray[Any], axes: str
) -> Iterator[tuple[dict[str, int], npt.NDArray[Any]]]:
    """Yield the planes of labels, rows first, each with its place along the other axes."""
    stack = [axis for axis in axes if axis not in PIXEL_AXES]
    ordered = np.moveaxis(labels, [axes.index(a) for a in (*stack, *PIXEL_AXES)],
                          range(len(axes)))  # fmt: skip
    for index in np.ndindex(ordered.shape[:-2]):
        yield dict(zip(stack, index, strict=True)), ordered[index]
