"""Labels to a file and back, in the format that the file's name stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import TIFF_SUFFIXES, shown
from napari_resunet.session.formats.geojson import (
    Measurements,
    read_geojson,
    write_geojson,
)
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.formats.ome_tiff import write_ome_tiff
from napari_resunet.session.formats.outlines import ReadLabels, labels_from
from napari_resunet.session.formats.roi import read_rois, write_rois
from napari_resunet.session.formats.tracking_challenge import TRACKS_ENDING, write_tracks

GEOJSON_SUFFIXES = (".geojson", ".json")
ROI_SUFFIXES = (".zip", ".roi")
OUTLINE_SUFFIXES = (*GEOJSON_SUFFIXES, *ROI_SUFFIXES)


def write_labels(
    path: Path,
    labels: npt.NDArray[Any],
    layout: LabelsLayout,
    measurements: Measurements | None = None,
) -> None:
    """Write labels as OME-TIFF (.tif), ImageJ's ROIs (.zip), GeoJSON (.geojson), or tracks.

    Tracks are a folder whose name ends in ``_ctc``.

    Only GeoJSON stores measurements.

    Raises
    ------
    FileError
        If the name ends in something else, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        write_ome_tiff(path, labels, layout)
    elif suffix == ".zip":
        write_rois(path, labels, layout)
    elif suffix in GEOJSON_SUFFIXES:
        write_geojson(path, labels, layout, measurements=measurements)
    elif path.name.endswith(TRACKS_ENDING):
        write_tracks(path, labels, layout)
    else:
        raise FileError(
            f"{shown(path)} does not say which format to write: give a name that ends in "
            ".tif, .zip (ImageJ's ROIs), .geojson, or _ctc (tracks)."
        )


def read_outlines(
    path: Path,
    shape: tuple[int, ...] | None = None,
    axes: str | None = None,
    class_names: Sequence[str] = (),
) -> ReadLabels:
    """Read labels from ImageJ's ROIs (.zip, .roi) or GeoJSON (.geojson, .json).

    An outline whose name is a number gets that number, and every other one the next free
    number. See `labels_from` for the parameters.

    Raises
    ------
    FileError
        If the file cannot be read, holds no outlines, or outlines that do not fit.
    """
    suffix = path.suffix.lower()
    if suffix not in OUTLINE_SUFFIXES:
        raise FileError(
            f"{shown(path)} is no file of outlines: give a .zip of ImageJ's ROIs, or a "
            ".geojson of QuPath."
        )
    read = read_rois if suffix in ROI_SUFFIXES else read_geojson
    outlines, lost = read(path)
    if not outlines:
        raise FileError(
            f"{shown(path)} holds no outlines of objects: save areas, not points or lines."
        )
    try:
        found = labels_from(outlines, shape, axes, class_names)
    except FileError as error:
        raise FileError(f"{shown(path)}: {error}") from error
    return replace(found, notices=(*lost, *found.notices))
