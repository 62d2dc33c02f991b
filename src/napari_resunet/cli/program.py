"""The program: its commands, and how it ends."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from napari_resunet.cli import segment, serve, train
from napari_resunet.cli.common import FAILED, UsageError, add_overwrite
from napari_resunet.errors import ResunetError
from napari_resunet.files import plain
from napari_resunet.session import flags
from napari_resunet.terminal import sentence_of

DESCRIPTION = "Segment images, train and score models, without opening napari."
INTERRUPTED = 130
log = logging.getLogger(__name__)


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
    parser = _Parser(prog="napari-resunet", description=DESCRIPTION)
    parser.add_argument("--verbose", action="store_true", help="show details of errors")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    segment.add_flags(commands.add_parser("segment", help="write labels of images"))
    train.add_train_flags(commands.add_parser("train", help="train a model from folders"))
    train.add_evaluate_flags(
        commands.add_parser("evaluate", help="score a model on a folder")
    )
    serve.add_flags(
        commands.add_parser("serve", help="compute for napari on other computers")
    )
    _add_demo(commands.add_parser("demo", help="open napari with a sample image"))
    info = commands.add_parser("info", help="show versions, device, and bundled model")
    info.set_defaults(run=_info)
    return parser


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seconds",
        type=flags.number(1, 86400, "45"),
        default=45.0,
        help="to fine-tune for, if there is no display",
    )
    parser.add_argument("-o", "--output", type=flags.path, default=Path("demo.png"))
    add_overwrite(parser)
    parser.set_defaults(run=_demo)


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
