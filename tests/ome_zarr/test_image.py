"""What is read from an OME-Zarr: pixels, axes, names, pixel sizes, and the right level."""

import numpy as np
import pytest
import yaozarrs
from stores import make_store, multiscale, write_group

from napari_resunet.errors import FileError
from napari_resunet.ome_zarr.image import level_for, read_level
from napari_resunet.ome_zarr.metadata import images_in, is_ome_zarr, read_metadata
from napari_resunet.types import ObjectSize

RNG = np.random.default_rng(0)


def pixels(*shape):
    return RNG.integers(1, 200, shape).astype(np.uint16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("yx", (20, 24)), ("zyx", (3, 20, 24)), ("tczyx", (2, 2, 3, 20, 24))],
)
def test_pixels_axes_and_pixel_size_are_read(tmp_path, version, axes, shape):
    image = pixels(*shape)
    store = make_store(tmp_path / "x.ome.zarr", [image], axes, version)
    yaozarrs.validate_zarr_store(str(store))
    stored = read_level(store)
    assert stored.axes == axes.upper()
    assert stored.pixel_size == pytest.approx(0.5)
    assert np.array_equal(stored.array[...], image)
    assert np.array_equal(stored.array[..., 5:9, 2], image[..., 5:9, 2])
    assert stored.notices == ()


def test_the_steps_along_each_axis_are_those_of_the_level(tmp_path):
    images = [pixels(2, 3, 20, 24), pixels(2, 3, 10, 12)]
    store = make_store(tmp_path / "x.zarr", images, "tzyx", scale=[9, 2, 0.5, 0.4])
    text = (store / "zarr.json").read_text()
    timed = '"type": "time", "unit": "minute"'
    (store / "zarr.json").write_text(text.replace('"type": "time"', timed))
    assert read_level(store).steps == {"T": 540, "Z": 2, "Y": 0.5, "X": 0.4}
    assert read_level(store, 1).steps == {"T": 540, "Z": 2, "Y": 1, "X": 0.8}


def test_channels_have_their_names(tmp_path):
    store = make_store(
        tmp_path / "x.zarr", [pixels(2, 9, 9)], "cyx", channels=("DAPI", "GFP")
    )
    assert read_metadata(store).channels == ("DAPI", "GFP")


def test_other_units_are_converted_and_unknown_ones_are_left_out(tmp_path):
    store = make_store(tmp_path / "x.zarr", [pixels(9, 9)], scale=[650, 650])
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text.replace("micrometer", "nanometer"))
    assert read_level(store).pixel_size == pytest.approx(0.65)
    (store / "zarr.json").write_text(text.replace("micrometer", "furlong"))
    assert read_level(store).pixel_size is None


@pytest.fixture
def pyramid(tmp_path):
    """Levels of 160, 80, 40, and 20 rows, at 0.5 µm and up."""
    image = pixels(160, 160)
    levels = [image[:: 2**i, :: 2**i] for i in range(4)]
    return make_store(tmp_path / "x.ome.zarr", levels)


@pytest.mark.parametrize(
    ("size", "level", "pixels_there"),
    [
        (None, 0, None),
        (ObjectSize(30), 0, 30),
        (ObjectSize(48), 1, 24),
        (ObjectSize(47), 0, 47),
        (ObjectSize(300), 3, 37.5),
        (ObjectSize(um=60), 2, 30),
    ],
)
def test_the_coarsest_level_that_shows_the_objects_well_is_chosen(
    pyramid, size, level, pixels_there
):
    chosen, there = level_for(pyramid, size, 24)
    assert chosen == level
    assert (there and there.pixels) == pixels_there


def test_a_coarse_level_says_its_size_and_has_its_own_pixel_size(pyramid):
    stored = read_level(pyramid, 2)
    assert stored.array.shape == (40, 40)
    assert stored.pixel_size == pytest.approx(2)
    assert stored.notices == (
        "Its resolution level '2' was read, 40 × 40 pixels, which suits the diameter; "
        "labels in a file of their own have that size.",
    )


def test_levels_with_fewer_planes_are_not_chosen(tmp_path):
    levels = [pixels(4, 80, 80), pixels(2, 40, 40)]
    store = make_store(tmp_path / "x.zarr", levels, "zyx")
    assert level_for(store, ObjectSize(200), 24)[0] == 0


def test_images_of_a_plate_and_of_a_collection_are_listed(tmp_path):
    plate = tmp_path / "plate.zarr"
    wells = [{"path": "B/10"}, {"path": "A/1"}]
    write_group(plate, {"plate": {"wells": wells}})
    for well in ("B/10", "A/1"):
        write_group(plate / well, {"well": {"images": [{"path": "0"}]}})
    assert images_in(plate) == [plate / "B/10/0", plate / "A/1/0"]

    several = tmp_path / "several.zarr"
    write_group(several, {"bioformats2raw.layout": 3}, "0.4")
    for name in ("10", "2", "OME"):
        (several / name).mkdir()
    assert images_in(several) == [several / "2", several / "10"]


def test_a_plate_without_images_is_one_sentence(tmp_path):
    write_group(tmp_path / "p.zarr", {"plate": {"wells": []}})
    with pytest.raises(FileError, match="holds no image: check that it was copied whole"):
        images_in(tmp_path / "p.zarr")


def test_a_folder_is_an_image_by_its_name_or_by_its_metadata(tmp_path):
    write_group(tmp_path / "plain", {"multiscales": [multiscale("yx", 1, [1, 1])]})
    (tmp_path / "other" / "zarr.json").parent.mkdir()
    (tmp_path / "other" / "zarr.json").write_text("{}")
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "file.zarr").touch()
    found = {p.name for p in tmp_path.iterdir() if is_ome_zarr(p)}
    assert found == {"plain", "empty.zarr"}


def test_a_large_image_is_read_in_parts(tmp_path, monkeypatch):
    image = pixels(40, 40)
    store = make_store(tmp_path / "x.zarr", [image])
    monkeypatch.setattr("napari_resunet.ome_zarr.image.HARMLESS_BYTES", 0)
    stored = read_level(store)
    (store / "0" / "c" / "2" / "2").write_bytes(b"damaged")
    assert np.array_equal(stored.array[:16, :16], image[:16, :16])
    with pytest.raises(FileError, match="some are damaged or gone: copy the image again"):
        stored.array[32:, 32:]
