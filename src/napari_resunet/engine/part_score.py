"""How good a model is on parts of the corrections.

Found objects of which most lies beyond a part's edge are not counted, nor what they hit:
whether they are right is decided there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.augment import complete_channels
from napari_resunet.engine.decode import KeptMaps, decode_labels
from napari_resunet.engine.device import Compute, autocast
from napari_resunet.engine.held_out import Part
from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.metrics import Rough, dice, mean_ap
from napari_resunet.engine.patches import Geometry, Patch, TrainingImage, cut_patch
from napari_resunet.engine.predict import Maps, to_probabilities
from napari_resunet.engine.resample import Axis
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import torch, transforms
from napari_resunet.types import LabelArray, MaskArray, ModelInfo

MOSTLY = 0.5
"""An object of which a smaller share lies on the part is cut by its edge."""


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
    real : bool array, shape (h, w)
        Where the patch shows the part: what lies beyond a small one is mirrored.
    let_pass : int32 array or None
        Labels of objects that were proposed and not corrected.
    """

    patch: Patch
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
        found = decode_labels(KeptMaps(self.maps, square, info), decoding)
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
    seen: Sequence[Predicted], info: ModelInfo, decoding: Decoding
) -> PartsScore:
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
    PartsScore
    """
    shares = [s.share for s in seen]
    values = [s.score(info, decoding) for s in seen]
    return PartsScore(
        value=float(np.average(values, weights=shares)),
        loss=float(np.average([s.loss for s in seen], weights=shares)),
    )


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
    return Predicted(patch, maps, float(loss), share, real, part.let_pass)


def _as_patch(image: TrainingImage, size: list[int]) -> Patch:
    """Cut the whole image, as high and wide as `size`: a square would take more time."""
    height, width = image.labels.shape
    straight = Geometry(zoom=0.0, stretch=0.0, rotate=False)
    rng = np.random.default_rng(0)
    square = cut_patch(image, (height / 2, width / 2), max(size), straight, rng)
    return Patch(*(transforms.center_crop(part, size) for part in square))


def cut_by_edge(labels: npt.NDArray[Any], known: MaskArray) -> npt.NDArray[Any]:
    """List the objects of which most lies beyond what counts."""
    ids, which = np.unique(labels, return_inverse=True)
    inside = np.bincount(which.ravel(), known.ravel()) / np.bincount(which.ravel())
    return ids[inside < MOSTLY]
