"""Frozen data shared by several packages, without torch and logic."""

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
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Task = Literal["instances", "classes"]
MeasureGroup = Literal["basic", "all"]
"""Which columns a measurement has: "all" adds the shape."""
DeviceChoice = Literal["auto", "cuda", "mps", "cpu"]


@dataclass(frozen=True)
class RemoteServer:
    """Another computer that computes, as `napari_resunet.connect` returns it.

    Attributes
    ----------
    url : str
        Its address, such as "http://127.0.0.1:8787".
    key : str
        The key that it asks for. It is never printed or written to a file.
    device : str
        Its device and precision, for the user.
    limit : int
        The largest request that it takes, in bytes.
    """

    url: str
    key: str = field(repr=False)
    device: str = field(default="", compare=False)
    limit: int = field(default=2**30, compare=False)


Device = DeviceChoice | RemoteServer
"""Where to compute: a device of this computer, or another computer."""


def local_device(device: Device) -> DeviceChoice:
    """Return the device for work that stays on this computer."""
    return "auto" if isinstance(device, RemoteServer) else device


LabelArray = npt.NDArray[np.int32]
FloatArray = npt.NDArray[np.float32]
MaskArray = npt.NDArray[np.bool_]
Index = tuple[int, ...]
"""Position of a plane along the stack axes of an image."""
Window = tuple[slice, slice]
"""Rows and columns."""
Channels = tuple[int | tuple[int, ...], ...]
"""What each input of the network sees: one channel, or several combined."""


def single_channels(channels: Channels) -> list[int]:
    """List all channels that some input sees."""
    return [one for c in channels for one in ((c,) if isinstance(c, int) else c)]


MAX_PLANE = 2**31
"""Pixels of a plane, from which on labels cannot be saved."""

FINE_TUNE_SECONDS = 60.0
"""Time to fine-tune for, unless the user sets another."""

INSTANCE_MAPS = ("foreground", "distance", "boundary")
"""The output maps of a model that segments objects, in this order."""

MAX_MAPS = 1000
"""Upper limit on classes: a file that names more is damaged."""

SIZE_IN_PIXELS = 0.5, 9999.0
SIZE_IN_UM = 1e-4, 1e6
"""Limits of an object size in image pixels, and in micrometres."""

PIXEL_SIZES = 1e-6, 1e6
"""Limits of the side of a pixel in micrometres."""


def new_id() -> str:
    """Return a random id for a model or a proposal."""
    return uuid.uuid4().hex[:12]


def now() -> str:
    """Return the current time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Normalization:
    """How intensities become the network's input; stored in the model file.

    ``clip((x - low) / (high - low), clip_low, clip_high)``, then ``(x - mean) / std``.
    `low` and `high` are percentiles of the finite values of the whole image.
    """

    low_percentile: Annotated[float, Field(ge=0, le=100)] = 1.0
    high_percentile: Annotated[float, Field(ge=0, le=100)] = 99.8
    clip_low: Finite = -0.25
    clip_high: Finite = 1.5
    mean: Finite = 0.45
    std: Annotated[float, Field(gt=1e-6, allow_inf_nan=False)] = 0.225


@dataclass(frozen=True)
class Statistics:
    """Intensities at the two percentiles, one pair per channel."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from; stored in the model file."""

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
    """The model's own thresholds, at the sliders' middle; stored in the model file.

    Attributes
    ----------
    foreground : float
        Probability from which a pixel is foreground, 0 to 1.
    seed : float
        Inner distance from which a pixel belongs to a seed, 0 to 1.
    smoothing : float
        Sigma of the Gaussian on the inner distance, in pixels at network resolution.
    certainty : float
        Mean probability of its pixels from which an object is accepted, 0 to 1.
    """

    foreground: Fraction = 0.5
    seed: Fraction = 0.2
    smoothing: Annotated[float, Field(ge=0, le=100)] = 1.0
    certainty: Fraction = 0.0


@dataclass(frozen=True)
class ObjectSize:
    """Diameter of a typical object, in image pixels, in micrometres, or in both.

    Attributes
    ----------
    pixels : float or None
        In pixels of the image, 0.5 to 9999.
    um : float or None
        In micrometres, 0.0001 to 1,000,000.
    """

    pixels: Annotated[float, Field(ge=SIZE_IN_PIXELS[0], le=SIZE_IN_PIXELS[1])] | None = (
        None
    )
    um: Annotated[float, Field(ge=SIZE_IN_UM[0], le=SIZE_IN_UM[1])] | None = None

    @classmethod
    def measured(cls, pixels: float, pixel_size: float | None) -> ObjectSize | None:
        """Make a size that was measured in an image; None if it is out of range.

        Parameters
        ----------
        pixels : float
            The diameter in image pixels.
        pixel_size : float or None
            Side of a pixel in micrometres, if known.
        """
        if not _within(pixels, SIZE_IN_PIXELS):
            return None
        um = None if pixel_size is None else pixels * pixel_size
        return cls(pixels, um if _within(um, SIZE_IN_UM) else None)

    def in_pixels(self, pixel_size: float | None) -> float | None:
        """Convert to pixels of an image.

        Parameters
        ----------
        pixel_size : float or None
            Side of the image's pixels in micrometres, if known. Then the micrometres
            count, because images of other magnifications have other pixels.

        Returns
        -------
        float or None
            None if the size is known in micrometres only and cannot be converted.
        """
        if self.um is not None and pixel_size is not None:
            pixels = self.um / pixel_size
            if _within(pixels, SIZE_IN_PIXELS):
                return pixels
        return self.pixels


