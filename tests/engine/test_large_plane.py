from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import relabel_sequential
from tests.engine.test_blocks import noisy_maps, snake

from napari_resunet.engine import large_plane
from napari_resunet.engine.blocks import PredictionMaps, decode_labels, number_labels
from napari_resunet.engine.device import Compute
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.large_plane import BlockGrid, label_block, label_window
from napari_resunet.engine.predict import KeptTiles, Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import drain
from napari_resunet.types import Decoding, Normalization


class NoPixels:
    def read(self, index, rows, columns):
        return np.zeros((rows.stop - rows.start, columns.stop - columns.start, 1))


class Known:
    """A predictor that knows the maps of the plane."""

    def __init__(self, predicted):
        self.predicted, self.plan = predicted, SimpleNamespace(tile=256)
        self.model = SimpleNamespace(info=predicted.info)

    def maps(self, request, token=None, *, tta=False, kept=None):
        yield from ()
        return self.predicted.read(request.part)


def in_blocks(predictor, plane, grid, kept=None):
    """Label all blocks, and number their objects."""
    found = {
        place: drain(label_block(predictor, plane, grid, place, Decoding(), kept=kept))
        for place in np.ndindex(grid.shape)
    }
    names = np.sort(np.concatenate([f.owned for f in found.values()]))
    assert len(set(names)) == len(names)
    for (row, _), block in found.items():
        np.testing.assert_array_equal(grid.rows_of(block.owned), row)
        if block.whole:
            assert set(block.ids[1:]) <= set(names)  # also those that no pixel has
    labels = np.zeros([axis.n_image for axis in grid.axes], np.int32)
    for place, block in found.items():
        assert (labels[grid.window(*place)] == 0).all()
        labels[grid.window(*place)] = number_labels(block, names)
    return labels, all(f.whole for f in found.values())


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 99),
    side=st.integers(20, 300),
    zoom=st.sampled_from([1.0, 0.61, 1.37, 2.3]),
)
def test_blocks_of_any_size_are_equal_to_the_whole_plane(seed, side, zoom):
    predicted = noisy_maps(seed, zoom=zoom)
    plane = PredictionRequest(NoPixels(), (), (), 1.0, None)
    grid = BlockGrid(predicted.axes, max(side, 40))
    labels, whole = in_blocks(Known(predicted), plane, grid)
    assert whole
    np.testing.assert_array_equal(labels, decode_labels(predicted, Decoding()))


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_any_window_is_equal_to_the_whole_plane(zoom):
    predicted = noisy_maps(3, zoom=zoom)
    height, width = predicted.shape
    everything = slice(0, height), slice(0, width)
    plane = PredictionRequest(NoPixels(), (), everything, 1 / zoom, None)
    assert plane.axes == predicted.axes
    for window in (
        (slice(height // 3 + 1, height // 2), slice(width // 4, width // 2 + 1)),
        (slice(0, height // 4 + 1), slice(width // 2 + 1, width)),
    ):
        maps, labels = drain(label_window(Known(predicted), plane, window, Decoding()))
        assert labels.max() > 3
        decoding = Decoding(0.3, 0.7)  # the sliders, later
        for found, chosen in ((labels, Decoding()), (maps.decoded(decoding), decoding)):
            there = decode_labels(predicted, chosen)[window]
            np.testing.assert_array_equal(
                relabel_sequential(found)[0], relabel_sequential(there)[0]
            )
        assert maps.inside().shape == labels.shape


def test_a_plane_without_objects_in_most_of_it(monkeypatch):
    monkeypatch.setattr(large_plane, "MARGINS", (1,))
    predicted = noisy_maps(2)
    predicted.maps[:, 40:] = predicted.maps[:, :, 50:] = 0
    plane = PredictionRequest(NoPixels(), (), (), 1.0, None)
    labels, _ = in_blocks(Known(predicted), plane, BlockGrid(predicted.axes, 40))
    np.testing.assert_array_equal(labels, decode_labels(predicted, Decoding()))
    assert labels.max() > 3


def test_the_network_gives_a_block_what_it_gives_the_whole_image(starter, nuclei):
    predictor = Predictor(starter, Compute("cpu", torch.float32))
    predictor.plan.tile = 96
    image = ImageReader([np.tile(nuclei[0], (1, 2))[:200, :220]])
    statistics = image.measure(Normalization())
    plane = PredictionRequest(image, (), image.window, 0.7, statistics)
    maps = PredictionMaps(drain(predictor.maps(plane)), plane.axes, starter.info)
    labels, whole = in_blocks(predictor, plane, BlockGrid(plane.axes, 128))
    assert whole
    assert labels.max() > 5
    np.testing.assert_array_equal(labels, decode_labels(maps, Decoding()))


def test_tiles_that_two_blocks_share_are_predicted_once_if_they_are_kept(starter, nuclei):
    predictor = Predictor(starter, Compute("cpu", torch.float32))
    predictor.plan.tile = 96
    network, tiles = predictor.plan.network, []

    def counted(images):
        tiles.append(len(images))
        return network(images)

    predictor.plan.network = counted
    image = ImageReader([np.tile(nuclei[0], (1, 2))[:96, :300]])
    statistics = image.measure(Normalization())
    plane = PredictionRequest(image, (), image.window, 1.0, statistics)
    grid = BlockGrid(plane.axes, 128)
    apart, _ = in_blocks(predictor, plane, grid)
    n_apart = sum(tiles)
    together, _ = in_blocks(predictor, plane, grid, KeptTiles(()))
    np.testing.assert_array_equal(together, apart)
    assert sum(tiles) - n_apart < n_apart


def test_an_object_that_is_too_large_for_its_block_is_said_to_be_cut(monkeypatch):
    monkeypatch.setattr(large_plane, "MARGINS", (3,))
    predicted = snake()
    grid = BlockGrid(predicted.axes, 40)
    plane = PredictionRequest(NoPixels(), (), (), 1.0, None)
    _, whole = in_blocks(Known(predicted), plane, grid)
    assert not whole


def test_no_pixel_and_no_seed_belongs_to_two_blocks():
    for zoom, side in product((0.3, 1.0, 2.7), (7, 50)):
        grid = BlockGrid((Axis(200, round(200 * zoom)), Axis(90, round(90 * zoom))), side)
        image = np.zeros((200, 90), int)
        network = np.zeros([axis.n_network for axis in grid.axes], int)
        for place in np.ndindex(grid.shape):
            image[grid.window(*place)] += 1
            network[grid.owned(*place)] += 1
        assert (image == 1).all()
        assert (network == 1).all()
