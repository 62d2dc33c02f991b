"""Training from folders of images with ground truth: long, but it can be resumed.

Learning from a few corrections of the user is in `finetune`.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet.engine import device
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.checkpoint import BEST, load_tensors, state_tensors, with_prefix
from napari_resunet.engine.dataset import prefetch
from napari_resunet.engine.looks import draw_growth, new_look
from napari_resunet.engine.optim import make_optimizer, set_lr, train_step
from napari_resunet.engine.optimized import prepare_for_training
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    TrainingImage,
    TrainingPatch,
    cut_patch,
    stack_patches,
)
from napari_resunet.errors import (
    FileError,
    ModelFileError,
    OutOfMemoryError,
    ResunetError,
    TrainingError,
)
from napari_resunet.events import Progress
from napari_resunet.files import check_regular, check_writable, shown
from napari_resunet.network.model_file import read_tensors, with_aliases, write_tensors
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import ModelInfo

OBJECT_FRACTION = 0.6
"""Fraction of the patches that are centred on a foreground pixel."""

GEOMETRY = Geometry(zoom=0.7)

LOOKS = 1
"""Makes the random numbers of new looks differ from those of the patches."""

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_STEP = "step"
"""Key of the number of steps in a checkpoint."""

REPORT_EVERY = 20
"""Steps between two readings of the loss, because reading it waits for the GPU."""


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
        Side of a patch at network resolution, a multiple of 32.
    lr : float
        Highest learning rate, after a warm-up and before a cosine decay.
    warm_up : int
        Steps of the warm-up.
    group_power : float
        A group of n images is drawn in proportion to n to this power.
    invert : float
        Fraction of the patches whose contrast is inverted.
    strength : float
        Strength of random intensities, 0 to 1.
    tint : float
        Fraction of the single-channel patches that become RGB of one colour.
    new_looks : float
        Fraction of the patches whose objects are drawn again with a random look.
    ema_decay : float
        Decay of the moving average of the weights, which is the result.
    seed : int
        Of the random number generator.
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
    new_looks: float = 0.0
    ema_decay: float = 0.998
    seed: int = 0


def train_steps(
    network: ResNetUNet,
    info: ModelInfo,
    images: Sequence[tuple[str, TrainingImage]],
    config: TrainConfig,
    compute: device.Compute,
    checkpoint: Path | None = None,
) -> Iterator[Progress]:
    """Train a network in place; at the end its weights are their moving average.

    Parameters
    ----------
    network : ResNetUNet
        The start.
    info : ModelInfo
        Task and normalization.
    images : sequence of (group, TrainingImage)
        What to learn from.
    config : TrainConfig
        How to train.
    compute : Compute
        Device and precision.
    checkpoint : Path or None
        Resumed if it exists; written every minute and at the end.

    Yields
    ------
    Progress
        After each step, with a recent smoothed loss.

    Raises
    ------
    TrainingError
        If the loss or the weights become NaN or infinite.
    FileError
        If the checkpoint cannot be used.
    OutOfMemoryError, DeviceError
        If the device cannot do it.
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
    prepare_for_training(network, compute)
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
        _update_average(average, network, min(config.ema_decay, (step + 1) / (step + 10)))
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
    """Read the loss, which must be finite for anything to be learned."""
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
        return device.device_error(compute, error)
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
    """Draw the augmented batch of a step; it is the same in every process.

    Parameters
    ----------
    pools : sequence of sequence of TrainingImage
        The images of each group.
    info : ModelInfo
        The normalization.
    config : TrainConfig
        Number, size, and variation of the patches.
    step : int
        Which step.
    """
    rng = np.random.default_rng((config.seed, step))
    # Its own numbers, so that all other patches are the same with and without new looks.
    look_rng = np.random.default_rng((config.seed, step, LOOKS))
    weights = np.array([len(pool) ** config.group_power for pool in pools])
    chosen = rng.choice(len(weights), size=config.batch, p=weights / weights.sum())
    batch = []
    for group_index in chosen:
        pool = pools[group_index]
        image = pool[int(rng.integers(len(pool)))]
        growth = draw_growth(look_rng) if look_rng.random() < config.new_looks else None
        source = _smaller(PatchSource.of(image), growth or 1.0)
        patch = cut_patch(source, _centre(image, rng), config.patch, GEOMETRY, rng)
        if growth is not None:
            patch = new_look(patch, growth, info.normalization, look_rng)
        pixels = vary_intensity(
            patch.pixels,
            info.normalization,
            rng,
            config.invert,
            config.strength,
            config.tint,
        )
        batch.append(patch._replace(pixels=pixels))
    return stack_patches(batch)


def _smaller(source: PatchSource, factor: float) -> PatchSource:
    return replace(source, scale=source.scale / factor)


def _lr(config: TrainConfig, step: int) -> float:
    if step < config.warm_up:
        return config.lr * (step + 1) / config.warm_up
    fraction = (step - config.warm_up) / max(1, config.steps - config.warm_up)
    return config.lr * 0.5 * (1 + math.cos(math.pi * fraction))


def _centre(image: TrainingImage, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a patch centre, mostly on objects because images may be nearly empty."""
    if rng.random() < OBJECT_FRACTION:
        foreground = np.flatnonzero(image.labels)
        if foreground.size:
            row, column = divmod(int(rng.choice(foreground)), image.labels.shape[1])
            return float(row), float(column)
    height, width = image.labels.shape
    return rng.uniform(0, height), rng.uniform(0, width)


def _update_average(
    average: dict[str, torch.Tensor], network: ResNetUNet, decay: float
) -> None:
    current = network.state_dict()
    moving = [name for name, value in average.items() if value.is_floating_point()]
    # All at once, because a GPU would wait for each to start.
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
    # A damaged checkpoint must not replace a good one.
    _check_numbers(tensors)
    own = {name: value.to("cpu", copy=True) for name, value in tensors.items()}
    write_tensors(checkpoint, own, json.dumps({CHECKPOINT_STEP: step}))


def check_checkpoint(checkpoint: Path) -> None:
    """Check that a checkpoint can be written, and resumed if it exists.

    Raises
    ------
    FileError
        If it cannot.
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
        load_tensors(network, optimizer, tensors)
        best = with_aliases(with_prefix(tensors, BEST))
        for name, value in average.items():
            value.copy_(best[name])
    except (FileError, KeyError, RuntimeError) as error:
        raise _no_checkpoint(checkpoint) from error
    return step
