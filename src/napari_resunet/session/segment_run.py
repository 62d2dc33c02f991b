"""A run of `segment` over many files: labels, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from napari_resunet.errors import FileError
from napari_resunet.events import Notice
from napari_resunet.files import check_regular, plain_name, read_stored, shown
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.labels import labels_path
from napari_resunet.session.api import OnEvent
from napari_resunet.session.export import note_path, read_note
from napari_resunet.session.image_files import check_image, read_image_file
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.in_run import (
    is_large_image,
    measure_in_run,
    segment_in_run,
)
from napari_resunet.session.large.place import is_in_store, store_beside
from napari_resunet.session.run_measurements import ImageToMeasure, RunMeasurements
from napari_resunet.session.segment_files import (
    SegmentOptions,
    level_in,
    segment_file,
    stack_in,
)
from napari_resunet.tiff_reader import StoredImage

IN_MEMORY = (
    "Images that fit into memory are segmented in this process, one after the other: for a "
    "cluster, give -o NAME.ome.zarr for one of them."
)


class SegmentRun:
    """Works on one image after the other.

    Parameters
    ----------
    model : Model
        The model that the options name.
    options : SegmentOptions
        How to segment, and what to make of the labels.
    on_event : callable
        Called with each Progress and Notice.
    cluster : ClusterChoice
        Where images are segmented that are larger than memory.

    Raises
    ------
    FileError
        If a table of all images is there, and not as an earlier run wrote it.
    """

    def __init__(
        self,
        model: Model,
        options: SegmentOptions,
        on_event: OnEvent,
        cluster: ClusterChoice = HERE,
    ) -> None:
        self._model, self._options, self._on_event = model, options, on_event
        self._cluster = cluster
        self._measurements = None
        if options.measure is not None and options.output is not None:
            self._measurements = RunMeasurements(
                options.output,
                model.info.classes,
                options.measure,
                options.table_format,
                overwrite=options.overwrite,
            )

    def segment(self, path: Path, target: Path | None) -> str:
        """Write the labels of an image, measure them if asked, and say how many there are.

        Without a target, the labels go only into the image. Of an image that is larger
        than memory, they go into a store instead of the target. `segment_file` and
        `segment_large` list the errors.
        """
        model, options, on_event = self._model, self._options, self._on_event
        check_image(path)
        if is_large_image(path, model, options):
            where, n = segment_in_run(
                path, target, model, options, on_event, self._measurements, self._cluster
            )
        else:
            self._say_if_alone()
            n = segment_file(path, target, model, options, on_event, self._measurements)
            where = target or labels_path(path, str(options.into_image))
        return f"{plain_name(where)}: {n} labels"

    def measure(self, path: Path, target: Path) -> str:
        """Measure labels that are kept, because all images belong into the tables.

        Only for a run whose options ask for measurements.

        Raises
        ------
        FileError, ImageError
            If image or labels cannot be read, or do not fit together any more.
        """
        measurements = cast("RunMeasurements", self._measurements)
        measurements.check(target)
        check_image(path)
        if is_in_store(target):
            measure_in_run(path, target, measurements, self._options, self._on_event)
            return f"{plain_name(store_beside(target))}: kept, and measured"
        labels, note = _read_labels(target), read_note(note_path(target)) or {}
        stored = read_image_file(path, self._options.axes, level_in(note))
        image = ImageToMeasure.of_file(path, stored, stack_in(note))
        found = measurements.measure(labels.array, image, self._on_event)
        measurements.add(target, found, labels.array.size)
        return f"{plain_name(target)}: kept, and measured"

    def _say_if_alone(self) -> None:
        """Say once that a cluster is not used for images in memory."""
        if self._cluster != HERE:
            self._cluster = HERE
            self._on_event(Notice(IN_MEMORY))

    def finish(self) -> None:
        """Write the tables of all images, if they were asked for."""
        if self._measurements is not None:
            self._measurements.write()


def _read_labels(path: Path) -> StoredImage:
    check_regular(path)
    labels = read_stored(path, None)
    if labels.array.dtype.kind not in "bui":
        raise FileError(f"{shown(path)} holds no labels any more: move it away.")
    return labels
