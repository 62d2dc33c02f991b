"""Frozen data that crosses rooms: no behaviour beyond plain properties, no torch.

What belongs to one room only (a tile, a loss, a widget) stays in that room.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Task = Literal["instances", "classes"]
DeviceChoice = Literal["auto", "cuda", "mps", "cpu"]
LabelArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.bool_]
Window = tuple[slice, slice]
"""Rows and columns."""

INSTANCE_MAPS = ("foreground", "distance", "boundary")
"""The output maps of a model of task ``instances``, in this order."""


def new_id() -> str:
    """Return a fresh random id for a model or a proposal."""
    return uuid.uuid4().hex[:12]


def now() -> str:
    """Return the present moment as ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Normalization:
    """How intensities become the network's input; part of the model file.

    ``clip((x - low) / (high - low), clip_low, clip_high)``, where low and high are
    the two percentiles of the finite values of the whole image, then
    ``(x - mean) / std``.
    """

    low_percentile: float = 1.0
    high_percentile: float = 99.8
    clip_low: float = -0.25
    clip_high: float = 1.5
    mean: float = 0.45
    std: float = 0.225


@dataclass(frozen=True)
class Statistics:
    """Intensities at the two percentiles, one pair for each channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from; part of the model file."""

    model_id: str = field(default_factory=new_id)
    parent_id: str | None = None
    created: str = field(default_factory=now)
    corrected_objects: int = 0
    corrected_pixels: int = 0
    steps: int = 0
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Levels:
    """What the sliders mean in their middle, for one model; part of the model file.

    Attributes
    ----------
    foreground : float
        0 to 1: the probability from which a pixel is foreground.
    seed : float
        0 to 1: the inner distance from which a pixel is a seed.
    smoothing : float
        Sigma in working pixels of the Gaussian on the inner distance.
    certainty : float
        0 to 1: the mean probability of its pixels from which an object is one.
    """

    foreground: float = 0.5
    seed: float = 0.2
    smoothing: float = 1.0
    certainty: float = 0.0


@dataclass(frozen=True)
class ModelInfo:
    """Everything about a model but its weights.

    Attributes
    ----------
    task : {"instances", "classes"}
        What the output maps mean.
    class_names : tuple of str
        For ``classes``: the name of each label value, background first.
        For ``instances``: the names of the maps.
    channels : str
        The channel recipe: how one to three image channels become three.
    normalization : Normalization
        The intensity contract.
    diameter : float
        Working object diameter in pixels: images are rescaled until objects have it.
    tile : int
        Largest side of the working tile in pixels, a multiple of 32.
    smallest : float
        Found objects under this share of a disc of the working diameter are dust.
    levels : Levels
        How its maps become objects.
    mirrored : bool
        Its maps are the mean over an image and its three mirror images, for classes at two
        sizes.
    lineage : Lineage
        Parent, dates, counts.
    """

    task: Task = "instances"
    class_names: tuple[str, ...] = INSTANCE_MAPS
    channels: str = "1 channel: thrice; 2 channels: and zeros; 3 channels: as they are"
    normalization: Normalization = field(default_factory=Normalization)
    diameter: float = 24.0
    tile: int = 256
    smallest: float = 0.05
    levels: Levels = field(default_factory=Levels)
    mirrored: bool = False
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def n_maps(self) -> int:
        """Number of output maps of the network."""
        return len(self.class_names)

    @property
    def disc(self) -> float:
        """Area of a disc of the working diameter in pixels."""
        return float(np.pi * self.diameter**2 / 4)


@dataclass(frozen=True)
class Example:
    """An image with labels to learn from.

    Attributes
    ----------
    image : array
        One 2D plane, shape (Y, X) or (Y, X, C), any real dtype.
    labels : integer array, shape (Y, X)
        Objects (each its own label) or classes; 0 is background.
    checked : bool array, shape (Y, X), or None
        Where the labels are right, background included; None means everywhere.
    touched : bool array, shape (Y, X), or None
        Where the user corrected something: it weighs more.
    scale : float or None
        Factor from image to working pixels; None estimates it from the labels.
    statistics : Statistics or None
        Intensities of the whole image that this is a crop of; None takes its own.
    held_out : tuple of (slice, slice)
        Rows and columns that were held out in earlier rounds and are never learned from;
        fine-tuning chooses some where there are none.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    checked: MaskArray | None = None
    touched: MaskArray | None = None
    scale: float | None = None
    statistics: Statistics | None = None
    held_out: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Target:
    """A window, in image pixels, of one plane of a stack."""

    index: tuple[int, ...]
    window: Window


@dataclass(frozen=True)
class Progress:
    """So much of the work is done."""

    done: int
    total: int
    message: str = ""


@dataclass(frozen=True)
class Notice:
    """Something the user should know; the work goes on."""

    message: str


class CancelToken:
    """Two wishes that a running job looks at between its steps."""

    def __init__(self) -> None:
        self.cancelled = False
        self.stopped = False

    def cancel(self) -> None:
        """Ask for the end of the work; its result is thrown away."""
        self.cancelled = True

    def stop(self) -> None:
        """Ask for the end of the work; the best so far is kept."""
        self.stopped = True
