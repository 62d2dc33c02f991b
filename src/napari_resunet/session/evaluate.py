"""Scores a model on a folder of images and masks, for the command line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from napari_resunet.engine.dataset import Pair, Skipped, find_pairs
from napari_resunet.engine.device import choose
from napari_resunet.engine.metrics import dice, score
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.errors import ResunetError
from napari_resunet.events import Notice, Progress
from napari_resunet.files import shown
from napari_resunet.network.model_file import Model
from napari_resunet.session.api import segment
from napari_resunet.types import DeviceChoice, Example, ObjectSize

ALL = "all"


@dataclass(frozen=True)
class ImageScore:
    """The scores of one image, by name."""

    group: str
    values: dict[str, float]


@dataclass(frozen=True)
class Row:
    """The mean scores of a group of images, by name."""

    group: str
    n_images: int
    values: dict[str, float]


def evaluate_folder(
    folder: Path,
    model: Model,
    *,
    size: ObjectSize | Literal["masks"] | None,
    device: DeviceChoice,
) -> Iterator[Progress | Notice | Skipped | ImageScore]:
    """Segment and score the images of a folder.

    Parameters
    ----------
    folder : Path
        Holds ``images/`` and ``masks/``.
    model : Model
        The model to score.
    size : ObjectSize, "masks", or None
        Object size in all images; "masks" measures each image's masks, None takes what
        the model learned, or estimates it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.

    Yields
    ------
    Progress, Notice, Skipped or ImageScore
        For each pair its score, or why it was skipped.

    Raises
    ------
    FileError, DeviceError
        If there are no pairs, or the device is missing.
    """
    choose(device)
    notices: list[str] = []
    pairs = find_pairs(folder, notices.append)
    for done, pair in enumerate(pairs, start=1):
        try:
            example = pair.read(model.info.task, model.info.n_maps, notices.append)
            yield from _drained(notices)
            yield _score(pair, example, model, size, device)
        except ResunetError as error:
            yield pair.skipped(error)
        except MemoryError:
            yield Skipped(f"{shown(pair.image)} is too large for the memory.")
        yield Progress(done, len(pairs))


def _drained(notices: list[str]) -> Iterator[Notice]:
    """Yield the notices since the last time."""
    while notices:
        yield Notice(notices.pop(0))


def _score(
    pair: Pair,
    example: Example,
    model: Model,
    size: ObjectSize | Literal["masks"] | None,
    device: DeviceChoice,
) -> ImageScore:
    if size == "masks":
        scale = scale_from_labels(example.labels, model.info)
        size = ObjectSize(model.info.diameter / scale)
    axes = "YX" if example.image.ndim == 2 else "YXS"
    labels = segment(
        example.image, model, axes, diameter=size, pixel_size=example.pixel_size,
        device=device,
    )  # fmt: skip
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
    """Average scores over all images, and before that over each group if `by_group`."""
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
