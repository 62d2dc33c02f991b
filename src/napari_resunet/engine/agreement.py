"""Whether a new model agrees with a confident start where nothing is verified.

A score on few held-out objects says little. But a confident start is mostly right, so new
weights that find other objects around what is verified, or on other images, are probably
worse (``docs/research/levels-and-model-selection.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.changes import evenly
from napari_resunet.engine.device import Compute
from napari_resunet.engine.elsewhere import middle_of
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.metrics import Tolerance, mean_ap
from napari_resunet.engine.patches import TrainingImage, training_image
from napari_resunet.engine.uncertainty import REGION, count_uncertain, windows
from napari_resunet.engine.validation import (
    HeldOutPart,
    HeldOutPrediction,
    cut_by_edge,
    predict,
)
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.types import (
    Decoding,
    Example,
    FloatArray,
    LabelArray,
    MaskArray,
    ModelInfo,
    OtherImage,
    Window,
)

MAX_WINDOWS = 4
MIN_OBJECTS = 10
"""With fewer objects in the windows, the agreement is not used."""

MAX_UNCERTAIN = 0.25
"""A start is confident up to this many uncertain objects per object. Starts with an AP@0.5
of 0.8 or more had at most 0.13, and those below 0.6 had at least 0.5."""

MIN_AGREEMENT = 0.85
"""New weights need this AP@0.5 against a confident start."""


@dataclass(frozen=True)
class WindowLabels:
    """The objects found in a window.

    Attributes
    ----------
    labels : int32 array, shape (h, w)
        Objects at network resolution.
    unverified : bool array, shape (h, w)
        The pixels that are not verified.
    maps : float array, shape (n_maps, h, w)
        Probabilities.
    """

    labels: LabelArray
    unverified: MaskArray
    maps: FloatArray


class AgreementCheck:
    """Compares the objects of new weights with those of the start in unverified windows.

    Parameters
    ----------
    windows : sequence of HeldOutPart
        Where to compare; the weight of unverified pixels is 1.
    compute : Compute
        Device and precision.
    decoding : Decoding
        The two sliders.
    """

    def __init__(
        self, windows: Sequence[HeldOutPart], compute: Compute, decoding: Decoding
    ) -> None:
        self._compute, self._decoding, self._windows = compute, decoding, windows
        self._start: list[WindowLabels] = []

    def set_start(self, start: ResNetUNet, info: ModelInfo) -> None:
        """Store the objects of the start if it is confident."""
        found = self._decode_windows(start, info)
        n_objects = sum(
            len(np.unique(f.labels[f.unverified & (f.labels > 0)])) for f in found
        )
        n_uncertain = sum(
            count_uncertain(f.maps, f.labels, f.unverified, info) for f in found
        )
        confident = n_objects >= MIN_OBJECTS and n_uncertain <= MAX_UNCERTAIN * n_objects
        self._start = found if confident else []

    def agrees(self, network: ResNetUNet, info: ModelInfo) -> bool:
        """Return whether weights agree with the start, or the start is not confident."""
        if not self._start:
            return True
        pairs = zip(self._start, self._decode_windows(network, info), strict=True)
        scored = [(_agreement(old, new), old.labels.max(initial=0)) for old, new in pairs]
        values, weights = zip(*scored, strict=True)
        return float(np.average(values, weights=np.maximum(weights, 1))) >= MIN_AGREEMENT

    def _decode_windows(self, network: ResNetUNet, info: ModelInfo) -> list[WindowLabels]:
        predictions = predict(network, info, self._windows, self._compute)
        return [_decode(prediction, info, self._decoding) for prediction in predictions]


def windows_around(images: Sequence[TrainingImage]) -> list[HeldOutPart]:
    """Choose windows of corrected images with much that is not verified.

    Parameters
    ----------
    images : sequence of TrainingImage
        All corrections, the latest last; unverified pixels have weight 0.
    """
    parts = [part for image in reversed(images) for part in _unverified_parts(image)]
    parts.sort(key=lambda part: -float((part.image.weight > 0).mean()))
    return parts[:MAX_WINDOWS]


def windows_elsewhere(others: Sequence[OtherImage], info: ModelInfo) -> list[HeldOutPart]:
    """Choose the middle of some images without labels, one window of each."""
    return [_window_of(other, info) for other in evenly(others, MAX_WINDOWS)]


def _window_of(other: OtherImage, info: ModelInfo) -> HeldOutPart:
    part = middle_of(other, REGION, info)
    nothing = np.zeros(part.image.shape[:2], np.int32)
    example = Example(part.image, nothing, scale=part.scale, statistics=part.statistics)
    return HeldOutPart(training_image(example, info))


def _unverified_parts(image: TrainingImage) -> list[HeldOutPart]:
    unverified = image.weight == 0
    whole = slice(0, image.labels.shape[0]), slice(0, image.labels.shape[1])
    return [
        _part(image, unverified, window)
        for window in windows(whole, (image.scale, image.scale))
        if unverified[window].any()
    ]


def _part(image: TrainingImage, unverified: MaskArray, window: Window) -> HeldOutPart:
    return HeldOutPart(
        replace(
            image,
            pixels=image.pixels[:, *window],
            labels=image.labels[window],
            distance=image.distance[window],
            weight=unverified[window].astype(np.float16),
            edited=None,
        )
    )


def _decode(
    prediction: HeldOutPrediction, info: ModelInfo, decoding: Decoding
) -> WindowLabels:
    height, width = prediction.patch.labels.shape
    axes = Axis(height, height), Axis(width, width)
    labels = decode_labels(PredictionMaps(prediction.maps, axes, info), decoding)
    unverified = (prediction.patch.weight.numpy() > 0) & prediction.real
    return WindowLabels(labels, unverified, prediction.maps.astype(np.float32))


def _agreement(old: WindowLabels, new: WindowLabels) -> float:
    cut = (cut_by_edge(found.labels, old.unverified) for found in (old, new))
    return mean_ap(old.labels, new.labels, Tolerance(None, *cut), thresholds=(0.5,))
