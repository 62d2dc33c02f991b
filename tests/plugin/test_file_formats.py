"""napari's File menu opens outlines as labels, and saves labels in formats of others."""

import os
import zipfile

import numpy as np
import pytest
import roifile
import tifffile
from napari.components import ViewerModel
from napari.layers import Labels

from napari_resunet.files import read_stored
from napari_resunet.plugin import file_formats
from napari_resunet.plugin.file_formats import get_reader
from napari_resunet.session.labels_api import save_labels

US = "napari-resunet"


@pytest.fixture
def viewer(plugins, monkeypatch):
    """A viewer without a window that counts as the current one; collects what is said."""
    viewer = ViewerModel()
    monkeypatch.setattr(file_formats, "current_viewer", lambda: viewer)
    return viewer


@pytest.fixture
def said(monkeypatch):
    told = []
    monkeypatch.setattr(file_formats, "show_info", told.append)
    monkeypatch.setattr(file_formats, "show_warning", told.append)
    return told


def film():
    labels = np.zeros((3, 20, 30), np.int32)
    labels[0, 2:5, 3:9], labels[1, 2:8, 4:9], labels[2, 12:15, 20:25] = 1, 1, 2
    return labels


def add_film(viewer):
    where = {"scale": (30, 0.5, 0.5), "units": ("second", "um", "um"),
             "axis_labels": ("t", "y", "x")}  # fmt: skip
    return viewer.add_labels(film(), name="film", **where)


def test_any_labels_layer_is_saved_as_an_ome_tiff(viewer, tmp_path):
    add_film(viewer)
    assert viewer.layers.save(str(tmp_path / "a.ome.tif"), plugin=US)
    stored = read_stored(tmp_path / "a.ome.tif")
    assert stored.axes == "TYX"
    assert stored.steps == {"T": 30.0, "Y": 0.5, "X": 0.5}
    np.testing.assert_array_equal(stored.array, film())


@pytest.mark.parametrize("suffix", [".zip", ".geojson"])
def test_outlines_of_a_layer_come_home_to_the_image(viewer, tmp_path, said, suffix):
    path = str(tmp_path / f"film{suffix}")
    layer = add_film(viewer)
    assert viewer.layers.save(path, plugin=US)
    viewer.layers.remove(layer)
    image = viewer.add_image(
        np.zeros((3, 20, 30)), scale=(30, 0.5, 0.5), axis_labels=("t", "y", "x")
    )
    (labels,) = viewer.open(path, plugin=US)
    assert isinstance(labels, Labels)
    np.testing.assert_array_equal(labels.data, film())
    np.testing.assert_array_equal(labels.scale, image.scale)
    assert labels.axis_labels == image.axis_labels
    assert said == []


def test_unnamed_slices_of_an_image_are_those_that_the_outlines_name(
    viewer, tmp_path, said
):
    save_labels(tmp_path / "a.zip", film(), "TYX")
    viewer.add_image(np.zeros((3, 20, 30)))
    (labels,) = viewer.open(str(tmp_path / "a.zip"), plugin=US)
    np.testing.assert_array_equal(labels.data, film())


def test_outlines_of_an_image_with_channels_lie_over_all_of_them(viewer, tmp_path, said):
    save_labels(tmp_path / "a.geojson", film(), "TYX")
    viewer.add_image(np.zeros((3, 2, 20, 30)), axis_labels=("t", "c", "y", "x"))
    (labels,) = viewer.open(str(tmp_path / "a.geojson"), plugin=US)
    assert labels.data.shape == (3, 1, 20, 30)
    np.testing.assert_array_equal(labels.data[:, 0], film())


def test_without_an_image_it_is_said_how_large_the_labels_are(viewer, tmp_path, said):
    save_labels(tmp_path / "a.geojson", film(), "TYX")
    (labels,) = viewer.open(str(tmp_path / "a.geojson"), plugin=US)
    assert labels.data.shape == (3, 15, 25)
    assert said == [
        "No image is selected, so the labels of 'a.geojson' are as large as its outlines "
        "reach: 3 × 15 × 25 pixels. Open the image first to have its size."
    ]


def test_what_does_not_fit_the_image_is_said(viewer, tmp_path, said):
    save_labels(tmp_path / "a.geojson", film()[2])
    viewer.add_image(np.zeros((14, 22)))
    viewer.open(str(tmp_path / "a.geojson"), plugin=US)
    assert said == [
        "a.geojson: 1 of the 1 outlines reach out of the image: they were cut off at its "
        "edge."
    ]


def test_the_selected_image_counts_if_there_are_several(viewer, tmp_path, said):
    save_labels(tmp_path / "a.geojson", film()[0])
    viewer.add_image(np.zeros((20, 30)), name="small")
    large = viewer.add_image(np.zeros((40, 50)), name="large")
    viewer.layers.selection.active = large
    (labels,) = viewer.open(str(tmp_path / "a.geojson"), plugin=US)
    assert labels.data.shape == (40, 50)


def test_only_what_holds_rois_is_ours(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("table.csv", "a,b")
    (tmp_path / "broken.zip").write_bytes(b"PK")
    os.mkfifo(tmp_path / "pipe.zip")
    save_labels(tmp_path / "rois.zip", film()[0])
    ours = str(tmp_path / "rois.zip")
    for name in ("other.zip", "broken.zip", "pipe.zip", "none.zip", "a.tif"):
        assert get_reader(str(tmp_path / name)) is None
        assert get_reader([ours, str(tmp_path / name)]) is None
    assert get_reader(ours) is not None
    assert get_reader([ours, ours]) is not None


def test_images_still_open_with_napari(viewer, tmp_path):
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((5, 6), np.uint8))
    paths = [str(tmp_path / name) for name in ("a.tif", "b.tif")]
    opened = viewer.open(paths, plugin=None)
    assert [layer.data.shape for layer in opened] == [(5, 6), (5, 6)]


def test_several_files_of_outlines_are_several_layers(viewer, tmp_path, said):
    (tmp_path / "a.roi").write_bytes(
        roifile.ImagejRoi.frompoints([[1, 1], [4, 1], [4, 4]]).tobytes()
    )
    save_labels(tmp_path / "b.zip", film()[0])
    paths = [str(tmp_path / name) for name in ("a.roi", "b.zip")]
    opened = viewer.open(paths, plugin=US)
    assert [layer.name for layer in opened] == ["a", "b"]
