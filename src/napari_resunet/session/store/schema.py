"""What ``session.json`` says, as typed records that keep the fields they do not know.

Each field says which values it can have. `manifest` reads files with damaged fields.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
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

from napari_resunet.session.settings import SCALE, Settings, Stack
from napari_resunet.session.store.parts import PartRecord
from napari_resunet.session.store.safety import inside
from napari_resunet.types import MAX_PLANE, new_id, now

DESCRIPTION = "session.json"
BACKUP = "session.backup.json"
LOCK = "session.lock"
OWNER = "session.owner"
HISTORY = "history.jsonl"
THUMBNAIL = "thumbnail.png"
PLANES = "planes"
SOURCES = "sources"
MODELS = "models"
TRAINING = "training"
CORRECTIONS = "corrections"
IMAGES, MASKS = "images", "masks"

FLAT = "plane"
"""Folder name of the plane of an image that is not a stack."""

Index = tuple[int, ...]
_INDEX = re.compile(r"\d{1,8}(-\d{1,8})*")


def plane_name(index: Index) -> str:
    """Return the folder name of a plane: its position along the stack axes."""
    return "-".join(f"{i:04d}" for i in index) or FLAT


def plane_index(name: str) -> Index | None:
    """Read a name that `plane_name` made; None for other names."""
    if name == FLAT:
        return ()
    return tuple(int(i) for i in name.split("-")) if _INDEX.fullmatch(name) else None


def plane_folder(root: Path, image_key: str, index: Index) -> Path:
    """Return the folder of a plane."""
    return inside(root, PLANES, image_key, plane_name(index))


def source_path(root: Path, image_key: str) -> Path:
    """Return the path of the stored pixels of an image."""
    return inside(root, SOURCES, f"{image_key}.tif")


def saved_planes(root: Path, image_key: str) -> list[Index]:
    """List the planes of an image that have a folder, in order."""
    folder = inside(root, PLANES, image_key)
    if not folder.is_dir():
        return []
    found = (plane_index(p.name) for p in folder.iterdir() if not p.is_symlink())
    return sorted(index for index in found if index is not None)


SCHEMA_VERSION = 1
KEY = r"^[a-z0-9]{1,32}$"
"""Keys become file names, so they must not lead out of the folder."""

MAX_DIMENSIONS = 6
MAX_IMAGES = 10_000
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From each older schema version to the next one, applied in order."""

MAX_COORDINATE, MIN_PIXEL_SIZE = 1e12, 1e-12
"""In any unit."""


def plain_name(text: Any) -> Any:
    """Remove from a name what is not text in one line: line breaks, half characters."""
    if not isinstance(text, str):
        return text
    whole = text.encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in whole).split())[:1000]


def _finite(value: float) -> float:
    if not (math.isfinite(value) and abs(value) <= MAX_COORDINATE):
        raise ValueError("not a sensible number")
    return value


def _pixel_size(value: float) -> float:
    # A negative one mirrors the image.
    if abs(_finite(value)) < MIN_PIXEL_SIZE:
        raise ValueError("not a pixel size")
    return value


def _moment(text: str) -> str:
    if not 1970 <= datetime.fromisoformat(text).year < 3000:
        raise ValueError("not a moment of this program")
    return text


