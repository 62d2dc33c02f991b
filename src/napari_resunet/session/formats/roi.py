"""Labels as a ZIP of ImageJ's ROIs: what Fiji's ROI Manager opens and saves."""

from __future__ import annotations

import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path, check_regular, shown
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.formats.outlines import (
    COUNTED,
    MAX_NAME,
    Outline,
    Rings,
    as_ring,
    outlines_of,
    place_in,
    read_at_most,
)
from napari_resunet.tiff_reader import PIXEL_AXES

if TYPE_CHECKING:
    from roifile import ImagejRoi

log = logging.getLogger(__name__)
ENDING = ".roi"
MAX_ROI, MAX_ROIS = 2**26, 2**28
"""Bytes of one ROI, and of all in a ZIP: about 500,000 objects."""

LARGEST = 60535
"""Largest coordinate that ImageJ stores as a whole number."""

MOST_GROUPS = 255
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
"""Commands of a path in a composite ROI."""

UNIT_SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


def write_rois(path: Path, labels: npt.NDArray[Any], layout: LabelsLayout) -> None:
    """Write the outline of each object as an ImageJ ROI, all in one ZIP, all or nothing.

    The name of a ROI is the number of its object, with as many zeros in front as the
    largest number needs, and in a stack its place: "0012-T3". Pieces of a class have its
    name, and its number as their group. An object with holes or in pieces becomes a
    composite ROI. Outlines run along the edges of pixels, so nothing is lost.

    Parameters
    ----------
    path : Path
        The ZIP.
    labels : integer array
        The labels; 0 and below is background.
    layout : LabelsLayout
        Their axes, and the names of classes.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    stack = [axis for axis in layout.axes if axis not in PIXEL_AXES]
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for outline in outlines_of(labels, layout):
            roi = _roi(outline, alone=len(stack) == 1)
            archive.writestr(f"{roi.name}{ENDING}", roi.tobytes())


def _roi(outline: Outline, alone: bool) -> ImagejRoi:
    """Make a ROI; `alone` says that the stack has one axis, whose planes are counted."""
    import roifile

    (outer, *holes), *others = outline.polygons
    roi = _composite(outline.polygons) if holes or others else _polygon(outer)
    roi.name = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", outline.name)
    roi.options |= roifile.ROI_OPTIONS.OVERLAY_LABELS
    if alone:
        # ImageJ takes the position along T for none in a film without channels or Z.
        roi.position = next(iter(outline.place.values())) + 1
    else:
        roi.z_position = outline.place.get("Z", -1) + 1
        roi.t_position = outline.place.get("T", -1) + 1
    if outline.class_name and outline.label <= MOST_GROUPS:
        roi.group = outline.label
    return roi


def _polygon(ring: npt.NDArray[Any]) -> ImagejRoi:
    import roifile

    roi = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.TRACED)
    roi.left, roi.top = ring.min(axis=0).tolist()
    roi.right, roi.bottom = ring.max(axis=0).tolist()
    roi.n_coordinates = len(ring)
    roi.integer_coordinates = (ring - (roi.left, roi.top)).astype(np.int32)
    if ring.max() > LARGEST:
        roi.options |= roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.subpixel_coordinates = ring.astype(np.float32)
    return roi


def _composite(polygons: tuple[Rings, ...]) -> ImagejRoi:
    """Make a ROI of several rings, in which holes are holes."""
    import roifile

    path: list[float] = []
    for ring in (ring for rings in polygons for ring in rings):
        commands = np.full((len(ring), 3), LINE)
        commands[:, 1:], commands[0, 0] = ring, MOVE
        path += [*commands.ravel().tolist(), CLOSE]
    roi = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT)
    points = np.concatenate([rings[0] for rings in polygons])
    roi.left, roi.top = points.min(axis=0).tolist()
    roi.right, roi.bottom = points.max(axis=0).tolist()
    roi.multi_coordinates = np.array(path, np.float32)
    roi.shape_roi_size = len(path)
    return roi


def read_rois(path: Path) -> tuple[list[Outline], list[str]]:
    """Read the areas of ImageJ's ROIs: of Fiji, or of this program.

    Parameters
    ----------
    path : Path
        A ZIP of ROIs, or one ROI.

    Returns
    -------
    outlines : list of Outline
        In the order of the file.
    notices : list of str
        What was left out.

    Raises
    ------
    FileError
        If the file is missing, too large, or damaged.
    """
    check_regular(path)
    if path.suffix.lower() == ENDING:
        files = [(path.stem, read_at_most(path, MAX_ROI))]
    else:
        files = _unpacked(path)
    outlines = [_outline(name, data) for name, data in files]
    good = [outline for outline in outlines if outline is not None]
    n = len(outlines) - len(good)
    lost = f"{n} of the {len(outlines)} ROIs are no areas, or damaged: left out."
    return good, [lost] if n else []


def is_roi_zip(path: Path) -> bool:
    """Return whether a file is a ZIP that holds ROIs."""
    try:
        check_regular(path)
        with zipfile.ZipFile(path) as archive:
            return any(_is_roi(entry) for entry in archive.infolist())
    except (FileError, OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _is_roi(entry: zipfile.ZipInfo) -> bool:
    # macOS adds notes of its own, whose names begin with "._".
    name = entry.filename.lower().rpartition("/")[2]
    return name.endswith(ENDING) and not name.startswith(".")


def _unpacked(path: Path) -> list[tuple[str, bytes]]:
    """Unpack the ROIs of a ZIP in memory, after a look at what it says of their sizes."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if _is_roi(entry)]
            sizes = [entry.file_size for entry in entries]
            if max(sizes, default=0) > MAX_ROI or sum(sizes) > MAX_ROIS:
                raise FileError(
                    f"The ROIs in {shown(path)} are larger than those of objects can be: "
                    "save fewer of them at once."
                )
            return [(entry.filename, archive.read(entry)) for entry in entries]
    except FileError:
        raise
    except Exception as error:  # a damaged ZIP can raise anything
        raise FileError(
            f"{shown(path)} is no ZIP of ROIs, or damaged: save the ROIs once more."
        ) from error


