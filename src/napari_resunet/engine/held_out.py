"""The part of the corrections that is never learned from, and the score on it.

It answers "is it better now?" for the user, and picks the best weights.
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
from napari_resunet.engine.predict import to_probabilities
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
"""With its margins a strip is one tile of inference: scoring is done often."""


@dataclass(frozen=True)
class HeldOut:
    """One strip: a view of the image, and where in it the truth is known.

    Attributes
    ----------
    image : TrainingImage
        The strip with a margin around it; weight 0 in the margin.
    inside : tuple of slice
        The strip in the image's pixels.
    earlier : bool
        Whether it belongs to a correction that the start may have learned from.
    """

    image: TrainingImage
    inside: tuple[slice, slice]
    earlier: bool = False

    @property
    def n_objects(self) -> int:
        """Objects whose truth is known."""
        known = self.image.labels[self.inside][self.image.weight[self.inside] > 0]
        return len(np.unique(known[known > 0]))


@dataclass(frozen=True)
class HeldOutScore:
    """How good a model is on the held-out strips.

    Attributes
    ----------
    value : float
        Mean AP over the IoU thresholds 0.5 … 0.9, or mean Dice for classes; 0 to 1.
    loss : float
        Training loss, for telling equal scores apart.
    earlier : float
        The value on earlier corrections alone; 1 where there are none.
    """

    value: float
    loss: float
    earlier: float = 1.0

    def better_than(self, other: HeldOutScore) -> bool:
        """Compare by score, then by loss."""
        return (self.value, -self.loss) > (other.value, -other.loss)

    def keeps(self, start: HeldOutScore) -> bool:
        """Tell whether earlier corrections are predicted as well as before."""
        return self.earlier >= start.earlier


def split(image: TrainingImage) -> tuple[TrainingImage, HeldOut | None]:
    """Hold a strip of the checked region out.

    Parameters
    ----------
    image : TrainingImage
        With its checked region where the weight is not 0.

    Returns
    -------
    training : TrainingImage
        Weight 0 in the strip.
    held_out : HeldOut or None
        None where the region is too small.
    """
    known = image.weight > 0
    if not known.any():
        return image, None
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    box = [slice(int(v[0]), int(v[-1]) + 1) for v in (rows, columns)]
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
    return replace(image, weight=weight), _held_out(image, inside)


def _shortened(span: slice, longest: float) -> slice:
    return slice(span.start, min(span.stop, span.start + max(1, int(longest))))


def _held_out(image: TrainingImage, inside: tuple[slice, slice]) -> HeldOut:
    margin = round(STRIDE / image.scale)
    view = grown(inside, margin, image.labels.shape)
    local = relative(inside, view)
    weight = np.zeros_like(image.weight[view])
    weight[local] = image.weight[inside] > 0
    part = TrainingImage(
        pixels=image.pixels[:, *view],
        labels=image.labels[view],
        distance=image.distance[view],
        weight=weight,
        scale=image.scale,
    )
    return HeldOut(part, local)


def evaluate(
    network: ResNetUNet,
    info: ModelInfo,
    parts: Sequence[HeldOut],
    compute: Compute,
    decoding: Decoding,
) -> HeldOutScore:
    """Score a network on the strips, each counted by its objects.

    Parameters
    ----------
    network : ResNetUNet
        On `compute`'s device, in evaluation mode.
    info : ModelInfo
        Its task and diameter.
    parts : sequence of HeldOut
        At least one.
    compute : Compute
        Device and precision.
    decoding : Decoding
        The sliders.

    Returns
    -------
    HeldOutScore
    """
    results = [_evaluate_one(network, info, part, compute, decoding) for part in parts]
    shares = np.array([max(1, part.n_objects) for part in parts], float)
    values, losses = np.array(results).T
    earlier = np.array([part.earlier for part in parts])
    return HeldOutScore(
        value=float(np.average(values, weights=shares)),
        loss=float(np.average(losses, weights=shares)),
        earlier=float(np.average(values, weights=shares * earlier))
        if earlier.any()
        else 1.0,
    )


def _evaluate_one(
    network: ResNetUNet,
    info: ModelInfo,
    part: HeldOut,
    compute: Compute,
    decoding: Decoding,
) -> tuple[float, float]:
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
    height, width = patch.labels.shape
    square = Axis(height, height), Axis(width, width)
    found = decode_labels(KeptMaps(maps, square, info), decoding)
    return _compare(patch, found, info), float(loss)


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
