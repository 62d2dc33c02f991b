"""Segments an image file: reads it, and writes its labels with a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_resunet._package import STARTER, starter_path
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import FileError, ImageError
from napari_resunet.events import Notice
from napari_resunet.files import (
    cannot_write,
    content_hash,
    plain_name,
    scene_name,
    shown,
)
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.session.api import OnEvent, segment_planes
from napari_resunet.session.export import (
    CTC,
    TIFF,
    LabelsToExport,
    changed_files,
    describe_labels,
    export_labels,
    files_of,
    note_path,
    record_of_model,
    source_of,
    written_before,
)
from napari_resunet.session.formats.tracking_challenge import check_film
from napari_resunet.session.image_files import (
    check_image,
    file_stamp,
    read_image_file,
    suitable_level,
)
from napari_resunet.session.run_measurements import ImageToMeasure, RunMeasurements
from napari_resunet.session.save_into import check_into, save_labels_into
from napari_resunet.session.segment_volumes import stated_slice_step
from napari_resunet.session.settings import Settings, Stack, TableFormat
from napari_resunet.session.stacks import stack_of
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.tiff_reader import PIXEL_AXES, StoredImage
from napari_resunet.types import (
    Device,
    LabelArray,
    MeasureGroup,
    ObjectSize,
    local_device,
)

FILE = "file"
"""Key of the size and time of the image file, in the description of labels."""

STACK = "stack"
"""Key of what the slices are; null for one plane, and for classes."""

LEVEL = "level"
"""Key of the resolution level that was segmented."""

MEASURED = "measured"
"""Key of the group of measurements that a GeoJSON holds, if any were asked for."""

REQUEST = "request"
"""Key of what the user asked for that changes the labels."""


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment files.

    Attributes
    ----------
    output : Path or None
        Folder for the labels; None saves them into the images only.
    model : str
        "starter", or the path of a model file.
    axes : str or None
        One letter of "PTZCYXS" for each dimension; None reads them from the file.
    channels : tuple of int or None
        Channels that the network sees.
    diameter : ObjectSize or None
        Object size; None takes what the model learned, or estimates it.
    stack : {"separate", "volume", "film"} or None
        What the slices of a stack are; None guesses from the axes.
    directions : {1, 3}
        Of the planes that the network sees; 3 is for volumes.
    slice_step : float or None
        From slice to slice, in pixels, for three directions; None reads it from the file.
    device : {"auto", "cuda", "mps", "cpu"} or RemoteServer
        Where to compute.
    overwrite : bool
        Whether to replace labels that somebody changed, and files of other programs.
    measure : {"basic", "all"} or None
        Which columns to measure; None measures nothing.
    table_format : {"csv", "parquet"}
        Of the tables of measurements.
    also : tuple of {"roi", "geojson", "ctc"}
        Formats to write besides TIFF.
    into_image : str or None
        Name of the labels that are saved into OME-Zarr images; None saves none there.
    """

    output: Path | None
    model: str = STARTER
    axes: str | None = None
    channels: tuple[int, ...] | None = None
    diameter: ObjectSize | None = None
    stack: Stack | None = None
    directions: int = 1
    slice_step: float | None = None
    device: Device = "auto"
    overwrite: bool = False
    measure: MeasureGroup | None = None
    table_format: TableFormat = "csv"
    also: tuple[str, ...] = ()
    into_image: str | None = None

    @property
    def formats(self) -> tuple[str, ...]:
        """All formats to write."""
        return (TIFF, *self.also)

    @cached_property
    def model_hash(self) -> str:
        """SHA-256 of the model file, taken once; empty if there is no such file."""
        path = starter_path() if self.model == STARTER else Path(self.model)
        try:
            return file_hash(path) if path.is_file() else ""
        except (OSError, ValueError):
            return ""

    @property
    def request(self) -> dict[str, Any]:
        """What the user asked for that changes the labels, as JSON holds it."""
        asked = {
            "axes": self.axes,
            "channels": None if self.channels is None else list(self.channels),
            "diameter": None if self.diameter is None else asdict(self.diameter),
            "stack": self.stack,
        }
        if self.directions == 1:  # the description as it was before there were three
            return asked
        return asked | {"directions": self.directions, "slice_step": self.slice_step}


def segment_file(
    path: Path,
    target: Path | None,
    model: Model,
    options: SegmentOptions,
    on_event: OnEvent,
    measurements: RunMeasurements | None = None,
) -> int:
    """Write the labels of an image, with a description of how they were made.

    Parameters
    ----------
    path : Path
        The image.
    target : Path or None
        Where the labels go, and next to them their description; see
        `result_paths.output_paths`. None if they only go into the image.
    model : Model
        The model that the options name.
    options : SegmentOptions
        How to segment.
    on_event : callable
        Called with each Progress and Notice.
    measurements : RunMeasurements or None
        Measures the labels, too.

    Returns
    -------
    int
        Number of labels.

    Raises
    ------
    FileError
        If the image cannot be read, or the labels must not or cannot be written;
        `DiskFullError` if the disk is full.
    ImageError
        If the image cannot be used as it is, or its pixel size is needed and not known.
    DeviceError, OutOfMemoryError
        If the device fails or has too little memory.
    """
    check_image(path)
    _check_free(target, path, options)
    if measurements is not None and target is not None:
        measurements.check(target)
    stamp = file_stamp(path)  # before the pixels, so that a later change is noticed
    level, diameter = suitable_level(path, options.diameter, model.info.diameter)
    stored = read_with_notices(path, options.axes, level, on_event)
    try:
        reader = ImageReader([stored.array], stored.axes, options.channels)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error
    stack = stack_of(options.stack, reader.stack_axes, model.info.task)
    _check_tracks(path, reader, stack, options)
    labels, scale = segment_planes(
        reader, model, diameter=diameter, pixel_size=stored.pixel_size,
        stack=stack, directions=options.directions,
        slice_step=_slice_step(path, stored, stack, options), device=options.device,
        on_event=on_event,
    )  # fmt: skip
    about = _describe(path, stored, reader, labels, scale, options, model)
    about |= {FILE: stamp, LEVEL: level, REQUEST: options.request, STACK: stack}
    export, found = LabelsToExport(labels, about, model.info.classes), None
    try:
        if measurements is not None and target is not None:
            image = ImageToMeasure.of_file(path, stored, stack or "separate")
            found = measurements.measure(labels, image, on_event)
            export = replace(export, measurements=found.of_objects())
            about[MEASURED] = options.measure
    finally:
        # Labels that took minutes are written, also if they cannot be measured.
        _write(path, target, export, options)
    if measurements is not None and target is not None and found is not None:
        measurements.add(target, found, labels.size)
    return int(about["n_objects"])


