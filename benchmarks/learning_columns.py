"""What `learning.py` compares: each column learns from corrections and proposes labels.

Ours from the starter and from random weights, no learning, and the random-forest pixel
classifier of ilastik and Labkit (Berg et al. 2019,
https://doi.org/10.1038/s41592-019-0582-9).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.feature import multiscale_basic_features
from skimage.transform import resize
from sklearn.ensemble import RandomForestClassifier

import napari_resunet as nru
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.normalize import normalize, with_statistics
from napari_resunet.events import drain
from napari_resunet.network.model_file import Model, new_model, with_new_maps
from napari_resunet.types import Decoding, DeviceChoice, Example, ModelInfo, OtherImage

CORE_DEPTH = 2.0
"""Pixels at network resolution from the edge of an object to its core."""

PIXELS_TO_LEARN = 60_000
TREES = 100


@dataclass(frozen=True)
class Setting:
    """Common settings of all columns of one run.

    Attributes
    ----------
    info : ModelInfo
        Task, classes, diameter at network resolution.
    model : str
        "starter" or the path of a model to start from.
    config : FineTuneConfig
        How our model learns in each round.
    device : {"auto", "cuda", "mps", "cpu"}
        Where our model computes.
    seed : int
        Seed of the random number generator.
    others : sequence of OtherImage
        Images without labels that our model should not get worse on.
    """

    info: ModelInfo
    model: str
    config: FineTuneConfig
    device: DeviceChoice
    seed: int
    others: Sequence[OtherImage] = ()


class Column(ABC):
    """One way to learn."""

    learns = True

    @abstractmethod
    def learn(self, corrections: Sequence[Example]) -> None:
        """Learn from all corrections so far, the latest last."""

    @abstractmethod
    def propose(self, image: np.ndarray, scale: float) -> np.ndarray | None:
        """Segment an image; None if nothing was learned yet."""


class Ours(Column):
    """The plugin's loop from one start."""

    def __init__(self, setting: Setting, start: Model) -> None:
        self.setting = setting
        self.model = start

    def learn(self, corrections: Sequence[Example]) -> None:
        """Fine-tune the model of the round before."""
        compute = choose(self.setting.device)
        events = fine_tune_steps(
            self.model,
            corrections,
            self.setting.config,
            compute,
            others=self.setting.others,
        )
        self.model = drain(events).model

    def propose(self, image: np.ndarray, scale: float) -> np.ndarray:
        """Segment with the model of this round."""
        size = self.model.info.diameter / scale
        return nru.segment(image, self.model, diameter=size, device=self.setting.device)


class NoLearning(Ours):
    """The starter as it is."""

    learns = False

    def learn(self, corrections: Sequence[Example]) -> None:
        """Learn nothing."""


class Forest(Column):
    """Pixel classifier at network resolution, then the same decoding as ours.

    For instances it learns background, edge and core; the core's probability replaces the
    distance map.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.forest: RandomForestClassifier | None = None

    def learn(self, corrections: Sequence[Example]) -> None:
        """Grow a new forest."""
        rng = np.random.default_rng(self.setting.seed)
        parts = [self._pixels_of(example) for example in corrections]
        features = np.concatenate([f for f, _ in parts])
        classes = np.concatenate([c for _, c in parts])
        chosen = rng.permutation(len(classes))[:PIXELS_TO_LEARN]
        self.forest = RandomForestClassifier(
            TREES, n_jobs=2, random_state=self.setting.seed, min_samples_leaf=5
        )
        self.forest.fit(features[chosen], classes[chosen])

    def propose(self, image: np.ndarray, scale: float) -> np.ndarray | None:
        """Classify the pixels, then decode."""
        if self.forest is None:
            return None
        features = self._features(image, scale, None)
        found = self.forest.predict_proba(features.reshape(-1, features.shape[-1]))
        maps = np.zeros((3, *features.shape[:2]), np.float16)
        known = self.forest.classes_
        maps[known] = found.T.reshape(len(known), *features.shape[:2])
        if self.setting.info.task == "instances":
            _, edge, core = maps.astype(np.float32)
            maps = np.stack([edge + core, core, edge]).astype(np.float16)
        axes = tuple(Axis.scaled(n, scale) for n in image.shape[:2])
        return decode_labels(PredictionMaps(maps, axes, self.setting.info), Decoding())

    def _pixels_of(self, example: Example) -> tuple[np.ndarray, np.ndarray]:
        features = self._features(example.image, example.scale or 1.0, example)
        shape = features.shape[:2]
        labels = nearest(example.labels, shape)
        if self.setting.info.task == "instances":
            depth = _depth(labels)
            labels = (depth > 0).astype(int) + (depth > CORE_DEPTH)
        verified = nearest(example.verified, shape)
        return features[verified], labels[verified]

    def _features(
        self, image: np.ndarray, scale: float, example: Example | None
    ) -> np.ndarray:
        contract, known = self.setting.info.normalization, example and example.statistics
        pixels, measured = with_statistics(image, known, contract)
        shape = tuple(Axis.scaled(n, scale).n_network for n in image.shape[:2])
        normal = normalize(pixels, measured, contract)
        small = resize(normal, shape, anti_aliasing=scale < 1)
        return multiscale_basic_features(
            small, sigma_min=0.5, sigma_max=16, channel_axis=-1
        )


def _depth(labels: np.ndarray) -> np.ndarray:
    """Measure the depth of each pixel in its object, in pixels; 0 outside."""
    depth = np.zeros(labels.shape)
    for label, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is not None:
            inside = np.pad(labels[window] == label, 1)
            own = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
            depth[window] = np.maximum(depth[window], own)
    return depth


def nearest(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize an array to a shape by its nearest pixels."""
    rows, columns = (
        ((np.arange(m) + 0.5) * n / m).astype(int)
        for n, m in zip(array.shape, shape, strict=True)
    )
    return array[np.ix_(rows, columns)]


def from_starter(setting: Setting) -> Ours:
    """Start from the starter, or only from its features if the maps differ."""
    model = nru.load_model(setting.model)
    if model.info.class_names != setting.info.class_names:
        model = with_new_maps(model, setting.info, setting.seed)
    return Ours(setting, model)


def from_random(setting: Setting) -> Ours:
    """Start from random weights."""
    return Ours(setting, new_model(setting.info, seed=setting.seed))


def without_learning(setting: Setting) -> NoLearning:
    """Use the starter without learning."""
    return NoLearning(setting, from_starter(setting).model)


ALWAYS: dict[str, Callable[[Setting], Column]] = {
    "starter": from_starter,
    "random": from_random,
    "none": without_learning,
    "forest": Forest,
}
