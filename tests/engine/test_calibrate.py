"""The sliders' middle means what suits the objects that the user corrected."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import ellipse

from napari_resunet.engine.calibrate import calibrate
from napari_resunet.engine.decode import KeptMaps, decode_labels
from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.metrics import mean_ap
from napari_resunet.engine.part_score import Predicted
from napari_resunet.engine.patches import Patch
from napari_resunet.engine.resample import Axis
from napari_resunet.engine.targets import inner_distance
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Levels, ModelInfo

SIDE = 192


@pytest.fixture
def long_cells() -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number in range(8):
        rows, columns = ellipse(12 + 24 * number, 96, 7, 60, shape=labels.shape)
        labels[rows, columns] = number + 1
    return labels


def maps_of(labels: np.ndarray, foreground: np.ndarray, ridge: np.ndarray) -> Predicted:
    """Maps as a network would give them, beside the truth."""
    maps = np.stack([foreground, ridge, np.zeros(labels.shape)]).astype(np.float16)
    patch = Patch(
        pixels=torch.zeros(3, SIDE, SIDE),
        labels=torch.from_numpy(labels).long(),
        distance=torch.zeros(SIDE, SIDE),
        weight=torch.ones(SIDE, SIDE),
    )
    return Predicted(patch, maps, loss=0.0, share=int(labels.max()), real=labels >= 0)


def too_wide(labels: np.ndarray) -> Predicted:
    """Maps whose foreground reaches a few pixels beyond the objects."""
    distance = ndimage.distance_transform_edt(labels == 0)
    wide = np.where(labels > 0, 1.0, 0.75 - 0.1 * distance).clip(0, 1)
    return maps_of(labels, wide, inner_distance(labels))


def score_at(seen: Predicted, levels: Levels, decoding: Decoding) -> float:
    kept = KeptMaps(seen.maps, (Axis(SIDE, SIDE),) * 2, replace(ModelInfo(), levels=levels))
    return mean_ap(seen.patch.labels.numpy(), decode_labels(kept, decoding))


def test_contours_that_are_too_wide_are_drawn_in(long_cells):
    seen = too_wide(long_cells)
    levels = calibrate([seen] * 3, ModelInfo(), Decoding())
    assert levels.foreground > 0.5
    assert score_at(seen, levels, Decoding()) > score_at(seen, Levels(), Decoding()) + 0.1


def test_a_few_objects_are_no_reason(long_cells):
    seen = too_wide(long_cells)
    assert calibrate([seen] * 2, ModelInfo(), Decoding()) == Levels()


def test_long_cells_are_no_longer_cut(long_cells):
    # The ridge of a long cell is seldom even: every 12 pixels it falls under the level.
    knots = 0.2 * (np.arange(SIDE) % 12 < 2)
    ridge = inner_distance(long_cells) * 0.6 - knots
    seen = maps_of(long_cells, long_cells > 0, ridge)
    levels = calibrate([seen] * 3, ModelInfo(), Decoding())
    assert score_at(seen, levels, Decoding()) > score_at(seen, Levels(), Decoding()) + 0.1


def test_objects_the_model_is_unsure_of_come_back_where_they_are_true(long_cells):
    seen = maps_of(long_cells, 0.75 * (long_cells > 0), inner_distance(long_cells))
    strict = Levels(certainty=0.86)
    assert score_at(seen, strict, Decoding()) == 0
    levels = calibrate([seen] * 3, replace(ModelInfo(), levels=strict), Decoding())
    assert score_at(seen, levels, Decoding()) > 0.9


@pytest.mark.parametrize("slider", [0.4, 0.6])
def test_sliders_stay_where_the_user_left_them(long_cells, slider):
    seen = too_wide(long_cells)
    decoding = Decoding(foreground=slider)
    levels = calibrate([seen] * 3, ModelInfo(), decoding)
    assert score_at(seen, levels, decoding) >= score_at(seen, Levels(), decoding)
    assert decoding.foreground_level(levels) > 0.5


def test_levels_stay_where_nothing_is_gained(long_cells):
    seen = maps_of(long_cells, long_cells > 0, inner_distance(long_cells))
    assert calibrate([seen] * 3, ModelInfo(), Decoding()) == Levels()
    classes = ModelInfo(task="classes", class_names=("background", "a", "b"))
    assert calibrate([seen] * 3, classes, Decoding()) == Levels()


def test_a_sliders_ends_mean_all_and_nothing(long_cells):
    levels = Levels(foreground=0.7)
    seen = maps_of(long_cells, 0.2 + 0.6 * (long_cells > 0), inner_distance(long_cells))
    info = replace(ModelInfo(), levels=levels)
    kept = KeptMaps(seen.maps, (Axis(SIDE, SIDE),) * 2, info)
    found = [(decode_labels(kept, Decoding(f)) > 0).mean() for f in (0.0, 0.5, 1.0)]
    assert found[0] == 1
    assert found[1] == pytest.approx((long_cells > 0).mean())
    assert found[2] == 0