def read_with_notices(
    path: Path, axes: str | None, level: int, on_event: OnEvent
) -> StoredImage:
    """Read a level of an image, and say what is special about it.

    Raises
    ------
    FileError
        If it cannot be read.
    ImageError
        If it has no pixels, or `axes` does not name each dimension.
    """
    stored = read_image_file(path, axes, level)
    if 0 in stored.array.shape:
        raise ImageError(f"{shown(path)} has no pixels: copy it again.")
    for notice in stored.notices:
        on_event(Notice(f"{shown(path)}: {notice}"))
    return stored


def _write(
    path: Path, target: Path | None, export: LabelsToExport, options: SegmentOptions
) -> None:
    """Write labels into a folder, into their image, or both."""
    overwrite = options.overwrite
    _check_free(target, path, options)  # once more, after minutes of work
    if target is not None:
        export_labels(target, export, options.formats, overwrite=overwrite)
    if (name := into_image(path, options)) is not None:
        labels, about = export.labels, export.about
        save_labels_into(path, labels, name, about=about, overwrite=overwrite)


def level_in(note: Mapping[str, Any]) -> int:
    """Return the resolution level that labels were made at, as their description says."""
    level = note.get(LEVEL)
    return level if isinstance(level, int) else 0


def stack_in(note: Mapping[str, Any]) -> Stack:
    """Return what the slices of labels are, as their description says."""
    known: dict[Any, Stack] = {"volume": "volume", "film": "film"}
    return known.get(str(note.get(STACK)), "separate")


def into_image(path: Path, options: SegmentOptions) -> str | None:
    """Return the name of the labels that are saved into an image; None if none are."""
    either = options.output is None or is_ome_zarr(path)
    return options.into_image if either else None


def _check_free(target: Path | None, image: Path, options: SegmentOptions) -> None:
    if (name := into_image(image, options)) is not None:
        check_into(image, name, overwrite=options.overwrite)
    if target is not None:
        _check_free_file(target, image, options)


def _check_free_file(target: Path, image: Path, options: SegmentOptions) -> None:
    if options.overwrite or written_before(target, image, options.formats):
        return
    files = (*files_of(target, options.formats).values(), note_path(target))
    try:
        there = [*changed_files(target, options.formats), *(f for f in files if f.exists())]
    except OSError as error:  # a name that is too long, for instance
        raise cannot_write(target, error) from error
    if there:
        raise FileError(
            f"{shown(there[0])} is there already, and not as an earlier run on this image "
            "wrote it: give another folder with -o, or --overwrite."
        )


def _slice_step(
    path: Path, stored: StoredImage, stack: Stack | None, options: SegmentOptions
) -> float | None:
    """Return the distance of slices that three directions take, in pixels."""
    step = options.slice_step or stated_slice_step(stored)
    if options.directions > 1 and stack == "volume" and step is None:
        raise ImageError(
            f"{shown(path)} does not say how far its slices are apart: give --slice-step, "
            "in pixels."
        )
    return step


def _check_tracks(
    path: Path, reader: ImageReader, stack: Stack | None, options: SegmentOptions
) -> None:
    if CTC not in options.also:
        return
    if stack != "film":
        raise FileError(
            f"{shown(path)} is not taken as a film, so it has no tracks: give --stack "
            f"film, or leave {CTC} out of --also."
        )
    check_film(path, "".join(reader.stack_axes) + PIXEL_AXES, reader.shape)


def _describe(
    path: Path,
    stored: StoredImage,
    reader: ImageReader,
    labels: LabelArray,
    scale: float | None,
    options: SegmentOptions,
    model: Model,
) -> dict[str, Any]:
    rgb = reader.axes.endswith("YXS")
    axes = reader.axes.removesuffix("S")
    units = {"T": "second"} | dict.fromkeys("XYZ", "micrometer")
    image = ImageRecord(
        name=plain_name(Path(scene_name(path)).stem),
        shape=stored.array.shape,
        dtype=str(stored.array.dtype),
        # Colours are samples in a record only if they are the last axis.
        axes=reader.axes if rgb else reader.axes.replace("S", "C"),
        rgb=rgb,
        source=source_of(path),
        scale=tuple(stored.steps.get(axis, 1.0) for axis in axes),
        units=tuple(units[a] if a in stored.steps else "pixel" for a in axes),
        content_hash=content_hash(stored.array),
        channels=tuple(reader.channels),
        object_scale=scale,
    )
    settings = Settings(device=local_device(options.device), scope="stack")
    return describe_labels(image, _version(model, options), settings, labels, None)


def _version(model: Model, options: SegmentOptions) -> VersionRecord:
    origin = STARTER if options.model == STARTER else "loaded"
    record = record_of_model(model.info, origin)
    return record.model_copy(update={"sha256": options.model_hash})
