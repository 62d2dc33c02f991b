import numpy as np
import pytest

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.normalize import normalize, statistics
from napari_resunet.errors import ImageError
from napari_resunet.types import Normalization

CONTRACT = Normalization()
DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64"


def prepared(image):
    pixels = image[..., None]
    return normalize(pixels, statistics(pixels, CONTRACT, joint=False), CONTRACT)


@pytest.mark.parametrize("dtype", DTYPES.split())
def test_any_dtype_gives_the_same_picture(dtype, nuclei):
    image = (nuclei[0] > 60) if dtype == "bool" else (nuclei[0] // 2).astype(dtype)
    expected = prepared(image.astype(np.float64))
    np.testing.assert_allclose(prepared(image), expected, atol=2e-3)


def test_gain_and_offset_of_the_camera_do_not_matter(nuclei):
    image = nuclei[0].astype(np.float64)
    np.testing.assert_allclose(prepared(300 * image + 1e6), prepared(image), atol=1e-3)


def test_large_integers_keep_their_differences():
    image = (2**62 + np.arange(100, dtype=np.int64) * 4096).reshape(10, 10)
    values = prepared(image)
    assert len(np.unique(values.round(3))) > 90


@pytest.mark.parametrize("factor", [1e305, 1e-310, -1e305])
def test_huge_and_tiny_numbers_give_the_same_picture(factor, nuclei):
    image = nuclei[0].astype(np.float64)
    expected = prepared(np.sign(factor) * image)
    np.testing.assert_allclose(prepared(factor * image), expected, atol=1e-3)


def test_the_whole_range_of_float64_is_used(nuclei):
    image = nuclei[0].astype(np.float64)
    spread = (2 * image / image.max() - 1) * 1.7e308
    np.testing.assert_allclose(prepared(spread), prepared(image), atol=1e-3)


def test_whole_numbers_whose_differences_would_be_lost_are_refused():
    image = np.uint64(2**64 - 100) + np.arange(64, dtype=np.uint64).reshape(8, 8)
    with pytest.raises(ImageError, match="subtract the smallest value"):
        prepared(image)


def test_nan_and_infinity_stay_finite_and_local(nuclei):
    image = nuclei[0].astype(np.float32)
    spoiled = image.copy()
    spoiled[3, 4], spoiled[5, 6], spoiled[7, 8] = np.nan, np.inf, -np.inf
    values = prepared(spoiled)
    assert np.isfinite(values).all()
    clean = np.ones(image.shape, bool)
    clean[[3, 5, 7], [4, 6, 8]] = False
    np.testing.assert_allclose(values[clean], prepared(image)[clean], atol=0.02)


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_a_constant_image_becomes_quiet_background(value):
    values = prepared(np.full((9, 9), value, np.float32))
    assert np.isfinite(values).all()
    assert np.ptp(values) == 0


def test_a_crop_with_the_whole_images_statistics_equals_the_crop_of_the_whole(nuclei):
    planes = ImageReader([nuclei[0]])
    measured = planes.measure(CONTRACT)
    whole = normalize(planes.read((), *planes.window), measured, CONTRACT)
    crop = normalize(planes.read((), slice(20, 50), slice(30, 90)), measured, CONTRACT)
    assert np.array_equal(crop, whole[20:50, 30:90])


def test_colours_are_scaled_together():
    image = np.zeros((50, 50, 3), np.uint8)
    image[..., 0] = np.arange(50) * 5
    measured = statistics(image, CONTRACT, joint=True)
    assert len(set(measured.high)) == 1
