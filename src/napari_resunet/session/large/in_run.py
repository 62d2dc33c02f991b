"""A large image among the images of a run of `segment`: its labels go into a store.

It is named after the TIFF that the labels of a small image would be in.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.labels import labels_path
from napari_resunet.session.api import OnEvent
from napari_resunet.session.image_files import suitable_level
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.measure import measure_large, summary_of_store
from napari_resunet.session.large.place import note_of_store, store_beside
from napari_resunet.session.large.run import (
    LargeRun,
    check_measurable,
    segment_large,
)
from napari_resunet.session.large.size import is_large
from napari_resunet.session.run_measurements import RunMeasurements
from napari_resunet.session.save_into import is_changed
from napari_resunet.session.segment_files import (
    SegmentOptions,
    into_image,
    level_in,
)


def is_large_image(path: Path, model: Model, options: SegmentOptions) -> bool:
    """Return whether an image is segmented block by block.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    level, _ = suitable_level(path, options.diameter, model.info.diameter)
    return is_large(path, options.axes, level)


def segment_in_run(
    path: Path,
    target: Path | None,
    model: Model,
    options: SegmentOptions,
    on_event: OnEvent,
    measurements: RunMeasurements | None = None,
    cluster: ClusterChoice = HERE,
) -> tuple[Path, int]:
    """Segment a large image as one of several.

    Parameters
    ----------
    path : Path
        The image.
    target : Path or None
        The TIFF that a small image's labels would be in; None if labels only go into the
        image.
    model : Model
        The model that the options name.
    options : SegmentOptions
        How to segment.
    on_event : callable
        Called with each Progress and Notice.
    measurements : RunMeasurements or None
        Measures the labels, too.
    cluster : ClusterChoice
        Where the work is done.

    Returns
    -------
    labels : Path
        Where they are.
    n_objects : int

    Raises
    ------
    FileError
        If an option is for images in memory. `segment_large` lists the others.
    """
    _check(path, options)
    store = None if target is None else store_beside(target)
    name = into_image(path, options)
    if store is not None and _is_ours(store, path):
        options = replace(options, overwrite=True)
    run = LargeRun(path, store, model, options, cluster, into_image=name)
    if measurements is not None and target is not None:
        measurements.check(target)
        check_measurable(run)
    n_objects = segment_large(run, on_event)
    if measurements is not None and target is not None:
        measure_in_run(path, target, measurements, options, on_event)
    return store or labels_path(path, str(name)), n_objects


def measure_in_run(
    path: Path,
    target: Path,
    measurements: RunMeasurements,
    options: SegmentOptions,
    on_event: OnEvent,
) -> None:
    """Measure the labels of a large image that are there; see `segment_in_run`."""
    store = store_beside(target)
    level = level_in(note_of_store(store, path) or {})

    def measure(table: Path, name: str) -> dict[str, float]:
        measure_large(
            store,
            path,
            table,
            on_event=on_event,
            level=level,
            axes=options.axes,
            group=options.measure or "basic",
            overwrite=True,  # which the tables of the run look after
            name=name,
        )
        return summary_of_store(store, table)

    measurements.add_written(target, measure)


def _is_ours(store: Path, image: Path) -> bool:
    """Return whether labels are of an earlier run on this image, and as it wrote them."""
    note = note_of_store(store, image)
    return note is not None and not is_changed(store, note)


def _check(path: Path, options: SegmentOptions) -> None:
    """Refuse what needs the whole image in memory."""
    given = {
        f"--also {','.join(options.also)}": options.also,
        f"--directions {options.directions}": options.directions != 1,
        "--table-format parquet": options.measure and options.table_format != "csv",
    }
    if wrong := [flag for flag, value in given.items() if value]:
        raise FileError(
            f"{shown(path)} is too large for {wrong[0]}: its labels are not in memory as a "
            "whole. Leave that out for this image."
        )
