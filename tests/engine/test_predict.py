import errno
import os
import tempfile
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_resunet.engine import predict
from napari_resunet.engine.device import Compute, choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.optimized import fast_copy
from napari_resunet.engine.predict import (
    OVERLAP,
    Blender,
    Predictor,
    tile_grid,
)
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.errors import (
    Cancelled,
    DeviceError,
    FileError,
    ModelFileError,
    OutOfMemoryError,
)
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.types import Normalization

FLOAT = Compute("cpu", torch.float32)


def plane_of(image, scale=1.0):
    planes = ImageReader([image])
    return PredictionRequest(
        planes, (), planes.window, scale, planes.measure(Normalization())
    )


def test_the_fast_network_is_the_same_function(starter):
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = starter.network(images)
        result = fast_copy(starter.network, FLOAT)(images)
    torch.testing.assert_close(result, expected, atol=2e-3, rtol=1e-3)


def test_native_precision_changes_probabilities_little(starter, nuclei):
    plane = plane_of(nuclei[0])
    exact = drain(Predictor(starter, FLOAT).maps(plane))
    native = drain(Predictor(starter, choose("cpu")).maps(plane))
    assert np.abs(exact.astype(float) - native).mean() < 0.01


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_maps_of_a_part_are_those_of_the_whole(starter, nuclei, scale):
    predictor = Predictor(starter, FLOAT)
    predictor.plan.tile = 96
    plane = plane_of(np.tile(nuclei[0], (1, 2))[:200, :260], scale)
    events = []
    whole, n_tiles = drain(predictor.maps(plane), events.append), events[-1].total
    part = slice(50, 83), slice(0, 60)
    few = predictor.maps(replace(plane, part=part))
    np.testing.assert_array_equal(drain(few, events.append), whole[:, *part])
    assert events[-1].total < n_tiles  # not all were computed


def test_tiles_show_no_seam(starter, nuclei):
    image = np.tile(nuclei[0], (2, 2))
    plane = plane_of(image)
    whole = Predictor(starter, FLOAT)
    tiled = Predictor(starter, FLOAT)
    tiled.plan.tile = 160
    one, many = drain(whole.maps(plane)), drain(tiled.maps(plane))
    difference = np.abs(one.astype(float) - many)[0]
    assert difference.mean() < 0.02
    jumps = np.abs(np.diff(many[0].astype(float), axis=1))
    assert jumps.max() <= np.abs(np.diff(one[0].astype(float), axis=1)).max() + 0.1


def test_the_same_image_gives_the_same_maps_twice(starter, nuclei):
    plane = plane_of(nuclei[0])
    first = drain(Predictor(starter, choose("cpu")).maps(plane))
    assert np.array_equal(first, drain(Predictor(starter, choose("cpu")).maps(plane)))


def test_batches_give_the_same_maps(starter, nuclei):
    image = np.tile(nuclei[0], (2, 2))
    maps = []
    for batch in (1, 3):
        predictor = Predictor(starter, FLOAT)
        predictor.plan.tile, predictor.plan.batch = 160, batch
        maps.append(drain(predictor.maps(plane_of(image))))
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-3)


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_the_mean_over_mirror_images_has_no_direction(starter, nuclei, axes):
    # A multiple of the stride: nothing is padded at one side only.
    image = nuclei[0][:160, :160]

    def differ(tta):
        straight, turned = (
            drain(Predictor(starter, FLOAT).maps(plane_of(i), tta=tta))
            for i in (image, np.flip(image, axes))
        )
        return np.abs(straight.astype(float) - np.flip(turned, axes)).max()

    assert differ(tta=True) < 2e-3 < 0.05 < differ(tta=False)


def test_smaller_views_of_classes_are_put_back_in_place(starter, nuclei):
    image = nuclei[0]
    info = replace(starter.info, task="classes", class_names=("rest", "a", "b"))
    predictor = Predictor(replace(starter, info=info), FLOAT)
    one, mean = (
        drain(predictor.maps(plane_of(image), tta=m)).astype(float) for m in (False, True)
    )
    np.testing.assert_allclose(mean.sum(0), 1.0, atol=2e-3)
    assert np.abs(mean - one).max() > 0.05
    shifted = np.roll(one, 8, axis=(1, 2))
    agree, by_chance = (np.corrcoef(mean.ravel(), m.ravel())[0, 1] for m in (one, shifted))
    assert agree > 0.95 > 0.8 > by_chance


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (33, 1), (45, 77)])
def test_maps_have_the_images_shape(starter, shape):
    image = np.random.default_rng(0).random(shape)
    assert drain(Predictor(starter, FLOAT).maps(plane_of(image))).shape == (3, *shape)


def run_short_of_memory(predictor, monkeypatch, largest_batch, largest_tile):
    real = Predictor._run

    def short(self, tiles, tta):
        if len(tiles) > largest_batch or tiles[0].shape[-1] > largest_tile:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, tiles, tta)

    monkeypatch.setattr(Predictor, "_run", short)
    notices = []
    image = np.random.default_rng(0).random((300, 300))
    maps = drain(predictor.maps(plane_of(image)), notices.append)
    return maps, [e.message for e in notices if isinstance(e, Notice)]


def test_out_of_memory_halves_the_batch_then_the_tile(starter, monkeypatch):
    predictor = Predictor(starter, FLOAT)
    predictor.plan.batch, predictor.plan.tile = 4, 352
    maps, notices = run_short_of_memory(predictor, monkeypatch, 1, 176)
    assert maps.shape == (3, 300, 300)
    assert maps.max() > 0
    assert [n.split("with ")[1] for n in notices] == [
        "2 tile(s) at a time.",
        "1 tile(s) at a time.",
        "tiles of 160 pixels.",
    ]


