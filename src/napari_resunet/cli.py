"""Segment images, train and score models, without opening napari."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from napari_resunet.errors import DiskFullError, FileError, ResunetError
from napari_resunet.files import check_folder, plain, plain_name
from napari_resunet.session import flags
from napari_resunet.session.settings import (
    DEVICE,
    DEVICES,
    DIAMETER,
    MEASURE_GROUPS,
    STACK,
    STACKS,
    Settings,
)
from napari_resunet.terminal import Bar, ImagesBar, print_table, sentence_of

if TYPE_CHECKING:
    from napari_resunet.session.find_images import FoundImages
    from napari_resunet.session.segment_files import SegmentOptions

MEASURE = (
    "measure the labels, too: DIR/NAME_measurements.csv for each image, "
    "DIR/measurements.csv with all objects, and DIR/summary.csv with one line per image"
)
FAILED = 1
INTERRUPTED = 130
log = logging.getLogger(__name__)

NAMES_OF_LABELS = (
    "Folders are searched for TIFF, PNG, JPEG, and OME-Zarr images. The labels of each are "
    "written to DIR/NAME_labels.tif, and a description of how they were made to "
    "DIR/NAME_labels.json; for an image in a subfolder, to DIR/SUBFOLDER; if several "
    "folders are given, to DIR/FOLDER. If several images have the same NAME, the ending is "
    "added, and the folder of a file that was given itself: FOLDER_NAME_png_labels.tif. "
    "Labels from an earlier run on the same image are replaced. Labels that somebody "
    "changed, and files of other programs, are replaced only with --overwrite. If an image "
    "cannot be segmented, the others are, and the exit status is 1."
)


class UsageError(ResunetError):
    """An argument is missing or wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes those of this process.

    Returns
    -------
    int
        Exit status: 0; 1 after an error or if files were skipped; 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(argv)
        finally:
            # If the reader of our output is gone (`| head -1`), this fails here, where it
            # is handled, and not when the interpreter exits.
            sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ResunetError, OSError) as error:
        print(sentence_of(error), file=sys.stderr)
        log.debug("Failed", exc_info=error)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "Interrupted.", file=sys.stderr)
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING if arguments.verbose else logging.CRITICAL)
    if arguments.verbose:
        logging.getLogger("napari_resunet").setLevel(logging.DEBUG)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one sentence."""

    def error(self, message: str) -> NoReturn:
        text = plain(message.removeprefix("argument ")).rstrip(".")
        raise UsageError(f"{text}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="napari-resunet", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="show details of errors")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_segment(commands.add_parser("segment", help="write labels of images"))
    _add_train(commands.add_parser("train", help="train a model from folders"))
    _add_evaluate(commands.add_parser("evaluate", help="score a model on a folder"))
    _add_demo(commands.add_parser("demo", help="open napari with a sample image"))
    info = commands.add_parser("info", help="show versions, device, and bundled model")
    info.set_defaults(run=_info)
    return parser


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.epilog = NAMES_OF_LABELS
    parser.add_argument(
        "images",
        nargs="+",
        type=flags.path,
        metavar="IMAGES",
        help="TIFF, PNG, or JPEG files, OME-Zarr images, folders of them, or patterns such "
        "as 'data/*.tif'",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=flags.path,
        metavar="DIR",
        help="folder for labels",
    )
    parser.add_argument(
        "--into-image",
        type=flags.labels_name,
        metavar="NAME",
        help="save the labels of OME-Zarr images into them, as labels/NAME; then -o is not "
        "needed for these",
    )
    _add_search(parser)
    parser.add_argument("--model", default="starter", help="'starter' or a model file")
    parser.add_argument(
        "--axes", type=flags.axes, help="for example TZCYX, if the file states others"
    )
    parser.add_argument(
        "--channels", type=flags.channels, help="one to three channels, for example 0,2"
    )
    _add_diameter(parser, _help(DIAMETER))
    parser.add_argument("--stack", choices=[s.key for s in STACKS], help=_help(STACK))
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
    _add_overwrite(parser)
    _add_device(parser)
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
        "--axes, --channels, --diameter, and --stack",
    )


def _add_diameter(parser: argparse._ActionsContainer, words: str) -> None:
    parser.add_argument("--diameter", type=flags.diameter, metavar="SIZE", help=words)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that exist already"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    keys = [device.key for device in DEVICES]
    parser.add_argument(
        "--device", choices=keys, default=Settings().device, help=_help(DEVICE)
    )


def _help(description: str) -> str:
    """Write a description of the dock as help texts are written here."""
    return description[0].lower() + description[1:]


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders", nargs="+", type=flags.path, help="with images/ and masks/"
    )
    parser.add_argument(
        "-o", "--output", type=flags.path, required=True, help="model file, .safetensors"
    )
    _add_recipe(parser)
    parser.add_argument("--start", help="model to start from (default: random weights)")
    parser.add_argument(
        "--classes",
        type=flags.names,
        default=(),
        help="learn classes, for example axon,myelin",
    )
    _add_diameter(
        parser,
        "object size in all images, in pixels (30) or micrometres (12um), which the model "
        "then remembers (default: measured in the masks of each image)",
    )
    parser.add_argument(
        "--synthetic",
        type=flags.whole(0, 10**5, "100"),
        default=0,
        help="number of synthetic images to add",
    )
    parser.add_argument(
        "--checkpoint", type=flags.path, help="file to resume from if it exists"
    )
    parser.add_argument(
        "--half", action="store_true", help="write weights in half precision"
    )
    _add_overwrite(parser)
    _add_device(parser)
    parser.set_defaults(run=_train)


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=flags.whole(1, 10**7, "8000"))
    parser.add_argument("--batch", type=flags.whole(1, 1024, "8"))
    parser.add_argument("--patch", type=flags.patch, help="multiple of 32")
    parser.add_argument(
        "--learning-rate",
        "--rate",
        dest="lr",
        type=flags.number(1e-9, 1, "0.0008"),
        help="largest learning rate",
    )
    parser.add_argument("--seed", type=flags.whole(0, 2**32 - 1, "0"))


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=flags.path, help="with images/ and masks/")
    parser.add_argument("--model", default="starter", help="'starter' or a file")
    parser.add_argument("--by", choices=("group",), help="print one row for each group")
    size = parser.add_mutually_exclusive_group()
    _add_diameter(size, _help(DIAMETER))
    size.add_argument(
        "--tell-size", action="store_true", help="take the object size from the masks"
    )
    _add_device(parser)
    parser.set_defaults(run=_evaluate)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        type=flags.number(1, 86400, "45"),
        default=45.0,
        help="to fine-tune for, if there is no display",
    )
    parser.add_argument("-o", "--output", type=flags.path, default=Path("demo.png"))
    _add_overwrite(parser)
    parser.set_defaults(run=_demo)


def _segment(arguments: argparse.Namespace) -> int:
    from napari_resunet.session.existing import without_existing
    from napari_resunet.session.result_paths import output_paths
    from napari_resunet.session.segment_files import SegmentOptions

    options = SegmentOptions(
        output=arguments.output,
        model=arguments.model,
        axes=arguments.axes,
        channels=arguments.channels,
        diameter=arguments.diameter,
        stack=arguments.stack,
        device=arguments.device,
        overwrite=arguments.overwrite,
        measure=arguments.measure,
        also=arguments.also,
        into_image=arguments.into_image,
    )
    if options.output is None and options.into_image is None:
        wanted = "the following arguments are required: -o/--output, or --into-image"
        raise UsageError(f"{wanted}. See napari-resunet segment --help.")
    if options.output is None and (options.measure or options.also):
        raise UsageError("--measure and --also need a folder: give -o, too.")
    found = _find(arguments)
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
    failed = bool(left or kept) and _segment_all(left, kept, len(targets), options)
    return FAILED if failed or found.problems else 0


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
) -> bool:
    """Segment the images, and measure the labels that are kept; return if any failed."""
    from napari_resunet.engine.device import choose
    from napari_resunet.session.api import load_model
    from napari_resunet.session.segment_run import SegmentRun

    choose(options.device)
    model = load_model(options.model)
    if options.output is not None:
        check_folder(options.output)
    bar, failures = ImagesBar(len(targets) + len(kept)), list[str]()
    run = SegmentRun(model, options, bar)
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


def _train(arguments: argparse.Namespace) -> int:
    from napari_resunet.engine.train import TrainConfig
    from napari_resunet.session.train_files import TrainOptions, train_model

    known = {field.name for field in fields(TrainConfig)}
    given = {name: value for name, value in vars(arguments).items() if name in known}
    config = TrainConfig(**{n: value for n, value in given.items() if value is not None})
    if config.batch == 1 and config.patch == flags.MULTIPLE:
        # Batch normalization needs two values of each feature.
        raise UsageError(
            "--batch 1 needs a --patch of 64 or more: give one of the two more."
        )
    options = TrainOptions(
        folders=arguments.folders,
        output=arguments.output,
        classes=arguments.classes,
        diameter=arguments.diameter,
        start=arguments.start,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        half=arguments.half,
        synthetic=arguments.synthetic,
        overwrite=arguments.overwrite,
    )
    bar = Bar("training")
    try:
        for event in train_model(options, config):
            bar(event)
    finally:
        bar.close()
    print(f"Wrote {plain_name(arguments.output)}")
    return _status(bar)


def _status(bar: Bar) -> int:
    """Return the exit status, and say so if files were skipped."""
    if not bar.n_skipped:
        return 0
    print(f"Skipped {bar.n_skipped} of the images (see above).", file=sys.stderr)
    return FAILED


def _evaluate(arguments: argparse.Namespace) -> int:
    from napari_resunet.session.api import load_model
    from napari_resunet.session.evaluate import ImageScore, evaluate_folder

    bar = Bar("evaluating")
    scores = []
    try:
        for event in evaluate_folder(
            arguments.folder,
            load_model(arguments.model),
            size="masks" if arguments.tell_size else arguments.diameter,
            device=arguments.device,
        ):
            if isinstance(event, ImageScore):
                scores.append(event)
            else:
                bar(event)
    finally:
        bar.close()
    if not scores:
        raise FileError(
            "None of the images could be scored: correct the files named above."
        )
    print_table(scores, by_group=arguments.by == "group")
    return _status(bar)


def _demo(arguments: argparse.Namespace) -> int:
    from napari_resunet.demo import run_demo

    run_demo(arguments.output, arguments.seconds, overwrite=arguments.overwrite)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from napari_resunet._package import library_versions
    from napari_resunet.engine.device import choose
    from napari_resunet.session.api import load_model

    for name, version in library_versions().items():
        print(f"{name:<16}{version}")
    print(f"{'device':<16}{choose().description}")
    info = load_model().info
    print(f"{'starter':<16}{info.task}, objects of {info.diameter:g} pixels")
    for name, value in asdict(info.lineage).items():
        print(f"  {name:<18}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
