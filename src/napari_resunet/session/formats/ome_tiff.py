"""Labels as OME-TIFF, which says what the axes are and how large a pixel is."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import BIGTIFF_BYTES, atomic_path, shown
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.tiff_reader import PIXEL_AXES

CLASSES = "napari-resunet/classes"
"""Namespace of the map from numbers to names of classes."""

UM_PER_CM = 1e4


def write_ome_tiff(path: Path, labels: npt.NDArray[Any], layout: LabelsLayout) -> None:
    """Write labels as a compressed OME-TIFF, all or nothing.

    They are stored as uint16 or uint32, whichever is enough, or int32 if any is negative.
    Rows and columns become the last axes, and each position P an image of its own, because
    OME has no axis for positions.

    Parameters
    ----------
    path : Path
        The file; readers find the axes whatever its name ends in.
    labels : integer array
        The labels.
    layout : LabelsLayout
        Their axes and steps.

    Raises
    ------
    FileError
        If the file cannot be written, or a label is too large for it.
    """
    import tifffile

    stored = _storable(path, labels)
    stack = [a for a in layout.axes if a not in ("P", *PIXEL_AXES)]
    order = "".join(["P", *stack, *PIXEL_AXES])
    if "P" in layout.axes:
        stored = stored.transpose([layout.axes.index(a) for a in order])
    else:
        stored = stored.transpose([layout.axes.index(a) for a in order[1:]])[None]
    big = stored.nbytes > BIGTIFF_BYTES
    with (
        atomic_path(path) as temporary,
        tifffile.TiffWriter(temporary, ome=True, bigtiff=big) as tiff,
    ):
        for number, position in enumerate(stored):
            tiff.write(
                position,
                # By default three planes would be written as RGB.
                photometric="minisblack",
                # Differences of neighbours (a predictor) make labels a third larger.
                compression="zlib",
                maxworkers=1,
                metadata=_metadata(layout, order[1:], number if len(stored) > 1 else None),
                **_resolution(layout),
            )


def _storable(path: Path, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not labels.size:
        raise FileError(f"There are no pixels to write to {shown(path.name)}.")
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    kinds = (np.uint16, np.uint32) if low >= 0 else (np.int32,)
    for kind in kinds:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return labels.astype(kind, copy=False)
    raise FileError(
        f"The labels go from {low} to {high}, too far for {shown(path.name)}: number the "
        "objects from 1."
    )


def _metadata(layout: LabelsLayout, axes: str, position: int | None) -> dict[str, Any]:
    # tifffile's own UUID holds the address of this computer.
    known: dict[str, Any] = {"UUID": str(uuid.uuid4()), "Creator": "napari-resunet"}
    known |= {"axes": axes, "Channel": {"Name": "labels"}}
    known["Name"] = layout.name if position is None else f"{layout.name} {position + 1}"
    for axis, step in layout.steps.items():
        if axis in "XYZ":
            known |= {f"PhysicalSize{axis}": step, f"PhysicalSize{axis}Unit": "µm"}
        elif axis == "T":
            known |= {"TimeIncrement": step, "TimeIncrementUnit": "s"}
    if layout.class_names:
        names = {str(number): name for number, name in enumerate(layout.class_names)}
        known["MapAnnotation"] = {"Namespace": CLASSES, "Value": names}
    return known


def _resolution(layout: LabelsLayout) -> dict[str, Any]:
    """Return the pixel size for programs that do not read OME."""
    if not set(PIXEL_AXES) <= layout.steps.keys():
        return {}
    per_cm = tuple(UM_PER_CM / layout.steps[axis] for axis in "XY")
    return {"resolution": per_cm, "resolutionunit": "CENTIMETER"}
