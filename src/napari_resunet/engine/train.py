"""Training from folders of images with ground truth: long, checkpointed, resumable.

Learning from a user's few corrections is `finetune`.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet.engine import device
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.checkpoint import BEST, part, put_back_tensors, state_tensors
from napari_resunet.engine.dataset import prefetch
from napari_resunet.engine.optim import make_optimizer, set_lr, train_step
from napari_resunet.engine.optimized import place_for_training
from napari_resunet.engine.patches import (
    Geometry,
    TrainingImage,
    TrainingPatch,
    cut_patch,
    stacked,
)
from napari_resunet.errors import (
    FileError,
    ModelFileError,
    OutOfMemoryError,
    ResunetError,
    TrainingError,
)
from napari_resunet.files import check_regular, check_writable, shown
from napari_resunet.network.model_file import read_tensors, with_aliases, write_tensors
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import ModelInfo, Progress

OBJECT_SHARE = 0.6
"""Share of the patches that are centred on a foreground pixel."""

GEOMETRY = Geometry(zoom=0.7)

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_STEP = "step"
"""Under this name the file of a checkpoint tells how many steps were done."""

REPORT_EVERY = 20
"""Steps between two looks at the loss: reading it makes the processor wait for a GPU."""


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained from folders.

    Attributes
    ----------
    steps : int
        Number of batches.
    batch : int
        Patches in a batch.
    patch : int
        Side of a patch in working pixels, a multiple of 32.
    lr : float
        Largest learning rate; warm-up before, a cosine after.
    warm_up : int
        Steps of warm-up.
    group_power : float
        A group of n images is drawn in proportion to n to this power.
    invert : float
        Share of the patches whose contrast is turned round.
    strength : float
        Of the random intensities, 0 to 1.
    tint : float
        Share of the patches of one channel that become RGB of one colour.
    average : float
        Decay of the moving average of the weights, which is the result.
    seed : int
        Source of all chance.
    """

    steps: int = 8000
    batch: int = 8
    patch: int = 128
    lr: float = 8e-4
    warm_up: int = 200
    group_power: float = 1 / 3
    invert: float = 0.15
    strength: float = 1.0
    tint: float = 0.1
    average: float = 0.998
    seed: int = 0


def train_steps(
    network: ResNetUNet,
    info: ModelInfo,
    images: Sequence[tuple[str, TrainingImage]],
    config: TrainConfig,
    compute: device.Compute,
    checkpoint: Path | None = None,
) -> Iterator[Progress]:
    """Train a network in place; its weights are the moving average at the end.

    Parameters
    ----------
    network : ResNetUNet
        The start.
    info : ModelInfo
        Task, intensity contract, working diameter.
    images : sequence of (group, TrainingImage)
        What to learn from; groups are balanced by `TrainConfig.group_power`.
    config : TrainConfig
        How.
    compute : Compute
        Where.
    checkpoint : Path or None
        Resumed from where it exists, written each minute and at the end.

    Yields
    ------
    Progress
        After each step, with the smoothed loss of a moment ago.

    Raises
    ------
    TrainingError
        If the loss or the weights are no numbers any more.
    FileError, OutOfMemoryError, DeviceError
    """
    try:
        yield from _steps(network, info, images, config, compute, checkpoint)
    except ResunetError:
        raise
    except Exception as error:
        raise _plain(error, compute, config) from error


def _steps(
    network: ResNetUNet,
    info: ModelInfo,
    images: Sequence[tuple[str, TrainingImage]],
    config: TrainConfig,
    compute: device.Compute,
    checkpoint: Path | None,
) -> Iterator[Progress]:
    network.train()
    place_for_training(network, compute)
    optimizer = make_optimizer(network, config.lr)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first = _resume(checkpoint, network, optimizer, average)
    make = partial(sample_batch, _by_group(images), info, config)
    smoothed, message, saved = None, "", time.monotonic()
    for step, batch in enumerate(
        prefetch(make, range(first, config.steps), compute), start=first
    ):
        set_lr(optimizer, _lr(config, step))
        loss = train_step(network, optimizer, batch, info.task, compute)
        _move_average(average, network, min(config.average, (step + 1) / (step + 10)))
        smoothed = loss if smoothed is None else torch.lerp(smoothed, loss, 0.02)
        due = time.monotonic() - saved > CHECKPOINT_SECONDS or step + 1 == config.steps
        if checkpoint is not None and due:
            _save(checkpoint, step + 1, network, optimizer, average)
            saved = time.monotonic()
        if (step - first) % REPORT_EVERY == 0:
            message = f"loss {_number(smoothed):.4f}"
        yield Progress(step + 1, config.steps, message)
    _check_numbers(average)
    network.load_state_dict(average)
    network.eval()


def _number(loss: torch.Tensor) -> float:
    """Look at the loss; once it is no number, nothing is learned any more."""
    number = float(loss)
    if not math.isfinite(number):
        raise _went_wrong()
    return number


def _check_numbers(weights: Mapping[str, torch.Tensor]) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise _went_wrong()


