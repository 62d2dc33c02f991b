"""The command `segment`: which images, the run over them, and what is said at its end."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet.cli.common import (
    FAILED,
    UsageError,
    add_device,
    add_diameter,
    add_overwrite,
    help_of,
)
from napari_resunet.cli.segment_large import is_store, segment_into
from napari_resunet.errors import DiskFullError, ResunetError
from napari_resunet.files import check_folder
from napari_resunet.remote.key import KEY_VARIABLE, key_from_environment
from napari_resunet.session import flags
from napari_resunet.session.large.cluster_choice import (
    ClusterChoice,
    add_cluster_flags,
    cluster_choice,
)
from napari_resunet.session.settings import (
    DIAMETER,
    MEASURE_GROUPS,
    TABLE_FORMAT,
    TABLE_FORMATS,
)
from napari_resunet.terminal import ImagesBar, sentence_of
from napari_resunet.types import Device, local_device

if TYPE_CHECKING:
    from napari_resunet.session.find_images import FoundImages
    from napari_resunet.session.segment_files import SegmentOptions

log = logging.getLogger(__name__)

MEASURE = (
    "measure the labels, too: DIR/NAME_measurements.csv for each image, "
    "DIR/measurements.csv with all objects, and DIR/summary.csv with one line per image; "
    "with -o NAME.ome.zarr, NAME_measurements.csv beside it"
)
NAMES_OF_LABELS = (
    "Folders are searched for TIFF, PNG, JPEG, and OME-Zarr images. The labels of each are "
    "written to DIR/NAME_labels.tif, and a description of how they were made to "
    "DIR/NAME_labels.json; for an image in a subfolder, to DIR/SUBFOLDER; if several "
    "folders are given, to DIR/FOLDER. If several images have the same NAME, the ending is "
    "added, and the folder of a file that was given itself: FOLDER_NAME_png_labels.tif. "
    "Labels from an earlier run on the same image are replaced. Labels that somebody "
    "changed, and files of other programs, are replaced only with --overwrite. If an image "
    "cannot be segmented, the others are, and the exit status is 1. The labels of an image "
    "that is larger than memory are written to DIR/NAME_labels.ome.zarr. With -o "
    "NAME.ome.zarr, "
    "one image is segmented block by block into an OME-Zarr; after an interruption, the "
    "same command goes on."
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.epilog = NAMES_OF_LABELS
    parser.add_argument(
        "images",
        nargs="+",
        type=flags.path,
        metavar="IMAGES",
        help="TIFF, PNG, JPEG, ND2, or LIF files, slides, OME-Zarr images, folders of "
        "them, or patterns such as 'data/*.tif'",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=flags.path,
        metavar="DIR",
        help="folder for labels; or NAME.ome.zarr for those of one image, which may be "
        "larger than memory",
    )
    parser.add_argument(
        "--into-image",
        type=flags.labels_name,
        metavar="NAME",
        help="save the labels of OME-Zarr images into them, as labels/NAME, however large "
        "they are; then -o is not needed for these",
    )
    _add_search(parser)
    _add_image(parser)
    _add_results(parser)
    add_overwrite(parser)
    add_device(parser)
    parser.add_argument(
        "--remote",
        metavar="URL",
        help="compute on another computer, on which 'napari-resunet serve' runs; its key "
        f"is that of the variable {KEY_VARIABLE}",
    )
    add_cluster_flags(parser)
    parser.set_defaults(run=_segment)


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pattern",
        type=flags.name_pattern,
        action="append",
        default=[],
        help="only the files of a folder with such names, for example '*_dapi.tif'; can be "
        "given several times",
    )
    parser.add_argument("--recursive", action="store_true", help="search subfolders too")
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="skip images whose labels are there, from the same model and with the same "
        "--axes, --channels, --diameter, --stack, --directions, and --slice-step",
    )


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="starter", help="'starter' or a model file")
    parser.add_argument(
        "--axes", type=flags.axes, help="for example TZCYX, if the file states others"
    )
    parser.add_argument(
        "--channels", type=flags.channels, help="one to three channels, for example 0,2"
    )
    add_diameter(parser, help_of(DIAMETER))
    flags.add_stack(parser)


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--also",
        type=flags.formats,
        default=(),
        metavar="FORMATS",
        help="write more files: roi (outlines for ImageJ, NAME_rois.zip), geojson "
        "(outlines for QuPath, NAME.geojson), ctc (tracks of a film, NAME_ctc), or several "
        "of them, such as roi,geojson",
    )
    parser.add_argument("--scale", type=flags.no_scale, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=[g.key for g in MEASURE_GROUPS], help=MEASURE)
    parser.add_argument(
        "--table-format",
        choices=[table_format.key for table_format in TABLE_FORMATS],
        default=TABLE_FORMATS[0].key,
        help=help_of(TABLE_FORMAT),
    )


def _segment(arguments: argparse.Namespace) -> int:
    from napari_resunet.session.existing import without_existing
    from napari_resunet.session.result_paths import output_paths

    options, cluster = _options(arguments), cluster_choice(arguments)
    found = _find(arguments)
    if is_store(options.output):
        segment_into(found, options, cluster)
        return FAILED if found.problems else 0
    targets: dict[Path, Path | None] = dict.fromkeys(image.path for image in found.images)
    if options.output is not None:
        targets |= output_paths(found.images, options.output)
    left = targets
    if arguments.skip_existing:
        left, reasons = without_existing(targets, options)
        print(*reasons, sep="\n", end="\n" if reasons else "", file=sys.stderr)
    # Labels that are kept are measured, too: the table is of all images.
    kept = {p: t for p, t in targets.items() if t is not None and p not in left}
    kept = kept if arguments.measure else {}
    failed = bool(left or kept) and _segment_all(left, kept, len(targets), options, cluster)
    return FAILED if failed or found.problems else 0


def _options(arguments: argparse.Namespace) -> SegmentOptions:
    """Read the options, and refuse those that do not go together."""
    from napari_resunet.session.segment_files import SegmentOptions
    from napari_resunet.session.tables import check_format

    options = SegmentOptions(
        output=arguments.output,
        model=arguments.model,
        axes=arguments.axes,
        channels=arguments.channels,
        diameter=arguments.diameter,
        stack=arguments.stack,
        directions=arguments.directions,
        slice_step=arguments.slice_step,
        device=_device(arguments),
        overwrite=arguments.overwrite,
        measure=arguments.measure,
        table_format=arguments.table_format,
        also=arguments.also,
        into_image=arguments.into_image,
    )
    if options.output is None and options.into_image is None:
        wanted = "the following arguments are required: -o/--output, or --into-image"
        raise UsageError(f"{wanted}. See napari-resunet segment --help.")
    if options.output is None and (options.measure or options.also):
        raise UsageError("--measure and --also need a folder: give -o, too.")
    if options.measure is None and options.table_format != TABLE_FORMATS[0].key:
        raise UsageError("--table-format needs --measure: give one of the two groups, too.")
    check_format(options.table_format)
    return options


def _device(arguments: argparse.Namespace) -> Device:
    """Return where to compute; another computer is asked whether it is there."""
    from napari_resunet.remote.client import connect

    if arguments.remote is None:
        device: Device = arguments.device
        return device
    if is_store(arguments.output):
        raise UsageError(
            "Large images are segmented on this computer or on a cluster: leave --remote "
            "out, or give a folder with -o."
        )
    key = key_from_environment()
    if not key:
        raise UsageError(
            f"--remote needs the key that 'napari-resunet serve' printed: set the variable "
            f"{KEY_VARIABLE} to it."
        )
    return connect(arguments.remote, key)


def _find(arguments: argparse.Namespace) -> FoundImages:
    """Find the images, and print what was not found or given twice."""
    from napari_resunet.session.find_images import find_images

    found = find_images(
        arguments.images,
        patterns=arguments.pattern,
        recursive=arguments.recursive,
        leave_out=arguments.output,
    )
    for problem in found.problems:
        print(problem, file=sys.stderr)
    if n := found.n_repeated:
        print(f"{n} of the images were given more than once.", file=sys.stderr)
    return found


def _segment_all(
    targets: Mapping[Path, Path | None],
    kept: Mapping[Path, Path],
    n_images: int,
    options: SegmentOptions,
    cluster: ClusterChoice,
) -> bool:
    """Segment the images, and measure the labels that are kept; return if any failed."""
    from napari_resunet.engine.device import choose
    from napari_resunet.session.api import load_model
    from napari_resunet.session.segment_run import SegmentRun

    choose(local_device(options.device))
    model = load_model(options.model)
    if options.output is not None:
        check_folder(options.output)
    bar, failures = ImagesBar(len(targets) + len(kept)), list[str]()
    run = SegmentRun(model, options, bar, cluster)
    try:
        for path, labels in kept.items():
            failures += _one(path, bar, partial(run.measure, path, labels))
        for path, target in targets.items():
            failures += _one(path, bar, partial(run.segment, path, target))
        run.finish()
    except (DiskFullError, KeyboardInterrupt) as error:
        n_there = n_images - len(targets) + max(0, bar.n_done - len(kept)) - len(failures)
        raise _ended_early(error, n_there, n_images) from error
    finally:
        bar.close()
        if failures and bar.n_images > 1:
            head = f"{len(failures)} of {bar.n_images} images failed:"
            print("\n  ".join([head, *failures]), file=sys.stderr)
    return bool(failures)


def _ended_early(error: BaseException, n_there: int, n_images: int) -> BaseException:
    """Say how many of several images have labels, and how to go on."""
    if n_images == 1:
        return error
    there = f"{n_there} of {n_images} images have their labels"
    go_on = "run the same command with --skip-existing to go on"
    if isinstance(error, DiskFullError):
        return DiskFullError(f"The disk is full: {there}. Free some space, and {go_on}.")
    return KeyboardInterrupt(f"Interrupted: {there}; {go_on}.")


def _one(path: Path, bar: ImagesBar, work: Callable[[], str]) -> list[str]:
    """Work on an image and print the result; if that fails, print and return why."""
    bar.begin(path)
    try:
        line = work()
    except DiskFullError:
        raise  # for the next image would fail as well
    except (ResunetError, OSError, MemoryError) as error:
        log.debug("Failed", exc_info=error)
        bar.end(sentence_of(error, path), sys.stderr)
        return [sentence_of(error, path)]
    bar.end(f"{line}{bar.number}", sys.stdout)
    return []
