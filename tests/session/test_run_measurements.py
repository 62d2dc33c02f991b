"""`segment --measure`: a table for each image, and two for all of them."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile
from skimage.measure import label

from napari_resunet.cli import main
from napari_resunet.errors import OutOfMemoryError
from napari_resunet.session import api, run_measurements, segment_files

UM = {"imagej": True, "resolution": (2.0, 2.0)}


@pytest.fixture(autouse=True)
def by_threshold(monkeypatch, starter):
    """A model that needs no time: bright pieces are objects."""

    def segment_planes(reader, model, **named):
        shown = [reader.read(i, *reader.window)[..., 0] for i in reader.indices()]
        found = label(np.stack(shown) > 0)
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


@pytest.mark.parametrize("known", [True, False])
def test_a_volume_has_one_row_for_each_object(tmp_path, known):
    stack = np.zeros((4, 20, 30), np.uint8)
    stack[1:3, 2:6, 2:12] = 5
    metadata = {"axes": "ZYX"} | ({"unit": "um", "spacing": 3} if known else {})
    kind = UM if known else {"imagej": True}
    tifffile.imwrite(tmp_path / "v.tif", stack, metadata=metadata, **kind)
    assert segment([str(tmp_path / "v.tif")], tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "v_measurements.csv")
    size, volume = ("volume_um3", 80 * 0.75) if known else ("volume_px", 80)
    assert table[size].tolist() == [volume]
    assert table["mean_intensity"].tolist() == [5]
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary["objects"].tolist() == [1]
    assert summary[f"mean_{size}"].tolist() == [volume]


def test_labels_that_are_kept_are_measured_as_they_were_made(tmp_path):
    stack = np.zeros((3, 20, 30), np.uint8)
    stack[:, 2:6, 2:12] = 5
    tifffile.imwrite(tmp_path / "f.tif", stack, imagej=True, metadata={"axes": "TYX"})
    for _ in range(2):
        assert segment([str(tmp_path / "f.tif")], tmp_path / "out", "--skip-existing") == 0
        table = pd.read_csv(tmp_path / "out" / "f_measurements.csv")
        assert table["track"].tolist() == [1, 1, 1]
        assert table["plane"].tolist() == [0, 1, 2]
        assert pd.read_csv(tmp_path / "out" / "summary.csv")["tracks"].tolist() == [1]
    assert segment([str(tmp_path / "f.tif")], tmp_path / "s", "--stack", "separate") == 0
    assert "track" not in pd.read_csv(tmp_path / "s" / "f_measurements.csv")


def test_all_adds_the_shape(images, tmp_path):
    assert main(["segment", images[1], "-o", str(tmp_path), "--measure", "all"]) == 0
    assert "perimeter_px" in pd.read_csv(tmp_path / "measurements.csv")


def test_tables_may_be_parquet(images, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        assert segment(images, out, "--table-format", "parquet") == 0
    table = pd.read_parquet(out / "measurements.parquet")
    assert table["image"].tolist() == ["a", "a", "b", "b"]
    assert table["area_um2"].tolist()[:2] == [10, 5]
    assert pd.read_parquet(out / "a_measurements.parquet")["image"].tolist() == ["a", "a"]
    assert pd.read_parquet(out / "summary.parquet")["objects"].tolist() == [2, 2]
    assert not list(out.glob("*.csv"))


def test_without_pyarrow_parquet_is_refused_before_the_run(
    images, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert segment(images, tmp_path / "out", "--table-format", "parquet") == 1
    assert capsys.readouterr().err == (
        "Parquet files need pyarrow: install it with 'pip install "
        "napari-resunet[parquet]', or choose CSV.\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_format_of_tables_needs_tables(images, tmp_path, capsys):
    command = ["segment", *images, "-o", str(tmp_path / "out"), "--table-format", "parquet"]
    assert main(command) == 1
    assert "--table-format needs --measure" in capsys.readouterr().err


def features(path):
    found = json.loads(path.read_text("utf-8"))["features"]
    return [(f["geometry"].get("plane"), f["properties"]["measurements"]) for f in found]


def test_measurements_are_in_the_file_for_qupath_too(images, tmp_path, capsys):
    assert segment(images, tmp_path / "out", "--also", "geojson") == 0
    (_, one), (_, two) = features(tmp_path / "out" / "a.geojson")
    assert (one["area_um2"], two["area_um2"]) == (10, 5)
    assert two["mean_intensity_DAPI"] == 20
    assert {"image", "label"}.isdisjoint(two)
    again = ("--also", "geojson", "--skip-existing")
    assert segment(images, tmp_path / "out", *again) == 0
    assert "Skipping 2 of 2 images" in capsys.readouterr().err
    command = ["segment", *images, "-o", str(tmp_path / "out"), *again]
    assert main([*command, "--measure", "all"]) == 0
    assert "Segmenting again 2 of 2 images: the outlines" in capsys.readouterr().err
    assert features(tmp_path / "out" / "a.geojson")[0][1]["extent"] == 1
    assert main(command) == 0  # measurements that are there do no harm
    assert "Skipping 2 of 2 images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stack", "sizes"),
    [("film", [40, 10]), ("volume", [50, 50]), ("separate", [40, 10])],
)
def test_each_outline_of_a_stack_has_the_values_of_its_object(tmp_path, stack, sizes):
    pixels = np.zeros((3, 20, 30), np.uint8)
    pixels[1, 2:6, 2:12] = pixels[2, 2, 2:12] = 5
    tifffile.imwrite(tmp_path / "s.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    out, more = tmp_path / "out", ("--also", "geojson", "--stack", stack)
    assert segment([str(tmp_path / "s.tif")], out, *more) == 0
    found = features(out / "s.geojson")
    assert [place["t"] for place, _ in found] == [1, 2]
    size = "volume_px" if stack == "volume" else "area_px"
    assert [values[size] for _, values in found] == sizes


def test_labels_are_written_if_they_cannot_be_measured(images, tmp_path, monkeypatch):
    def fail(*arguments, **named):
        raise OutOfMemoryError("Too little memory.")

    monkeypatch.setattr(run_measurements, "measure_request", fail)
    assert segment(images[:1], tmp_path / "out", "--also", "geojson") == 1
    assert tifffile.imread(tmp_path / "out" / "a_labels.tif").max() == 2
    assert not (tmp_path / "out" / "a_measurements.csv").exists()


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
