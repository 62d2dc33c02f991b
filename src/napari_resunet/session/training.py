"""Training a model from folders, for the command line: read, train, write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet.engine.dataset import Pair, Skipped, find_pairs, prefetch
from napari_resunet.engine.device import choose
from napari_resunet.engine.patches import TrainingImage, training_image
from napari_resunet.engine.synthetic import domain_randomization
from napari_resunet.engine.train import TrainConfig, check_checkpoint, train_steps
from napari_resunet.errors import FileError, ResunetError
from napari_resunet.files import check_writable, shown
from napari_resunet.network.model_file import (
    Model,
    library_versions,
    new_model,
    with_new_maps,
)
from napari_resunet.session.api import load_model
from napari_resunet.types import (
    DeviceChoice,
    Example,
    Lineage,
    ModelInfo,
    Notice,
    Progress,
)

SYNTHETIC_SIDE = 320
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainRequest:
    """What to train from, and what to make.

    Attributes
    ----------
    folders : sequence of Path
        Each holds ``images/`` and ``masks/``.
    output : Path
        The model file.
    classes : tuple of str
        Names of the classes; none trains instances.
    start : str or None
        A model to go on from; None starts from random weights.
    checkpoint : Path or None
        Resumed from where it exists.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    half : bool
        Write half precision.
    synthetic : int
        How many images of random microscopy to train on besides.
    overwrite : bool
        Whether a file at `output` may be replaced.
    """

    folders: Sequence[Path]
    output: Path
    classes: tuple[str, ...] = ()
    start: str | None = None
    checkpoint: Path | None = None
    device: DeviceChoice = "auto"
    half: bool = False
    synthetic: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Read:
    """A training image with its group, and what is to be said of its files."""

    group: str
    image: TrainingImage
    notices: Sequence[str]


def train_model(
    request: TrainRequest, config: TrainConfig
) -> Iterator[Progress | Notice | Skipped]:
    """Train and write a model.

    Parameters
    ----------
    request : TrainRequest
        From what, to what.
    config : TrainConfig
        How.

    Yields
    ------
    Progress, Notice or Skipped
        A pair of files that cannot be used is skipped.

    Raises
    ------
    FileError, ModelFileError, DeviceError, OutOfMemoryError, TrainingError
        Before the first step if the model cannot be written where it shall be.
    """
    _check_output(request)
    said: list[str] = []
    pairs = [p for folder in request.folders for p in find_pairs(folder, said.append)]
    yield from map(Notice, said)
    model = _begin(request, config)
    if request.checkpoint is not None:
        check_checkpoint(request.checkpoint)
    compute = choose(request.device)
    images: list[tuple[str, TrainingImage]] = []
    yield from _collect(prefetch(partial(_read, model.info), pairs, compute), images)
    if not images:
        raise FileError(
            "None of the images with masks can be used: correct the files named above."
        )
    draw = partial(_draw, model.info, config.seed)
    images += prefetch(draw, range(request.synthetic), compute)
    yield from train_steps(
        model.network, model.info, images, config, compute, request.checkpoint
    )
    _write(request, config, model)


def _check_output(request: TrainRequest) -> None:
    output = request.output
    if output.suffix != MODEL_SUFFIX and not output.is_dir():
        raise FileError(
            f"{shown(output)} does not end in {MODEL_SUFFIX}: give a name that does."
        )
    check_writable(output)
    if request.checkpoint is not None and request.checkpoint.resolve() == output.resolve():
        raise FileError("Model and checkpoint have the same name: give them two.")
    if output.exists() and not request.overwrite:
        raise FileError(
            f"{shown(output)} is there already: give another name with -o, or --overwrite."
        )


def _collect(
    results: Iterable[_Read | Skipped], images: list[tuple[str, TrainingImage]]
) -> Iterator[Notice]:
    """Add what was read to `images`, and pass on what is to be said."""
    for result in results:
        if isinstance(result, Skipped):
            yield result
            continue
        yield from map(Notice, result.notices)
        images.append((result.group, result.image))


def _write(request: TrainRequest, config: TrainConfig, model: Model) -> None:
    lineage = Lineage(
        parent_id=model.info.lineage.parent_id,
        steps=config.steps,
        seed=config.seed,
        versions=library_versions(),
    )
    trained = Model(model.network.cpu(), replace(model.info, lineage=lineage))
    trained.save(request.output, half=request.half)


def _read(info: ModelInfo, pair: Pair) -> _Read | Skipped:
    said: list[str] = []
    try:
        example = pair.read(info.task, info.n_maps, said.append)
        return _Read(pair.group, training_image(example, info), said)
    except ResunetError as error:
        return Skipped(f"{error} It was skipped.")
    except MemoryError:
        return Skipped(f"{shown(pair.image)} is too large for the memory. It was skipped.")


def _draw(info: ModelInfo, seed: int, number: int) -> tuple[str, TrainingImage]:
    rng = np.random.default_rng((seed, number))
    drawn = Example(*domain_randomization((SYNTHETIC_SIDE, SYNTHETIC_SIDE), rng))
    return "synthetic", training_image(drawn, info)


def _begin(request: TrainRequest, config: TrainConfig) -> Model:
    # The output depends on the input's size: proposals go in tiles as large as patches.
    info = ModelInfo(tile=max(config.patch, ModelInfo.tile))
    if request.classes:
        info = replace(info, task="classes", class_names=("background", *request.classes))
    if request.start is None:
        return new_model(info, seed=config.seed)
    parent = load_model(request.start)
    if parent.info.class_names != info.class_names:
        return with_new_maps(parent, info, seed=config.seed)
    lineage = Lineage(parent_id=parent.info.lineage.model_id)
    return Model(parent.network, replace(parent.info, lineage=lineage, tile=info.tile))
