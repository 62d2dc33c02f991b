"""Agreement of a new model with a sure start, where nothing is verified.

Few held-out objects say little about new weights. A start that is sure of its objects is
mostly right, so new weights that find others there have lost something
(``docs/research/levels-and-model-selection.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.device import Compute
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.metrics import Rough, mean_ap
from napari_resunet.engine.patches import TrainingImage
from napari_resunet.engine.postprocess import Decoding, PredictionMaps, decode_labels
from napari_resunet.engine.uncertainty import count_doubts, windows
from napari_resunet.engine.validation import (
    HeldOutPart,
    HeldOutPrediction,
    cut_by_edge,
    predict,
)
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.types import FloatArray, LabelArray, MaskArray, ModelInfo, Window

MOST_WINDOWS = 4
FEWEST_OBJECTS = 10
"""With fewer objects in these windows they say too little."""

SURE = 0.25
"""Objects of doubt for each object found, up to which a start is good: where its AP@0.5 was
0.8 or more they were 0 to 0.13, where it was under 0.6 0.5 and more."""

AGREEMENT = 0.85
"""AP@0.5 between what a sure start finds and what new weights find, from which on these
are taken."""


@dataclass(frozen=True)
class Found:
    """What weights find in a window.

    Attributes
    ----------
    labels : int32 array, shape (h, w)
        Objects in working pixels.
    counts : bool array, shape (h, w)
        Where nothing is verified.
    maps : float array, shape (n_maps, h, w)
        Probabilities.
    """

    labels: LabelArray
    counts: MaskArray
    maps: FloatArray


class Elsewhere:
    """Some windows in which nothing is verified, and what the start finds there.

    Parameters
    ----------
    images : sequence of TrainingImage
        All corrections, the latest last; what is not verified has the weight 0.
    compute : Compute
        Where to compute.
    decoding : Decoding
        The sliders.
    """

    def __init__(
        self, images: Sequence[TrainingImage], compute: Compute, decoding: Decoding
    ) -> None:
        self._compute, self._decoding = compute, decoding
        parts = [part for image in reversed(images) for part in _unchecked_parts(image)]
        parts.sort(key=lambda part: -float((part.image.weight > 0).mean()))
        self._parts = parts[:MOST_WINDOWS]
        self._start: list[Found] = []

    def begin(self, start: ResNetUNet, info: ModelInfo) -> None:
        """Remember what the start finds, if it is sure of it."""
        found = self._find(start, info)
        n_objects = sum(len(np.unique(f.labels[f.counts & (f.labels > 0)])) for f in found)
        n_doubts = sum(count_doubts(f.maps, f.labels, f.counts, info) for f in found)
        sure = n_objects >= FEWEST_OBJECTS and n_doubts <= SURE * n_objects
        self._start = found if sure else []

    def agrees(self, network: ResNetUNet, info: ModelInfo) -> bool:
        """Tell whether other weights find the same; True where the start was not sure."""
        if not self._start:
            return True
        pairs = zip(self._start, self._find(network, info), strict=True)
        shares = [(_agreement(old, new), old.labels.max(initial=0)) for old, new in pairs]
        values, weights = zip(*shares, strict=True)
        return float(np.average(values, weights=np.maximum(weights, 1))) >= AGREEMENT

    def _find(self, network: ResNetUNet, info: ModelInfo) -> list[Found]:
        seen = [predict(network, info, part, self._compute) for part in self._parts]
        return [_found(one, info, self._decoding) for one in seen]


def _unchecked_parts(image: TrainingImage) -> list[HeldOutPart]:
    unchecked = image.weight == 0
    whole = slice(0, image.labels.shape[0]), slice(0, image.labels.shape[1])
    return [
        _part(image, unchecked, window)
        for window in windows(whole, (image.scale, image.scale))
        if unchecked[window].any()
    ]


def _part(image: TrainingImage, unchecked: MaskArray, window: Window) -> HeldOutPart:
    return HeldOutPart(
        replace(
            image,
            pixels=image.pixels[:, *window],
            labels=image.labels[window],
            distance=image.distance[window],
            weight=unchecked[window].astype(np.float16),
            edited=None,
        )
    )


def _found(seen: HeldOutPrediction, info: ModelInfo, decoding: Decoding) -> Found:
    height, width = seen.patch.labels.shape
    kept = PredictionMaps(seen.maps, (Axis(height, height), Axis(width, width)), info)
    counts = (seen.patch.weight.numpy() > 0) & seen.real
    return Found(decode_labels(kept, decoding), counts, seen.maps.astype(np.float32))


def _agreement(old: Found, new: Found) -> float:
    cut = (cut_by_edge(found.labels, old.counts) for found in (old, new))
    return mean_ap(old.labels, new.labels, Rough(None, *cut), thresholds=(0.5,))
