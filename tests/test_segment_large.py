"""`segment image -o labels.ome.zarr`: what is written, and what is said."""

import csv

import numpy as np
import pytest
import tifffile
import zarr
from pictures_of_squares import square

from napari_resunet.cli import main
from napari_resunet.errors import DiskFullError
from napari_resunet.network.model_file import new_model
from napari_resunet.session.large import outputs
from napari_resunet.session.large import run as large
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.types import ModelInfo

COMMAND = ["segment", "big.tif", "-o", "labels.ome.zarr", "--diameter", "24"]


@pytest.fixture
def big(segmenting_here, monkeypatch):
    """Four squares, each in a block of its own."""
    monkeypatch.setattr(large, "SIDE", 64)
    monkeypatch.setattr(outputs, "CHUNK", 32)
    image = np.tile(square(64), (2, 2))
    tifffile.imwrite("big.tif", image)
    return image


def labels():
    return zarr.open_group("labels.ome.zarr", mode="r")["0"][...]


def test_one_image_goes_into_a_store(big, capsys):
    assert main(COMMAND) == 0
    assert capsys.readouterr().out.splitlines() == ["labels.ome.zarr: 4 labels"]
    assert sorted(np.unique(labels())) == [0, 1, 2, 3, 4]
    assert labels().shape == big.shape


@pytest.mark.parametrize(
    ("stopped_by", "status", "sentence"),
    [
        (KeyboardInterrupt, 130, "Interrupted: what is done is kept, and the same command"),
        (DiskFullError, 1, "The disk is full: free some space; what is done is kept"),
    ],
)
def test_the_same_command_goes_on(big, capsys, monkeypatch, stopped_by, status, sentence):
    save = BlockFiles.save

    def stopping(files, block, found):
        if block.name == "0-1-0":
            raise stopped_by
        save(files, block, found)

    with monkeypatch.context() as patch:
        patch.setattr(BlockFiles, "save", stopping)
        assert main(COMMAND) == status
    assert sentence in capsys.readouterr().err
    assert main(COMMAND) == 0
    said = capsys.readouterr()
    assert "2 of 4 blocks are done since an earlier run." in said.err
    assert said.out == "labels.ome.zarr: 4 labels\n"


def test_more_objects_than_numbers_are_said(big, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(large, "MAX_OBJECTS", 3)
    assert main(COMMAND) == 1
    assert "There are 4 objects, and labels of 32 bits" in capsys.readouterr().err
    assert not (tmp_path / "labels.ome.zarr").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--also=roi"], "--also needs a folder for the results"),
        (["--measure=all", "--table-format=parquet"], "--table-format parquet needs"),
        (["--directions=3"], "--directions 3 needs a folder"),
        (["other.tif"], "An OME-Zarr is for the labels of one image"),
    ],
)
def test_what_does_not_go_with_a_store_is_said(big, capsys, more, sentence):
    tifffile.imwrite("other.tif", big)
    assert main(["segment", *more, *COMMAND[1:]]) == 1
    assert sentence in capsys.readouterr().err


def test_several_processes_are_for_large_images(segmenting_here, capsys):
    for name in "ab":
        tifffile.imwrite(f"{name}.tif", square(10))
    assert main(["segment", "a.tif", "b.tif", "-o", "out", "--workers", "2"]) == 0
    assert capsys.readouterr().err.count("are segmented in this process") == 1


def rows():
    with open("labels_measurements.csv", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


MEASURE = ["--measure", "basic"]


def test_the_labels_are_measured(big, capsys):
    assert main([*COMMAND, *MEASURE]) == 0
    assert capsys.readouterr().out == "labels.ome.zarr: 4 labels\n"
    assert [row["label"] for row in rows()] == ["1", "2", "3", "4"]
    areas = [int(row["area_px"]) for row in rows()]
    assert areas == [np.sum(labels() == n) for n in range(1, 5)]
    means = [float(row["mean_intensity"]) for row in rows()]
    assert means == pytest.approx([big[labels() == n].mean() for n in range(1, 5)])
    assert main([*COMMAND, *MEASURE]) == 1
    assert "'labels_measurements.csv' is there already" in capsys.readouterr().err
    assert main([*COMMAND, "--measure", "all", "--overwrite"]) == 0
    assert "eccentricity" in rows()[0]


def test_labels_that_are_there_are_only_measured(big, capsys, monkeypatch):
    assert main(COMMAND) == 0
    with monkeypatch.context() as patch:
        patch.setattr(large, "segment_large", None)
        assert main([*COMMAND, *MEASURE]) == 0
    assert capsys.readouterr().out.splitlines() == ["labels.ome.zarr: 4 labels"] * 2
    assert len(rows()) == 4


def test_labels_of_another_run_are_not_measured(big, tmp_path, capsys):
    assert main(COMMAND) == 0
    assert main([*COMMAND[:-1], "30", *MEASURE]) == 1
    assert "'labels.ome.zarr' is there already" in capsys.readouterr().err
    assert not (tmp_path / "labels_measurements.csv").exists()


def test_an_interrupted_measurement_goes_on_with_the_labels(big, capsys, monkeypatch):
    def stopping(*args, **named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("napari_resunet.session.large.measure.measure_large", stopping)
        assert main([*COMMAND, *MEASURE]) == 130
    assert "what is done is kept, and the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(large, "segment_large", None)
    assert main([*COMMAND, *MEASURE]) == 0
    assert len(rows()) == 4


def test_classes_are_not_measured(big, monkeypatch, capsys):
    model = new_model(ModelInfo(task="classes", class_names=("background", "axon")))
    monkeypatch.setattr("napari_resunet.session.api.load_model", lambda name: model)
    assert main([*COMMAND, *MEASURE]) == 1
    assert "is for objects, and the model finds classes" in capsys.readouterr().err
