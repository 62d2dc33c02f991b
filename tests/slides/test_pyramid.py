"""Large TIFFs in a viewer: nothing is read as a whole, and there are coarser levels."""

import tracemalloc

import numpy as np
import pytest
import tifffile

from napari_resunet.errors import FileError
from napari_resunet.plugin.layers.image_layers import Origin
from napari_resunet.plugin.layers.readers import make_layer
from napari_resunet.session.pixels import read_pixels
from napari_resunet.session.queue_images import read_own, small_picture
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.slides import pages, pyramid
from napari_resunet.slides.level import TiffLevel

SHAPE = 300, 260
BAND = 32
ZIP = {"compression": "zlib", "rowsperstrip": 8}


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Let every image count as large."""
    monkeypatch.setattr(pyramid, "HARMLESS_BYTES", 0)
    monkeypatch.setattr(pyramid, "SMALL_SIDE", 40)
    monkeypatch.setattr(pyramid, "BAND", BAND)


@pytest.fixture
def most(monkeypatch):
    """The most pixels of the file that were in memory at once."""
    seen, read = {"pixels": 0}, TiffLevel.__getitem__

    def counted(level, where):
        found = read(level, where)
        seen["pixels"] = max(
            seen["pixels"], found[..., 0].size if found.ndim == 3 else found.size
        )
        return found

    monkeypatch.setattr(TiffLevel, "__getitem__", counted)
    return seen


def write(path, *more, **options):
    pixels = np.random.default_rng(5).integers(0, 255, (*SHAPE, *more)).astype(np.uint8)
    tifffile.imwrite(path, pixels, **options)
    return pixels


@pytest.mark.parametrize(
    ("more", "options"), [((), {}), ((), ZIP), ((3,), {}), ((3,), ZIP)]
)
def test_a_large_tiff_has_levels_and_is_never_read_whole(tmp_path, most, more, options):
    pixels = write(tmp_path / "big.tif", *more, **options)
    found = read_own(tmp_path / "big.tif")
    assert [level.shape[:2] for level in found.levels] == [
        SHAPE, (150, 130), (75, 65), (38, 33)
    ]  # fmt: skip
    assert found.rgb == bool(more)
    assert small_picture(found).any()
    assert most["pixels"] <= BAND * SHAPE[1]
    layer = make_layer(found, Origin("a", str(tmp_path / "big.tif")))
    assert layer.multiscale
    for number, level in enumerate(layer.data):
        step = 2**number
        np.testing.assert_array_equal(np.asarray(level), pixels[::step, ::step])
        window = slice(5, 20), slice(7, 30)
        np.testing.assert_array_equal(level[window], pixels[::step, ::step][window])


def test_memory_does_not_grow_with_the_file(tmp_path):
    shape = 4000, 3000
    tifffile.imwrite(tmp_path / "big.tif", np.ones(shape, np.uint8), rowsperstrip=8)
    tracemalloc.start()
    try:
        read_own(tmp_path / "big.tif")
        assert tracemalloc.get_traced_memory()[1] < np.prod(shape) / 4
    finally:
        tracemalloc.stop()


def test_planes_of_a_large_stack_are_read_one_by_one(tmp_path, most):
    stack = np.arange(3 * 90 * 80, dtype=np.uint16).reshape(3, 90, 80)
    options = {"photometric": "minisblack", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(tmp_path / "big.tif", stack, **options)
    found = read_own(tmp_path / "big.tif")
    layer = make_layer(found, Origin("a", str(tmp_path / "big.tif")))
    for step, level in zip((1, 2, 4), layer.data, strict=True):
        np.testing.assert_array_equal(level[1], stack[1, ::step, ::step])
        np.testing.assert_array_equal(level[:, 3], stack[:, ::step, ::step][:, 3])
    assert most["pixels"] <= 90 * 80


def test_a_session_opens_it_again_without_reading_it_whole(tmp_path, most):
    write(tmp_path / "big.tif")
    record = ImageRecord(name="big", shape=SHAPE, dtype="uint8", axes="YX")
    assert len(read_pixels(tmp_path / "big.tif", record)) == 4
    assert most["pixels"] <= BAND * SHAPE[1]


def test_what_can_only_be_read_as_a_whole_is_refused_if_it_does_not_fit(
    tmp_path, monkeypatch
):
    pixels = write(tmp_path / "big.tif", compression="zlib", rowsperstrip=SHAPE[0])
    monkeypatch.setattr(pages, "MAX_PIECE", 0)
    monkeypatch.setattr("napari_resunet.slides.level.MAX_PIECE", 0)
    np.testing.assert_array_equal(read_own(tmp_path / "big.tif").levels[0], pixels)
    monkeypatch.setattr(pyramid, "memory_bytes", lambda: pixels.nbytes)
    with pytest.raises(FileError, match="save it as a tiled TIFF or an OME-Zarr"):
        read_own(tmp_path / "big.tif")
