"""Columns of `learning.py` for other programs, if they are installed.

StarDist (Schmidt et al. 2018, https://arxiv.org/abs/1806.03535) and Cellpose up to
version 3 (Stringer et al. 2021, https://doi.org/10.1038/s41592-020-01018-x), trained from
scratch on the same regions. In round n they get n times the time of one round: as much as
our model had by then.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from learning_columns import Column, Setting, nearest
from skimage.transform import resize

from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.normalize import normalize, with_statistics
from napari_resunet.types import Example, ModelInfo

PATCH = 128
BATCH = 4


class Peer(Column):
    """Common to both: trained from scratch at network resolution, for a given time."""

    def __init__(self, setting: Setting) -> None:
        if setting.info.task == "classes":
            raise SystemExit(
                "StarDist and Cellpose find objects: leave them out of classes."
            )
        self.setting = setting
        self.learned = False

    def learn(self, corrections: Sequence[Example]) -> None:
        """Train from scratch on all regions."""
        pairs = [_region(example, self.setting.info) for example in corrections]
        self.train([p for p, _ in pairs], [t for _, t in pairs])
        self.learned = True

    def propose(self, image: np.ndarray, scale: float) -> np.ndarray | None:
        """Segment at network resolution."""
        if not self.learned:
            return None
        labels = self.predict(_working(image, scale, self.setting.info, None))
        return nearest(labels, image.shape[:2])

    def train(self, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
        """Train from scratch."""
        raise NotImplementedError

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one image."""
        raise NotImplementedError

    def steps_in_time(self, regions: int, do: Callable[[int], object]) -> int:
        """Time a few steps; return the number that fits into this round's time."""
        do(1)
        begin = time.perf_counter()
        do(4)
        each = (time.perf_counter() - begin) / 4
        return max(1, int(regions * self.setting.config.seconds / each))


class StarDist(Peer):
    """StarDist as its examples train it, on patches of the same size as ours."""

    def train(self, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
        """Train from scratch."""
        self.model = self._new()
        n = self.steps_in_time(len(images), lambda k: self._fit(images, labels, k))
        self.model = self._new()
        self._fit(images, labels, n)
        self.model.optimize_thresholds(images, labels, save_to_json=False)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one image."""
        return self.model.predict_instances(image)[0]

    def _new(self) -> object:
        from stardist.models import Config2D, StarDist2D

        config = Config2D(train_patch_size=(PATCH, PATCH), train_batch_size=BATCH)
        return StarDist2D(config, basedir=None)

    def _fit(self, images: list[np.ndarray], labels: list[np.ndarray], steps: int) -> None:
        self.model.train(
            images, labels, validation_data=(images, labels), augmenter=_turned,
            seed=self.setting.seed, epochs=1, steps_per_epoch=steps,
        )  # fmt: skip


class Cellpose(Peer):
    """Cellpose's own network from random weights."""

    def train(self, images: list[np.ndarray], labels: list[np.ndarray]) -> None:
        """Train from scratch."""
        self.model = self._new()
        n = self.steps_in_time(len(images), lambda k: self._fit(images, labels, k))
        self.model = self._new()
        self._fit(images, labels, n)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one image."""
        diameter = self.setting.info.diameter
        return self.model.eval(image, diameter=diameter, channels=[0, 0])[0].astype(
            np.int32
        )

    def _new(self) -> object:
        from cellpose.models import CellposeModel

        diameter = self.setting.info.diameter
        return CellposeModel(gpu=False, pretrained_model=False, diam_mean=diameter)

    def _fit(self, images: list[np.ndarray], labels: list[np.ndarray], steps: int) -> None:
        from cellpose.train import train_seg

        with tempfile.TemporaryDirectory() as folder:
            train_seg(
                self.model.net, images, labels, channels=[0, 0], n_epochs=steps,
                batch_size=BATCH, nimg_per_epoch=BATCH, bsize=PATCH, rescale=False,
                min_train_masks=1, save_path=folder,
            )  # fmt: skip


def _region(example: Example, info: ModelInfo) -> tuple[np.ndarray, np.ndarray]:
    """Cut out the verified rectangle at network resolution."""
    pixels = _working(example.image, example.scale or 1.0, info, example)
    verified = nearest(example.verified, pixels.shape)
    window = tuple(
        slice(int(line[0]), int(line[-1]) + 1)
        for line in (np.flatnonzero(verified.any(1)), np.flatnonzero(verified.any(0)))
    )
    return pixels[window], nearest(example.labels, pixels.shape)[window]


def _working(
    image: np.ndarray, scale: float, info: ModelInfo, example: Example | None
) -> np.ndarray:
    known = example and example.statistics
    pixels, measured = with_statistics(image, known, info.normalization)
    grey = normalize(pixels, measured, info.normalization).mean(-1)
    shape = tuple(Axis.scaled(n, scale).n_network for n in grey.shape)
    return resize(grey, shape, anti_aliasing=scale < 1).astype(np.float32)


def _turned(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    turns, mirror = np.random.randint(4), np.random.rand() < 0.5  # noqa: NPY002
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    return (image[::-1], labels[::-1]) if mirror else (image, labels)


PEERS: dict[str, Callable[[Setting], Column]] = {
    name: column
    for name, column in (("stardist", StarDist), ("cellpose", Cellpose))
    if importlib.util.find_spec(name)
}
