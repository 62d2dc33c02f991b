"""What the labels of a large image say of how they were made, read without trust.

`session.large.run` writes it. Only labels with such a note are ever changed.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.ome_zarr.labels import NOTE, own_attributes
from napari_resunet.types import Channels, Statistics

Count = Annotated[int, Field(ge=0, lt=2**32)]
Channel = Annotated[int, Field(ge=0, lt=10**6)]


class _Stated(BaseModel):
    model_config = ConfigDict(frozen=True)


class AskedFor(_Stated):
    """Which image was segmented: see `plan.Asked`."""

    source: str = Field(max_length=4096)
    level: int = Field(ge=0, lt=100)
    axes: str | None = Field(default=None, max_length=10)
    channels: tuple[Channel | tuple[Channel, ...], ...] | None = None


class Run(_Stated):
    """What the run measured: see `plan.Plan`."""

    asked: AskedFor
    scale: float = Field(gt=0, lt=1e6, allow_inf_nan=False)
    statistics: Statistics
    objects: bool

    @field_validator("statistics")
    @classmethod
    def _finite(cls, found: Statistics) -> Statistics:
        if not all(map(math.isfinite, (*found.low, *found.high))):
            raise ValueError("intensities are not finite")
        return found


class StoreNote(_Stated):
    """What our labels say of themselves.

    Attributes
    ----------
    created : str
        When they were made; empty if that is not known.
    run : Run
        How they were made.
    n_objects : int
        How many objects there are; of classes, 0.
    highest : int
        The highest number that an object ever had.
    """

    created: str = Field(default="", max_length=40)
    run: Run
    n_objects: Count
    highest: Count

    @property
    def source(self) -> Path:
        """The image."""
        return Path(self.run.asked.source)

    @property
    def channels(self) -> Channels | None:
        """What the network sees of it."""
        return self.run.asked.channels


def read_document(folder: Path) -> dict[str, Any]:
    """Read the attributes of labels, with their metadata of OME.

    Raises
    ------
    FileError
        If they are damaged, or the labels were not written by `session.large.run`.
    """
    attributes = own_attributes(folder)
    if attributes is None:
        raise FileError(
            f"{shown(folder)} holds no labels of a whole image that this program wrote: "
            "click Segment to make some."
        )
    return attributes


def read_note(folder: Path) -> StoreNote:
    """Read what our labels say of themselves.

    Raises
    ------
    FileError
        If they are not ours, or what they say is damaged.
    """
    stated = read_document(folder)[NOTE]
    try:
        # Until a part is corrected, the objects are numbered from 1 without gaps.
        return StoreNote.model_validate({"highest": stated.get("n_objects"), **stated})
    except ValidationError as error:
        raise FileError(
            f"What {shown(folder)} says of its labels is damaged: segment the image again."
        ) from error
