"""`segment --measure`: a table for each image, and two for all of them."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.measure import label

from napari_resunet.cli import main
from napari_resunet.session import api, segment_files

UM = {"imagej": True, "resolution": (2.0, 2.0)}


@pytest.fixture(autouse=True)
def by_threshold(monkeypatch, starter):
    """A model that needs no time: bright pieces are objects."""

    def segment_planes(reader, model, **named):
        shown = [reader.read(i, *reader.window)[..., 0] for i in reader.indices()]
        found = np.stack([label(plane > 0) for plane in shown])
        return found.reshape(reader.shape).astype(np.int32), 1.0

    monkeypatch.setattr(segment_files, "segment_planes", segment_planes)
    monkeypatch.setattr(api, "load_model", lambda name: starter)


@pytest.fixture
def images(tmp_path):
    """One with two channels and a pixel size; one of a single channel."""
    two = np.zeros((2, 20, 30), np.uint8)
    two[0, 2:6, 2:12], two[0, 10:12, 2:12], two[1] = 10, 20, 7
    names = {"axes": "CYX", "unit": "um", "Labels": ["DAPI", "actin"]}
    tifffile.imwrite(tmp_path / "a.tif", two, metadata=names, **UM)
    tifffile.imwrite(tmp_path / "b.tif", two[0, :15], photometric="minisblack")
    return [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]


def segment(images, out, *more):
    return main(["segment", *images, "-o", str(out), "--measure", "basic", *more])


def test_each_image_and_the_run_have_tables(images, tmp_path):
    out = tmp_path / "out"
    assert segment(images, out) == 0
    one = pd.read_csv(out / "a_measurements.csv")
    assert one["image"].tolist() == ["a", "a"]
    assert one["area_um2"].tolist() == [10, 5]
    assert one["mean_intensity_DAPI"].tolist() == [10, 20]
    assert one["mean_intensity_actin"].tolist() == [7, 7]
    everything = pd.read_csv(out / "measurements.csv")
    assert everything["image"].tolist() == ["a", "a", "b", "b"]
    assert everything["area_px"].tolist()[2:] == [40, 20]
    summary = pd.read_csv(out / "summary.csv").set_index("image")
    assert summary["objects"].tolist() == [2, 2]
    assert summary.loc["a", "mean_area_um2"] == 7.5
    assert summary.loc["a", "density_per_mm2"] == pytest.approx(2 / (150e-6))
    assert summary.loc["b", "density_per_megapixel"] == pytest.approx(2 / 450e-6)
    assert summary.loc["b", "mean_intensity"] == 15


def test_all_adds_the_shape(images, tmp_path):
    assert main(["segment", images[1], "-o", str(tmp_path), "--measure", "all"]) == 0
    assert "perimeter_px" in pd.read_csv(tmp_path / "measurements.csv")


def test_without_the_flag_there_are_no_tables(images, tmp_path):
    assert main(["segment", *images, "-o", str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out").glob("*.csv"))


@pytest.mark.parametrize("name", ["a_measurements.csv", "summary.csv"])
def test_only_tables_that_nobody_changed_are_replaced(images, tmp_path, capsys, name):
    out = tmp_path / "out"
    assert segment(images, out) == 0
    assert segment(images[:1], out) == 0
    assert len(pd.read_csv(out / "measurements.csv")) == 2
    with (out / name).open("a") as stream:
        stream.write("mine\r\n")
    assert segment(images[:1], out) == 1
    assert (out / name).read_text().endswith("mine\n")
    assert f"{name}' is there already" in capsys.readouterr().err
    assert segment(images[:1], out, "--overwrite") == 0
    assert "mine" not in (out / name).read_text()


@pytest.mark.parametrize("content", ["{", "[]", '{"tables": 1}', '{"x": {}}', "[" * 10**5])
def test_a_note_of_another_program_is_left_alone(images, tmp_path, capsys, content):
    (tmp_path / "measurements.json").write_text(content)
    assert segment(images, tmp_path) == 1
    assert (tmp_path / "measurements.json").read_text() == content
    assert "measurements.json' is there already" in capsys.readouterr().err
    assert segment(images, tmp_path, "--overwrite") == 0
    assert len(json.loads((tmp_path / "measurements.json").read_text())["tables"]) == 4


def test_a_bad_image_leaves_the_tables_of_the_others(images, tmp_path):
    (tmp_path / "bad.tif").write_bytes(b"")
    assert segment([str(tmp_path / "bad.tif"), images[1]], tmp_path / "out") == 1
    assert pd.read_csv(tmp_path / "out" / "summary.csv")["image"].tolist() == ["b"]


def test_a_wrong_group_is_a_sentence(images, tmp_path, capsys):
    assert main(["segment", *images, "-o", str(tmp_path), "--measure", "more"]) == 1
    assert "--measure: invalid choice: 'more'" in capsys.readouterr().err
