"""Training from folders of images with ground truth: long, checkpointed, resumable.

Learning from a user's few corrections is `finetune`.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from napari_resunet.engine import device
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.fast_network import place_for_training
from napari_resunet.engine.loading import made_ahead
from napari_resunet.engine.optimize import make_optimizer, set_rate, train_step
from napari_resunet.engine.patches import (
    Geometry,
    Patch,
    TrainingImage,
    cut_patch,
    stacked,
)
from napari_resunet.files import atomic_path
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import ModelInfo, Progress

OBJECT_SHARE = 0.6
"""Share of the patches that are centred on a foreground pixel."""

GEOMETRY = Geometry(zoom=0.7)

CHECKPOINT_SECONDS = 60.0

REPORT_EVERY = 20
"""Steps between two looks at the loss: reading it makes the processor wait for a GPU."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained from folders.

    Attributes
    ----------
    steps : int
        Number of batches.
    batch : int
        Patches in a batch.
    patch : int
        Side of a patch in working pixels, a multiple of 32.
    rate : float
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
    rate: float = 8e-4
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
    recipe: Recipe,
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
        What to learn from; groups are balanced by `Recipe.group_power`.
    recipe : Recipe
        How.
    compute : Compute
        Where.
    checkpoint : Path or None
        Resumed from where it exists, written each minute and at the end.

    Yields
    ------
    Progress
        After each step, with the smoothed loss of a moment ago.
    """
    network.train()
    place_for_training(network, compute)
    optimizer = make_optimizer(network, recipe.rate)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    first = 0
    if checkpoint is not None and checkpoint.is_file():
        first = _resume(checkpoint, network, optimizer, average, compute)
    make = partial(draw_batch, _by_group(images), info, recipe)
    smoothed, message, saved = None, "", time.monotonic()
    for step, batch in enumerate(
        made_ahead(make, range(first, recipe.steps), compute), start=first
    ):
        set_rate(optimizer, _rate(recipe, step))
        loss = train_step(network, optimizer, batch, info.task, compute)
        _move_average(average, network, min(recipe.average, (step + 1) / (step + 10)))
        smoothed = loss if smoothed is None else torch.lerp(smoothed, loss, 0.02)
        due = time.monotonic() - saved > CHECKPOINT_SECONDS or step + 1 == recipe.steps
        if checkpoint is not None and due:
            _save(checkpoint, step + 1, network, optimizer, average)
            saved = time.monotonic()
        if (step - first) % REPORT_EVERY == 0:
            message = f"loss {float(smoothed):.4f}"
        yield Progress(step + 1, recipe.steps, message)
    network.load_state_dict(average)
    network.eval()


def _by_group(images: Sequence[tuple[str, TrainingImage]]) -> list[list[TrainingImage]]:
    members: dict[str, list[TrainingImage]] = defaultdict(list)
    for group, image in images:
        members[group].append(image)
    return list(members.values())


def draw_batch(
    pools: Sequence[Sequence[TrainingImage]], info: ModelInfo, recipe: Recipe, step: int
) -> Patch:
    """Draw the batch of a step: the same, whichever process does it.

    Parameters
    ----------
    pools : sequence of sequence of TrainingImage
        The images of each group.
    info : ModelInfo
        The intensity contract.
    recipe : Recipe
        How many patches, how large, how much they vary.
    step : int
        Which.

    Returns
    -------
    Patch
        Stacked, with varied intensities: pixels of shape (batch, 3, patch, patch).
    """
    rng = np.random.default_rng((recipe.seed, step))
    shares = np.array([len(pool) ** recipe.group_power for pool in pools])
    chosen = rng.choice(len(shares), size=recipe.batch, p=shares / shares.sum())
    batch = []
    for group_index in chosen:
        pool = pools[group_index]
        image = pool[int(rng.integers(len(pool)))]
        patch = cut_patch(image, _centre(image, rng), recipe.patch, GEOMETRY, rng)
        pixels = vary_intensity(
            patch.pixels,
            info.normalization,
            rng,
            recipe.invert,
            recipe.strength,
            recipe.tint,
        )
        batch.append(patch._replace(pixels=pixels))
    return stacked(batch)


def _rate(recipe: Recipe, step: int) -> float:
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    share = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * share))


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
    state = {
        "step": step,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
    }
    with atomic_path(checkpoint) as temporary:
        torch.save(state, temporary)


def _resume(
    checkpoint: Path,
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
    compute: device.Compute,
) -> int:
    state = torch.load(checkpoint, weights_only=True, map_location=compute.device)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.update(state["average"])
    return int(state["step"])
