"""`segment` on slides and other large images: pixels are read as they are used."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from stores import make_store

from napari_resunet.cli import main
from napari_resunet.files import read_stored


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, by_threshold, starter):
    """Let every image count as large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_resunet.session.api.load_model", lambda name: starter)
    monkeypatch.setattr("napari_resunet.slides.image.HARMLESS_BYTES", 0)
    monkeypatch.setattr("napari_resunet.ome_zarr.image.HARMLESS_BYTES", 0)
    return tmp_path


def square(size):
    image = np.zeros((size, size), np.uint8)
    image[size // 8 : -size // 8, size // 8 : -size // 8] = 200
    return image


def test_a_slide_is_segmented_at_the_level_of_its_diameter(here, capsys):
    slide = np.stack([square(64)] * 3, -1)
    about = "Aperio Image Library\n|MPP = 0.25"
    with tifffile.TiffWriter("slide.svs") as writer:
        for page in (slide, slide[::8, ::8], slide[::2, ::2]):
            writer.write(
                page, tile=(16, 16), photometric="rgb", description=about, metadata=None
            )
    command = ["segment", "slide.svs", "-o", "out", "--measure", "basic"]
    assert main([*command, "--diameter", "12.5um"]) == 0
    said = capsys.readouterr()
    assert said.out == "out/slide_labels.tif: 1 labels\n"
    assert "Its resolution level '1' was read, 32 × 32 pixels" in said.err
    labels = read_stored(here / "out" / "slide_labels.tif")
    np.testing.assert_array_equal(labels.array > 0, square(32) > 0)
    assert labels.pixel_size == pytest.approx(0.5)
    assert json.loads((here / "out" / "slide_labels.json").read_text())["level"] == 1
    table = (here / "out" / "slide_measurements.csv").read_text()
    assert "mean_intensity_green" in table
    assert main([*command, "--diameter", "12.5um", "--skip-existing"]) == 0
    assert "Skipping 1 of 1 images" in capsys.readouterr().err


def test_an_ome_zarr_that_is_larger_than_memory_is_segmented_too(here, capsys):
    make_store(here / "x.ome.zarr", [square(32)])
    assert main(["segment", "x.ome.zarr", "-o", "out"]) == 0
    assert capsys.readouterr().out == "out/x_labels.tif: 1 labels\n"


def write_two(path):
    """Write an OME-TIFF of two images, each with a coarser level."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for image in (square(64), square(96)):
            options = {"tile": (16, 16), "photometric": "minisblack"}
            about = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
            writer.write(image, subifds=1, metadata=about, **options)
            writer.write(image[::2, ::2], subfiletype=1, **options)


def test_each_image_of_a_file_is_segmented_at_the_level_of_its_diameter(here, capsys):
    write_two("x.ome.tif")
    assert main(["segment", "x.ome.tif", "-o", "out", "--diameter", "12.5um"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "out/x.ome_labels.tif: 1 labels (1 of 2)",
        "out/x.ome_2_labels.tif: 1 labels (2 of 2)",
    ]
    assert len(said.err.splitlines()) == 2
    for side in (32, 48):
        assert f"was read, {side} × {side} pixels" in said.err
    labels = read_stored(here / "out" / "x.ome_2_labels.tif")
    np.testing.assert_array_equal(labels.array > 0, square(48) > 0)
    assert labels.pixel_size == pytest.approx(0.5)


def test_one_image_of_a_file_goes_into_a_store(here, capsys, monkeypatch):
    monkeypatch.setattr("napari_resunet.session.large.run.SIDE", 64)
    monkeypatch.setattr("napari_resunet.session.large.outputs.CHUNK", 32)
    write_two("x.ome.tif")
    command = ["segment", "x.ome.tif/2", "-o", "y.zarr", "--diameter", "12.5um"]
    assert main([*command, "--measure", "basic"]) == 0
    said = capsys.readouterr()
    n = int(said.out.removeprefix("y.zarr: ").removesuffix(" labels\n"))
    assert said.err.count("Its resolution level '1' was read, 48 × 48 pixels") == 1
    store = zarr.open_group("y.zarr", mode="r")
    assert store["0"].shape == (48, 48)
    assert store.attrs["napari-resunet"]["image"]["name"] == "x.ome_2.tif"
    table = (here / "y_measurements.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + n
    assert "area_um2" in table[0]
