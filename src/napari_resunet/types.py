"""Frozen data that crosses rooms: no behaviour beyond plain properties, no torch.

What belongs to one room only (a tile, a loss, a widget) stays in that room.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from napari_resunet.errors import CorrectionError

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Task = Literal["instances", "classes"]
DeviceChoice = Literal["auto", "cuda", "mps", "cpu"]
LabelArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.bool_]
Window = tuple[slice, slice]
"""Rows and columns."""

INSTANCE_MAPS = ("foreground", "distance", "boundary")
"""The output maps of a model of task ``instances``, in this order."""

MAX_MAPS = 1000
"""More classes than any model has: a file that names more is damaged."""


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

    low_percentile: Annotated[float, Field(ge=0, le=100)] = 1.0
    high_percentile: Annotated[float, Field(ge=0, le=100)] = 99.8
    clip_low: Finite = -0.25
    clip_high: Finite = 1.5
    mean: Finite = 0.45
    std: Annotated[float, Field(gt=1e-6, allow_inf_nan=False)] = 0.225


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
    corrected_objects: Count = 0
    corrected_pixels: Count = 0
    steps: Count = 0
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

    foreground: Share = 0.5
    seed: Share = 0.2
    smoothing: Annotated[float, Field(ge=0, le=100)] = 1.0
    certainty: Share = 0.0


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
    class_names: Annotated[tuple[str, ...], Field(max_length=MAX_MAPS)] = INSTANCE_MAPS
    channels: str = "1 channel: thrice; 2 channels: and zeros; 3 channels: as they are"
    normalization: Normalization = field(default_factory=Normalization)
    diameter: Annotated[float, Field(ge=1, le=1000)] = 24.0
    tile: Annotated[int, Field(ge=96, le=4096, multiple_of=32)] = 256
    smallest: Annotated[float, Field(ge=0, le=1000)] = 0.05
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
    verified : bool array, shape (Y, X), or None
        Where the labels are right, background included; None means everywhere. A mask of
        0 and one other number, as image files hold it, becomes bool.
    edited : bool array, shape (Y, X), or None
        Where the user corrected something: it weighs more. Likewise.
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
    verified: MaskArray | None = None
    edited: MaskArray | None = None
    scale: float | None = None
    statistics: Statistics | None = None
    held_out: tuple[Window, ...] = ()

    def __post_init__(self) -> None:
        """Make the masks bool: integers would pick rows and columns, not pixels."""
        object.__setattr__(self, "verified", _as_mask(self.verified, "verified"))
        object.__setattr__(self, "edited", _as_mask(self.edited, "edited"))


def _as_mask(mask: Any, name: str) -> MaskArray | None:
    """Read a mask of True and False, or of 0 and one other number."""
    if mask is None:
        return None
    if type(mask) is np.ndarray and mask.dtype == bool:
        return mask
    try:
        array = np.asarray(mask)
        known = array.dtype.kind in "buif" and not isinstance(mask, np.ma.MaskedArray)
        if known and np.unique(array[array != 0]).size < 2 and np.isfinite(array).all():
            made: MaskArray = array != 0
            return made
    except Exception as error:  # whatever a ragged list or a foreign array may raise
        raise _no_mask(name) from error
    raise _no_mask(name)


def _no_mask(name: str) -> CorrectionError:
    return CorrectionError(
        f"'{name}' must say True or False (or 0 and one other number) for each pixel: "
        "give a bool array of the image's rows and columns."
    )


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
