"""The command `segment` with an OME-Zarr as its output: one image, however large."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet.cli.common import UsageError
from napari_resunet.errors import DiskFullError
from napari_resunet.files import plain_name
from napari_resunet.terminal import ImagesBar
from napari_resunet.types import local_device

if TYPE_CHECKING:
    from napari_resunet.session.find_images import FoundImages
    from napari_resunet.session.large.cluster_choice import ClusterChoice
    from napari_resunet.session.large.run import LargeRun
    from napari_resunet.session.segment_files import SegmentOptions

SUFFIX, OME = ".zarr", ".ome"
GO_ON = "what is done is kept, and the same command goes on from there"


def is_store(output: Path | None) -> bool:
    """Return whether the output is the name of an OME-Zarr, and not a folder for TIFFs."""
    return output is not None and output.suffix.lower() == SUFFIX


def segment_into(
    found: FoundImages, options: SegmentOptions, cluster: ClusterChoice
) -> None:
    """Segment one image block by block, and say how many objects there are.

    Raises
    ------
    UsageError
        If there are several images, or if an option is for files in a folder.
    """
    from napari_resunet.engine.device import choose
    from napari_resunet.session.api import load_model
    from napari_resunet.session.large.run import LargeRun
    from napari_resunet.session.segment_files import into_image

    target = options.output
    assert target is not None
    _check(found, options)
    choose(local_device(options.device))
    source = found.images[0].path
    name = into_image(source, options)
    model = load_model(options.model)
    run = LargeRun(source, target, model, options, cluster, into_image=name)
    bar = ImagesBar(1)
    bar.begin(source)
    try:
        n = _segment(run, bar)
        bar.end(f"{plain_name(target)}: {n} labels", sys.stdout)
    except DiskFullError as error:
        raise DiskFullError(f"The disk is full: free some space; {GO_ON}.") from error
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(f"Interrupted: {GO_ON}.") from error
    finally:
        bar.close()


def _segment(run: LargeRun, bar: ImagesBar) -> int:
    """Segment and, if it is asked for, measure; return the number of objects."""
    from napari_resunet.session.large.measure import check_table
    from napari_resunet.session.large.run import check_measurable, finished, segment_large

    if run.options.measure is None:
        return segment_large(run, bar)
    check_measurable(run)
    assert run.target is not None
    table = table_of(run.target)
    check_table(table, overwrite=run.options.overwrite)
    n = None if run.options.overwrite else finished(run)
    if n is None:
        n = segment_large(run, bar)
    _measure(run, run.target, table, bar)
    return n


def _measure(run: LargeRun, target: Path, table: Path, bar: ImagesBar) -> None:
    from napari_resunet.session.image_files import suitable_level
    from napari_resunet.session.large.measure import measure_large

    options = run.options
    assert options.measure is not None
    level, _ = suitable_level(run.source, options.diameter, run.model.info.diameter)
    measure_large(
        target,
        run.source,
        table,
        on_event=bar,
        level=level,
        axes=options.axes,
        group=options.measure,
        overwrite=options.overwrite,
    )


def table_of(store: Path) -> Path:
    """Return where the measurements of labels go: ``NAME_measurements.csv`` beside them."""
    name = store.name[: -len(SUFFIX)]
    name = name[: -len(OME)] if name.lower().endswith(OME) else name
    return store.with_name(f"{name}_measurements.csv")


def _check(found: FoundImages, options: SegmentOptions) -> None:
    if len(found.images) != 1:
        raise UsageError(
            f"An OME-Zarr is for the labels of one image, and {len(found.images)} were "
            "found: give one image, or a folder with -o."
        )
    given = {
        "--also": options.also,
        f"--directions {options.directions}": options.directions != 1,
        "--table-format parquet": options.table_format != "csv",
    }
    if wrong := [flag for flag, value in given.items() if value]:
        raise UsageError(
            f"{wrong[0]} needs a folder for the results: leave it out, or give a folder "
            "with -o."
        )
