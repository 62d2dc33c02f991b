"""The command line: words and exit statuses around the same engine as everything else.

Heavy imports stand inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from napari_resunet.errors import FileError, ResunetError
from napari_resunet.types import Notice, Progress

FAILED = 1
INTERRUPTED = 130
DEVICES = ("auto", "cuda", "mps", "cpu")
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error, or 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.CRITICAL)
    try:
        run: Callable[[argparse.Namespace], None] = arguments.run
        run(arguments)
    except ResunetError as error:
        log.debug("Failed", exc_info=error)
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-resunet", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="show what happens inside")
    commands = parser.add_subparsers(required=True)
    _add_segment(commands.add_parser("segment", help="write labels of images"))
    _add_train(commands.add_parser("train", help="train a model from folders"))
    _add_evaluate(commands.add_parser("evaluate", help="score a model on a folder"))
    _add_demo(commands.add_parser("demo", help="open napari, or go the loop headless"))
    info = commands.add_parser("info", help="versions, device, starter model")
    info.set_defaults(run=_info)
    return parser


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, help="TIFF, PNG or JPEG")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--model", default="starter", help="'starter' or a file")
    parser.add_argument("--axes", help="for example TZCYX")
    parser.add_argument("--channels", type=_numbers, help="for example 0,2")
    parser.add_argument("--scale", type=float, help="image to working pixels")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=_segment)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, help="hold images/ and masks/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="model file")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128, help="multiple of 32")
    parser.add_argument("--rate", type=float, default=8e-4, help="largest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", help="model to go on from; else random weights")
    parser.add_argument(
        "--classes", type=_names, default=(), help="for example axon,myelin"
    )
    parser.add_argument(
        "--synthetic", type=int, default=0, help="images of random microscopy besides"
    )
    parser.add_argument("--checkpoint", type=Path, help="resumed from where it exists")
    parser.add_argument("--half", action="store_true", help="write half precision")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=_train)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="holds images/ and masks/")
    parser.add_argument("--model", default="starter", help="'starter' or a file")
    parser.add_argument("--by", choices=("group",), help="one row for each group")
    parser.add_argument(
        "--tell-size", action="store_true", help="object size from the truth"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.set_defaults(run=_evaluate)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=45.0, help="of fine-tuning")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo.png"))
    parser.set_defaults(run=_demo)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _Bar:
    """Progress of one piece of work; notices go above it."""

    def __init__(self, title: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=title, leave=False, file=sys.stderr)

    def __call__(self, event: Progress | Notice) -> None:
        if isinstance(event, Notice):
            self._bar.write(event.message, file=sys.stderr)
            return
        self._bar.total = event.total or None
        self._bar.n = event.done
        self._bar.set_postfix_str(event.message)

    def close(self) -> None:
        self._bar.close()


def _segment(arguments: argparse.Namespace) -> None:
    from napari_resunet.session.api import load_model
    from napari_resunet.session.segmenting import SegmentRequest, segment_file

    model = load_model(arguments.model)
    request = SegmentRequest(
        output=arguments.output,
        model=arguments.model,
        axes=arguments.axes,
        channels=arguments.channels,
        scale=arguments.scale,
        device=arguments.device,
    )
    for path in arguments.images:
        bar = _Bar(path.name)
        try:
            target, n_objects = segment_file(path, model, request, bar)
        finally:
            bar.close()
        print(f"{target}: {n_objects} labels")


def _train(arguments: argparse.Namespace) -> None:
    from napari_resunet.engine.train import Recipe
    from napari_resunet.session.training import TrainRequest, train_model

    if arguments.patch % 32 or arguments.patch <= 0:
        raise FileError("--patch must be a multiple of 32, for example 128.")
    recipe = Recipe(
        steps=arguments.steps,
        batch=arguments.batch,
        patch=arguments.patch,
        rate=arguments.rate,
        seed=arguments.seed,
    )
    request = TrainRequest(
        folders=arguments.folders,
        output=arguments.output,
        classes=arguments.classes,
        start=arguments.start,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        half=arguments.half,
        synthetic=arguments.synthetic,
    )
    bar = _Bar("training")
    try:
        for event in train_model(request, recipe):
            bar(event)
    finally:
        bar.close()
    print(f"Wrote {arguments.output}")


def _evaluate(arguments: argparse.Namespace) -> None:
    from napari_resunet.session.api import load_model
    from napari_resunet.session.evaluation import evaluate_folder, table

    bar = _Bar("evaluating")
    scores = []
    try:
        for done, total, item in evaluate_folder(
            arguments.folder,
            load_model(arguments.model),
            told=arguments.tell_size,
            device=arguments.device,
        ):
            scores.append(item)
            bar(Progress(done, total))
    finally:
        bar.close()
    rows = table(scores, by_group=arguments.by == "group")
    print(f"{'group':<24}{'images':>8}" + "".join(f"{n:>16}" for n in rows[0].values))
    for row in rows:
        numbers = "".join(f"{v:>16.3f}" for v in row.values.values())
        print(f"{row.group:<24}{row.n_images:>8}{numbers}")


def _demo(arguments: argparse.Namespace) -> None:
    from napari_resunet.demo import run_demo

    run_demo(arguments.output, arguments.seconds)


def _info(arguments: argparse.Namespace) -> None:
    from napari_resunet.engine.device import choose
    from napari_resunet.network.model_file import library_versions
    from napari_resunet.session.api import load_model

    for name, version in library_versions().items():
        print(f"{name:<16}{version}")
    print(f"{'device':<16}{choose().description}")
    info = load_model().info
    print(f"{'starter':<16}{info.task}, objects at {info.diameter:g} working pixels")
    for name, value in asdict(info.lineage).items():
        print(f"  {name:<18}{value}")


if __name__ == "__main__":
    sys.exit(main())
