"""The Python API for labels that are there: measure, save, and read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_resunet.engine.device import memory_errors
from napari_resunet.events import drain
from napari_resunet.session.api import OnEvent, notify
from napari_resunet.session.arguments import values
from napari_resunet.session.arguments.labels import (
    axes_of,
    labels_and_axes,
    measurements_of,
    names_of,
    shape_of,
)
from napari_resunet.session.arguments.measure import measure_request
from napari_resunet.session.formats.labels_file import read_outlines, write_labels
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.measurements import measure_image
from napari_resunet.session.save_into import save_labels_into
from napari_resunet.session.settings import Stack
from napari_resunet.types import (
    LabelArray,
    MeasureGroup,
)

__all__ = ["measure", "read_labels", "save_labels", "save_labels_into"]


def measure(
    labels: Any,
    image: Any = None,
    *,
    axes: str | None = None,
    channel_names: Sequence[str] | None = None,
    pixel_size: float | Sequence[float] | None = None,
    z_step: float | None = None,
    verified: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    stack: Stack | None = None,
    group: MeasureGroup = "basic",
    on_event: OnEvent | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Measure the objects of an image.

    Parameters
    ----------
    labels : integer array, shape of the image without channels
        0 and negative numbers are background.
    image : array or None
        numpy, dask, zarr, …, any real dtype; all of its channels are measured. None
        measures no intensities.
    axes : str or None
        One letter of "PTZCYXS" for each dimension of the image, or of the labels without
        an image; None guesses.
    channel_names : sequence of str or None
        A name for each channel; None numbers them from 0.
    pixel_size : float, sequence of float, or None
        Side of a pixel in micrometres, or (y, x). None measures in pixels.
    z_step : float or None
        Distance of slices in micrometres. None measures volumes in voxels.
    verified : bool array, shape of `labels`, or None
        The verified area, from which the column "verified" is computed.
    class_names : sequence of str or None
        Names of the classes, background first, if the labels are classes. Then each
        connected piece of a class is measured.
    stack : {"separate", "volume", "film"} or None
        What the slices of a stack are. Separate: each is measured by itself. In a volume,
        each object is measured once, through all slices of the axis Z. In a film, it is
        measured in each frame, and the column "track" is its number. None guesses as
        `segment` does, and takes slices of classes as separate.
    group : {"basic", "all"}
        "all" adds the shape, which takes longer: about a millisecond per object.
    on_event : callable or None
        Called with each Progress.

    Returns
    -------
    dict of str to array
        The columns of a table with one row for each object and plane or volume, such as
        "label", "area_um2", "mean_intensity_DAPI". ``pandas.DataFrame`` takes it as it is.
        What is not defined for an object is NaN.

    Raises
    ------
    ArgumentError
        If an argument has the wrong type or is out of range.
    CorrectionError
        If the labels are no whole numbers, or do not fit the image.
    ImageError
        If the image cannot be used as it is.
    OutOfMemoryError
        If there is too little memory.
    """
    values.check_on_event(on_event)
    with memory_errors():
        request = measure_request(
            labels, image, axes, channel_names=channel_names, pixel_size=pixel_size,
            z_step=z_step, verified=verified, class_names=class_names, stack=stack,
            group=group,
        )  # fmt: skip
        return drain(measure_image(request), on_event)


def save_labels(
    path: str | Path,
    labels: Any,
    axes: str | None = None,
    *,
    pixel_size: float | None = None,
    z_step: float | None = None,
    interval: float | None = None,
    class_names: Sequence[str] = (),
    measurements: Mapping[int, Mapping[str, float]] | None = None,
) -> None:
    """Save labels as OME-TIFF, ROIs of ImageJ, GeoJSON of QuPath, or tracks of a film.

    Outlines run along the edges of pixels, so that `read_labels` gives the same labels.

    Parameters
    ----------
    path : str or Path
        The name decides the format: ``.tif``, ``.zip``, or ``.geojson``. If it ends in
        ``_ctc``, it is a folder in the format of the Cell Tracking Challenge, which is
        replaced if it is there.
    labels : integer array
        One number for each object; 0 is background.
    axes : str or None
        One letter of "PTZYX" for each dimension; None takes the last of them.
    pixel_size, z_step : float or None
        Side of a pixel, and distance of slices, in micrometres, if known.
    interval : float or None
        Time from frame to frame in seconds, if known.
    class_names : sequence of str
        Names of the classes, background first, if the labels are classes.
    measurements : mapping or None
        For GeoJSON, of each label: names and values.

    Raises
    ------
    ArgumentError, CorrectionError
        If an argument has the wrong type, or is out of range.
    FileError
        If the file cannot be written.
    """
    array, axes = labels_and_axes(labels, axes)
    size = values.pixel_size_of(pixel_size)
    steps = {"X": size, "Y": size, "Z": values.step_of("z_step", z_step)}
    steps["T"] = values.step_of("interval", interval)
    known = {axis: step for axis, step in steps.items() if step is not None}
    target, names = values.file_of(path), names_of(class_names)
    layout = LabelsLayout(axes, known, names, target.stem)
    write_labels(target, array, layout, measurements_of(measurements))


def read_labels(
    path: str | Path,
    shape: Sequence[int] | None = None,
    axes: str | None = None,
    *,
    class_names: Sequence[str] = (),
    on_event: OnEvent | None = None,
) -> LabelArray:
    """Read labels from ROIs of ImageJ (``.zip``, ``.roi``) or GeoJSON (``.geojson``).

    An outline whose name is a number gets that number, and every other one the next free
    number. Outlines are cut off at the edge of the image; where two overlap, the later one
    in the file covers the earlier one.

    Parameters
    ----------
    path : str or Path
        The file.
    shape : sequence of int or None
        Shape of the image without channels; None makes the labels as large as the
        outlines reach.
    axes : str or None
        One letter of "PTZYX" for each dimension; None takes those that the outlines name.
    class_names : sequence of str
        Names of the classes, background first: the labels are then classes.
    on_event : callable or None
        Called with a Notice of what was changed or left out; without it, notices are
        warnings.

    Returns
    -------
    int32 array

    Raises
    ------
    ArgumentError
        If an argument has the wrong type, or is out of range.
    FileError
        If the file cannot be read, is damaged, or holds no outlines of objects.
    OutOfMemoryError
        If there is too little memory.
    """
    size, names = shape_of(shape), names_of(class_names)
    values.check_on_event(on_event)
    if axes is not None:
        axes = axes_of(axes, None if size is None else len(size))
    with memory_errors():
        found = read_outlines(values.file_of(path), size, axes, names)
    for notice in found.notices:
        notify(notice, on_event)
    return found.labels
