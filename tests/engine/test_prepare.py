"""Tiles are made on the device as `normalize` and `read_resampled` make them."""

import numpy as np
import pytest
import torch

from napari_resunet.engine.image_reader import ImageReader, read_resampled
from napari_resunet.engine.normalize import normalize
from napari_resunet.engine.prepare import PredictionRequest, TileReader
from napari_resunet.types import Normalization

CONTRACT = Normalization()
CPU = torch.device("cpu")


def request(image, scale=1.0, channels=None):
    axes = "YXC" if image.ndim == 3 else "YX"
    reader = ImageReader([image], axes, channels)
    measured = reader.measure(CONTRACT)
    return PredictionRequest(reader, (), reader.window, scale, measured)


def tile(image, rows, columns, scale=1.0, channels=None):
    plane = request(image, scale, channels)
    return TileReader(plane, CONTRACT, CPU).read(slice(*rows), slice(*columns)).numpy()


def by_numpy(image, rows, columns, scale=1.0, channels=None):
    plane = request(image, scale, channels)

    def read(r, c):
        pixels = plane.reader.read((), r, c)
        return normalize(pixels, plane.statistics, CONTRACT)

    return np.moveaxis(read_resampled(read, plane.axes, rows, columns), -1, 0)


@pytest.mark.parametrize("scale", [1.0, 0.37, 1.7])
def test_a_tile_is_what_numpy_makes_of_it(nuclei, scale):
    where = (10, 42), (3, 51)
    made = tile(nuclei[0], *where, scale)
    expected = by_numpy(nuclei[0], *where, scale)
    np.testing.assert_allclose(made, np.repeat(expected, 3, 0), atol=2e-6)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint16", "int32", "uint32", "int64", "float16", "float64"]
)
def test_pixels_of_any_dtype(dtype, nuclei):
    image = (nuclei[0] > 60) if dtype == "bool" else (nuclei[0] // 2).astype(dtype)
    where = (0, 50), (20, 84)
    np.testing.assert_allclose(tile(image, *where)[:1], by_numpy(image, *where), atol=2e-6)


def test_large_numbers_and_what_is_not_finite(nuclei):
    where = (0, 40), (0, 40)
    large = nuclei[0].astype(np.float32) + 3e7
    spoiled = nuclei[0].astype(np.float32)
    spoiled[3, 4], spoiled[5, 6], spoiled[7, 8] = np.nan, np.inf, -np.inf
    for image in (large, nuclei[0] * 1e300, spoiled, np.full((40, 40), 7)):
        expected = by_numpy(image, *where)
        np.testing.assert_allclose(tile(image, *where)[:1], expected, atol=2e-6)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_beyond_the_edge_the_image_is_mirrored(nuclei, scale):
    image = nuclei[0][:40, :30]
    rows, columns = round(40 * scale), round(30 * scale)
    made = tile(image, (0, 64), (0, 96), scale)[0]
    whole = by_numpy(image, (0, rows), (0, columns), scale)[0]
    missing = (0, 64 - rows), (0, 96 - columns)
    np.testing.assert_allclose(made, np.pad(whole, missing, mode="symmetric"), atol=2e-6)


def test_two_channels_are_completed_by_zeros(nuclei):
    image = np.stack([nuclei[0], nuclei[0] // 3], axis=-1)
    where = (0, 32), (0, 32)
    made = tile(image, *where, channels=(0, 1))
    np.testing.assert_allclose(
        made[:2], by_numpy(image, *where, channels=(0, 1)), atol=2e-6
    )
    assert not made[2].any()