def test_out_of_memory_on_the_card_ends_on_the_cpu(starter, monkeypatch):
    predictor = Predictor(starter, FLOAT)
    # A card that is not here: the same computer under another name.
    predictor.plan.compute = Compute("cuda", torch.float32)
    monkeypatch.setattr(Compute, "pixel_device", torch.device("cpu"))
    predictor.plan.tile = 160
    real = Predictor._run
    monkeypatch.setattr(predict, "free_cached_memory", lambda compute: None)

    def card_is_full(self, tiles, tta):
        if self.plan.compute.kind == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, tiles, tta)

    monkeypatch.setattr(Predictor, "_run", card_is_full)
    events = []
    image = np.random.default_rng(0).random((90, 90))
    maps = drain(predictor.maps(plane_of(image)), events.append)
    assert maps.max() > 0
    assert "CPU" in [e.message for e in events if isinstance(e, Notice)][-1]


def test_no_memory_at_all_is_one_plain_sentence(starter, monkeypatch):
    with pytest.raises(OutOfMemoryError, match="close other programs"):
        run_short_of_memory(Predictor(starter, FLOAT), monkeypatch, 0, 0)


def test_another_failure_of_the_device_is_told(starter, monkeypatch, nuclei):
    def broken(self, tiles, tta):
        raise RuntimeError("cuDNN error")

    monkeypatch.setattr(Predictor, "_run", broken)
    with pytest.raises(DeviceError, match="restart napari and try again"):
        drain(Predictor(starter, FLOAT).maps(plane_of(nuclei[0])))


def test_cancel_ends_within_one_tile(starter):
    predictor = Predictor(starter, FLOAT)
    predictor.plan.tile = 96
    token, seen = CancelToken(), []

    def cancel(event):
        seen.append(event)
        token.cancel()

    with pytest.raises(Cancelled):
        drain(
            predictor.maps(plane_of(np.random.default_rng(0).random((300, 300))), token),
            cancel,
        )
    assert len([e for e in seen if isinstance(e, Progress)]) == 1


@pytest.mark.parametrize("reserves", [True, False])
def test_maps_in_a_temporary_file_are_the_same(starter, nuclei, monkeypatch, reserves):
    plane = plane_of(nuclei[0][:64, :96])
    expected = drain(Predictor(starter, FLOAT).maps(plane))
    monkeypatch.setattr(predict, "MAX_MAPS_IN_MEMORY", 0)
    if not reserves:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    maps = drain(Predictor(starter, FLOAT).maps(plane))
    assert isinstance(maps, np.memmap)
    assert np.array_equal(maps, expected)


def test_a_full_temporary_folder_is_told_before_anything_is_written(starter, monkeypatch):
    # Written to, such a mapped file would kill the process.
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(predict, "MAX_MAPS_IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(FileError, match="No space left") as caught:
        drain(Predictor(starter, FLOAT).maps(plane_of(np.zeros((64, 96)))))
    assert f"'{tempfile.gettempdir()}'" in str(caught.value)


def test_a_network_that_gives_no_numbers_is_told(starter):
    network = deepcopy(starter.network)
    with torch.no_grad():
        network.conv_last.bias[0] = float("nan")
    predictor = Predictor(replace(starter, network=network), FLOAT)
    with pytest.raises(ModelFileError, match="computes no numbers"):
        drain(predictor.maps(plane_of(np.zeros((64, 96)))))


def test_blending_on_the_device_adds_every_tile_once():
    # Tiles of ones, in a part that begins and ends inside of tiles.
    grids = tile_grid(300, 128), tile_grid(420, 128)
    part = slice(70, 250), slice(100, 400)
    maps = np.zeros((2, 180, 300), np.float16)
    blender = Blender(maps, part, grids, torch.device("cpu"))
    ones = torch.ones(2, grids[0].size, grids[1].size)
    for column in grids[1].meeting(part[1]):
        for row in grids[0].meeting(part[0]):
            blender.add(ones, (row, column))
    blender.finish()
    np.testing.assert_allclose(maps, 1.0, atol=1e-3)


@pytest.mark.parametrize(
    ("free", "batch"), [(80 * 2**30, 16), (2**30, 8), (2**28, 2), (0, 1)]
)
def test_a_card_gets_as_many_tiles_as_half_of_its_memory_holds(
    starter, monkeypatch, free, batch
):
    # A card that is not here: the same computer under another name.
    monkeypatch.setattr(predict, "fast_copy", lambda network, compute: network)
    monkeypatch.setattr(predict, "free_memory", lambda compute: free)
    assert Predictor(starter, Compute("cuda", torch.bfloat16)).plan.batch == batch


# Tiles --------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 6000), largest=st.sampled_from([96, 128, 160, 352, 704]))
def test_weights_add_up_to_one_and_tiles_fit(n, largest):
    tiles = tile_grid(n, largest)
    assert tiles.size % 32 == 0
    assert tiles.size <= max(largest, 32)
    total = np.zeros(max(n, tiles.size))
    for i, start in enumerate(tiles.starts):
        assert start >= 0
        total[start : start + tiles.size] += tiles.weights(i)
    np.testing.assert_allclose(total[:n], 1, atol=1e-5)
    if len(tiles.starts) > 1:
        assert tiles.starts[-1] + tiles.size == n
        assert max(np.diff(tiles.starts)) <= tiles.size - OVERLAP


def test_2048_pixels_cost_little_more_than_themselves():
    tiles = tile_grid(2048, 704)
    assert (len(tiles.starts) * tiles.size / 2048) ** 2 < 1.07
