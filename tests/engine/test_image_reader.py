from itertools import pairwise

import dask.array
import numpy as np
import pytest
import torch
import zarr

from napari_resunet.engine.image_reader import (
    Axis,
    ImageReader,
    JoinedChannels,
    read_resampled,
)
from napari_resunet.errors import ImageError
from napari_resunet.types import Normalization

ALL = slice(0, 6), slice(0, 7)


def test_axes_in_any_order_give_rows_and_columns():
    array = np.arange(2 * 3 * 6 * 7).reshape(2, 3, 6, 7)
    expected = array[1, 2][..., None]
    assert np.array_equal(ImageReader([array], "TZYX").read((1, 2), *ALL), expected)
    turned = array.transpose(3, 0, 2, 1)
    assert np.array_equal(ImageReader([turned], "XTYZ").read((1, 2), *ALL), expected)


def test_chosen_channels_come_in_the_chosen_order():
    array = np.random.default_rng(0).random((2, 4, 6, 7))
    pixels = ImageReader([array], "TCYX", channels=(3, 0)).read((1,), *ALL)
    assert np.array_equal(pixels, np.stack([array[1, 3], array[1, 0]], -1))


def test_alpha_is_left_out():
    array = np.random.default_rng(0).integers(0, 255, (6, 7, 4), dtype=np.uint8)
    planes = ImageReader([array])
    assert planes.is_rgb
    assert np.array_equal(planes.read((), *ALL), array[..., :3])


def test_zarr_and_dask_read_only_what_the_window_needs(tmp_path):
    loaded = []

    def load(block_info=None):
        loaded.append(block_info[None]["chunk-location"])
        return np.ones((1, 64, 64), np.uint8)

    lazy = dask.array.map_blocks(
        load, chunks=((1,) * 50, (64,) * 8, (64,) * 8), dtype=np.uint8
    )
    loaded.clear()
    pixels = ImageReader([lazy], "TYX").read((9,), slice(70, 80), slice(10, 130))
    assert pixels.shape == (10, 120, 1)
    assert sorted(loaded) == [(9, 1, 0), (9, 1, 1), (9, 1, 2)]
    store = zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=(3, 40, 50), dtype="u2")
    store[1] = 5
    assert (ImageReader([store], "ZYX").read((1,), slice(0, 40), slice(0, 50)) == 5).all()


def test_statistics_of_a_huge_image_touch_few_blocks():
    loaded = []

    def load(block_info=None):
        loaded.append(1)
        return np.full((1, 512, 512), 3, np.uint8)

    lazy = dask.array.map_blocks(
        load, chunks=((1,) * 100, (512,) * 20, (512,) * 20), dtype=np.uint8
    )
    loaded.clear()
    ImageReader([lazy], "TYX").measure(Normalization())
    assert len(loaded) <= 100  # of 40,000


def test_statistics_come_from_a_coarse_level_where_there_is_one():
    fine = dask.array.zeros((40_000, 40_000), dtype=np.uint8, chunks=4000)
    coarse = np.tile(np.arange(100, dtype=np.uint8), (1000, 10))
    measured = ImageReader([fine, coarse], "YX").measure(Normalization())
    assert measured.high[0] > 95


@pytest.mark.parametrize(
    ("shape", "axes", "channels", "word"),
    [
        ((5,), None, None, "dimensions"),
        ((5, 5), "ZYX", None, "names 3 dimensions"),
        ((5, 5), "YY", None, "each letter once"),
        ((5, 5), "YQ", None, "each letter once"),
        ((5, 5), "", None, "names 0 dimensions"),
        ((5, 5, 5), "1YX", None, "each letter once"),
        ((5, 5, 5, 5), "TTYX", None, "each letter once"),
        ((5, 5, 5, 5), "CSYX", None, "each letter once"),
        ((1,) * 4 + (5, 5), "QQQQYX", None, "up to three"),
        ((0, 5, 5), "CYX", None, "no channels"),
        ((2, 5, 5), "CYX", (2,), "Choose one to three"),
        ((4, 5, 5), "CYX", (0, 1, 2, 3), "Choose one to three"),
        ((5, 5), "YX", (1,), "one channel only"),
    ],
)
def test_wrong_axes_and_channels_are_told_in_a_sentence(shape, axes, channels, word):
    with pytest.raises(ImageError, match=word):
        ImageReader([np.zeros(shape)], axes, channels)


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3"])
def test_pixels_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(ImageError, match="Pixels of type"):
        ImageReader([np.zeros((5, 5), dtype)])


