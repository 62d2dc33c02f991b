"""Images of the queue as they are read: axes, colours, and what a session may name."""

from __future__ import annotations

import imageio.v3
import numpy as np
import pytest
import tifffile

from napari_resunet.errors import FileError, ImageError
from napari_resunet.session.pixels import save_pixels
from napari_resunet.session.queue_images import (
    OpenRequest,
    ReadImage,
    is_large,
    read_item,
    read_own,
    small_picture,
    viewer_axes,
)
from napari_resunet.session.store.schema import ImageRecord, QueueItem


def written(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return path


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "axes", "seen", "labels"),
    [((5, 20, 30), "ZYX", "ZYX", ("z", "y", "x")),
     ((2, 20, 30), "CYX", "CYX", ("c", "y", "x")),
     ((4, 2, 20, 30), "TCYX", "ZCYX", ("t", "c", "y", "x"))],
)  # fmt: skip
def test_axes_that_a_file_states(tmp_path, shape, axes, seen, labels):
    path = written(tmp_path / "a.tif", noise(*shape), imagej=True, metadata={"axes": axes})
    image = read_own(path)
    assert (image.axes, image.rgb, image.unclear) == (seen, False, False)
    assert image.meta.get("axis_labels") == labels
    assert np.array_equal(image.levels[0], noise(*shape))


@pytest.mark.parametrize(("n", "unclear"), [(3, True), (9, False)])
def test_a_few_planes_that_no_file_names_are_unclear(tmp_path, n, unclear):
    pixels = noise(n, 20, 30)
    path = written(tmp_path / "a.tif", pixels, photometric="minisblack", metadata=None)
    image = read_own(path)
    assert (image.axes, image.unclear) == ("ZYX", unclear)


def test_colours_are_the_last_dimension(tmp_path):
    imageio.v3.imwrite(tmp_path / "a.png", noise(20, 30, 3))
    image = read_own(tmp_path / "a.png")
    assert (image.axes, image.rgb, image.unclear) == ("YXS", True, False)
    planes = written(
        tmp_path / "a.tif", noise(3, 20, 30), photometric="rgb", planarconfig="separate"
    )
    image = read_own(planes)
    assert (image.axes, image.levels[0].shape) == ("YXS", (20, 30, 3))


def test_too_many_dimensions_are_refused():
    with pytest.raises(ImageError, match="too many dimensions"):
        viewer_axes(6, None, False)


# What a session names ------------------------------------------------------------------


def request_for(path, record=None, session=None, read=None, **fields):
    return OpenRequest(QueueItem(path=str(path), **fields), record, session, read)


def never(path):
    pytest.fail(f"{path} was read")


def test_a_file_that_nobody_chose_is_read_only_if_it_is_a_plain_image(tmp_path):
    path = written(tmp_path / "a.tif", noise(20, 30))
    assert read_item(request_for(path)).image is not None
    other = path.rename(tmp_path / "a.nd2")
    assert read_item(request_for(other)).image is None
    assert read_item(request_for("relative.tif")).image is None
    assert read_item(request_for(tmp_path / "missing.tif", read=never)).image is None


def test_other_pixels_than_those_of_the_labels_are_not_shown(tmp_path, session):
    path = written(tmp_path / "a.tif", noise(20, 30))
    image = read_own(path)
    record = ImageRecord(shape=(20, 30), dtype="uint8", axes="YX", source=str(path))
    known = save_pixels(session.root, record, image.levels[0], replaced=False)
    record = record.model_copy(update=known)
    assert not record.stored
    assert read_item(request_for(path, record, session)).image is not None
    written(path, noise(20, 30) + 1)
    assert read_item(request_for(path, record, session)).image is None


def test_pixels_that_the_session_stored_need_no_file(tmp_path, session):
    record = ImageRecord(shape=(20, 30), dtype="uint8", axes="YX")
    known = save_pixels(session.root, record, noise(20, 30), replaced=False)
    record = record.model_copy(update=known)
    opened = read_item(request_for("", record, session))
    assert np.array_equal(opened.image.levels[0], noise(20, 30))


def test_a_series_that_a_file_no_longer_has_is_said(tmp_path):
    path = written(tmp_path / "a.tif", noise(20, 30))
    with pytest.raises(FileError, match="no image number 3"):
        read_item(request_for(path / "3"))
    other = path.rename(tmp_path / "a.nd2")
    image = ReadImage("a", (noise(20, 30),), "YX")
    with pytest.raises(FileError, match="no image number 3"):
        read_item(request_for(other, read=lambda path: [image], series=2))


def test_a_small_picture_shows_the_middle_plane(tmp_path):
    pixels = np.zeros((5, 64, 100), np.uint8)
    pixels[2, :, 50:] = 200
    image = read_own(written(tmp_path / "a.tif", pixels, photometric="minisblack"))
    picture = small_picture(image)
    assert picture.shape == (16, 25, 3)
    assert picture[:, :12].max() == 0
    assert picture[:, 13:].min() == 255


def test_a_large_file_is_not_read_for_its_picture(tmp_path, monkeypatch):
    path = written(tmp_path / "a.tif", noise(20, 30))
    item = QueueItem(path=str(path))
    assert not is_large(item)
    monkeypatch.setattr("napari_resunet.session.queue_images.MAX_FILE", 10)
    assert is_large(item)
    assert not is_large(QueueItem(path=str(tmp_path / "missing.tif")))