def _went_wrong() -> TrainingError:
    return TrainingError(
        "The training went wrong: its numbers grew without limit. No model was written; "
        "train again with a smaller --rate."
    )


def _plain(error: Exception, compute: device.Compute, config: TrainConfig) -> ResunetError:
    if device.is_out_of_memory(error):
        return OutOfMemoryError(
            f"There is not enough memory for {config.batch} patches of {config.patch} × "
            f"{config.patch} pixels: train with a smaller --batch or --patch."
        )
    if isinstance(error, RuntimeError):
        return device.failure(compute, error)
    raise error


def _by_group(images: Sequence[tuple[str, TrainingImage]]) -> list[list[TrainingImage]]:
    members: dict[str, list[TrainingImage]] = defaultdict(list)
    for group, image in images:
        members[group].append(image)
    return list(members.values())


def sample_batch(
    pools: Sequence[Sequence[TrainingImage]],
    info: ModelInfo,
    config: TrainConfig,
    step: int,
) -> TrainingPatch:
    """Draw the batch of a step: the same, whichever process does it.

    Parameters
    ----------
    pools : sequence of sequence of TrainingImage
        The images of each group.
    info : ModelInfo
        The intensity contract.
    config : TrainConfig
        How many patches, how large, how much they vary.
    step : int
        Which.

    Returns
    -------
    TrainingPatch
        Stacked, with varied intensities: pixels of shape (batch, 3, patch, patch).
    """
    rng = np.random.default_rng((config.seed, step))
    shares = np.array([len(pool) ** config.group_power for pool in pools])
    chosen = rng.choice(len(shares), size=config.batch, p=shares / shares.sum())
    batch = []
    for group_index in chosen:
        pool = pools[group_index]
        image = pool[int(rng.integers(len(pool)))]
        patch = cut_patch(image, _centre(image, rng), config.patch, GEOMETRY, rng)
        pixels = vary_intensity(
            patch.pixels,
            info.normalization,
            rng,
            config.invert,
            config.strength,
            config.tint,
        )
        batch.append(patch._replace(pixels=pixels))
    return stacked(batch)


def _lr(config: TrainConfig, step: int) -> float:
    if step < config.warm_up:
        return config.lr * (step + 1) / config.warm_up
    share = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return config.lr * 0.5 * (1 + math.cos(math.pi * share))


def _centre(image: TrainingImage, rng: np.random.Generator) -> tuple[float, float]:
    """Draw where to cut: mostly at objects, for images may be nearly empty."""
    if rng.random() < OBJECT_SHARE:
        foreground = np.flatnonzero(image.labels)
        if foreground.size:
            row, column = divmod(int(rng.choice(foreground)), image.labels.shape[1])
            return float(row), float(column)
    height, width = image.labels.shape
    return rng.uniform(0, height), rng.uniform(0, width)


def _move_average(
    average: dict[str, torch.Tensor], network: ResNetUNet, decay: float
) -> None:
    current = network.state_dict()
    moving = [name for name, value in average.items() if value.is_floating_point()]
    # All at once: one by one takes a GPU longer to start than to do.
    torch.optim.swa_utils.get_ema_multi_avg_fn(decay)(
        [average[name] for name in moving], [current[name] for name in moving], None
    )
    for name in average.keys() - moving:
        average[name].copy_(current[name])


def _save(
    checkpoint: Path,
    step: int,
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> None:
    tensors = state_tensors(network, optimizer, average)
    # One that cannot be gone on from must not take the place of a good one.
    _check_numbers(tensors)
    own = {name: value.to("cpu", copy=True) for name, value in tensors.items()}
    write_tensors(checkpoint, own, json.dumps({CHECKPOINT_STEP: step}))


def check_checkpoint(checkpoint: Path) -> None:
    """Make sure that a training can write its checkpoint, and go on from one that is there.

    Parameters
    ----------
    checkpoint : Path
        The file.

    Raises
    ------
    FileError
        If there is something else in its place, or it cannot be written.
    """
    check_writable(checkpoint)
    if checkpoint.exists():
        _read_checkpoint(checkpoint)


def _read_checkpoint(checkpoint: Path) -> tuple[dict[str, torch.Tensor], int]:
    check_regular(checkpoint)
    try:
        tensors, header = read_tensors(checkpoint)
        step = json.loads(header)[CHECKPOINT_STEP]
    except (ModelFileError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _no_checkpoint(checkpoint) from error
    if type(step) is not int or step < 0:
        raise _no_checkpoint(checkpoint)
    return tensors, step


def _no_checkpoint(checkpoint: Path) -> FileError:
    return FileError(
        f"{shown(checkpoint)} is damaged, or no checkpoint of a training like this one: "
        "give another file with --checkpoint, or delete it to begin again."
    )


def _resume(
    checkpoint: Path,
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
) -> int:
    tensors, step = _read_checkpoint(checkpoint)
    try:
        put_back_tensors(network, optimizer, tensors)
        best = with_aliases(part(tensors, BEST))
        for name, value in average.items():
            value.copy_(best[name])
    except (FileError, KeyError, RuntimeError) as error:
        raise _no_checkpoint(checkpoint) from error
    return step
