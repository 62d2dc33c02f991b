"""A part of a large image that is corrected as an image of its own, in ``session.json``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from napari_resunet.types import Statistics, Window

Place = Annotated[int, Field(ge=0, lt=2**40)]
Intensity = Annotated[float, Field(allow_inf_nan=False)]


class PartRecord(BaseModel):
    """Where the part belongs, and what is known of the whole image.

    Attributes
    ----------
    store : str
        Folder of the whole image's labels.
    index : tuple of int
        The plane.
    rows, columns : tuple of int
        First one, and one after the last, in pixels of the labels.
    made : str
        When the labels of the whole image were made.
    low, high : tuple of float
        Intensities of the whole image at two percentiles, of each channel.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    store: str = Field(max_length=4096)
    index: tuple[Place, ...] = Field(default=(), max_length=3)
    rows: tuple[Place, Place]
    columns: tuple[Place, Place]
    made: str = Field(default="", max_length=40)
    low: tuple[Intensity, ...] = Field(max_length=3)
    high: tuple[Intensity, ...] = Field(max_length=3)

    @property
    def window(self) -> Window:
        """Rows and columns."""
        return slice(*self.rows), slice(*self.columns)

    @property
    def statistics(self) -> Statistics:
        """Intensities of the whole image."""
        return Statistics(self.low, self.high)
