"""What is held out of the verified regions, and how a model scores there.

Held-out regions are never learned from: they answer "is it better now?" for the user and
choose the best weights. Objects that lie mostly beyond a region's edge are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from napari_resunet.engine.augment import complete_channels
from napari_resunet.engine.device import Compute, autocast
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.metrics import Rough, dice, mean_ap
from napari_resunet.engine.patches import Geometry, TrainingImage, TrainingPatch, cut_patch
from napari_resunet.engine.postprocess import Decoding, PredictionMaps, decode_labels
from napari_resunet.engine.predict import Maps, to_probabilities
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import torch, transforms
from napari_resunet.types import LabelArray, MaskArray, ModelInfo, Task, Window
from napari_resunet.windows import bounding_window

SHARE = 0.25
FEWEST_OBJECTS = 5
"""With fewer held-out objects the score says too little to judge by."""

SMALLEST_SIDE = 24
"""A verified region is split only where the strip keeps so many working pixels."""

LARGEST_SIDE = 192
"""With its margins a part is one tile of inference: scoring is done often."""


@dataclass(frozen=True)
class HeldOutPart:
    """A part of an image to judge by.

    Attributes
    ----------
    image : TrainingImage
        The part with a margin around it; weight 0 where the truth is not known, or not of
        this part.
    """

    image: TrainingImage

    @property
    def n_objects(self) -> int:
        """Objects whose truth is known."""
        return len(self._objects(self.image.weight > 0))

    @property
    def is_corrected(self) -> bool:
        """Whether the user changed anything here."""
        edited = self.image.edited
        return edited is None or bool((edited & (self.image.weight > 0)).any())

    @property
    def let_pass(self) -> npt.NDArray[np.int32] | None:
        """Labels of the objects that the user left as they were proposed, if any can be."""
        edited = self.image.edited
        if edited is None:
            return None
        return np.setdiff1d(self._objects(self.image.weight > 0), self._objects(edited))

    def _objects(self, where: MaskArray) -> npt.NDArray[np.int32]:
        labels = np.unique(self.image.labels[where])
        return labels[labels > 0]


def split(
    image: TrainingImage, task: Task, regions: Sequence[Window] = ()
) -> tuple[TrainingImage, list[HeldOutPart]]:
    """Hold strips of the verified region out.

    Parameters
    ----------
    image : TrainingImage
        With its verified region where the weight is not 0.
    task : {"instances", "classes"}
        What the labels are.
    regions : sequence of tuple of slice
        What is held out already; one is chosen where there is none.

    Returns
    -------
    training : TrainingImage
        Weight 0 in the strips.
    held_out : list of Part
        Empty where the region is too small.
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
    """Choose the strip of a verified region that is held out.

    Where little was corrected, most strips hold only the old model's own objects, and no
    other model could be better there; but most corrections are to be learned from. So it is
    the one that comes closest to its share of them.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Objects or classes.
    known : bool array, shape (Y, X)
        The verified region.
    edited : bool array, shape (Y, X), or None
        What the user corrected; None for all.
    scale : float
        Factor from image to working pixels.

    Returns
    -------
    tuple of slice, or None
        Rows and columns; None where the region is too small.
    """
    if not known.any():
        return None
    box = bounding_window(known, 0)
    lengths = [s.stop - s.start for s in box]
    # Across the longer side first: of equal strips the first is taken.
    across = [
        axis
        for axis in sorted((0, 1), key=lambda axis: -lengths[axis])
        if SHARE * lengths[axis] * scale >= SMALLEST_SIDE
    ]
    if not across or min(lengths) * scale < SMALLEST_SIDE:
        return None
    regions = chain(
        *(_candidate_regions(box, axis, LARGEST_SIDE / scale) for axis in across)
    )
    if edited is None or not (known & edited).any():
        return next(regions)
    places = _corrected_places(labels, known & edited)

    def unfairness(region: Window) -> tuple[bool, float]:
        inside = [
            (p >= s.start) & (p < s.stop) for p, s in zip(places, region, strict=True)
        ]
        n = np.count_nonzero(inside[0] & inside[1])
        total = len(places[0])
        return not 0 < n <= total / 2, abs(n - SHARE * total)

    return min(regions, key=unfairness)


