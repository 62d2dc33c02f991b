"""`segment` on images larger than memory among others, and into the images themselves."""

import csv
import json
import os

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from pictures_of_squares import square
from stores import change, make_store

from napari_resunet.cli import main
from napari_resunet.engine.blocks import BlockLabels
from napari_resunet.ome_zarr import image_labels
from napari_resunet.session.large import outputs, size, steps
from napari_resunet.session.large import run as large
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.save_into import save_labels_into

INTO = ["segment", "data/x.ome.zarr", "--into-image", "nuclei", "--diameter", "24"]
FOLDER = ["segment", "data", "-o", "out", "--diameter", "24"]


def squares_of(predictor, plane, grid, place, *more):
    """Find the square in a block, which begins at (2, 2), without a network."""
    yield from ()
    window = grid.window(*place)
    labels = (plane.reader.read(plane.index, *window)[..., 0] > 100).astype(np.int32)
    begin = (window[0].start + 2) * grid.axes[1].n_network + window[1].start + 2
    ids = np.array([0, begin + 1])[: labels.max() + 1]
    return BlockLabels(labels, ids, ids[1:])


@pytest.fixture
def data(tmp_path, segmenting_here, monkeypatch):
    """A large OME-Zarr with four squares, each in a block of its own, and a small TIFF."""
    monkeypatch.setattr(steps, "label_block", squares_of)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # of dozens of files
    monkeypatch.setattr(large, "SIDE", 64)
    monkeypatch.setattr(outputs, "CHUNK", 64)
    monkeypatch.setattr(image_labels, "SIDE", 64)
    monkeypatch.setattr(image_labels, "PIECE", 90)
    monkeypatch.setattr(size, "MAX_IN_MEMORY", 10**4)
    image = np.tile(square(64), (2, 2))
    make_store(tmp_path / "data/x.ome.zarr", [image, image[::2, ::2], image[::4, ::4]])
    tifffile.imwrite("data/y.tif", square(10))
    return tmp_path / "data"


def group(path="data/x.ome.zarr/labels/nuclei"):
    return zarr.open_group(path, mode="r")


def stop_at(monkeypatch, block):
    save = BlockFiles.save

    def stopping(files, where, found):
        if where.name == block:
            raise KeyboardInterrupt
        save(files, where, found)

    monkeypatch.setattr(BlockFiles, "save", stopping)


