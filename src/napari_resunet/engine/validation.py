"""Held-out regions of the verified area, and the score of a model there.

The model never learns from them, so their score shows whether it got better and selects the
best weights. Objects that are mostly beyond a region's edge do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from napari_resunet.engine.augment import complete_channels
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.device import Compute, autocast
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.metrics import Tolerance, count_found, dice, mean_ap
from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    TrainingImage,
    TrainingPatch,
    cut_patch,
    stack_patches,
)
from napari_resunet.engine.predict import Maps, to_probabilities
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import torch, transforms
from napari_resunet.types import Decoding, LabelArray, MaskArray, ModelInfo, Task, Window
from napari_resunet.windows import bounding_window

HELD_OUT_FRACTION = 0.25
MIN_SIDE = 24
"""Smallest side of a held-out region at network resolution; smaller areas are not split."""

BATCH_ON_GPU = 8
"""Held-out parts of equal size that a graphics card predicts at once."""

MAX_SIDE = 192
"""Largest side: with its margins, a part fits into one tile, because it is scored often."""


@dataclass(frozen=True)
class HeldOutPart:
    """A held-out part of an image.

    Attributes
    ----------
    image : TrainingImage
        The part with a margin; the weight is 0 where the truth is unknown or ignored.
    """

    image: TrainingImage

    @property
    def n_objects(self) -> int:
        """Number of objects in the verified area."""
        return len(self._objects(self.image.weight > 0))

    @property
    def is_corrected(self) -> bool:
        """Whether the user changed anything in it."""
        edited = self.image.edited
        return edited is None or bool((edited & (self.image.weight > 0)).any())

    @property
    def accepted(self) -> npt.NDArray[np.int32] | None:
        """Labels of the objects that the user left as proposed, if known."""
        edited = self.image.edited
        if edited is None:
            return None
        return np.setdiff1d(self._objects(self.image.weight > 0), self._objects(edited))

    def _objects(self, where: MaskArray) -> npt.NDArray[np.int32]:
        labels = np.unique(self.image.labels[where])
        return labels[labels > 0]

    @cached_property
    def patch(self) -> TrainingPatch:
        """The part at network resolution, padded by reflection to whole strides."""
        return _as_patch(self.image)

    @cached_property
    def real(self) -> MaskArray:
        """The pixels of `patch` that are not padding."""
        all_known = replace(self.image, weight=np.ones_like(self.image.weight))
        return _as_patch(all_known).weight.numpy() > 0


def split(
    image: TrainingImage, task: Task, regions: Sequence[Window] = ()
) -> tuple[TrainingImage, list[HeldOutPart]]:
    """Split an image into a training image and held-out parts.

    Parameters
    ----------
    image : TrainingImage
        The image; unverified pixels have weight 0.
    task : {"instances", "classes"}
        What the labels mean.
    regions : sequence of tuple of slice
        Regions that are held out already; if empty, one is chosen.

    Returns
    -------
    training : TrainingImage
        The image with weight 0 in the held-out parts.
    held_out : list of HeldOutPart
        The held-out parts; empty if the verified area is too small.
    """
    if not regions:
        region = choose_holdout_region(
            image.labels, image.weight > 0, image.edited, image.scale
        )
        regions = [] if region is None else [region]
    parts = []
    for region in regions:
        inside = _known_in(image, region, task)
        part = _part(image, inside)
        if part is not None:
            parts.append(part)
            image = replace(image, weight=np.where(inside, 0, image.weight))
    return image, parts


def choose_holdout_region(
    labels: npt.NDArray[Any], known: MaskArray, edited: MaskArray | None, scale: float
) -> Window | None:
    """Choose a region of the verified area to hold out.

    The region should hold corrections, because a model cannot score better than the old one
    where its proposals were left as they are. But most corrections are needed for learning.
    So the chosen region holds a fraction of them as close as possible to
    `HELD_OUT_FRACTION`.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Objects or classes.
    known : bool array, shape (Y, X)
        The verified area.
    edited : bool array, shape (Y, X), or None
        The pixels that the user corrected; None means all.
    scale : float
        Rescale factor from image pixels to network resolution.

    Returns
    -------
    tuple of slice, or None
        Rows and columns; None if the area is too small.
    """
    if not known.any():
        return None
    box = bounding_window(known, 0)
    lengths = [s.stop - s.start for s in box]
    # The longer side comes first, because min() takes the first of equal regions.
    across = [
        axis
        for axis in sorted((0, 1), key=lambda axis: -lengths[axis])
        if HELD_OUT_FRACTION * lengths[axis] * scale >= MIN_SIDE
    ]
    if not across or min(lengths) * scale < MIN_SIDE:
        return None
    regions = chain(*(_candidate_regions(box, axis, MAX_SIDE / scale) for axis in across))
    if edited is None or not (known & edited).any():
        return next(regions)
    centres = _correction_centres(labels, known & edited)

    def deviation(region: Window) -> tuple[bool, float]:
        inside = [
            (p >= s.start) & (p < s.stop) for p, s in zip(centres, region, strict=True)
        ]
        n = np.count_nonzero(inside[0] & inside[1])
        total = len(centres[0])
        return not 0 < n <= total / 2, abs(n - HELD_OUT_FRACTION * total)

    return min(regions, key=deviation)


def _correction_centres(
    labels: npt.NDArray[Any], edited: MaskArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centres, rows and columns, of corrected and of erased objects."""
    pieces, n = measure.label(
        np.where(edited, labels.astype(np.int64) + 1, 0), return_num=True
    )
    centres = np.asarray(ndimage.center_of_mass(edited, pieces, np.arange(1, n + 1)))
    return centres[:, 0], centres[:, 1]


