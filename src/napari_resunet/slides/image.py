"""Reads a TIFF at the resolution level that suits the size of its objects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import FileError
from napari_resunet.files import check_regular, decoding, shown, split_scene
from napari_resunet.resolutions import coarse_notice, coarser_by, suitable
from napari_resunet.slides.level import TiffLevel, open_series
from napari_resunet.tiff_images import SLIDES, is_slide
from napari_resunet.tiff_metadata import steps_of
from napari_resunet.tiff_reader import (
    HARMLESS_BYTES,
    PIXEL_AXES,
    StoredImage,
    image_in,
    notices_on,
    opened,
    side_from,
)
from napari_resunet.types import PIXEL_SIZES, ObjectSize

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

SCANNER_RESOLUTION = ("ndpi", "scn", "qpi")
"""Formats whose resolution is that of the pixels, not of a screen or a print."""

APERIO_PIXEL = re.compile(r"\|\s*MPP\s*=\s*([0-9.]{1,20})")
MAX_LEVELS = 30


@dataclass(frozen=True, eq=False)
class Slide:
    """What a TIFF says of its levels.

    Attributes
    ----------
    levels : sequence of TiffLevel
        The finest first; none if the image can only be read as a whole.
    steps : mapping of str to float
        From pixel to pixel of the finest level, as `StoredImage` has them.
    notices : tuple of str
        What is left out, one sentence each.
    """

    levels: Sequence[TiffLevel]
    steps: Mapping[str, float]
    notices: tuple[str, ...]


def read_level(path: Path, level: int = 0) -> StoredImage | None:
    """Read a level of a TIFF; of a large one, pixels are read when they are used.

    Parameters
    ----------
    path : Path
        The file, or one of several images in it; see `files.split_scene`.
    level : int
        0 is the finest.

    Returns
    -------
    StoredImage or None
        With the axes and the pixel size of that level; None if the image is small or
        can only be read as a whole, which `files.read_stored` does.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    file, number = split_scene(path)
    check_regular(file)
    with decoding(path), opened(file) as (tiff, is_whole):
        n_bytes = sum(series.nbytes for series in image_in(tiff, number))
        if level == 0 and not is_slide(tiff) and n_bytes <= HARMLESS_BYTES:
            return None
        slide = look_at(file, tiff, is_whole, number)
    if not slide.levels and level == 0:
        return None
    if not 0 <= level < len(slide.levels):
        raise FileError(
            f"{shown(path)} has no resolution level {level} any more: it has changed."
        )
    array = slide.levels[level]
    notices = slide.notices
    if level:
        notices += (coarse_notice(str(level), array.axes, array.shape),)
    steps = _coarser(slide, array)
    # Windows of a small image would unpack the same tiles again and again.
    pixels: Any = array[...] if array.nbytes <= HARMLESS_BYTES else array
    return StoredImage(pixels, array.axes, notices, side_from(steps), steps)


def level_for(
    path: Path, size: ObjectSize | None, diameter: float
) -> tuple[int, ObjectSize | None]:
    """Choose the coarsest level whose objects are no smaller than the network wants.

    Parameters
    ----------
    path : Path
        A TIFF, or one of several images in it.
    size : ObjectSize or None
        Of the objects, in pixels of the finest level or in micrometres. If it is not
        told, the finest level is chosen.
    diameter : float
        Object diameter in pixels at network resolution.

    Returns
    -------
    level : int
    size : ObjectSize or None
        The size in pixels of that level; as it was given if the finest is chosen.

    Raises
    ------
    FileError
        If the file is missing or damaged.
    """
    if size is None:
        return 0, size
    file, number = split_scene(path)
    check_regular(file)
    with decoding(path), opened(file) as (tiff, is_whole):
        if not image_in(tiff, number)[0].is_pyramidal:
            return 0, size
        slide = look_at(file, tiff, is_whole, number)
    pixels = size.in_pixels(side_from(slide.steps))
    if pixels is None or len(slide.levels) < 2:
        return 0, size
    finest, *coarser = slide.levels
    numbered = [(n, level.shape) for n, level in enumerate(coarser, start=1)]
    found = suitable(finest.axes, finest.shape, numbered[::-1], pixels, diameter)
    return found or (0, size)


def look_at(file: Path, tiff: TiffFile, is_whole: bool, number: int | None) -> Slide:
    """Look at the levels of an open TIFF.

    Parameters
    ----------
    file : Path
        The file.
    tiff : tifffile.TiffFile
        The same, open.
    is_whole : bool
        Whether its last page is there.
    number : int or None
        Which of its images, from 1; None is the main one.
    """
    alike = image_in(tiff, number)
    levels, steps = _levels(file, tiff, alike), _steps(tiff, alike[0], number)
    return Slide(levels, steps, notices_on(tiff, alike, is_whole, number))


def _levels(path: Path, tiff: TiffFile, alike: Sequence[TiffPageSeries]) -> list[TiffLevel]:
    """Open the levels that belong together; none if they can only be read as a whole."""
    finest = open_series(path, tiff, alike)
    if finest is None:
        return []
    coarser = []
    for number in range(1, min(MAX_LEVELS, len(alike[0].levels))):
        series = [s.levels[number] for s in alike if number < len(s.levels)]
        if len(series) == len(alike) and all(map(_is_copy, series)):
            level = open_series(path, tiff, series)
            if level is not None and _fits(level, finest):
                coarser.append(level)
    return [finest, *sorted(coarser, key=lambda level: -level.size)]


def _is_copy(series: TiffPageSeries) -> bool:
    """Return whether a level is said to be one; tifffile also guesses by the size."""
    page = series.keyframe
    return series.kind in SLIDES or page.is_reduced or page.is_subifd


def _fits(level: TiffLevel, finest: TiffLevel) -> bool:
    if level.axes != finest.axes or level.dtype != finest.dtype:
        return False
    return coarser_by(finest.axes, finest.shape, level.shape) is not None


def _steps(tiff: TiffFile, first: TiffPageSeries, number: int | None) -> dict[str, float]:
    """Read how long the steps of the finest level are, of slides as scanners state it."""
    low, high = PIXEL_SIZES
    found: dict[str, float] = {}
    with suppress(ValueError, ArithmeticError):
        if first.kind == "svs":
            mpp = APERIO_PIXEL.search(first.keyframe.description)
            found = dict.fromkeys(PIXEL_AXES, float(mpp[1])) if mpp else {}
        elif first.kind in SCANNER_RESOLUTION and first.keyframe.resolutionunit in (2, 3):
            per_um = first.keyframe.get_resolution("MICROMETER")
            found = {a: 1 / n for a, n in zip("XY", per_um, strict=True)}
    stated = {a: s for a, s in found.items() if low <= s <= high}
    return stated or steps_of(tiff, number or 1)


def _coarser(slide: Slide, level: TiffLevel) -> dict[str, float]:
    finest = slide.levels[0]
    sizes = zip(finest.axes, finest.shape, level.shape, strict=True)
    factors = {axis: fine / few for axis, fine, few in sizes if axis in PIXEL_AXES}
    return {axis: step * factors.get(axis, 1.0) for axis, step in slide.steps.items()}
