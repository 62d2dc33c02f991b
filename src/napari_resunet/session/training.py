"""Training a model from folders, for the command line: read, train, write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet.engine.dataset import Pair, find_pairs
from napari_resunet.engine.device import choose
from napari_resunet.engine.loading import made_ahead
from napari_resunet.engine.patches import TrainingImage, training_image
from napari_resunet.engine.random_microscopy import random_microscopy
from napari_resunet.engine.train import Recipe, train_steps
from napari_resunet.network.model_file import (
    Model,
    library_versions,
    new_model,
    with_new_maps,
)
from napari_resunet.session.api import load_model
from napari_resunet.types import DeviceChoice, Example, Lineage, ModelInfo, Progress

SYNTHETIC_SIDE = 320


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
    """

    folders: Sequence[Path]
    output: Path
    classes: tuple[str, ...] = ()
    start: str | None = None
    checkpoint: Path | None = None
    device: DeviceChoice = "auto"
    half: bool = False
    synthetic: int = 0


def train_model(request: TrainRequest, recipe: Recipe) -> Iterator[Progress]:
    """Train and write a model.

    Parameters
    ----------
    request : TrainRequest
        From what, to what.
    recipe : Recipe
        How.

    Yields
    ------
    Progress

    Raises
    ------
    FileError, ModelFileError, DeviceError
    """
    pairs = [pair for folder in request.folders for pair in find_pairs(folder)]
    model = _begin(request, recipe)
    compute = choose(request.device)
    read, draw = partial(_read, model.info), partial(_draw, model.info, recipe.seed)
    images = [
        *made_ahead(read, pairs, compute),
        *made_ahead(draw, range(request.synthetic), compute),
    ]
    yield from train_steps(
        model.network, model.info, images, recipe, compute, request.checkpoint
    )
    lineage = Lineage(
        parent_id=model.info.lineage.parent_id,
        steps=recipe.steps,
        seed=recipe.seed,
        versions=library_versions(),
    )
    trained = Model(model.network.cpu(), replace(model.info, lineage=lineage))
    trained.save(request.output, half=request.half)


def _read(info: ModelInfo, pair: Pair) -> tuple[str, TrainingImage]:
    return pair.group, training_image(pair.read(), info)


def _draw(info: ModelInfo, seed: int, number: int) -> tuple[str, TrainingImage]:
    rng = np.random.default_rng((seed, number))
    drawn = Example(*random_microscopy((SYNTHETIC_SIDE, SYNTHETIC_SIDE), rng))
    return "synthetic", training_image(drawn, info)


def _begin(request: TrainRequest, recipe: Recipe) -> Model:
    # The output depends on the input's size: proposals go in tiles as large as patches.
    info = ModelInfo(tile=max(recipe.patch, ModelInfo.tile))
    if request.classes:
        info = replace(info, task="classes", class_names=("background", *request.classes))
    if request.start is None:
        return new_model(info, seed=recipe.seed)
    parent = load_model(request.start)
    if parent.info.class_names != info.class_names:
        return with_new_maps(parent, info, seed=recipe.seed)
    lineage = Lineage(parent_id=parent.info.lineage.model_id)
    return Model(parent.network, replace(parent.info, lineage=lineage, tile=info.tile))
