"""Files of microscopes, read by a stand-in for bioio that has its public interface."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from types import ModuleType, SimpleNamespace

import dask.array
import numpy as np
import pytest

from napari_resunet.cli import main
from napari_resunet.errors import FileError
from napari_resunet.files import read_stored
from napari_resunet.session import microscope_files
from napari_resunet.session.find_images import find_images
from napari_resunet.session.microscope_files import read_microscope_file
from napari_resunet.session.queue_images import OpenRequest, ReadImage, read_item
from napari_resunet.session.store.schema import ImageRecord, QueueItem


def square(*shape):
    image = np.zeros(shape, np.uint16)
    image[..., 2:-2, 2:-2] = 200
    return image


class BioImage:
    """A file with a film of two channels and a plane, five-dimensional as bioio has it."""

    scenes = ("XYPos:0", "XYPos:1")
    arrays = (square(3, 2, 1, 20, 30), square(1, 1, 1, 10, 12))
    intervals = (timedelta(seconds=5), None)

    def __init__(self, path):
        if path.read_bytes() != b"good":
            raise ValueError("not of this kind")
        self.set_scene(0)

    def set_scene(self, number):
        self.dask_data = dask.array.from_array(self.arrays[number])
        self.dims = SimpleNamespace(order="TCZYX")
        self.physical_pixel_sizes = SimpleNamespace(Z=None, Y=0.5, X=0.5)
        self.time_interval = self.intervals[number]


@pytest.fixture
def bioio(monkeypatch):
    module = ModuleType("bioio")
    module.BioImage = BioImage
    monkeypatch.setitem(sys.modules, "bioio", module)
    monkeypatch.setattr(microscope_files, "find_spec", lambda name: module)


@pytest.fixture
def without_bioio(monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    monkeypatch.setattr(microscope_files, "find_spec", lambda name: None)


@pytest.fixture
def data(tmp_path, monkeypatch, by_threshold, starter):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_resunet.session.api.load_model", lambda name: starter)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.nd2").write_bytes(b"good")
    return tmp_path / "data"


@pytest.mark.usefixtures("bioio")
def test_each_scene_has_a_result_with_its_axes_and_its_pixel_size(data, tmp_path, capsys):
    assert main(["segment", "data/x.nd2", "-o", "out"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "out/x_labels.tif: 1 labels (1 of 2)", "out/x_2_labels.tif: 1 labels (2 of 2)",
    ]  # fmt: skip
    film = read_stored(tmp_path / "out" / "x_labels.tif")
    assert (film.axes, film.array.shape) == ("TYX", (3, 20, 30))
    assert (film.pixel_size, film.steps["T"]) == (0.5, 5)
    assert np.array_equal(film.array[0] > 0, square(20, 30) > 0)
    plane = read_stored(tmp_path / "out" / "x_2_labels.tif")
    assert (plane.axes, plane.array.shape) == ("YX", (10, 12))
    note = json.loads((tmp_path / "out" / "x_2_labels.json").read_text())
    assert note["image"]["source"] == str(data / "x.nd2" / "2")
    assert main(["segment", "data/x.nd2", "-o", "out", "--skip-existing"]) == 0
    assert "Skipping 2 of 2 images" in capsys.readouterr().err


@pytest.mark.usefixtures("without_bioio")
def test_without_bioio_one_sentence_says_what_to_install(data, capsys):
    assert main(["segment", "data/x.nd2", "-o", "out"]) == 1
    said = capsys.readouterr().err.strip()
    install = 'run pip install "napari-resunet[formats]".'
    assert said == f"'data/x.nd2' needs more packages: {install}"


@pytest.mark.usefixtures("without_bioio")
def test_what_is_under_the_gpl_is_installed_by_the_user(data, capsys):
    (data / "x.nd2").rename(data / "x.czi")
    assert main(["segment", "data/x.czi", "-o", "out"]) == 1
    install = 'pip install "napari-resunet[formats]" bioio-czi.'
    assert capsys.readouterr().err.strip().endswith(install)


@pytest.mark.usefixtures("bioio")
def test_a_damaged_file_is_one_sentence_and_the_others_are_segmented(data, capsys):
    (data / "y.lif").write_bytes(b"bad")
    assert main(["segment", "data", "-o", "out"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert "'data/y.lif' cannot be read, for bioio has no reader for it" in said.err
    with pytest.raises(FileError, match="has no image number 3"):
        read_microscope_file(data / "x.nd2" / "3")


def test_folders_are_searched_for_them_where_bioio_is_there(data, bioio):
    found = find_images([data])
    assert [image.path for image in found.images] == [data / "x.nd2" / n for n in "12"]


@pytest.mark.usefixtures("without_bioio")
def test_folders_are_not_searched_for_them_without_it(data):
    assert find_images([data]).images == ()


@pytest.mark.usefixtures("bioio")
def test_pixels_that_a_file_only_says_it_holds_are_not_read(data, monkeypatch):
    huge = dask.array.zeros((1, 1, 1, 10**6, 10**6), dtype=np.uint16)
    monkeypatch.setattr(BioImage, "set_scene", lambda self, n: vars(self).update(
        dask_data=huge, dims=SimpleNamespace(order="TCZYX"), time_interval=None,
        physical_pixel_sizes=SimpleNamespace(),
    ))  # fmt: skip
    with pytest.raises(FileError, match="far more pixels than its file can hold"):
        read_microscope_file(data / "x.nd2")


@pytest.mark.usefixtures("bioio")
def test_the_list_of_images_opens_a_scene_with_its_scale(data):
    item = QueueItem(path=str(data / "x.nd2" / "1"), name="x [1]")
    request = OpenRequest(item, read=lambda path: pytest.fail("a plugin was asked"))
    image = read_item(request).image
    assert (image.name, image.axes) == ("x [1]", "ZCYX")
    assert image.meta["axis_labels"] == ("t", "c", "y", "x")
    assert image.meta["scale"] == (5, 1, 0.5, 0.5)
    assert np.array_equal(image.levels[0], BioImage.arrays[0][:, :, 0])


@pytest.mark.usefixtures("bioio")
def test_what_bioio_cannot_read_is_left_to_a_plugin_and_what_a_plugin_read_too(data):
    image = ReadImage("scene", (square(9, 9),), "YX", reader="microscope")
    other = data / "x.czi"
    other.write_bytes(b"for a plugin")
    item = QueueItem(path=str(other), name="x")
    assert read_item(OpenRequest(item, read=lambda path: [image])).image is image
    known = ImageRecord(shape=(9, 9), dtype="uint16", axes="YX", reader="microscope")
    item = QueueItem(path=str(data / "x.nd2"), name="x")
    request = OpenRequest(item, known, read=lambda path: [image])
    assert read_item(request).image is image


@pytest.mark.usefixtures("bioio")
def test_a_file_that_nobody_chose_is_not_given_to_bioio(data):
    item = QueueItem(path=str(data / "x.nd2" / "1"))
    assert read_item(OpenRequest(item)).image is None
