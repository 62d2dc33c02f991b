"""What ``session.json`` says, as typed records that keep the fields they do not know.

Each field says what it can hold; how a file with damaged fields is read is `description`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from napari_resunet.session.settings import Settings
from napari_resunet.types import new_id, now

SCHEMA_VERSION = 1
KEY = r"^[a-z0-9]{1,32}$"
"""Keys become file names: nothing in them can lead out of the folder."""

MAX_DIMENSIONS = 6
MAX_PLANE = 2**31
"""Pixels of one plane."""

MAX_IMAGES = 10_000
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From each older schema version to the next; applied one after the other."""


LARGEST, SMALLEST = 1e12, 1e-12
"""Of pixel sizes, in any unit."""


def plain_name(text: Any) -> Any:
    """Leave out of a name what is no text in one line: line breaks, half characters."""
    if not isinstance(text, str):
        return text
    whole = text.encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in whole).split())[:1000]


def _finite(value: float) -> float:
    if not (math.isfinite(value) and abs(value) <= LARGEST):
        raise ValueError("not a sensible number")
    return value


def _pixel_size(value: float) -> float:
    # Negative ones turn the image around.
    if abs(_finite(value)) < SMALLEST:
        raise ValueError("not a pixel size")
    return value


def _moment(text: str) -> str:
    if not 1970 <= datetime.fromisoformat(text).year < 3000:
        raise ValueError("not a moment of this program")
    return text


