"""Parts of the corrections to judge by, and the score on them.

The held-out strips are never learned from: they answer "is it better now?" for the user,
and pick the best weights. Whole corrections tell whether something was forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.augment import complete_channels
from napari_resunet.engine.decode import KeptMaps, decode_labels
from napari_resunet.engine.device import Compute, autocast
from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.metrics import dice, mean_ap
from napari_resunet.engine.patches import Geometry, Patch, TrainingImage, cut_patch
from napari_resunet.engine.predict import Maps, to_probabilities
from napari_resunet.engine.resample import Axis
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import LabelArray, ModelInfo
from napari_resunet.windows import grown, relative

SHARE = 0.25
FEWEST_OBJECTS = 5
"""With fewer held-out objects the score says too little to judge by."""

SMALLEST_SIDE = 24
"""A checked region is split only where the strip keeps so many working pixels."""

LARGEST_SIDE = 192
"""With its margins a part is one tile of inference: scoring is done often."""


@dataclass(frozen=True)
class Part:
    """A part of an image to judge by: a view of it, and where the truth is known.

    Attributes
    ----------
    image : TrainingImage
        The part with a margin around it; weight 0 in the margin.
    inside : tuple of slice
        The part in the view's pixels.
    """

    image: TrainingImage
    inside: tuple[slice, slice]

    @property
    def n_objects(self) -> int:
        """Objects whose truth is known."""
        known = self.image.labels[self.inside][self.image.weight[self.inside] > 0]
        return len(np.unique(known[known > 0]))


@dataclass(frozen=True)
class PartsScore:
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

    def better_than(self, other: PartsScore) -> bool:
        """Compare by score, then by loss."""
        return (self.value, -self.loss) > (other.value, -other.loss)

    def keeps(self, start: PartsScore) -> bool:
        """Tell whether nothing got lost."""
        return self.value >= start.value


def middle(image: TrainingImage) -> Part | None:
    """Take the middle of the checked region, as much of it as fits one tile.

    Parameters
    ----------
    image : TrainingImage
        With its checked region where the weight is not 0.

    Returns
    -------
    Part or None
        None where nothing is checked.
    """
    box = _known_box(image)
    if box is None:
        return None
    longest = LARGEST_SIDE / image.scale
    rows, columns = (_shortened(s, longest, at=0.5) for s in box)
    return _part(image, (rows, columns))


def split(image: TrainingImage) -> tuple[TrainingImage, Part | None]:
    """Hold a strip of the checked region out.

    Parameters
    ----------
    image : TrainingImage
        With its checked region where the weight is not 0.

    Returns
    -------
    training : TrainingImage
        Weight 0 in the strip.
    held_out : Part or None
        None where the region is too small.
    """
    box = _known_box(image)
    if box is None:
        return image, None
    lengths = [s.stop - s.start for s in box]
    axis = int(np.argmax(lengths))
    width = round(SHARE * lengths[axis])
    if width * image.scale < SMALLEST_SIDE:
        return image, None
    # Always the same end: what was held out in one round is not learned in the next.
    box[axis] = slice(box[axis].stop - width, box[axis].stop)
    box = [_shortened(s, LARGEST_SIDE / image.scale) for s in box]
    inside = (box[0], box[1])
    weight = image.weight.copy()
    weight[inside] = 0
    return replace(image, weight=weight), _part(image, inside)


def _known_box(image: TrainingImage) -> list[slice] | None:
    known = image.weight > 0
    if not known.any():
        return None
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    return [slice(int(v[0]), int(v[-1]) + 1) for v in (rows, columns)]


def _shortened(span: slice, longest: float, at: float = 0.0) -> slice:
    """Take so much of it from its start (`at` 0) or its middle (0.5)."""
    length = min(span.stop - span.start, max(1, int(longest)))
    start = span.start + int(at * (span.stop - span.start - length))
    return slice(start, start + length)


def _part(image: TrainingImage, inside: tuple[slice, slice]) -> Part:
    margin = round(STRIDE / image.scale)
    view = grown(inside, margin, image.labels.shape)
    local = relative(inside, view)
    weight = np.zeros_like(image.weight[view])
    weight[local] = image.weight[inside] > 0
    part_image = TrainingImage(
        pixels=image.pixels[:, *view],
        labels=image.labels[view],
        distance=image.distance[view],
        weight=weight,
        scale=image.scale,
    )
    return Part(part_image, local)


def evaluate(
    network: ResNetUNet,
    info: ModelInfo,
    parts: Sequence[Part],
    compute: Compute,
    decoding: Decoding,
) -> PartsScore:
    """Score a network on some parts, each counted by its objects.

    Parameters
    ----------
    network : ResNetUNet
        On `compute`'s device, in evaluation mode.
    info : ModelInfo
        Its task and diameter.
    parts : sequence of Part
        At least one.
    compute : Compute
        Device and precision.
    decoding : Decoding
        The sliders.

    Returns
    -------
    PartsScore
    """
    seen = [predict(network, info, part, compute) for part in parts]
    shares = [s.share for s in seen]
    values = [s.score(info, decoding) for s in seen]
    return PartsScore(
        value=float(np.average(values, weights=shares)),
        loss=float(np.average([s.loss for s in seen], weights=shares)),
    )


@dataclass(frozen=True)
class Predicted:
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
    """

    patch: Patch
    maps: Maps
    loss: float
    share: int

    def score(self, info: ModelInfo, decoding: Decoding) -> float:
        """Decode the maps as the model and the sliders say, and compare with the truth.

        Parameters
        ----------
        info : ModelInfo
            Of the model; its levels may be others than those in use.
        decoding : Decoding
            The sliders.

        Returns
        -------
        float
            Mean AP over the IoU thresholds 0.5 … 0.8, or mean Dice for classes.
        """
        height, width = self.patch.labels.shape
        square = Axis(height, height), Axis(width, width)
        found = decode_labels(KeptMaps(self.maps, square, info), decoding)
        return _compare(self.patch, found, info)


def predict(
    network: ResNetUNet, info: ModelInfo, part: Part, compute: Compute
) -> Predicted:
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
    size = [int(np.ceil(a.n_working / STRIDE)) * STRIDE for a in axes]
    patch = _as_patch(image, max(size))
    pixels = complete_channels(patch.pixels)[None].to(compute.device)
    with torch.inference_mode(), autocast(compute):
        logits = network(pixels.contiguous(memory_format=torch.channels_last)).float().cpu()
    loss = loss_of(
        info.task, logits, patch.labels[None], patch.distance[None], patch.weight[None]
    )
    maps = to_probabilities(logits, info.task)[0].numpy().astype(np.float16)
    return Predicted(patch, maps, float(loss), max(1, part.n_objects))


def _as_patch(image: TrainingImage, side: int) -> Patch:
    height, width = image.labels.shape
    straight = Geometry(zoom=0.0, stretch=0.0, rotate=False)
    rng = np.random.default_rng(0)
    return cut_patch(image, (height / 2, width / 2), side, straight, rng)


def _compare(patch: Patch, found: LabelArray, info: ModelInfo) -> float:
    known = patch.weight.numpy() > 0
    truth = np.where(known, patch.labels.numpy(), 0)
    found = np.where(known, found, 0)
    if info.task == "classes":
        return float(np.mean(dice(truth, found, info.n_maps)))
    return mean_ap(truth, found)
