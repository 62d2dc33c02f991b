"""Tables as other programs read them."""

import csv
import sys

import numpy as np
import pandas as pd
import pytest

from napari_resunet.errors import FileError
from napari_resunet.session.tables import join_tables, summary_of, table_of, write_table

TABLE = {
    "image": np.array(["a", '=1+1, "x"', "é"], object),
    "label": np.array([1, 2, 2**40]),
    "area_um2": np.array([0.1, -2.5, np.nan]),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_pandas_reads_what_was_written(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(path, TABLE)
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    table = read(path)
    assert list(table) == list(TABLE)
    assert table["label"].tolist() == [1, 2, 2**40]
    assert table["area_um2"][:2].tolist() == [0.1, -2.5]
    assert np.isnan(table["area_um2"][2])
    assert table["image"][2] == "é"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_name_becomes_a_formula(tmp_path, start):
    name = f"{start}HYPERLINK(1)"
    table = {"image": np.array([name], object), name: np.array([-1.5])}
    write_table(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [["image", f"'{name}"], [f"'{name}", "-1.5"]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_name_that_is_no_text_is_written(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    write_table(path, {"image": np.array(["a\udcff"], object)})
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    assert read(path)["image"].tolist() == ["a?"]


def test_csv_is_what_the_rfc_says(tmp_path):
    write_table(tmp_path / "t.csv", TABLE)
    lines = (tmp_path / "t.csv").read_bytes().split(b"\r\n")
    assert lines[0] == b"image,label,area_um2"
    assert lines[2] == b'"\'=1+1, ""x""",2,-2.5'
    assert lines[-1] == b""


def test_another_ending_and_a_missing_pyarrow_are_sentences(tmp_path, monkeypatch):
    with pytest.raises(FileError, match=r"give a name that ends in \.csv or \.parquet"):
        write_table(tmp_path / "t.xlsx", TABLE)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FileError, match="napari-resunet\\[parquet\\]"):
        write_table(tmp_path / "t.parquet", TABLE)
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_table(tmp_path / "t.csv", TABLE)


def test_parquet_tables_with_other_columns_are_joined(tmp_path):
    first, second, third = (tmp_path / f"{n}.parquet" for n in (1, 2, 3))
    write_table(first, TABLE)
    empty = {"image": np.array([], object), "area_px": np.array([], np.int64)}
    write_table(second, empty)
    write_table(third, {"image": np.array(["-b"], object), "area_px": np.array([7.5])})
    join_tables(tmp_path / "all.parquet", [first, second, third])
    table = pd.read_parquet(tmp_path / "all.parquet")
    assert list(table) == ["image", "label", "area_um2", "area_px"]
    assert table["image"].tolist()[-1] == "-b"
    assert table["area_px"].isna().tolist() == [True, True, True, False]
    assert table["area_px"].tolist()[-1] == 7.5
    assert table["label"].isna().tolist() == [False, False, False, True]


def test_tables_with_other_columns_are_joined(tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    write_table(first, TABLE)
    write_table(second, {"image": np.array(["-b"], object), "area_px": np.array([7])})
    join_tables(tmp_path / "all.csv", [first, second])
    table = pd.read_csv(tmp_path / "all.csv")
    assert list(table) == ["image", "label", "area_um2", "area_px"]
    assert table["image"].tolist() == ["a", '\'=1+1, "x"', "é", "'-b"]
    assert table["area_px"].isna().tolist() == [True, True, True, False]


def test_a_summary_counts_and_averages():
    table = {
        "label": np.array([1, 1, 2]),
        "class": np.array(["axon", "axon", "myelin"], object),
        "area_um2": np.array([1.0, 3.0, 11.0]),
        "mean_intensity_x": np.array([1.0, 2.0, 3.0]),
    }
    row = summary_of(table, 10_000, (0.5, 0.5), ("background", "axon", "myelin"))
    assert row == pytest.approx({
        "objects": 3, "mean_area_um2": 5, "median_area_um2": 3,
        "density_per_mm2": 3 / 0.0025, "mean_intensity_x": 2,
        "share_axon": 4 / 2500, "share_myelin": 11 / 2500,
    })  # fmt: skip
    empty = summary_of({"area_px": np.array([], int)}, 10, None, ())
    assert empty["objects"] == 0
    assert empty["density_per_megapixel"] == 0
    assert np.isnan(empty["mean_area_px"])
    volumes = {"volume_um3": np.array([2.0, 4.0]), "track": np.array([7, 7])}
    row_of_volumes = summary_of(volumes, 10_000, (2.0, 0.5, 0.5))
    assert row_of_volumes == pytest.approx({
        "objects": 2, "tracks": 1, "mean_volume_um3": 3, "median_volume_um3": 3,
        "density_per_mm3": 2 / 5e-6,
    })  # fmt: skip
    assert summary_of({"volume_px": np.ones(2)}, 10**6, None)["density_per_megavoxel"] == 2
    both = table_of({"a": row, "b": empty})
    assert both["objects"].tolist() == [3, 0]
    assert np.isnan(both["share_axon"][1])