Name = Annotated[str, BeforeValidator(plain_name), Field(max_length=1000)]
Coordinate = Annotated[float, AfterValidator(_finite)]
PixelSize = Annotated[float, AfterValidator(_pixel_size)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
# Products of words only: a viewer computes what stands in a unit.
_WORD = r"[^\W\d]+( ?\*\* ?-?\d)?"
Unit = Annotated[
    str, Field(max_length=60, pattern=rf"^(1 ?/ ?)?{_WORD}( ?[*/ ] ?{_WORD})*$")
]
Matrix = tuple[tuple[Coordinate, ...], ...]
Dtype = Literal[
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64",
    "float16", "float32", "float64",
]  # fmt: skip


class Record(BaseModel):
    """Frozen, and what a newer program wrote into it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class LayerStyle(Record):
    """How a layer looks.

    Attributes
    ----------
    opacity : float
        0 to 1.
    visible : bool
        Whether it is shown.
    """

    opacity: Share = 1.0
    visible: bool = True


class ImageStyle(LayerStyle):
    """How an image looks.

    Attributes
    ----------
    colormap : str
        Its name; empty for RGB.
    colors : tuple of (red, green, blue, opacity)
        Of the colormap, 0 to 1; empty where the name tells enough.
    controls : tuple of float
        Where the colours lie, 0 to 1.
    contrast_limits : tuple of float or None
        Black and white; None leaves them to the viewer.
    gamma : float
        1 is linear.
    """

    colormap: Name = ""
    colors: tuple[tuple[Share, Share, Share, Share], ...] = Field(
        default=(), max_length=256
    )
    controls: tuple[Share, ...] = Field(default=(), max_length=257)
    contrast_limits: tuple[float, float] | None = None
    gamma: float = Field(default=1.0, ge=0.01, le=100, allow_inf_nan=False)


class ImageRecord(Record):
    """One image of the session.

    Attributes
    ----------
    key : str
        Names its files.
    name : str
        Of the layer.
    shape : tuple of int
        Of the finest level, the samples of RGB included.
    dtype, axes : str
        Of the pixels; one letter of "PTZCYXS" for each dimension.
    rgb : bool
        Whether the last dimension holds samples.
    scale, translate : tuple of float
        Of the layer.
    shear : tuple of float
        Of the layer: the upper triangle of its matrix; empty where there is none.
    rotate, affine : tuple of tuple of float
        Of the layer: square matrices, affine with one more row and column; empty
        where they change nothing.
    units, axis_labels : tuple of str
        Of the layer.
    source : str or None
        The file it was opened from; None where it came from memory.
    reader : str or None
        The napari plugin that read it.
    stored : bool
        Whether the pixels lie in ``sources/``.
    content_hash : str
        See `content_hash.content_hash`; empty until it is known.
    labels_name : str
        Of the Labels layer.
    channels : tuple of int or None
        Which feed the network.
    object_scale : float or None
        Factor from image to working pixels.
    auto : bool
        Whether that is estimated.
    checked_objects : int
        Objects with a checked pixel.
    look, labels_look : ImageStyle, Look or None
        Of the two layers; None where it was not kept.
    """

    key: str = Field(default_factory=new_id, pattern=KEY)
    name: Name = "image"
    shape: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        min_length=2, max_length=MAX_DIMENSIONS
    )
    dtype: Dtype
    axes: str = Field(max_length=MAX_DIMENSIONS, pattern=r"^[PTZCYXS]*$")
    rgb: bool = False
    scale: tuple[PixelSize, ...] = ()
    translate: tuple[Coordinate, ...] = ()
    shear: tuple[Coordinate, ...] = ()
    rotate: Matrix = ()
    affine: Matrix = ()
    units: tuple[Unit, ...] = ()
    axis_labels: tuple[Name, ...] = ()
    source: str | None = Field(default=None, max_length=4096)
    reader: str | None = Field(default=None, max_length=200)
    stored: bool = False
    content_hash: str = Field(default="", pattern=r"^(blake2b(-sampled)?:[0-9a-f]{32})?$")
    labels_name: Name = ""
    channels: tuple[Annotated[int, Field(ge=0, lt=10**6)], ...] | None = None
    object_scale: float | None = Field(default=None, ge=1e-3, le=1e3, allow_inf_nan=False)
    auto: bool = True
    checked_objects: int = Field(default=0, ge=0)
    look: ImageStyle | None = None
    labels_look: LayerStyle | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Make sure that the fields fit each other, the ones that matter most first."""
        for name, fits in self._fitting():
            if not fits:
                raise _unfit(name)
        return self

    def _fitting(self) -> Iterator[tuple[str, bool]]:
        axes, samples = set(self.axes), self.axes.endswith("YXS")
        yield "shape", len(self.axes) == len(self.shape) == len(axes)
        yield "shape", {"Y", "X"} <= axes and math.prod(self.plane_shape) < MAX_PLANE
        yield "rgb", self.rgb == ("S" in axes)
        yield "shape", not self.rgb or (samples and self.shape[-1] in (3, 4))
        for name in ("scale", "translate", "units", "axis_labels"):
            yield name, len(getattr(self, name)) in (0, self.ndim)
        yield "shear", len(self.shear) in (0, self.ndim * (self.ndim - 1) // 2)
        yield "rotate", _is_square(self.rotate, self.ndim)
        yield "affine", _is_square(self.affine, self.ndim + 1)

    @property
    def ndim(self) -> int:
        """Dimensions of the layer: without the samples of RGB."""
        return len(self.shape) - self.rgb

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[self.axes.index("Y")], self.shape[self.axes.index("X")]

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions that are neither pixels nor channels."""
        return tuple(
            n for n, axis in zip(self.shape, self.axes, strict=True) if axis not in "YXCS"
        )


def _unfit(field: str) -> PydanticCustomError:
    return PydanticCustomError("unfit", "{field} does not fit the image", {"field": field})


def _is_square(matrix: Matrix, n: int) -> bool:
    """Tell whether a matrix is one of n rows that can be inverted, or left out."""
    square = len(matrix) == n and all(len(row) == n for row in matrix)
    return not matrix or (square and abs(float(np.linalg.det(matrix))) > 0)


class PlaneContents(Record):
    """What must be on disk of a plane.

    Attributes
    ----------
    generation : int
        Number of the snapshot; 0 is the empty plane.
    journal : bool
        Whether a journal with at least one record follows it.
    """

    generation: int = Field(default=0, ge=0, lt=10**9)
    journal: bool = False


class Contents(Record):
    """What must be on disk, so that what is gone does not go without a word.

    Attributes
    ----------
    planes : dict of str to dict of str to PlaneContents
        By key of the image and name of the plane.
    versions : tuple of int
        Numbers of the model versions.
    last_version : int
        The highest number that was ever given: none is given twice.
    corrections : dict of str to int
        Round of each corrected plane, by IMAGE-PLANE.
    history : int
        Lines of the history.
    training : bool
        Whether a fine-tuning was interrupted.
    """

    planes: dict[str, dict[str, PlaneContents]] = {}
    versions: tuple[int, ...] = ()
    last_version: int = Field(default=0, ge=0, lt=10**6)
    corrections: dict[str, int] = {}
    history: int = Field(default=0, ge=0)
    training: bool = False


class SessionSettings(Settings):
    """What the dock showed; fields of newer programs are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class SessionFile(Record):
    """All of ``session.json``.

    Attributes
    ----------
    schema_version : int
        Of the folder's format.
    session_id : str
        Stays when the folder is moved or renamed; a copy gets its own.
    created, changed : str
        ISO 8601, UTC.
    contents : Contents or None
        What must be on the disk; None in files of older programs.
    name : str
        Shown in lists.
    programs : dict of str to str
        Versions of the libraries that wrote last.
    images : tuple of ImageRecord
        In the order they came.
    current_image : str
        Key of the one that the dock showed.
    current_version : int
        Number of the model version in use; 0 is the starter.
    settings : SessionSettings
        Of the dock.
    """

    schema_version: int = SCHEMA_VERSION
    session_id: str = Field(default_factory=new_id, max_length=100)
    created: Moment = Field(default_factory=now)
    changed: Moment = Field(default_factory=now)
    name: Name = ""
    programs: dict[str, str] = {}
    images: tuple[ImageRecord, ...] = Field(default=(), max_length=MAX_IMAGES)
    current_image: str = Field(default="", max_length=100)
    current_version: int = Field(default=0, ge=0)
    contents: Contents | None = None
    settings: SessionSettings = SessionSettings()

    @model_validator(mode="after")
    def _each_image_once(self) -> Self:
        if len({image.key for image in self.images}) < len(self.images):
            raise _unfit("images")
        return self

    def image(self, key: str) -> ImageRecord | None:
        """Find an image by its key."""
        return next((image for image in self.images if image.key == key), None)

    @property
    def checked_objects(self) -> int:
        """Objects with a checked pixel, over all images."""
        return sum(image.checked_objects for image in self.images)
