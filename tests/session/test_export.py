"""Labels go out in several formats with one description, and over nothing of others."""

import json

import numpy as np
import pytest
import tifffile

from napari_resunet.errors import FileError
from napari_resunet.files import read_stored
from napari_resunet.session.export import (
    LabelsToExport,
    describe_labels,
    export_labels,
    files_of,
    written_before,
)
from napari_resunet.session.labels_api import read_labels
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.models import VersionRecord
from napari_resunet.session.store.schema import ImageRecord

ALL = ("ome-tiff", "roi", "geojson")


def exported(labels, **image):
    known = {"name": "cells", "shape": labels.shape, "dtype": "uint8", "axes": "YX"}
    record = ImageRecord(**{**known, "source": "/i.tif", **image})
    version = VersionRecord(number=0)
    about = describe_labels(record, version, Settings(), labels, None)
    return LabelsToExport(labels, about)


@pytest.fixture
def cells():
    return exported(np.kron([[0, 1], [2, 1]], np.ones((5, 5), int)))


@pytest.mark.parametrize(
    ("name", "formats", "names"),
    [
        ("a_labels.tif", ALL, ["a_labels.tif", "a_rois.zip", "a.geojson"]),
        ("a.ome.tif", ALL, ["a.ome.tif", "a_rois.zip", "a.geojson"]),
        ("my.cells", ALL, ["my.cells.tif", "my.cells_rois.zip", "my.cells.geojson"]),
        ("a.TIFF", ("ome-tiff",), ["a.TIFF"]),
        ("a.zip", ("roi",), ["a.zip"]),
        ("a.tif", ("roi",), ["a.zip"]),
        ("a.zip", ("roi", "geojson"), ["a.zip", "a.geojson"]),
        ("my.cells", ("geojson",), ["my.cells.geojson"]),
    ],
)
def test_each_format_has_a_file(tmp_path, name, formats, names):
    files = files_of(tmp_path / name, formats)
    assert tuple(files) == formats
    assert [path.name for path in files.values()] == names


@pytest.mark.parametrize(
    ("axes", "shape", "seen"),
    [("XY", (8, 9), "YX"), ("YXZ", (4, 8, 9), "ZYX"), ("TXY", (4, 8, 9), "TYX"),
     ("XTYZ", (2, 3, 8, 9), "ZTYX")],
)  # fmt: skip
def test_labels_lie_on_the_pixels_as_other_programs_read_them(tmp_path, axes, shape, seen):
    labels = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    export_labels(tmp_path / "a.tif", exported(labels, axes=axes))
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), labels)
    assert read_stored(tmp_path / "a.tif").axes == seen


def test_labels_have_no_channel_axis_in_any_format(tmp_path):
    labels = np.zeros((3, 1, 8, 9), np.int32)
    labels[1, 0, 2:5, 3:6] = 4
    export = exported(
        labels, shape=(3, 2, 8, 9), axes="ZCYX", scale=(30.0, 1.0, 0.5, 0.25),
        units=("second", "pixel", "micrometer", "micrometer"),
        axis_labels=("t", "c", "y", "x"),
    )  # fmt: skip
    export_labels(tmp_path / "a.tif", export, ALL)
    stored = read_stored(tmp_path / "a.tif")
    assert stored.axes == "TYX"
    assert stored.steps == {"T": 30.0, "Y": 0.5, "X": 0.25}
    for name in ("a_rois.zip", "a.geojson"):
        back = read_labels(tmp_path / name, (3, 8, 9), "TYX")
        np.testing.assert_array_equal(back, labels[:, 0])


def test_files_that_were_changed_are_not_replaced(tmp_path, cells):
    path, rois = tmp_path / "a_labels.tif", tmp_path / "a_rois.zip"
    export_labels(path, cells, ALL)
    export_labels(path, cells, ALL)
    assert written_before(path, "/i.tif", ALL)
    assert not written_before(path, "/other.tif", ALL)
    rois.write_bytes(b"corrected in Fiji")
    assert not written_before(path, "/i.tif", ALL)
    assert written_before(path, "/i.tif", ("ome-tiff", "geojson"))
    with pytest.raises(FileError, match=r"a_rois\.zip' is there already"):
        export_labels(path, cells, ALL)
    assert rois.read_bytes() == b"corrected in Fiji"
    export_labels(path, cells, ALL, overwrite=True)
    assert read_labels(rois).any()


def test_the_file_that_the_user_named_is_replaced(tmp_path, cells):
    (tmp_path / "a.geojson").write_text("mine")
    with pytest.raises(FileError, match=r"a\.geojson' is there already"):
        export_labels(tmp_path / "a.tif", cells, ALL)
    assert [path.name for path in tmp_path.iterdir()] == ["a.geojson"]
    export_labels(tmp_path / "a.geojson", cells, ("geojson",))  # a dialog has asked
    assert read_labels(tmp_path / "a.geojson").any()
    note = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert set(note["other_formats_sha256"]) == {"a.geojson"}


def test_a_description_of_something_else_stays(tmp_path, cells):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(FileError, match="does not describe labels"):
        export_labels(tmp_path / "a.tif", cells, ALL)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
