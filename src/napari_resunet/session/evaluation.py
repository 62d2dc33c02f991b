"""Scores of a model on a folder with ground truth, by group. No printing here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_resunet.engine.dataset import Pair, Skipped, find_pairs
from napari_resunet.engine.device import choose
from napari_resunet.engine.metrics import dice, score
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.errors import ResunetError
from napari_resunet.files import shown
from napari_resunet.network.model_file import Model
from napari_resunet.session.api import segment
from napari_resunet.types import DeviceChoice, Example, Notice, Progress

ALL = "all"


@dataclass(frozen=True)
class ImageScore:
    """One image: its group and its numbers, by name."""

    group: str
    values: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One group: how many images, and the mean of each number over them."""

    group: str
    n_images: int
    values: dict[str, float]


def evaluate_folder(
    folder: Path, model: Model, *, told: bool, device: DeviceChoice
) -> Iterator[Progress | Notice | Skipped | ImageScore]:
    """Segment and score the images of a folder.

    Parameters
    ----------
    folder : Path
        Holds ``images/`` and ``masks/``.
    model : Model
        Which model.
    told : bool
        Whether the object size is taken from the truth, not estimated.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.

    Yields
    ------
    Progress, Notice, Skipped or ImageScore
        Of each pair its score, or why it was skipped.

    Raises
    ------
    FileError, DeviceError
        If there is no pair, or no such device.
    """
    choose(device)
    said: list[str] = []
    pairs = find_pairs(folder, said.append)
    for done, pair in enumerate(pairs, start=1):
        try:
            example = pair.read(model.info.task, model.info.n_maps, said.append)
            yield from _notices(said)
            yield _score(pair, example, model, told, device)
        except ResunetError as error:
            yield Skipped(f"{error} It was skipped.")
        except MemoryError:
            yield Skipped(f"{shown(pair.image)} is too large for the memory.")
        yield Progress(done, len(pairs))


def _notices(said: list[str]) -> Iterator[Notice]:
    """Pass on what was said since the last time."""
    while said:
        yield Notice(said.pop(0))


def _score(
    pair: Pair, example: Example, model: Model, told: bool, device: DeviceChoice
) -> ImageScore:
    scale = scale_from_labels(example.labels, model.info) if told else None
    axes = "YX" if example.image.ndim == 2 else "YXS"
    labels = segment(example.image, model, axes, scale=scale, device=device)
    if model.info.task == "classes":
        names = model.info.class_names[1:]
        numbers = dice(example.labels, labels, model.info.n_maps)
        values = {f"Dice {n}": v for n, v in zip(names, numbers, strict=True)}
        return ImageScore(pair.group, values)
    result = score(example.labels, labels)
    values = {
        "AP@0.5": result.ap50,
        "AP@0.75": result.ap75,
        "edits/object": result.edits / max(1, result.n_true),
    }
    return ImageScore(pair.group, values)


def table(scores: Sequence[ImageScore], by_group: bool) -> list[Row]:
    """Average over images, by group and over all.

    Parameters
    ----------
    scores : sequence of ImageScore
        At least one.
    by_group : bool
        Whether there is a row for each group, before the row "all".

    Returns
    -------
    list of Row
    """
    members: dict[str, list[ImageScore]] = defaultdict(list)
    for item in scores:
        if by_group:
            members[item.group].append(item)
    rows = [_row(group, items) for group, items in sorted(members.items())]
    return [*rows, _row(ALL, scores)]


def _row(group: str, items: Sequence[ImageScore]) -> Row:
    names = items[0].values
    means = {name: float(np.mean([i.values[name] for i in items])) for name in names}
    return Row(group, len(items), means)
