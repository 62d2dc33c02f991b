"""The simulated user of `learning.py`: the images of a domain, and what is corrected.

The user draws the ground truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.engine.dataset import Pair, find_pairs
from napari_resunet.engine.metrics import EDIT_IOU, overlapping_pairs, score
from napari_resunet.engine.normalize import with_statistics
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.types import Example, ModelInfo, OtherImage, Window
from napari_resunet.windows import grown

REGION = 256
"""Side of the corrected region in each image, at network resolution."""

CONTEXT = 64
"""Context around a region in image pixels, as in the plugin."""

CLASSES = {"axon_sem": ("axon", "myelin")}


@dataclass(frozen=True)
class Domain:
    """Images to correct and images to score, with ground truth and scale.

    All columns get the scale, which brings objects, or connected parts of the first class,
    to the diameter at network resolution. `others` are given to the fine-tuning without
    their labels; they are neither corrected nor scored.
    """

    name: str
    info: ModelInfo
    correct: Sequence[Example]
    score: Sequence[Example]
    others: Sequence[OtherImage] = ()


def read_domain(name: str, n: int, first: float, arguments: argparse.Namespace) -> Domain:
    """Read the images of a domain, ``dataset`` or ``dataset:group``.

    n images are to correct, from this fraction of the folder on.
    """
    dataset, _, group = name.partition(":")
    classes = CLASSES.get(dataset, ())
    info = ModelInfo()
    if classes:
        info = replace(info, task="classes", class_names=("background", *classes))
    train, val = (
        [p for p in find_pairs(arguments.data / dataset / split) if group in ("", p.group)]
        for split in ("train", "val")
    )
    chosen = _evenly(train, n, first)
    correct = [_read(pair, info) for pair in chosen]
    never = val if arguments.on == "val" else [p for p in train if p not in chosen] + val
    scored = _evenly(never, arguments.images)
    unlabelled = _evenly([p for p in never if p not in scored], arguments.others)
    to_score, others = (
        [middle(_read(pair, info), arguments.largest) for pair in pairs]
        for pairs in (scored, unlabelled)
    )
    return Domain(name, info, correct, to_score, [_without_labels(e) for e in others])


def _without_labels(example: Example) -> OtherImage:
    return OtherImage("", example.image, example.scale or 1.0, example.statistics)


def _read(pair: Pair, info: ModelInfo) -> Example:
    return _scaled(pair.read(info.task, info.n_maps), info)


def _evenly(pairs: Sequence[Pair], n: int, first: float = 0.0) -> list[Pair]:
    """Choose n pairs evenly, in the order of their names: neighbours look alike."""
    n = min(n, len(pairs))
    return [pairs[int((first + i / n) % 1 * len(pairs))] for i in range(n)]


def _scaled(example: Example, info: ModelInfo) -> Example:
    _, measured = with_statistics(example.image, None, info.normalization)
    objects = example.labels
    if info.task == "classes":
        objects, _ = ndimage.label(example.labels == 1)
    scale = scale_from_labels(objects, ModelInfo())
    return replace(example, scale=scale, statistics=measured)


def middle(example: Example, largest: int) -> Example:
    """Crop a large image, so that scoring does not take longer than learning."""
    side = round(largest / (example.scale or 1.0))
    window = tuple(
        slice(max(0, (n - side) // 2), (n + side) // 2) for n in example.labels.shape
    )
    return replace(example, image=example.image[window], labels=example.labels[window])


def busiest_region(example: Example) -> Window:
    """Return the region with the most edges, where a user would start."""
    edges = find_boundaries(example.labels).astype(np.float32)
    side = round(REGION / (example.scale or 1.0))
    sides = [min(side, n) for n in edges.shape]
    sums = ndimage.uniform_filter(edges, sides, mode="constant")
    inside = tuple(
        slice(s // 2, n - (s - s // 2) + 1) for s, n in zip(sides, edges.shape, strict=True)
    )
    best = np.unravel_index(int(sums[inside].argmax()), sums[inside].shape)
    rows, columns = (slice(int(b), int(b) + s) for b, s in zip(best, sides, strict=True))
    return rows, columns


def corrected(
    example: Example, region: Window, proposal: np.ndarray | None, info: ModelInfo
) -> tuple[Example, int, float]:
    """Correct a region; return it, its number of objects, and the edits per object."""
    wide = grown(region, CONTEXT, example.labels.shape)
    verified = np.zeros(example.labels.shape, bool)
    verified[region] = True
    inside = example.labels[region]
    found = np.zeros_like(example.labels) if proposal is None else proposal
    truth = example.labels[wide]
    if info.task == "instances":
        # Outside the region, only its own objects are known.
        truth = np.where(np.isin(truth, np.unique(inside)), truth, 0)
    result = replace(
        example,
        image=example.image[wide],
        labels=truth,
        verified=verified[wide],
        edited=_to_edit(truth, found[wide], info) & verified[wide],
    )
    return result, _count(inside, info), edits_per_object(inside, found[region], info)


def _count(labels: np.ndarray, info: ModelInfo) -> int:
    if info.task == "classes":
        return int(ndimage.label(labels == 1)[1])
    return count_objects(labels)


def edits_per_object(truth: np.ndarray, found: np.ndarray, info: ModelInfo) -> float:
    """Count the edits of a user; for classes, the fraction of wrong pixels."""
    if info.task == "classes":
        return float((truth != found).mean())
    result = score(truth, found)
    return result.edits / max(1, result.n_true)


def _to_edit(truth: np.ndarray, found: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Mark the pixels that the user changes: wrong classes, or poor objects."""
    if info.task == "classes":
        return truth != found
    pairs = overlapping_pairs(truth, found)
    good = pairs.iou >= EDIT_IOU
    bad_true = np.setdiff1d(pairs.true_ids, pairs.true_ids[pairs.rows[good]])
    bad_found = np.setdiff1d(pairs.found_ids, pairs.found_ids[pairs.columns[good]])
    return np.isin(truth, bad_true) | np.isin(found, bad_found)