def _corrected_places(
    labels: npt.NDArray[Any], edited: MaskArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find the middles, rows and columns, of corrected objects and of what was erased."""
    pieces, n = measure.label(
        np.where(edited, labels.astype(np.int64) + 1, 0), return_num=True
    )
    middles = np.asarray(ndimage.center_of_mass(edited, pieces, np.arange(1, n + 1)))
    return middles[:, 0], middles[:, 1]


def _candidate_regions(box: Window, axis: int, longest: float) -> Iterator[Window]:
    """List strips across an axis, half over each other, from the end."""
    sides = [min(s.stop - s.start, int(longest)) for s in box]
    sides[axis] = min(sides[axis], round(SHARE * (box[axis].stop - box[axis].start)))
    rows, columns = (
        [
            slice(stop - side, stop)
            for stop in range(s.stop, s.start + side - 1, -max(1, side // 2))
        ]
        for s, side in zip(box, sides, strict=True)
    )
    yield from product(rows, columns)


def _known_in(image: TrainingImage, window: Window, task: Task) -> MaskArray:
    """Find the known pixels of a window, with the whole of the objects mostly in it.

    Without the others: half objects are found or missed by chance.
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


MOSTLY = 0.5
"""An object of which a smaller share lies on the part is cut by its edge."""


@dataclass(frozen=True)
class HeldOutScore:
    """How good a model is on some parts.

    Attributes
    ----------
    value : float
        Mean AP over the IoU thresholds 0.5 … 0.8, or mean Dice for classes; 0 to 1.
    loss : float
        Training loss, for telling equal scores apart.
    """

    value: float
    loss: float

    def better_than(self, other: HeldOutScore) -> bool:
        """Compare by score, then by loss."""
        return (self.value, -self.loss) > (other.value, -other.loss)


@dataclass(frozen=True)
class HeldOutPrediction:
    """The maps of a part, beside its truth.

    Attributes
    ----------
    patch : Patch
        The part at the working scale.
    maps : float16 array, shape (n_maps, h, w)
        Probabilities.
    loss : float
        Training loss.
    share : int
        How much the part counts: its objects, at least 1.
    real : bool array, shape (h, w)
        Where the patch shows the part: what lies beyond a small one is mirrored.
    let_pass : int32 array or None
        Labels of objects that were proposed and not corrected.
    """

    patch: TrainingPatch
    maps: Maps
    loss: float
    share: int
    real: MaskArray
    let_pass: npt.NDArray[np.int32] | None = None

    def score(self, info: ModelInfo, decoding: Decoding) -> float:
        """Decode the maps as the model and the sliders say, and compare with the truth.

        Parameters
        ----------
        info : ModelInfo
            Of the model.
        decoding : Decoding
            The sliders.

        Returns
        -------
        float
            Mean AP over the IoU thresholds 0.5 … 0.8, or mean Dice for classes.
        """
        height, width = self.patch.labels.shape
        square = Axis(height, height), Axis(width, width)
        found = decode_labels(PredictionMaps(self.maps, square, info), decoding)
        return self._compare(found, info)

    def _compare(self, found: LabelArray, info: ModelInfo) -> float:
        known = self.patch.weight.numpy() > 0
        truth = self.patch.labels.numpy()
        here = np.where(known, truth, 0), np.where(known, found, 0)
        if info.task == "classes":
            return float(np.mean(dice(*here, info.n_maps)))
        # A mirrored copy of an object does not make it one that lies beyond the part.
        real = (np.where(self.real, labels, 0) for labels in (truth, found))
        rough = Rough(self.let_pass, *(cut_by_edge(labels, known) for labels in real))
        return mean_ap(*here, rough)


def score_together(
    seen: Sequence[HeldOutPrediction], info: ModelInfo, decoding: Decoding
) -> HeldOutScore:
    """Score some parts, each counted by its objects.

    Parameters
    ----------
    seen : sequence of Predicted
        At least one.
    info : ModelInfo
        Task and levels.
    decoding : Decoding
        The sliders.

    Returns
    -------
    HeldOutScore
    """
    shares = [s.share for s in seen]
    values = [s.score(info, decoding) for s in seen]
    return HeldOutScore(
        value=float(np.average(values, weights=shares)),
        loss=float(np.average([s.loss for s in seen], weights=shares)),
    )


def predict(
    network: ResNetUNet, info: ModelInfo, part: HeldOutPart, compute: Compute
) -> HeldOutPrediction:
    """Compute the maps of a part.

    Parameters
    ----------
    network : ResNetUNet
        On `compute`'s device, in evaluation mode.
    info : ModelInfo
        Its task.
    part : Part
        Whose maps.
    compute : Compute
        Device and precision.

    Returns
    -------
    Predicted
    """
    image = part.image
    axes = tuple(Axis.scaled(n, image.scale) for n in image.labels.shape)
    size = [int(np.ceil(a.n_network / STRIDE)) * STRIDE for a in axes]
    patch = _as_patch(image, size)
    pixels = complete_channels(patch.pixels)[None].to(compute.device)
    with torch.inference_mode(), autocast(compute):
        logits = network(pixels.contiguous(memory_format=torch.channels_last)).float().cpu()
    loss = loss_of(
        info.task, logits, patch.labels[None], patch.distance[None], patch.weight[None]
    )
    maps = to_probabilities(logits, info.task)[0].numpy().astype(np.float16)
    all_known = replace(image, weight=np.ones_like(image.weight))
    real = _as_patch(all_known, size).weight.numpy() > 0
    share = max(1, part.n_objects)
    return HeldOutPrediction(patch, maps, float(loss), share, real, part.let_pass)


def _as_patch(image: TrainingImage, size: list[int]) -> TrainingPatch:
    """Cut the whole image, as high and wide as `size`: a square would take more time."""
    height, width = image.labels.shape
    straight = Geometry(zoom=0.0, stretch=0.0, rotate=False)
    rng = np.random.default_rng(0)
    square = cut_patch(image, (height / 2, width / 2), max(size), straight, rng)
    return TrainingPatch(*(transforms.center_crop(part, size) for part in square))


def cut_by_edge(labels: npt.NDArray[Any], known: MaskArray) -> npt.NDArray[Any]:
    """List the objects of which most lies beyond what counts."""
    ids, which = np.unique(labels, return_inverse=True)
    inside = np.bincount(which.ravel(), known.ravel()) / np.bincount(which.ravel())
    return ids[inside < MOSTLY]
