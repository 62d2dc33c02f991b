"""What ``session.json`` says, as typed records that keep the fields they do not know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_resunet.errors import SessionError
from napari_resunet.session.settings import Settings
from napari_resunet.types import new_id, now

SCHEMA_VERSION = 1
KEY = r"^[a-z0-9]{1,32}$"
"""Keys become file names: nothing in them can lead out of the folder."""

MAX_DIMENSIONS = 6
MAX_PLANE = 2**31
"""Pixels of one plane."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From each older schema version to the next; applied one after the other."""


class Record(BaseModel):
    """Frozen, and what a newer program wrote into it is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Look(Record):
    """How a layer looks.

    Attributes
    ----------
    opacity : float
        0 to 1.
    visible : bool
        Whether it is shown.
    """

    opacity: float = Field(default=1.0, ge=0, le=1)
    visible: bool = True


class ImageLook(Look):
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

    colormap: str = Field(default="", max_length=200)
    colors: tuple[tuple[float, ...], ...] = Field(default=(), max_length=256)
    controls: tuple[float, ...] = Field(default=(), max_length=257)
    contrast_limits: tuple[float, float] | None = None
    gamma: float = Field(default=1.0, gt=0)


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
    look, labels_look : ImageLook, Look or None
        Of the two layers; None where it was not kept.
    """

    key: str = Field(default_factory=new_id, pattern=KEY)
    name: str = Field(max_length=1000)
    shape: tuple[int, ...] = Field(min_length=2, max_length=MAX_DIMENSIONS)
    dtype: str = Field(max_length=20)
    axes: str = Field(max_length=MAX_DIMENSIONS)
    rgb: bool = False
    scale: tuple[float, ...] = ()
    translate: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    axis_labels: tuple[str, ...] = ()
    source: str | None = None
    reader: str | None = None
    stored: bool = False
    content_hash: str = ""
    labels_name: str = ""
    channels: tuple[int, ...] | None = None
    object_scale: float | None = None
    auto: bool = True
    checked_objects: int = 0
    look: ImageLook | None = None
    labels_look: Look | None = None

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
    session_id: str = Field(default_factory=new_id)
    created: str = Field(default_factory=now)
    changed: str = Field(default_factory=now)
    name: str = ""
    programs: dict[str, str] = {}
    images: tuple[ImageRecord, ...] = Field(default=(), max_length=10_000)
    current_image: str = ""
    current_version: int = 0
    settings: SessionSettings = SessionSettings()

    def image(self, key: str) -> ImageRecord | None:
        """Find an image by its key."""
        return next((image for image in self.images if image.key == key), None)

    @property
    def checked_objects(self) -> int:
        """Objects with a checked pixel, over all images."""
        return sum(image.checked_objects for image in self.images)


def parse(text: str, where: Path) -> SessionFile:
    """Read ``session.json``, of this or an older schema version.

    Parameters
    ----------
    text : str
        Its content.
    where : Path
        For the sentence if it cannot be used.

    Returns
    -------
    SessionFile

    Raises
    ------
    SessionError
        If it is no description of a session, or one of a newer program.
    """
    try:
        found = SessionFile.model_validate(_migrated(json.loads(text), where))
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
        raise SessionError(
            f"'{where}' is not a session, or its description is damaged: choose another "
            "folder. Nothing was changed in it."
        ) from error
    if not all(_sensible(image) for image in found.images):
        raise SessionError(
            f"The session '{where}' describes an image of a shape that cannot be: it is "
            "damaged or not from napari-resunet. Choose another one."
        )
    return found


def _migrated(fields: dict[str, Any], where: Path) -> dict[str, Any]:
    version = int(fields["schema_version"])
    if version > SCHEMA_VERSION:
        raise SessionError(
            f"The session '{where}' was written by a newer napari-resunet: update the "
            "plugin to open it."
        )
    for older in range(version, SCHEMA_VERSION):
        fields = MIGRATIONS[older](fields)
    return fields | {"schema_version": SCHEMA_VERSION}


def _sensible(image: ImageRecord) -> bool:
    axes = set(image.axes)
    return (
        len(image.axes) == len(image.shape) == len(axes)
        and axes <= set("PTZCYXS")
        and {"Y", "X"} <= axes
        and all(n > 0 for n in image.shape)
        and math.prod(image.plane_shape) < MAX_PLANE
    )
