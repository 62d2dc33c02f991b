"""Training from folders of images with ground truth: long, checkpointed, resumable.

Learning from a user's few corrections is `finetune`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_resunet.engine import device
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.fast_network import place_for_training
from napari_resunet.engine.optimize import make_optimizer, set_rate, train_step
from napari_resunet.engine.patches import (
    Geometry,
    Patch,
    TrainingImage,
    cut_patch,
    training_image,
)
from napari_resunet.files import atomic_path
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, ModelInfo, Progress

OBJECT_SHARE = 0.6
"""Share of the patches that are centred on a foreground pixel."""

GEOMETRY = Geometry(zoom=0.7)
STRENGTH = 0.75
"""Of the random intensities. The starter scored on its training images as on others: it had
too much to learn, not too little."""


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
    average : float
        Decay of the moving average of the weights, which is the result.
    checkpoint_every : int
        Steps between checkpoints.
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
    average: float = 0.998
    checkpoint_every: int = 250
    seed: int = 0


def train_steps(
    network: ResNetUNet,
    info: ModelInfo,
    examples: Sequence[tuple[str, Example]],
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
    examples : sequence of (group, Example)
        What to learn from; groups are balanced by `Recipe.group_power`.
    recipe : Recipe
        How.
    compute : Compute
        Where.
    checkpoint : Path or None
        Resumed from where it exists, written every so many steps.

    Yields
    ------
    Progress
        After each step, with the smoothed loss.
    """
    images = [(group, training_image(example, info)) for group, example in examples]
    network.train()
    place_for_training(network, compute)
    optimizer = make_optimizer(network, recipe.rate)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    first = 0
    if checkpoint is not None and checkpoint.is_file():
        first = _resume(checkpoint, network, optimizer, average)
    smoothed = float("nan")
    for step in range(first, recipe.steps):
        set_rate(optimizer, _rate(recipe, step))
        batch = _batch(images, info, recipe, np.random.default_rng((recipe.seed, step)))
        loss = train_step(network, optimizer, batch, info.task, compute)
        _move_average(average, network, min(recipe.average, (step + 1) / (step + 10)))
        smoothed = loss if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * loss
        if checkpoint is not None and (step + 1) % recipe.checkpoint_every == 0:
            _save(checkpoint, step + 1, network, optimizer, average)
        yield Progress(step + 1, recipe.steps, f"loss {smoothed:.4f}")
    network.load_state_dict(average)
    network.eval()


def _rate(recipe: Recipe, step: int) -> float:
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    share = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * 0.5 * (1 + math.cos(math.pi * share))


def _batch(
    images: Sequence[tuple[str, TrainingImage]],
    info: ModelInfo,
    recipe: Recipe,
    rng: np.random.Generator,
) -> list[tuple[torch.Tensor, Patch]]:
    members: dict[str, list[TrainingImage]] = defaultdict(list)
    for group, image in images:
        members[group].append(image)
    shares = np.array([len(m) ** recipe.group_power for m in members.values()])
    chosen = rng.choice(len(shares), size=recipe.batch, p=shares / shares.sum())
    pools = list(members.values())
    batch = []
    for group_index in chosen:
        pool = pools[group_index]
        image = pool[int(rng.integers(len(pool)))]
        patch = cut_patch(image, _centre(image, rng), recipe.patch, GEOMETRY, rng)
        pixels = vary_intensity(
            patch.pixels, info.normalization, rng, recipe.invert, STRENGTH
        )
        batch.append((pixels, patch))
    return batch


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
    with torch.no_grad():
        for name, value in average.items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


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
) -> int:
    state = torch.load(checkpoint, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    average.update(state["average"])
    return int(state["step"])