def _outline(file_name: str, data: bytes) -> Outline | None:
    """Read a ROI; None if it is no area."""
    import roifile

    name = file_name.rpartition("/")[2].removesuffix(ENDING)
    name = name if len(name) <= MAX_NAME else ""
    try:
        roi = roifile.ImagejRoi.frombytes(data)
        rings = tuple(map(as_ring, _rings(roi)))
    except Exception:  # damaged data can raise anything, and so do curves
        log.debug("The ROI '%s' was left out", name, exc_info=True)
        return None
    kind = re.fullmatch(r"(.+)-\d{4,}(-[PTZ]\d+)*", name)
    class_name = kind[1] if kind and not kind[1].isdigit() else ""
    place = _place(roi, place_in(name))
    return Outline(name, 0, (rings,), place, class_name, roi.group) if rings else None


def _place(roi: ImagejRoi, named: dict[str, int]) -> dict[str, int]:
    """Return the place of a ROI, which counts more than the one in its name."""
    if roi.position > 0 and len(named) < 2:
        return {next(iter(named), COUNTED): roi.position - 1}
    stated = {"T": roi.t_position, "Z": roi.z_position}
    return named | {axis: number - 1 for axis, number in stated.items() if number > 0}


def _rings(roi: ImagejRoi) -> list[npt.NDArray[Any]]:
    """Return the outlines of a ROI; none if it is a line, a point, or a text."""
    import roifile

    kinds = roifile.ROI_TYPE
    if roi.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE):
        return []
    if roi.roitype in (kinds.RECT, kinds.OVAL) and not roi.composite:
        corner = np.array([roi.left, roi.top], float)
        size = np.array([roi.right, roi.bottom]) - corner
        if roi.subpixelrect:
            corner, size = np.array([[roi.xd, roi.yd], [roi.widthd, roi.heightd]])
        unit = UNIT_SQUARE if roi.roitype == kinds.RECT else _circle()
        return [corner + unit * size]
    areas = (kinds.RECT, kinds.POLYGON, kinds.FREEHAND, kinds.TRACED)
    return list(roi.coordinates(multi=True)) if roi.roitype in areas else []


def _circle() -> npt.NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return 0.5 + 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
