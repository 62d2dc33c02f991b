"""Segment images, train and score models, without opening napari."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from napari_resunet.errors import FileError, ResunetError
from napari_resunet.events import Notice, Progress
from napari_resunet.files import check_folder, plain, plain_name, shown
from napari_resunet.session import flags
from napari_resunet.session.settings import DEVICE, DEVICES, DIAMETER, Settings

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.commands import SegmentOptions
    from napari_resunet.session.evaluate import ImageScore

FAILED = 1
INTERRUPTED = 130
log = logging.getLogger(__name__)

NAMES_OF_LABELS = (
    "The labels of each image are written to DIR/NAME_labels.tif, and a description of how "
    "they were made to DIR/NAME_labels.json. If several images have the same NAME, folder "
    "and ending are added: FOLDER_NAME_png_labels.tif. Labels from an earlier run on the "
    "same image are replaced. Labels that somebody changed, and files of other programs, "
    "are replaced only with --overwrite. An image that cannot be segmented is skipped, and "
    "the exit status is 1."
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
        print(_sentence(error), file=sys.stderr)
        log.debug("Failed", exc_info=error)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING if arguments.verbose else logging.CRITICAL)
    if arguments.verbose:
        logging.getLogger("napari_resunet").setLevel(logging.DEBUG)
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _sentence(error: BaseException, path: Path | None = None) -> str:
    """Format an error with the name of its file."""
    if isinstance(error, MemoryError):
        text = "There is not enough memory: close other programs, or cut the image."
    elif isinstance(error, OSError):
        path = Path(error.filename) if isinstance(error.filename, str) else path
        text = f"{error.strerror or plain(error)}."
        text = text if path else f"The result cannot be written: {text}"
    else:
        text = str(error)
    named = path is None or path.name in text or shown(path) in text
    return text if named or path is None else f"{shown(path)}: {text}"


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
        "images", nargs="+", type=flags.path, help="TIFF, PNG, or JPEG files"
    )
    parser.add_argument(
        "-o", "--output", type=flags.path, required=True, help="folder for labels"
    )
    parser.add_argument("--model", default="starter", help="'starter' or a model file")
    parser.add_argument(
        "--axes", type=flags.axes, help="for example TZCYX, if the file states others"
    )
    parser.add_argument(
        "--channels", type=flags.channels, help="one to three channels, for example 0,2"
    )
    _add_diameter(parser, _help(DIAMETER))
    parser.add_argument("--scale", type=flags.no_scale, help=argparse.SUPPRESS)
    _add_overwrite(parser)
    _add_device(parser)
    parser.set_defaults(run=_segment)


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


class _Bar:
    """A progress bar on a terminal; notices are printed above it."""

    def __init__(self, title: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=title, leave=False, file=sys.stderr, disable=None)
        self.n_skipped = 0

    def __call__(self, event: Progress | Notice) -> None:
        from napari_resunet.engine.dataset import Skipped

        if isinstance(event, Notice):
            self.n_skipped += isinstance(event, Skipped)
            self.write(event.message)
            return
        self._bar.total = event.total or None
        self._bar.n = event.done
        self._bar.set_postfix_str(event.message)

    def write(self, sentence: str) -> None:
        self._bar.write(sentence, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def _segment(arguments: argparse.Namespace) -> int:
    from napari_resunet.engine.device import choose
    from napari_resunet.session.api import load_model
    from napari_resunet.session.commands import SegmentOptions, output_paths

    choose(arguments.device)
    model = load_model(arguments.model)
    options = SegmentOptions(
        output=arguments.output,
        model=arguments.model,
        axes=arguments.axes,
        channels=arguments.channels,
        diameter=arguments.diameter,
        device=arguments.device,
        overwrite=arguments.overwrite,
    )
    targets = output_paths(arguments.images, options.output)
    check_folder(options.output)
    if twice := len(arguments.images) - len(targets):
        print(f"{twice} of the images were given more than once.", file=sys.stderr)
    skipped = [
        path
        for path, target in targets.items()
        if not _segment_one(path, target, model, options)
    ]
    if len(skipped) > 0 and len(targets) > 1:
        names = ", ".join(shown(path) for path in skipped)
        print(f"Skipped {len(skipped)} of {len(targets)} images: {names}.", file=sys.stderr)
    return FAILED if skipped else 0


def _segment_one(path: Path, target: Path, model: Model, options: SegmentOptions) -> bool:
    """Segment an image; return False, and print why, if that fails."""
    from napari_resunet.session.commands import segment_file

    bar = _Bar(shown(path.name))
    try:
        n_objects = segment_file(path, target, model, options, bar)
    except (ResunetError, OSError, MemoryError) as error:
        bar.write(_sentence(error, path))
        log.debug("Failed", exc_info=error)
        return False
    finally:
        bar.close()
    print(f"{plain_name(target)}: {n_objects} labels", flush=True)
    return True


def _train(arguments: argparse.Namespace) -> int:
    from napari_resunet.engine.train import TrainConfig
    from napari_resunet.session.commands import TrainOptions, train_model

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
    bar = _Bar("training")
    try:
        for event in train_model(options, config):
            bar(event)
    finally:
        bar.close()
    print(f"Wrote {plain_name(arguments.output)}")
    return _status(bar)


def _status(bar: _Bar) -> int:
    """Return the exit status, and say so if files were skipped."""
    if not bar.n_skipped:
        return 0
    print(f"Skipped {bar.n_skipped} of the images (see above).", file=sys.stderr)
    return FAILED


def _evaluate(arguments: argparse.Namespace) -> int:
    from napari_resunet.session.api import load_model
    from napari_resunet.session.evaluate import ImageScore, evaluate_folder

    bar = _Bar("evaluating")
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
    _print_table(scores, by_group=arguments.by == "group")
    return _status(bar)


def _print_table(scores: Sequence[ImageScore], by_group: bool) -> None:
    from napari_resunet.session.evaluate import table

    rows = table(scores, by_group=by_group)
    print(f"{'group':<24}{'images':>8}" + "".join(f"{n:>16}" for n in rows[0].values))
    for row in rows:
        numbers = "".join(f"{v:>16.3f}" for v in row.values.values())
        print(f"{row.group:<24}{row.n_images:>8}{numbers}")


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
