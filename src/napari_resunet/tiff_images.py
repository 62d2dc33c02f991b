"""Which images a TIFF holds: there may be several, and pictures besides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries

SLIDES = ("svs", "ndpi", "scn", "qpi", "philips")
"""What tifffile calls the formats of slide scanners. Besides the slide, they hold its
label and a small picture of it."""

OVERVIEW = 8
"""By how much the pixels of a picture of the whole slide are larger, at least."""


def is_slide(tiff: TiffFile) -> bool:
    """Return whether a file is of a slide scanner."""
    return tiff.series[0].kind in SLIDES


def images_in(tiff: TiffFile) -> list[list[TiffPageSeries]]:
    """List the images, each as series that are stacked.

    Those of OME and of slide scanners are apart; in other files, series that match are a
    stack. Smaller copies are no images.
    """
    if is_slide(tiff):
        return [[series] for series in _parts_of_slide(tiff)]
    found: dict[Any, list[TiffPageSeries]] = {}
    for n, series in enumerate(tiff.series):
        is_copy = series.keyframe.is_reduced or series.keyframe.is_subifd
        if n == 0 or not is_copy:
            found.setdefault(n if tiff.is_ome else _kind(series), []).append(series)
    return list(found.values())


def main_image(tiff: TiffFile) -> list[TiffPageSeries]:
    """Return the first image and all that match it; of a slide, its largest one."""
    if is_slide(tiff):
        return [_largest(tiff)]
    first = tiff.series[0]
    return [series for series in tiff.series if _kind(series) == _kind(first)]


def left_out(tiff: TiffFile, read: Sequence[TiffPageSeries]) -> list[str]:
    """Report the images that were not read, except smaller copies of the first."""
    if is_slide(tiff):
        n = len(_parts_of_slide(tiff))
        if n < 2:
            return []
        return [f"It holds {n} images of parts of the slide: only the largest was read."]
    others = [
        level
        for series in tiff.series
        for level in series.levels[1:]
        if not (level.keyframe.is_reduced or level.keyframe.is_subifd)
    ]
    n = len(tiff.series) - len(read) + len(others)
    if not n:
        return []
    images = "another image" if n == 1 else f"{n} other images"
    shape = " × ".join(map(str, read[0].shape))
    return [
        f"It holds {images} of another size or kind than the first ({shape}): they were "
        "left out. Save them as files of their own to use them."
    ]


def _kind(series: TiffPageSeries) -> tuple[Any, ...]:
    return series.shape, series.axes, series.dtype


def _parts_of_slide(tiff: TiffFile) -> list[TiffPageSeries]:
    """List the images of tissue: those with levels, and the largest one in any case."""
    largest = _largest(tiff)
    return [
        series
        for series in tiff.series
        if series is largest or (series.is_pyramidal and not _is_overview(series, largest))
    ]


def _is_overview(series: TiffPageSeries, largest: TiffPageSeries) -> bool:
    """Return whether it is a picture of the whole slide, which Leica stores with levels."""
    per_unit, most = (one.keyframe.resolution[0] for one in (series, largest))
    return bool(OVERVIEW * per_unit < most)


def _largest(tiff: TiffFile) -> TiffPageSeries:
    return max(tiff.series, key=lambda series: math.prod(series.shape))
