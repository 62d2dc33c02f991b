"""The commands `train` and `evaluate`, on folders of images and masks."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields

from napari_resunet.cli.common import (
    FAILED,
    UsageError,
    add_device,
    add_diameter,
    add_overwrite,
    help_of,
)
from napari_resunet.errors import FileError
from napari_resunet.files import plain_name
from napari_resunet.session import flags
from napari_resunet.session.settings import DIAMETER
from napari_resunet.terminal import Bar, print_table


def add_train_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `train`."""
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
    add_diameter(
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
        "--new-looks",
        type=flags.number(0, 1, "0.5"),
        help="fraction of the patches whose objects are drawn again with a random look",
    )
    parser.add_argument(
        "--checkpoint", type=flags.path, help="file to resume from if it exists"
    )
    parser.add_argument(
        "--half", action="store_true", help="write weights in half precision"
    )
    add_overwrite(parser)
    add_device(parser)
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


def add_evaluate_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `evaluate`."""
    parser.add_argument("folder", type=flags.path, help="with images/ and masks/")
    parser.add_argument("--model", default="starter", help="'starter' or a file")
    parser.add_argument("--by", choices=("group",), help="print one row for each group")
    size = parser.add_mutually_exclusive_group()
    add_diameter(size, help_of(DIAMETER))
    size.add_argument(
        "--tell-size", action="store_true", help="take the object size from the masks"
    )
    add_device(parser)
    parser.set_defaults(run=_evaluate)


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
    if config.new_looks and arguments.classes:
        raise UsageError(
            "--new-looks draws objects, not classes: leave out one of the two."
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