def _within(value: float | None, limits: tuple[float, float]) -> bool:
    return value is not None and limits[0] <= value <= limits[1]


@dataclass(frozen=True)
class ModelInfo:
    """Everything about a model except its weights.

    Attributes
    ----------
    task : {"instances", "classes"}
        What the output maps mean.
    class_names : tuple of str
        For ``classes``, the name of each label value, background first;
        for ``instances``, the names of the maps.
    normalization : Normalization
        How intensities become the network's input.
    diameter : float
        Object diameter in pixels at network resolution: images are rescaled to it.
    object_size : ObjectSize or None
        Size in the images that it learned from, and the default for other images. None if
        it learned from images of many sizes: then each image's is estimated.
    tile : int
        Largest side of a tile in pixels at network resolution, a multiple of 32.
    min_size_fraction : float
        Objects smaller than this fraction of `reference_area` are removed.
    levels : Levels
        The model's own thresholds.
    tta : bool
        Whether to average the maps of the image and its flipped copies (test-time
        augmentation).
    lineage : Lineage
        Parent, date, and what it learned from.
    """

    task: Task = "instances"
    class_names: Annotated[tuple[str, ...], Field(max_length=MAX_MAPS)] = INSTANCE_MAPS
    normalization: Normalization = field(default_factory=Normalization)
    diameter: Annotated[float, Field(ge=1, le=1000)] = 24.0
    object_size: ObjectSize | None = None
    tile: Annotated[int, Field(ge=96, le=4096, multiple_of=32)] = 256
    min_size_fraction: Annotated[float, Field(ge=0, le=1000)] = 0.05
    levels: Levels = field(default_factory=Levels)
    tta: bool = False
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def n_maps(self) -> int:
        """Number of output maps of the network."""
        return len(self.class_names)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background first; empty if the model finds objects."""
        return self.class_names if self.task == "classes" else ()

    @property
    def reference_area(self) -> float:
        """Area of a typical object in pixels at network resolution."""
        return float(np.pi * self.diameter**2 / 4)


@dataclass(frozen=True)
class Example:
    """An image with labels to learn from.

    Attributes
    ----------
    image : array
        One plane, shape (Y, X) or (Y, X, C), any real dtype.
    labels : integer array, shape (Y, X)
        Objects, each with its own number, or classes; 0 is background.
    verified : bool array, shape (Y, X), or None
        The pixels whose labels are right, background included; None means all. A mask of
        0 and one other number, as in image files, is converted to bool.
    edited : bool array, shape (Y, X), or None
        The pixels that the user corrected, which have more weight; None means that
        all labels are ground truth. Numbers are converted as for `verified`.
    scale : float or None
        Rescale factor from image pixels to network resolution; None estimates it from
        the labels.
    statistics : Statistics or None
        Intensities of the whole image if this is a crop; None measures them here.
    held_out : tuple of (slice, slice)
        Regions, rows and columns, that earlier rounds held out; they are never learned
        from. If empty, fine-tuning chooses one.
    pixel_size : float or None
        Side of a pixel in micrometres, if known: the model then remembers the object size
        in micrometres, too.
    """

    image: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    verified: MaskArray | None = None
    edited: MaskArray | None = None
    scale: float | None = None
    statistics: Statistics | None = None
    held_out: tuple[Window, ...] = ()
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        """Convert the masks to bool: integers would index rows instead of pixels."""
        object.__setattr__(self, "verified", _as_mask(self.verified, "verified"))
        object.__setattr__(self, "edited", _as_mask(self.edited, "edited"))


@dataclass(frozen=True, eq=False)
class OtherImage:
    """An image without labels, or a part of one, that fine-tuning should not make worse.

    Attributes
    ----------
    name : str
        What the user calls the image.
    image : array
        One plane, shape (Y, X) or (Y, X, C), any real dtype.
    scale : float
        Rescale factor from image pixels to network resolution.
    statistics : Statistics or None
        Intensities of the whole image if this is a part; None measures them here.
    """

    name: str
    image: npt.NDArray[Any]
    scale: float = 1.0
    statistics: Statistics | None = None


def _as_mask(mask: Any, name: str) -> MaskArray | None:
    """Convert a mask of True and False, or of 0 and one other number."""
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
    except Exception as error:  # a ragged list or a foreign array may raise anything
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

    index: Index
    window: Window


@dataclass(frozen=True)
class Decoding:
    """How prediction maps become labels: the positions of the two sliders of the dock.

    Attributes
    ----------
    foreground : float
        Foreground threshold, from 0 (everything is foreground) to 1 (nothing is); 0.5 is
        the model's own level. Objects of low mean probability are left out, too.
    split : float
        From 0 (touching objects are joined) to 1 (they are split); 0.5 is the model's own
        level.
    """

    foreground: Fraction = 0.5
    split: Fraction = 0.5
