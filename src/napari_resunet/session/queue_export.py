"""Exports the labels of all images of the queue, in a background thread.

Measuring imports torch, so that is left to the thread.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_resunet.errors import Cancelled, CorrectionError, FileError, ImageError
from napari_resunet.events import CancelToken, Progress, ignore
from napari_resunet.files import check_folder, scene_name, shown
from napari_resunet.session.export import (
    CTC,
    LabelsToExport,
    changed_files,
    describe_labels,
    export_labels,
)
from napari_resunet.session.find_images import FoundImage
from napari_resunet.session.formats.layout import layout_of
from napari_resunet.session.queue_images import NOT_THERE, OpenRequest, read_item
from napari_resunet.session.result_paths import output_paths
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.delta import VERIFIED
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.models import VersionRecord
from napari_resunet.session.store.schema import ImageRecord, QueueItem
from napari_resunet.types import LabelArray, MeasureGroup

if TYPE_CHECKING:
    from napari_resunet.session.run_measurements import ImageToMeasure, RunMeasurements

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExportAllRequest:
    """Export the labels that a session has of some images.

    Attributes
    ----------
    items : sequence of (OpenRequest, ImageRecord)
        The images, and how to read their pixels.
    session : SessionFolder
        Has their labels.
    target : Path
        Folder to write to.
    version : VersionRecord
        The model in use.
    settings : Settings
        Of the dock.
    formats : sequence of {"ome-tiff", "roi", "geojson", "ctc"}
        What to write of each image; tracks only of films.
    class_names : tuple of str
        Names of the classes, background first; empty for objects.
    measure : {"basic", "all"} or None
        Which columns to measure; None measures nothing.
    """

    items: Sequence[tuple[OpenRequest, ImageRecord]]
    session: SessionFolder
    target: Path
    version: VersionRecord
    settings: Settings
    formats: Sequence[str]
    class_names: tuple[str, ...] = ()
    measure: MeasureGroup | None = None


@dataclass(frozen=True)
class Exported:
    """How many labels were exported, and why others were not, in sentences.

    `n_no_films` is the number of images without the tracks that were asked for.
    """

    n: int
    failures: tuple[str, ...]
    n_no_films: int = 0


def export_all(
    request: ExportAllRequest, token: CancelToken
) -> Generator[Progress, None, Exported]:
    """Write the labels of each image as ``NAME_labels.tif``, with a note next to it.

    One that cannot be written does not keep the others from being written.

    Raises
    ------
    FileError
        If nothing can be written to the folder.
    """
    images = _named([one.item for one, _ in request.items])
    paths = output_paths(images, request.target)
    check_folder(request.target)
    run = _measurements(request)
    failures: list[str] = []
    n = n_no_films = 0
    for number, (found, one) in enumerate(zip(images, request.items, strict=True)):
        if token.cancelled:
            raise Cancelled
        name = one[0].item.name
        yield Progress(number, len(images), f"exporting '{name}'")
        try:
            formats = _formats_for(request, one[1])
            n_no_films += len(formats) < len(request.formats)
            if formats or run is not None:
                _export(request, one, paths[found.path], formats, run)
                n += 1
        except (FileError, ImageError, CorrectionError) as error:
            log.warning("Labels were not exported", exc_info=error)
            failures.append(f"'{name}': {error}")
    if run is not None:
        run.write()
    return Exported(n, tuple(failures), n_no_films)


def _formats_for(request: ExportAllRequest, record: ImageRecord) -> tuple[str, ...]:
    """Return the formats of an image: only a film has tracks."""
    film = record.stack == "film" and not request.class_names
    return tuple(key for key in request.formats if film or key != CTC)


def _measurements(request: ExportAllRequest) -> RunMeasurements | None:
    if request.measure is None:
        return None
    from napari_resunet.session.run_measurements import RunMeasurements

    return RunMeasurements(request.target, request.class_names, request.measure)


def _export(
    request: ExportAllRequest,
    one: tuple[OpenRequest, ImageRecord],
    path: Path,
    formats: Sequence[str],
    run: RunMeasurements | None,
) -> None:
    file, record = one
    if formats and (others := changed_files(path, formats)):
        raise FileError(
            f"{shown(others[0])} is there already, and not as it was exported before: "
            "choose another folder, or move that file."
        )
    labels, n_verified = saved_stack(request.session, record)
    about = describe_labels(record, request.version, request.settings, labels, n_verified)
    export, found = LabelsToExport(labels, about, request.class_names), None
    try:
        if run is not None:
            image = _to_measure(file, record, request.class_names)
            found = run.measure(labels, image, ignore)  # the images are counted
            export = replace(export, measurements=found.of_objects())
    finally:
        # Labels are exported, also if their image is gone, so that it cannot be measured.
        if formats:
            export_labels(path, export, formats)
    if run is not None and found is not None:
        run.add(path, found, labels.size)


def _to_measure(
    file: OpenRequest, record: ImageRecord, class_names: tuple[str, ...]
) -> ImageToMeasure:
    from napari_resunet.session.run_measurements import ImageToMeasure

    image = read_item(file).image
    if image is None:
        raise FileError(NOT_THERE)
    steps = layout_of(record.axes.replace("S", ""), (), record.scale, record.units).steps
    n = image.levels[0].shape[image.axes.index("C")] if "C" in image.axes else 0
    names = record.channel_names if n == len(record.channel_names) > 0 else None
    stack = "separate" if class_names else record.stack
    return ImageToMeasure(
        image.levels[0], image.axes, steps.get("Y"), names, steps.get("Z"), stack
    )


def _named(items: Sequence[QueueItem]) -> list[FoundImage]:
    """Give each image a path of its own, also if several are in one file or in none.

    The name of a field of a plate has slashes, and its folder is called "0".
    """
    files = Counter(item.path for item in items)
    found = []
    for number, item in enumerate(items):
        path = Path(item.path)
        if not item.path or files[item.path] > 1 or "/" in item.name:
            name = item.name.replace("/", "_").replace("\\", "_")
            path = path.parent / f"{name}.{number}"
        found.append(FoundImage(path, Path(scene_name(path))))
    return found


def saved_stack(session: SessionFolder, record: ImageRecord) -> tuple[LabelArray, int]:
    """Read the labels of an image from its session.

    Parameters
    ----------
    session : SessionFolder
        The session.
    record : ImageRecord
        The image.

    Returns
    -------
    labels : int32 array
        Of the image's shape, without channels and the samples of RGB.
    n_verified : int
        Number of verified pixels.
    """
    sizes = zip(record.axes, record.shape, strict=True)
    shape = [n for axis, n in sizes if axis not in "CS"]
    labels, n_verified = np.zeros(shape, np.int32), 0
    for index in session.planes(record.key):
        state = session.load_plane(record.key, index)
        labels[index] = state.labels
        n_verified += int(np.count_nonzero(state.marks & VERIFIED))
    return labels, n_verified
