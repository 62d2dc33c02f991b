"""What OME and ImageJ say of an image in a TIFF: steps along axes, names of channels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from napari_resunet.types import PIXEL_SIZES

if TYPE_CHECKING:
    from tifffile import TiffFile

MICROMETRES = dict.fromkeys(
    ("µm", "\N{GREEK SMALL LETTER MU}m", "um", "\\u00b5m", "micron", "microns"), 1.0
) | {"m": 1e6, "cm": 1e4, "mm": 1e3, "nm": 1e-3, "inch": 25_400.0}
"""In a unit, as OME and ImageJ call it; ImageJ escapes the µ."""

SECONDS = (
    dict.fromkeys(("s", "sec", "second", "seconds"), 1.0)
    | dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3)
    | dict.fromkeys(("min", "minute", "minutes"), 60.0)
    | dict.fromkeys(("h", "hour", "hours"), 3600.0)
)
"""In a unit of time."""


def channel_names(tiff: TiffFile, number: int) -> tuple[str, ...]:
    """List the names of the channels of an image, counted from 1."""
    return tuple(_ome_names(tiff, number) if tiff.is_ome else _imagej_names(tiff))


def _ome_pixels(tiff: TiffFile, number: int) -> ElementTree.Element:
    """Return what OME says of an image; of the first one if images are in other files."""
    root = ElementTree.fromstring(tiff.ome_metadata or "<none/>")
    pixels = [x for x in root.iter() if _tag(x) == "Pixels"] or [root]
    return pixels[number - 1 if len(pixels) == len(tiff.series) else 0]


def _ome_names(tiff: TiffFile, number: int) -> list[str]:
    """List the names of an image's channels."""
    pixels = _ome_pixels(tiff, number)
    return [x.attrib.get("Name", "").strip() for x in pixels if _tag(x) == "Channel"]


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _imagej_names(tiff: TiffFile) -> list[str]:
    """List ImageJ's labels of planes, which are those of channels if there are as many."""
    labels = (tiff.imagej_metadata or {}).get("Labels", [])
    return [str(label).strip() for label in labels] if isinstance(labels, list) else []


def steps_of(tiff: TiffFile, number: int) -> dict[str, float]:
    """Read how long the steps along the axes are, if the file is one of OME or ImageJ.

    The resolution of other files is that of a screen or of a print.
    """
    step = partial(_ome_step, number=number) if tiff.is_ome else _imagej_step
    found = {axis: _known(step, tiff, axis) for axis in "XYZT"}
    low, high = PIXEL_SIZES
    return {a: s for a, s in found.items() if s is not None and low <= s <= high}


def _known(
    step: Callable[[TiffFile, str], float], tiff: TiffFile, axis: str
) -> float | None:
    with suppress(
        LookupError, ValueError, TypeError, ArithmeticError, ElementTree.ParseError
    ):
        return step(tiff, axis)
    return None


def _ome_step(tiff: TiffFile, axis: str, number: int) -> float:
    stated = _ome_pixels(tiff, number).attrib
    name, units, unit = f"PhysicalSize{axis}", MICROMETRES, "µm"
    if axis == "T":
        name, units, unit = "TimeIncrement", SECONDS, "s"
    return float(stated[name]) * units[stated.get(f"{name}Unit", unit).lower()]


def _imagej_step(tiff: TiffFile, axis: str) -> float:
    stated = tiff.imagej_metadata or {}
    if axis == "T":
        return float(stated["finterval"])
    unit = MICROMETRES[str(stated["unit"]).lower()]
    if axis == "Z":
        return unit * float(stated["spacing"])
    pixels, over = tiff.pages.first.tags[f"{axis}Resolution"].value
    return float(unit * over / pixels)