def _candidate_regions(box: Window, axis: int, longest: float) -> Iterator[Window]:
    """List regions along an axis, from its end, each overlapping the next by half."""
    sides = [min(s.stop - s.start, int(longest)) for s in box]
    length = box[axis].stop - box[axis].start
    sides[axis] = min(sides[axis], round(HELD_OUT_FRACTION * length))
    rows, columns = (
        [
            slice(stop - side, stop)
            for stop in range(s.stop, s.start + side - 1, -max(1, side // 2))
        ]
        for s, side in zip(box, sides, strict=True)
    )
    yield from product(rows, columns)


def _known_in(image: TrainingImage, window: Window, task: Task) -> MaskArray:
    """Return the known pixels of a window and all pixels of the objects mostly inside it.

    Other objects are left out: whether half an object is found is a matter of chance.
    """
    known = image.weight > 0
    inside = np.zeros_like(known)
    inside[window] = known[window]
    if task == "classes":
        return inside
    labels, which = np.unique(image.labels, return_inverse=True)
    areas, here = (np.bincount(which.ravel(), mask.ravel()) for mask in (known, inside))
    objects = labels[(2 * here > areas) & (labels > 0)]
    return known & np.where(image.labels > 0, np.isin(image.labels, objects), inside)


def _part(image: TrainingImage, inside: MaskArray) -> HeldOutPart | None:
    if not inside.any():
        return None
    view = bounding_window(inside, round(STRIDE / image.scale))
    part = TrainingImage(
        pixels=image.pixels[:, *view],
        labels=image.labels[view],
        distance=image.distance[view],
        weight=inside[view].astype(np.float16),
        scale=image.scale,
        edited=None if image.edited is None else image.edited[view],
    )
    return HeldOutPart(part)


MIN_FRACTION_INSIDE = 0.5
"""An object counts as cut by the edge of a part if a smaller fraction of it is inside."""


@dataclass(frozen=True)
class HeldOutPrediction:
    """Prediction maps and ground truth of a held-out part.

    Attributes
    ----------
    patch : TrainingPatch
        The part at network resolution.
    maps : float16 array, shape (n_maps, h, w)
        Probabilities.
    loss : float
        Training loss.
    n_objects : int
        Weight of the part: its number of objects, at least 1.
    real : bool array, shape (h, w)
        The pixels that are not padding by reflection.
    accepted : int32 array or None
        Labels of the objects that the user left as proposed.
    """

    patch: TrainingPatch
    maps: Maps
    loss: float
    n_objects: int
    real: MaskArray
    accepted: npt.NDArray[np.int32] | None = None

    def score(self, info: ModelInfo, decoding: Decoding) -> HeldOutScore:
        """Decode the maps, and compare them with the truth."""
        height, width = self.patch.labels.shape
        square = Axis(height, height), Axis(width, width)
        found = decode_labels(PredictionMaps(self.maps, square, info), decoding)
        return self._compare(found, info)

    def _compare(self, found: LabelArray, info: ModelInfo) -> HeldOutScore:
        known = self.patch.weight.numpy() > 0
        truth = self.patch.labels.numpy()
        here = np.where(known, truth, 0), np.where(known, found, 0)
        if info.task == "classes":
            return HeldOutScore(float(np.mean(dice(*here, info.n_maps))), self.loss)
        # Padding repeats objects as mirror images; these do not extend beyond the part.
        real = (np.where(self.real, labels, 0) for labels in (truth, found))
        tolerance = Tolerance(
            self.accepted, *(cut_by_edge(labels, known) for labels in real)
        )
        n_right, n_objects = count_found(*here, tolerance.cut_true)
        return HeldOutScore(mean_ap(*here, tolerance), self.loss, n_right, n_objects)


def score_together(
    predictions: Sequence[HeldOutPrediction], info: ModelInfo, decoding: Decoding
) -> HeldOutScore:
    """Average the scores of one or more parts, weighted by their numbers of objects."""
    weights = [p.n_objects for p in predictions]
    scores = [p.score(info, decoding) for p in predictions]
    counted = info.task == "instances"
    return HeldOutScore(
        value=float(np.average([s.value for s in scores], weights=weights)),
        loss=float(np.average([s.loss for s in scores], weights=weights)),
        n_right=sum(s.n_right or 0 for s in scores) if counted else None,
        n_objects=sum(s.n_objects or 0 for s in scores) if counted else None,
    )


def predict(
    network: ResNetUNet, info: ModelInfo, parts: Sequence[HeldOutPart], compute: Compute
) -> list[HeldOutPrediction]:
    """Predict the maps of parts with a network in evaluation mode."""
    found: dict[int, HeldOutPrediction] = {}
    for some in _batches(parts, compute):
        pixels = torch.stack([complete_channels(part.patch.pixels) for part in some])
        on_device = pixels.to(compute.device)
        with torch.inference_mode(), autocast(compute):
            logits = network(on_device.contiguous(memory_format=torch.channels_last))
        for part, each in zip(some, logits.float().cpu(), strict=True):
            found[id(part)] = _prediction(info, part, each)
    return [found[id(part)] for part in parts]


def _batches(
    parts: Sequence[HeldOutPart], compute: Compute
) -> Iterator[Sequence[HeldOutPart]]:
    """Take parts of equal size together, for a graphics card."""
    by_size: dict[torch.Size, list[HeldOutPart]] = defaultdict(list)
    for part in parts:
        by_size[part.patch.pixels.shape].append(part)
    n = 1 if compute.kind == "cpu" else BATCH_ON_GPU
    for same in by_size.values():
        yield from (same[first : first + n] for first in range(0, len(same), n))


def _prediction(
    info: ModelInfo, part: HeldOutPart, logits: torch.Tensor
) -> HeldOutPrediction:
    _, *truth = stack_patches([part.patch])
    loss = float(loss_of(info.task, logits[None], *truth))
    maps = to_probabilities(logits[None], info.task)[0].numpy().astype(np.float16)
    n_objects = max(1, part.n_objects)
    return HeldOutPrediction(part.patch, maps, loss, n_objects, part.real, part.accepted)


def _as_patch(image: TrainingImage) -> TrainingPatch:
    """Pad the whole image; a square patch would take longer to predict."""
    height, width = image.labels.shape
    axes = (Axis.scaled(n, image.scale) for n in image.labels.shape)
    size = [int(np.ceil(a.n_network / STRIDE)) * STRIDE for a in axes]
    straight = Geometry(zoom=0.0, stretch=0.0, rotate=False)
    rng = np.random.default_rng(0)
    source, centre = PatchSource.of(image), (height / 2, width / 2)
    square = cut_patch(source, centre, max(size), straight, rng)
    return TrainingPatch(*(transforms.center_crop(part, size) for part in square))


def cut_by_edge(labels: npt.NDArray[Any], known: MaskArray) -> npt.NDArray[Any]:
    """Return the labels of the objects that are mostly outside the known area."""
    ids, which = np.unique(labels, return_inverse=True)
    inside = np.bincount(which.ravel(), known.ravel()) / np.bincount(which.ravel())
    return ids[inside < MIN_FRACTION_INSIDE]