def table(path):
    with open(path, encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_labels_go_into_the_image_at_all_of_its_levels(data, capsys):
    image = np.tile(square(64), (2, 2))
    fine = np.kron(image, np.ones((2, 2), image.dtype))
    path = make_store(data / "z.ome.zarr", [fine, image, image[::2, ::2]], version="0.4")
    assert main(["segment", str(path), *INTO[2:-1], "48"]) == 0
    assert "z.ome.zarr/labels/nuclei: 4 labels" in capsys.readouterr().out
    found = group(path / "labels/nuclei")
    labels = found["1"][...]
    assert sorted(np.unique(labels)) == [0, 1, 2, 3, 4]
    # As labels in memory are saved.
    save_labels_into(path, labels, "same")
    for level in "012":
        same = group(path / "labels/same")[level][...]
        np.testing.assert_array_equal(found[level][...], same)
    yaozarrs.validate_zarr_store(str(path / "labels/nuclei"))
    assert not list(path.glob(".nuclei*"))


def test_a_run_into_an_image_goes_on_and_is_listed_last(data, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, "0-1-0")
        assert main(INTO) == 130
    assert not (data / "x.ome.zarr/labels").exists()
    assert main(INTO) == 0
    assert "2 of 4 blocks are done since an earlier run." in capsys.readouterr().err
    listed = json.loads((data / "x.ome.zarr/labels/zarr.json").read_text())
    assert listed["attributes"]["ome"]["labels"] == ["nuclei"]
    assert main([*INTO, "--skip-existing"]) == 0
    assert "Skipping 1 of 1 images: labels are there already." in capsys.readouterr().err


def test_labels_that_somebody_changed_stay_in_the_image(data, capsys):
    assert main(INTO) == 0
    zarr.open_group("data/x.ome.zarr", mode="r+")["labels/nuclei/0"][0, 0] = 7
    assert main(INTO) == 1
    assert "has labels of the name 'nuclei' already" in capsys.readouterr().err
    assert main([*INTO, "--overwrite"]) == 0
    assert group()["0"][0, 0] == 0


def test_axes_that_do_not_fit_the_image_are_said_first(data, capsys):
    store = make_store(data / "c.ome.zarr", [np.ones((2, 128, 128), np.uint8)], "zyx")
    assert main(["segment", str(store), *INTO[2:], "--axes", "CYX"]) == 1
    assert "Labels of shape (128, 128) do not fit" in capsys.readouterr().err


def test_large_images_of_a_folder_go_into_stores(data, capsys):
    assert main([*FOLDER, "--into-image", "nuclei"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "out/x_labels.ome.zarr: 4 labels (1 of 2)",
        "out/y_labels.tif: 1 labels (2 of 2)",
    ]
    labels = group("out/x_labels.ome.zarr")["0"][...]
    np.testing.assert_array_equal(group()["0"][...], labels)
    assert main([*FOLDER, "--into-image", "nuclei", "--skip-existing"]) == 0
    assert "Skipping 2 of 2 images: labels are there" in capsys.readouterr().err
    # Labels are no images.
    assert main(["segment", "out", "-o", "more"]) == 1
    assert "There is no TIFF" in capsys.readouterr().err


def test_a_large_image_that_fails_does_not_end_the_run(data, capsys):
    change(data / "x.ome.zarr/0/zarr.json", "shape", to=[2**30, 2**30])
    assert main(FOLDER) == 1
    said = capsys.readouterr()
    assert said.out == "out/y_labels.tif: 1 labels (2 of 2)\n"
    assert "1 of 2 images failed:" in said.err


def test_a_folder_goes_on_in_the_middle_of_a_large_image(data, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, "0-1-1")
        assert main(FOLDER) == 130
    assert "run the same command with --skip-existing" in capsys.readouterr().err
    assert main([*FOLDER, "--skip-existing"]) == 0
    assert "3 of 4 blocks are done since an earlier run." in capsys.readouterr().err


def test_large_images_are_measured_in_the_tables_of_the_run(data, capsys):
    assert main([*FOLDER, "--measure", "basic"]) == 0
    rows = table("out/measurements.csv")
    assert [row["image"] for row in rows] == ["x"] * 4 + ["y"]
    summary = table("out/summary.csv")
    assert [row["objects"] for row in summary] == ["4", "1"]
    areas = [float(row["area_um2"]) for row in rows[:4]]
    assert float(summary[0]["mean_area_um2"]) == pytest.approx(np.mean(areas))
    assert float(summary[0]["density_per_mm2"]) == pytest.approx(4e6 / 64**2)
    (data.parent / "out/x_measurements.csv").unlink()
    assert main([*FOLDER, "--measure", "basic", "--skip-existing"]) == 0
    assert "out/x_labels.ome.zarr: kept, and measured" in capsys.readouterr().out
    assert table("out/measurements.csv") == rows


def test_films_are_measured_by_frame_and_volumes_are_not(data, capsys):
    image = np.stack([square(64)] * 2)
    make_store(data / "v.ome.zarr", [np.tile(image, (1, 2, 2))], "zyx")
    command = ["segment", "data/v.ome.zarr", "-o", "out", "--diameter", "24"]
    assert main(command) == 0
    assert "out/v_labels.ome.zarr: 4 labels" in capsys.readouterr().out
    for more in ([], ["--skip-existing"]):
        assert main([*command, *more, "--measure", "basic"]) == 1
        assert "give --stack separate" in capsys.readouterr().err
    assert main([*command, "--stack", "film", "--measure", "basic"]) == 0
    rows = table("out/measurements.csv")
    assert [row["track"] for row in rows] == [*"12341234"]
    assert [row["plane"] for row in rows] == [*"00001111"]
    assert table("out/summary.csv")[0]["tracks"] == "4"


@pytest.mark.parametrize("flag", ["--also=roi", "--directions=3"])
def test_what_needs_the_whole_image_in_memory_is_said(data, capsys, flag):
    assert main([*INTO[:2], "-o", "out", "--stack", "separate", flag]) == 1
    assert f"is too large for {flag.replace('=', ' ')}" in capsys.readouterr().err