ChannelNumber = Annotated[int, Field(ge=0, lt=10**6)]
Name = Annotated[str, BeforeValidator(plain_name), Field(max_length=1000)]
Coordinate = Annotated[float, AfterValidator(_finite)]
PixelSize = Annotated[float, AfterValidator(_pixel_size)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
# Products of words only, because a viewer evaluates units.
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
    """Frozen; fields that a newer program wrote are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class LayerStyle(Record):
    """How a layer is shown.

    Attributes
    ----------
    opacity : float
        0 to 1.
    visible : bool
        Whether it is shown at all.
    contour : int or None
        Thickness of the contours of labels in pixels, 0 for filled labels; None for
        images, and in sessions of older programs.
    """

    opacity: Fraction = 1.0
    visible: bool = True
    contour: int | None = Field(default=None, ge=0, le=100)


class ImageStyle(LayerStyle):
    """How an image is shown.

    Attributes
    ----------
    colormap : str
        Name of the colormap; empty for RGB.
    colors : tuple of (red, green, blue, opacity)
        Colours of the colormap, 0 to 1; empty if its name is enough.
    controls : tuple of float
        Positions of the colours, 0 to 1.
    contrast_limits : tuple of float or None
        Intensities of black and white; None leaves them to the viewer.
    gamma : float
        1 is linear.
    """

    colormap: Name = ""
    colors: tuple[tuple[Fraction, Fraction, Fraction, Fraction], ...] = Field(
        default=(), max_length=256
    )
    controls: tuple[Fraction, ...] = Field(default=(), max_length=257)
    contrast_limits: tuple[float, float] | None = None
    gamma: float = Field(default=1.0, ge=0.01, le=100, allow_inf_nan=False)


class ImageRecord(Record):
    """One image of the session.

    Attributes
    ----------
    key : str
        Part of the names of its files.
    name : str
        Name of the layer.
    shape : tuple of int
        Shape of the finest level, with the samples of RGB.
    dtype, axes : str
        dtype of the pixels; one letter of "PTZCYXS" for each dimension.
    rgb : bool
        Whether the last dimension is samples.
    scale, translate : tuple of float
        Transform of the layer.
    shear : tuple of float
        The same: the upper triangle of the matrix; empty if there is none.
    rotate, affine : tuple of tuple of float
        The same: square matrices, `affine` with one more row and column; empty if they
        change nothing.
    units, axis_labels : tuple of str
        Units and names of the layer's axes.
    source : str or None
        File that it was opened from; None if it came from memory.
    reader : str or None
        napari plugin that read the file.
    stored : bool
        Whether the pixels are in ``sources/``.
    content_hash : str
        See `files.content_hash`; empty until it is known.
    labels_name : str
        Name of the Labels layer.
    channels : tuple of int or of tuple of int, or None
        Channels that the network sees; several in one place are combined. Numbers beyond
        the image's own channels are those of `partners`.
    channel_names : tuple of str
        Names of the image's own channels; empty if it has none.
    partners : tuple of str
        Keys of the images whose pixels are combined with this one's.
    object_scale : float or None
        Rescale factor from image pixels to network resolution.
    auto : bool
        Whether the object size is estimated.
    stack : {"separate", "volume", "film"}
        What the slices are.
    checked_objects : int
        Number of verified objects.
    edits : int
        Number of the user's edits.
    look, labels_look : ImageStyle, LayerStyle or None
        How image and labels are shown; None if unknown.
    store : str
        Folder with the labels of a large image; empty if there is none.
    part : PartRecord or None
        What this image is a part of.
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
    channels: tuple[ChannelNumber | tuple[ChannelNumber, ...], ...] | None = None
    channel_names: tuple[Name, ...] = Field(default=(), max_length=10**4)
    partners: tuple[Annotated[str, Field(pattern=KEY)], ...] = Field(
        default=(), max_length=100
    )
    object_scale: float | None = SCALE.field()
    auto: bool = True
    stack: Stack = "separate"
    checked_objects: int = Field(default=0, ge=0)
    edits: int = Field(default=0, ge=0, lt=10**9)
    look: ImageStyle | None = None
    labels_look: LayerStyle | None = None
    store: str = Field(default="", max_length=4096)
    part: PartRecord | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """Check that the fields fit each other, the most important ones first."""
        for name, fits in self._fitting():
            if not fits:
                raise _unfit(name)
        return self

    def _fitting(self) -> Iterator[tuple[str, bool]]:
        axes, samples = set(self.axes), self.axes.endswith("YXS")
        yield "shape", len(self.axes) == len(self.shape) == len(axes)
        yield "shape", {"Y", "X"} <= axes
        elsewhere = self.store and not (self.labels_name or self.stored)
        yield "shape", bool(elsewhere) or math.prod(self.plane_shape) < MAX_PLANE
        yield "rgb", self.rgb == ("S" in axes)
        yield "shape", not self.rgb or (samples and self.shape[-1] in (3, 4))
        for name in ("scale", "translate", "units", "axis_labels"):
            yield name, len(getattr(self, name)) in (0, self.ndim)
        yield "shear", len(self.shear) in (0, self.ndim * (self.ndim - 1) // 2)
        yield "rotate", _is_square(self.rotate, self.ndim)
        yield "affine", _is_square(self.affine, self.ndim + 1)

    @property
    def ndim(self) -> int:
        """Number of dimensions of the layer, without the samples of RGB."""
        return len(self.shape) - self.rgb

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a plane."""
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
    """Return whether a matrix is empty, or has n rows and columns and an inverse."""
    square = len(matrix) == n and all(len(row) == n for row in matrix)
    return not matrix or (square and abs(float(np.linalg.det(matrix))) > 0)


QueueState = Literal["new", "proposed", "in work", "done", "skipped", "failed"]


class QueueItem(Record):
    """One image of the queue.

    Attributes
    ----------
    key : str
        Identifies it in the queue.
    path : str
        The file that it is in; empty for an image that came from memory.
    series : int
        Which of the images in the file.
    name : str
        Its name.
    state : str
        How far it is.
    reason : str
        Why it failed, in a sentence.
    image : str
        Key of its record; empty until it has labels.
    is_layer : bool
        Whether the user opened it in the viewer, where it stays.
    objects : int or None
        Number of objects; None until it is proposed.
    unsure : float or None
        How unsure the model was, 0 to 1; None until it is proposed.
    seconds : float
        Time that the user worked on it.
    edits : int
        Number of the user's edits.
    """

    key: str = Field(default_factory=new_id, pattern=KEY)
    path: str = Field(default="", max_length=4096)
    series: int = Field(default=0, ge=0, lt=10**4)
    name: Name = "image"
    state: QueueState = "new"
    reason: Name = ""
    image: str = Field(default="", pattern=r"^[a-z0-9]{0,32}$")
    is_layer: bool = False
    objects: int | None = Field(default=None, ge=0, lt=10**9)
    unsure: Fraction | None = None
    seconds: float = Field(default=0.0, ge=0, lt=10**9, allow_inf_nan=False)
    edits: int = Field(default=0, ge=0, lt=10**9)


class PlaneContents(Record):
    """The files that a plane must have.

    Attributes
    ----------
    generation : int
        Number of the snapshot; 0 is the empty plane.
    journal : bool
        Whether it has a journal with at least one record.
    """

    generation: int = Field(default=0, ge=0, lt=10**9)
    journal: bool = False


class Contents(Record):
    """What must be in the folder, so that missing files are noticed.

    Attributes
    ----------
    planes : dict of str to dict of str to PlaneContents
        By key of the image and name of the plane.
    versions : tuple of int
        Numbers of the model versions.
    last_version : int
        Highest number ever given: none is given twice.
    corrections : dict of str to int
        Round of each corrected plane, by IMAGE-PLANE.
    history : int
        Number of lines of the history.
    training : bool
        Whether there is a checkpoint of a fine-tuning.
    """

    planes: dict[str, dict[str, PlaneContents]] = {}
    versions: tuple[int, ...] = ()
    last_version: int = Field(default=0, ge=0, lt=10**6)
    corrections: dict[str, int] = {}
    history: int = Field(default=0, ge=0)
    training: bool = False


class SessionSettings(Settings):
    """The settings of the dock; fields of newer programs are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class SessionFile(Record):
    """All of ``session.json``.

    Attributes
    ----------
    schema_version : int
        Version of the folder's format.
    session_id : str
        Stays the same when the folder is moved or renamed; a copy gets its own.
    created, changed : str
        ISO 8601, UTC.
    contents : Contents or None
        What must be in the folder; None in files of older programs.
    name : str
        Name in the list of sessions.
    programs : dict of str to str
        Versions of the libraries that wrote last.
    images : tuple of ImageRecord
        In the order in which they were opened.
    current_image : str
        Key of the image in use.
    queue : tuple of QueueItem
        The images to work on, in order.
    current_item : str
        Key of the image of the queue in use; empty if there is none.
    current_version : int
        Number of the model version in use; 0 is the bundled model.
    settings : SessionSettings
        Settings of the dock.
    """

    schema_version: int = SCHEMA_VERSION
    session_id: str = Field(default_factory=new_id, max_length=100)
    created: Moment = Field(default_factory=now)
    changed: Moment = Field(default_factory=now)
    name: Name = ""
    programs: dict[str, str] = {}
    images: tuple[ImageRecord, ...] = Field(default=(), max_length=MAX_IMAGES)
    current_image: str = Field(default="", max_length=100)
    queue: tuple[QueueItem, ...] = Field(default=(), max_length=MAX_IMAGES)
    current_item: str = Field(default="", max_length=100)
    current_version: int = Field(default=0, ge=0)
    contents: Contents | None = None
    settings: SessionSettings = SessionSettings()

    @model_validator(mode="after")
    def _each_image_once(self) -> Self:
        if len({image.key for image in self.images}) < len(self.images):
            raise _unfit("images")
        return self

    def image(self, key: str) -> ImageRecord | None:
        """Return the image with a key; None if there is none."""
        return next((image for image in self.images if image.key == key), None)

    @property
    def checked_objects(self) -> int:
        """Number of verified objects in all images."""
        return sum(image.checked_objects for image in self.images)
