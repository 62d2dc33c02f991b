"""Trains a model on folders of images with masks, and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet._package import library_versions
from napari_resunet.engine.dataset import Pair, Skipped, find_pairs, prefetch
from napari_resunet.engine.device import choose
from napari_resunet.engine.patches import TrainingImage, training_image
from napari_resunet.engine.synthetic import domain_randomization
from napari_resunet.engine.train import TrainConfig, check_checkpoint, train_steps
from napari_resunet.errors import FileError, ResunetError
from napari_resunet.events import Notice, Progress
from napari_resunet.files import (
    check_writable,
    shown,
)
from napari_resunet.network.model_file import Model, new_model, with_new_maps
from napari_resunet.session.api import load_model
from napari_resunet.session.object_size import scale_from
from napari_resunet.types import (
    DeviceChoice,
    Example,
    Lineage,
    ModelInfo,
    ObjectSize,
)

SYNTHETIC_SIDE = 320
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, and what to write.

    Attributes
    ----------
    folders : sequence of Path
        Each holds ``images/`` and ``masks/``.
    output : Path
        The model file.
    classes : tuple of str
        Names of the classes; without any, the model learns objects.
    diameter : ObjectSize or None
        Object size in all images, which the model then remembers; None measures the masks
        of each image, and the model remembers none.
    start : str or None
        Model to start from; None starts from random weights.
    checkpoint : Path or None
        Written on the way; if the file exists already, training resumes from it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    half : bool
        Whether to write the weights in half precision.
    synthetic : int
        Number of synthetic images to train on as well.
    overwrite : bool
        Whether to replace a file at `output`.
    """

    folders: Sequence[Path]
    output: Path
    classes: tuple[str, ...] = ()
    diameter: ObjectSize | None = None
    start: str | None = None
    checkpoint: Path | None = None
    device: DeviceChoice = "auto"
    half: bool = False
    synthetic: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Read:
    """A training image with its group, and the notices about its files."""

    group: str
    image: TrainingImage
    notices: Sequence[str]


def train_model(
    options: TrainOptions, config: TrainConfig
) -> Iterator[Progress | Notice | Skipped]:
    """Train a model and write it.

    Parameters
    ----------
    options : TrainOptions
        What to train on, and what to write.
    config : TrainConfig
        How to train.

    Yields
    ------
    Progress, Notice or Skipped
        A pair of files that cannot be used is skipped.

    Raises
    ------
    FileError
        Before the first step, if the model cannot be written or no pair can be used.
    ModelFileError, DeviceError, OutOfMemoryError, TrainingError
        If the first model, the device, or the training fails.
    """
    _check_output(options)
    notices: list[str] = []
    pairs = [p for folder in options.folders for p in find_pairs(folder, notices.append)]
    yield from map(Notice, notices)
    model = _begin(options, config)
    if options.checkpoint is not None:
        check_checkpoint(options.checkpoint)
    compute = choose(options.device)
    images: list[tuple[str, TrainingImage]] = []
    yield from _collect(prefetch(partial(_read, model.info), pairs, compute), images)
    if not images:
        raise FileError(
            "None of the images with masks can be used: correct the files named above."
        )
    sample = partial(_synthetic, model.info, config.seed)
    images += prefetch(sample, range(options.synthetic), compute)
    yield from train_steps(
        model.network, model.info, images, config, compute, options.checkpoint
    )
    _write(options, config, model)


def _check_output(options: TrainOptions) -> None:
    output = options.output
    if output.suffix != MODEL_SUFFIX and not output.is_dir():
        raise FileError(
            f"{shown(output)} does not end in {MODEL_SUFFIX}: give a name that does."
        )
    check_writable(output)
    if options.checkpoint is not None and options.checkpoint.resolve() == output.resolve():
        raise FileError("Model and checkpoint have the same name: give them two.")
    if output.exists() and not options.overwrite:
        raise FileError(
            f"{shown(output)} is there already: give another name with -o, or --overwrite."
        )


def _collect(
    results: Iterable[_Read | Skipped], images: list[tuple[str, TrainingImage]]
) -> Iterator[Notice]:
    """Add what was read to `images`, and yield the notices."""
    for result in results:
        if isinstance(result, Skipped):
            yield result
            continue
        yield from map(Notice, result.notices)
        images.append((result.group, result.image))


def _write(options: TrainOptions, config: TrainConfig, model: Model) -> None:
    lineage = Lineage(
        parent_id=model.info.lineage.parent_id,
        steps=config.steps,
        seed=config.seed,
        versions=library_versions(),
    )
    trained = Model(model.network.cpu(), replace(model.info, lineage=lineage))
    trained.save(options.output, half=options.half)


def _read(info: ModelInfo, pair: Pair) -> _Read | Skipped:
    notices: list[str] = []
    try:
        example = pair.read(info.task, info.n_maps, notices.append)
        if info.object_size is not None:
            scale = scale_from(info.object_size, info, example.pixel_size)
            example = replace(example, scale=scale)
        return _Read(pair.group, training_image(example, info), notices)
    except ResunetError as error:
        return pair.skipped(error)
    except MemoryError:
        return Skipped(f"{shown(pair.image)} is too large for the memory. It was skipped.")


def _synthetic(info: ModelInfo, seed: int, number: int) -> tuple[str, TrainingImage]:
    rng = np.random.default_rng((seed, number))
    example = Example(*domain_randomization((SYNTHETIC_SIDE, SYNTHETIC_SIDE), rng))
    return "synthetic", training_image(example, info)


def _begin(options: TrainOptions, config: TrainConfig) -> Model:
    # The output depends on the input's size, so tiles are at least as large as patches.
    info = ModelInfo(tile=max(config.patch, ModelInfo.tile), object_size=options.diameter)
    if options.classes:
        info = replace(info, task="classes", class_names=("background", *options.classes))
    if options.start is None:
        return new_model(info, seed=config.seed)
    parent = load_model(options.start)
    if parent.info.class_names != info.class_names:
        return with_new_maps(parent, info, seed=config.seed)
    lineage = Lineage(parent_id=parent.info.lineage.model_id)
    told = replace(parent.info, lineage=lineage, object_size=info.object_size)
    return Model(parent.network, replace(told, tile=info.tile))
