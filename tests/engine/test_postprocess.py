import numpy as np
import pytest
from scipy import ndimage

from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.metrics import score
from napari_resunet.engine.patches import inner_distance
from napari_resunet.engine.postprocess import decode
from napari_resunet.engine.synthetic import scatter
from napari_resunet.types import Decoding, Levels, ModelInfo


def perfect_maps(labels, info=None, shape=None):
    """Maps of a network that knows the truth."""
    boundary = np.zeros(labels.shape)
    maps = np.stack([labels > 0, inner_distance(labels), boundary]).astype(np.float16)
    shape = shape or labels.shape
    axes = Axis(shape[0], labels.shape[0]), Axis(shape[1], labels.shape[1])
    return PredictionMaps(maps, axes, info or ModelInfo())


@pytest.fixture(scope="module")
def truth():
    return scatter((300, 340), np.random.default_rng(1), (9, 14), gap=-2, crowding=0.5)


def test_perfect_maps_give_the_objects_back(truth):
    labels = decode_labels(perfect_maps(truth), Decoding())
    assert score(truth, labels).ap75 > 0.95
    assert labels.dtype == np.int32


@pytest.mark.parametrize("factor", [0.4, 0.5, 2.0])
def test_labels_come_back_at_image_resolution(truth, factor):
    n_image = tuple(round(n / factor) for n in truth.shape)
    kept = perfect_maps(truth, shape=n_image)
    labels = decode_labels(kept, Decoding())
    rows = (np.arange(n_image[0]) * factor).astype(int)
    columns = (np.arange(n_image[1]) * factor).astype(int)
    expected = truth[np.ix_(rows, columns)]
    assert labels.shape == n_image
    assert score(expected, labels).ap50 > 0.95


def two_discs(radius=13, distance=22):
    rows, columns = np.ogrid[:60, :80]
    left = np.hypot(rows - 30, columns - 28) < 13
    right = np.hypot(rows - 30, columns - 28 - distance) < radius
    inside = left | right
    # One map for both: a saddle between two peaks, as the network would draw.
    distance = ndimage.distance_transform_edt(inside)
    maps = np.stack([inside, distance / distance.max(), 0 * distance])
    axes = Axis(60, 60), Axis(80, 80)
    # Both saddles lie over this level.
    info = ModelInfo(levels=Levels(seed=0.45))
    return PredictionMaps(maps.astype(np.float16), axes, info)


def test_the_split_slider_joins_and_parts_touching_objects():
    counts = [decode_labels(two_discs(), Decoding(split=s)).max() for s in (0.0, 1.0)]
    assert counts == [1, 2]


def test_neighbours_are_parted_by_the_saddle_between_them_and_bumps_are_not():
    assert decode_labels(two_discs(), Decoding()).max() == 2
    assert decode_labels(two_discs(radius=9, distance=17), Decoding()).max() == 1


def test_the_foreground_slider_shrinks_objects(truth):
    kept = perfect_maps(truth)
    soft = ndimage.gaussian_filter(kept.maps[0].astype(float), 3)
    kept.maps[0] = soft
    low, high = (decode_labels(kept, Decoding(foreground=f)) for f in (0.3, 0.8))
    assert (low > 0).sum() > 1.2 * (high > 0).sum()


def test_dust_is_no_object():
    maps = np.zeros((3, 50, 50), np.float16)
    maps[0, 10:12, 10:12] = 1
    kept = PredictionMaps(maps, (Axis(50, 50), Axis(50, 50)), ModelInfo())
    assert decode_labels(kept, Decoding()).max() == 0


def test_classes_get_their_own_values():
    info = ModelInfo(task="classes", class_names=("background", "axon", "myelin"))
    maps = np.zeros((3, 20, 30), np.float16)
    maps[0] = 1
    maps[:, 2:8, 2:8] = np.array([0.2, 0.1, 0.7])[:, None, None]
    maps[:, 10:15, 10:15] = np.array([0.4, 0.5, 0.1])[:, None, None]
    kept = PredictionMaps(maps, (Axis(20, 20), Axis(30, 30)), info)
    labels = decode_labels(kept, Decoding())
    assert (labels[2:8, 2:8] == 2).all()
    assert (labels[10:15, 10:15] == 1).all()
    assert (labels > 0).sum() == 61


def test_faint_objects_are_left_out_until_the_slider_asks_for_them():
    labels = np.zeros((64, 64), np.int32)
    labels[8:28, 8:28], labels[36:56, 36:56] = 1, 2
    foreground = 0.95 * (labels == 1) + 0.7 * (labels == 2)
    maps = np.stack([foreground, inner_distance(labels), np.zeros(labels.shape)])
    levels = Levels(foreground=0.6, certainty=0.86)
    found = {
        slider: decode(maps, Decoding(foreground=slider), levels, 0, 400)
        for slider in (0.3, 0.5)
    }
    assert (found[0.5] > 0).tolist() == (labels == 1).tolist()
    assert (found[0.3] > 0).tolist() == (labels > 0).tolist()


def test_a_sliders_ends_mean_all_and_nothing():
    labels = np.zeros((60, 80), np.int32)
    labels[20:40, 10:35], labels[20:40, 45:70] = 1, 2
    kept = perfect_maps(labels, ModelInfo(levels=Levels(foreground=0.7)))
    kept.maps[0] = 0.2 + 0.6 * (labels > 0)
    found = [(decode_labels(kept, Decoding(f)) > 0).mean() for f in (0.0, 0.5, 1.0)]
    assert found[0] == 1
    assert found[1] == pytest.approx((labels > 0).mean())
    assert found[2] == 0
