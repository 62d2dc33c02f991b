"""Every parameter that a user can set: its default, its range, and its words, each once.

The dock, the command line, the Python API, and the session file read them here. Defaults
that the engine needs too are in `types`, because the engine cannot import this module. No
torch here.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from napari_resunet.types import (
    FINE_TUNE_SECONDS,
    PIXEL_SIZES,
    SIZE_IN_PIXELS,
    SIZE_IN_UM,
    Decoding,
    DeviceChoice,
    MeasureGroup,
    ObjectSize,
)

Scope = Literal["visible", "slice", "stack"]
Stack = Literal["separate", "volume", "film"]
TableFormat = Literal["csv", "parquet"]

LABELS_NAME = re.compile(r"(?!__)\w(?:[\w. -]{0,98}[\w-])?")
"""Names of labels in an image: every disk can hold them, and zarr keeps none for itself."""

LABELS_NAME_WANTED = "a name of letters, digits, '-', '_', '.', and spaces"


class Choice(NamedTuple):
    """One value of a parameter that is chosen from a list."""

    key: str
    title: str
    description: str


@dataclass(frozen=True)
class Number:
    """A parameter that is a number; without a default it is estimated."""

    title: str
    description: str
    minimum: float
    maximum: float
    default: float | None = None

    def field(self) -> Any:
        """Make the field of a pydantic model."""
        return Field(
            default=self.default,
            ge=self.minimum,
            le=self.maximum,
            allow_inf_nan=False,
            title=self.title,
            description=self.description,
        )


DEVICE = "Where to compute"
DEVICES = (
    Choice("auto", "Auto", "The fastest device of this computer"),
    Choice("cuda", "CUDA", "An NVIDIA graphics card"),
    Choice("mps", "MPS", "The graphics of an Apple computer"),
    Choice("cpu", "CPU", "The processor: slower, always there"),
)
REMOTE = Choice("remote", "Remote…", "Another computer, where napari-resunet serve runs")
"""What the dock offers besides the devices of this computer."""

SCOPE = "What to segment"
SCOPES = (
    Choice("visible", "Visible area", "What the viewer shows now"),
    Choice("slice", "Slice", "The whole slice that the viewer shows now"),
    Choice("stack", "Stack", "Every slice of the image"),
)
STACK = (
    "What the slices are: a film (objects have one number through time), a volume (through "
    "Z), or separate; if not given, guessed from the axes"
)
STACKS = (
    Choice("separate", "Separate", "Each slice has objects of its own"),
    Choice("volume", "One volume", "An object has one number in all slices"),
    Choice("film", "A film", "An object has one number in all frames"),
)
DIRECTIONS = (1, 3)
SLICE_STEP = (0.1, 100.0)
"""Least and largest distance of slices, in pixels."""
MEASURE_GROUPS = (
    Choice("basic", "Size and intensities", "Label, size, place, and intensities"),
    Choice("all", "Shape too", "Also perimeter, axes, and so on: a millisecond per object"),
)
TABLE_FORMAT = "Format of the tables of --measure"
TABLE_FORMATS = (
    Choice("csv", "CSV", "Text, which every program reads"),
    Choice("parquet", "Parquet", "Small and typed, for pandas, R, and others"),
)
EXPORT = "Formats to export"
TRACKS = Choice("ctc", "Tracks", "A folder for the Cell Tracking Challenge")
EXPORTS = (
    Choice("ome-tiff", "OME-TIFF labels", "Pixels, with axes and pixel size"),
    Choice("roi", "ImageJ ROIs", "Outlines for Fiji's ROI Manager"),
    Choice("geojson", "QuPath GeoJSON", "Outlines for QuPath, with what was measured"),
)
MEASUREMENTS = Choice(
    "measurements", "Measurements (CSV)",
    "A table for each image, one of all objects, and a summary with a line per image",
)  # fmt: skip
FOREGROUND = Number(
    title="Foreground threshold",
    description="Lower finds more and larger objects; higher fewer and smaller ones",
    minimum=0.0,
    maximum=1.0,
    default=Decoding.foreground,
)
SPLIT = Number(
    title="Merge ↔ split",
    description="Left joins touching objects; right cuts them apart",
    minimum=0.0,
    maximum=1.0,
    default=Decoding.split,
)
MINUTES = Number(
    title="Minutes to fine-tune for",
    description="About how long to train; it may end earlier",
    minimum=0.1,
    maximum=999.0,
    default=FINE_TUNE_SECONDS / 60,
)
OBJECT_SIZE = Number(
    title="Object size in image pixels",
    description="Diameter of a typical object in image pixels",
    minimum=SIZE_IN_PIXELS[0],
    maximum=SIZE_IN_PIXELS[1],
)
OBJECT_SIZE_SLIDER = 2.0, 1000.0
"""Ends of the slider for the object size; the number next to it goes further."""

SCALE = Number(
    title="Rescale factor",
    description="Rescale factor to network resolution; estimated if not given",
    minimum=0.001,
    maximum=1000.0,
)
PIXEL_SIZE = Number(
    title="Pixel size",
    description="Side of a pixel in micrometres, if known",
    minimum=PIXEL_SIZES[0],
    maximum=PIXEL_SIZES[1],
)

DIAMETER = (
    "Diameter of a typical object in pixels of the image (30) or in micrometres (12um); "
    "if not given, the size that the model learned from, or else estimated"
)
DIAMETER_WANTED = (
    f"pixels from {SIZE_IN_PIXELS[0]:g} to {SIZE_IN_PIXELS[1]:g}, for example 30, or "
    "micrometres, for example 12um"
)
UNITS = "(?P<px>px|pixels?)?|(?P<um>[uµμ]m)"


def read_diameter(text: str) -> ObjectSize | None:
    """Read "30", "30 px", "12 um" or "12 µm"; None for anything else."""
    match = re.fullmatch(rf"\s*([-+.\w]*?)\s*(?:{UNITS})\s*", text)
    if match is None:
        return None
    with suppress(ValueError):
        number = float(match[1])
        least, most = SIZE_IN_UM if match["um"] else SIZE_IN_PIXELS
        if least <= number <= most:
            return ObjectSize(um=number) if match["um"] else ObjectSize(pixels=number)
    return None


MAX_LEARNED = 10
"""Learned versions that are kept, each 37 MB on disk; named ones stay beyond that."""


class Settings(BaseModel):
    """What the dock shows when it opens, and what a session saves of it.

    Attributes
    ----------
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    scope : {"visible", "slice", "stack"}
        What *Segment* works on.
    foreground : float
        Foreground threshold, 0 to 1.
    split : float
        0 joins touching objects, 1 cuts them apart.
    minutes : float
        Time to fine-tune for, 0.1 to 999.
    learn_while_correcting : bool
        Whether to fine-tune by itself each time an area is verified.
    """

    model_config = ConfigDict(frozen=True)

    device: DeviceChoice = Field(default="auto", description=DEVICE)
    scope: Scope = Field(default="visible", description=SCOPE)
    foreground: float = FOREGROUND.field()
    split: float = SPLIT.field()
    minutes: float = MINUTES.field()
    learn_while_correcting: bool = False


class MeasureSettings(BaseModel):
    """What *Measure* asks for.

    Attributes
    ----------
    group : {"basic", "all"}
        Which columns.
    """

    model_config = ConfigDict(frozen=True)

    group: MeasureGroup = Field(
        default="basic", title="Columns", description="What is measured of each object"
    )