@pytest.mark.parametrize(
    ("axes", "named"),
    [
        ("QYX", "TYX"),
        ("QQYX", "TZYX"),
        ("TIYX", "TZYX"),
        ("arzyx", "TPZYX"),
        ("EYX", "CYX"),
        ("ECYX", "TCYX"),
        ("YXE", "YXC"),
    ],
)
def test_axes_of_other_programs_are_stacks_and_wavelengths_channels(axes, named):
    assert ImageReader([np.zeros((2,) * len(axes))], axes).axes == named


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 8, 1), "YXC"),
        ((9, 8, 2), "YXC"),
        ((9, 8, 3), "YXS"),
        ((9, 8, 5), "ZYX"),
        ((6, 9, 8, 2), "ZYXC"),
        ((6, 9, 8, 4), "ZYXS"),
        ((2, 9, 8), "ZYX"),
    ],
)
def test_axes_are_guessed_from_the_shape(shape, axes):
    assert ImageReader([np.zeros(shape)]).axes == axes


# Resampling ---------------------------------------------------------------------------

SCALES = [0.23, 0.5, 0.81, 1.0, 1.7, 3.0]


def resampled(image, scale, rows=None, columns=None):
    axes = Axis.scaled(image.shape[0], scale), Axis.scaled(image.shape[1], scale)
    rows = rows or (0, axes[0].n_network)
    columns = columns or (0, axes[1].n_network)
    return read_resampled(lambda r, c: image[r, c, None], axes, rows, columns)[..., 0]


@pytest.mark.parametrize("scale", SCALES)
def test_equals_torchs_antialiased_interpolation(scale, nuclei):
    image = nuclei[0].astype(np.float32)
    result = resampled(image, scale)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], result.shape, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(result, expected[0, 0], atol=0.02)


@pytest.mark.parametrize("scale", SCALES)
def test_a_window_equals_the_same_part_of_the_whole(scale, nuclei):
    image = nuclei[0].astype(np.float32)
    whole = resampled(image, scale)
    part = resampled(image, scale, (11, 29), (5, 33))
    np.testing.assert_allclose(part, whole[11:29, 5:33], atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_image_windows_of_neighbouring_blocks_join_without_gap(scale):
    axis = Axis.scaled(1000, scale)
    edges = [*range(0, axis.n_network, 50), axis.n_network]
    windows = [axis.image_window(a, b) for a, b in pairwise(edges)]
    pixels = np.concatenate([np.arange(w.start, w.stop) for w in windows])
    assert np.array_equal(pixels, np.arange(1000))


def test_combined_channels_give_the_brighter_one_in_its_own_range():
    rng = np.random.default_rng(0)
    array = rng.random((3, 60, 70))
    array[0] *= 1000
    array[1, 10:20, 10:20] += 5
    reader = ImageReader([array], "CYX", channels=((0, 1), 2))
    pixels = reader.read((), slice(5, 25), slice(0, 30))
    assert pixels.shape == (20, 30, 2)
    assert pixels.min() >= -0.25
    assert np.array_equal(pixels[..., 1], array[2, 5:25, :30].astype(pixels.dtype))
    alone = [ImageReader([array], "CYX", (i,)) for i in (0, 1)]
    spans = [one.measure(Normalization()) for one in alone]
    scaled = [
        (array[i, 5:25, :30] - s.low[0]) / (s.high[0] - s.low[0])
        for i, s in enumerate(spans)
    ]
    expected = np.clip(np.maximum(*scaled), -0.25, 1.5)
    assert np.allclose(pixels[..., 0], expected, atol=1e-5)
    # A window is the same part of the whole, whatever was read before.
    whole = ImageReader([array], "CYX", channels=((1, 0), 2)).read(
        (), slice(0, 60), slice(0, 70)
    )
    assert np.array_equal(whole[5:25, :30], pixels)


def test_a_constant_channel_or_nan_hides_nothing_of_the_other():
    array = np.stack([np.full((40, 50), 7.0), np.arange(2000.0).reshape(40, 50)])
    array[0, :5] = np.nan
    pixels = ImageReader([array], "CYX", channels=((0, 1),)).read(
        (), slice(0, 40), slice(0, 50)
    )
    assert np.isfinite(pixels).all()
    assert (np.diff(pixels[1:, 0, 0]) > 0).all()


@pytest.mark.parametrize("channels", [((),), ((0, 3),), ((0,), (1,), (2,), (0,))])
def test_combinations_that_are_not_there_are_refused(channels):
    with pytest.raises(ImageError, match="Choose one to three"):
        ImageReader([np.zeros((3, 6, 7))], "CYX", channels)


def test_arrays_are_joined_as_channels_without_being_read():
    two = np.arange(2 * 3 * 6 * 7, dtype=np.uint8).reshape(3, 2, 6, 7)
    other = dask.array.from_array(np.full((3, 6, 7), 500, np.uint16))
    joined = JoinedChannels([(two, 1, 0), (two, 1, 1), (other, None, 0)])
    assert joined.shape == (3, 3, 6, 7)
    reader = ImageReader([joined], "CZYX", channels=(1, 2))
    assert reader.shape == (3, 6, 7)
    pixels = reader.read((2,), *ALL)
    assert np.array_equal(pixels[..., 0], two[2, 1])
    assert (pixels[..., 1] == 500).all()
