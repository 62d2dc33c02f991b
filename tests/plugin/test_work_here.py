"""Work here and Done: a part of a large image is corrected as an ordinary image."""

import numpy as np
import pytest
import tifffile
import zarr
from harness import SHAPE as SMALL
from harness import Headless
from label_stores import squares, write_store
from napari.layers import Image, Labels

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import FileError
from napari_resunet.events import drain
from napari_resunet.plugin.controllers import work_here
from napari_resunet.plugin.controllers.shared import snapshot_of
from napari_resunet.plugin.layers import targets
from napari_resunet.plugin.layers.image_layers import Origin, set_origin
from napari_resunet.session.large import label_store
from napari_resunet.session.large.label_store import LabelStore, open_store

SHAPE = (120, 140)
SEEN = slice(20, 80), slice(31, 101)


class Recorder:
    """Takes what is verified."""

    def __init__(self):
        self.recorded = []

    def record(self, request, token):
        self.recorded.append(request.corrected)
        yield from ()


@pytest.fixture
def labels():
    return squares(SHAPE, first=5, step=20, side=12)


@pytest.fixture
def seen(monkeypatch):
    """What is in view, which a viewer without a window does not know."""
    place = {"window": SEEN}
    monkeypatch.setattr(targets, "seen_window", lambda image, viewer: place["window"])
    return place


@pytest.fixture
def bench(tmp_path, labels, seen):
    bench = Headless(Recorder())
    bench.app.work_here._workers = bench.workers
    bench.viewer.layers.clear()
    open_big(bench, tmp_path, labels)
    yield bench
    bench.app.shut_down()


def open_big(bench, folder, labels):
    """Show an image whose labels are in a file."""
    pixels = np.where(labels, 200, 10).astype(np.uint8)
    tifffile.imwrite(folder / "big.tif", pixels)
    layer = Image(pixels, name="big", scale=(0.5, 0.5), translate=(3, 4))
    set_origin(layer, Origin("whole", str(folder / "big.tif")))
    bench.viewer.add_layer(layer)
    store = write_store(folder / "big_labels.ome.zarr", labels, source=folder / "big.tif")
    bench.app.large.show("whole", open_store(store))


def cut(bench):
    bench.view.correct.large.work_here_clicked.emit()
    bench.step(2)
    return bench.app.layers.image(bench.state.image_key)


def write_back(bench):
    bench.view.correct.large.write_back_clicked.emit()
    bench.step(2)


def on_disk(folder, level=0):
    return zarr.open_array(folder / f"big_labels.ome.zarr/{level}", mode="r")[...]


def shown_button(bench):
    return bench.view.correct.large.show_button.call_args.args[0]


def primary(bench):
    return bench.view.set_primary.call_args.args[0]


def test_what_is_in_view_becomes_an_ordinary_image(bench, labels):
    assert shown_button(bench) == primary(bench) == "work_here"
    part = cut(bench)
    assert part.name == "big [20:80, 31:101]"
    np.testing.assert_array_equal(part.data > 100, labels[SEEN] > 0)
    np.testing.assert_array_equal(bench.labels.layer.data, labels[SEEN])
    assert bench.labels.layer.editable
    for layer in (part, bench.labels.layer):
        np.testing.assert_allclose(layer.data_to_world((0, 0)), (3 + 20 / 2, 4 + 31 / 2))
        np.testing.assert_allclose(layer.scale, (0.5, 0.5))
    assert bench.message == work_here.HERE
    assert shown_button(bench) == "write_back"
    assert primary(bench) == "mark_verified"


def test_a_part_is_segmented_as_the_whole_image_was(bench):
    part = cut(bench)
    seen = snapshot_of(bench.state, bench.app.layers, part)
    assert seen.statistics.high == (9.0,)
    around = drain(seen.around(ImageReader(seen.levels, seen.axes)))
    assert (around.window, around.shape) == (SEEN, SHAPE)
    assert bench.state.chosen.scale == 0.8
    assert not bench.state.chosen.auto


def test_done_writes_the_part_back_and_closes_it(bench, labels, tmp_path):
    cut(bench)
    painted = bench.labels.layer.data
    gone = painted[30, 20]
    assert gone > 0
    painted[painted == gone] = 0
    painted[0:3, 0:3] = painted.max() + 1
    write_back(bench)
    expected = labels.copy()
    expected[labels == gone] = 0
    expected[20:23, 31:34] = labels.max() + 1
    np.testing.assert_array_equal(on_disk(tmp_path), expected)
    np.testing.assert_array_equal(on_disk(tmp_path, 1), expected[::2, ::2])
    assert [layer.name for layer in bench.viewer.layers] == [
        "big",
        "big labels (on disk)",
    ]
    np.testing.assert_array_equal(
        bench.viewer.layers[1].data[-1][...], expected[::16, ::16]
    )
    assert bench.state.image_key == "whole"
    assert bench.message == "Written back: 42 objects in the whole image."
    assert shown_button(bench) == "work_here"


def test_what_is_verified_is_learned_from_later(bench):
    cut(bench)
    key = bench.state.image_key
    mask = np.zeros(bench.labels.review.shape, bool)
    mask[:30] = True
    bench.labels.verify((), mask)
    write_back(bench)
    (corrected,) = bench.workers.recorded
    assert corrected.corrections[0].verified.any()
    assert corrected.image.statistics is not None
    assert bench.state.unlearned == {key: None}


def test_nothing_is_lost_if_it_cannot_be_written(bench, labels, tmp_path, monkeypatch):
    cut(bench)
    bench.labels.layer.data[:5] = 0

    def fail(*arguments):
        raise FileError("The disk is full: free some space, and try again.")

    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "write", fail)
        write_back(bench)
    assert bench.message == "The disk is full: free some space, and try again."
    assert bench.labels.layer.editable
    assert not bench.labels.layer.data[:5].any()
    np.testing.assert_array_equal(on_disk(tmp_path), labels)
    write_back(bench)
    assert not on_disk(tmp_path)[20:25, 31:101].any()


def test_labels_are_locked_while_they_are_written(bench):
    cut(bench)
    layer = bench.labels.layer
    bench.view.correct.large.write_back_clicked.emit()
    bench.step()
    assert not layer.editable


def test_parts_do_not_overlap(bench, seen):
    part = cut(bench)
    bench.app.layers.select("whole")
    seen["window"] = slice(70, 110), slice(90, 130)
    bench.view.correct.large.work_here_clicked.emit()
    assert bench.message == work_here.OVERLAPS.format(part.name)
    bench.app.layers.select("whole")
    seen["window"] = slice(80, 110), slice(90, 130)
    assert cut(bench).name == "big [80:110, 90:130]"


def test_a_view_that_is_too_large_is_said(bench, monkeypatch):
    monkeypatch.setattr(label_store, "MAX_SIDE", 64)
    bench.view.correct.large.work_here_clicked.emit()
    assert bench.message == work_here.TOO_LARGE.format(60, 70, 64, 64)
    assert bench.app.jobs.current is None


def test_labels_that_were_not_found_are_said(bench):
    bench.state.chosen.store_shape = ()
    bench.view.correct.large.work_here_clicked.emit()
    assert "were not found" in bench.message


def test_ordinary_images_have_no_such_button(bench):
    bench.viewer.add_image(np.zeros(SMALL))
    assert shown_button(bench) is None
    bench.view.correct.large.work_here_clicked.emit()
    bench.view.correct.large.write_back_clicked.emit()
    assert bench.app.jobs.current is None


def test_a_part_outlives_a_crash_and_leaves_the_session_with_done(
    bench, make_dock, labels, tmp_path
):
    cut(bench)
    bench.labels.layer.data[:5] = 0
    assert bench.app.autosave.flush(60)
    root = bench.app.autosave.folder.root
    bench.app.autosave.release()
    dock = make_dock()
    dock.open_session(root)
    assert dock.state.chosen.part.window == SEEN
    assert not dock.labels.data[:5].any()
    np.testing.assert_array_equal(dock.labels.data[5:], labels[SEEN][5:])
    dock.click("write_back")
    dock.wait()
    assert not on_disk(tmp_path)[20:25, 31:101].any()
    assert dock.end() == root
    again = make_dock()
    again.open_session(root)
    assert [x.name for x in again.viewer.layers if isinstance(x, Labels)] == [
        "big labels (on disk)"
    ]


def test_in_a_real_window(make_window_dock, tmp_path, labels):
    """What is in view comes from the camera, and napari draws the labels on the disk."""
    dock = make_window_dock()
    open_big(dock, tmp_path, labels)
    image = dock.viewer.layers["big"]
    targets.look_at(dock.viewer, image, (slice(30, 60), slice(40, 70)))
    dock.click("work_here")
    dock.wait()
    part = dock.state.chosen.part
    assert 0 < part.rows[0] <= 30
    assert 60 <= part.rows[1] < 120
    np.testing.assert_array_equal(dock.labels.data, labels[part.window])
    dock.labels.data_setitem(np.nonzero(dock.labels.data), 0)
    dock.click("write_back")
    dock.wait()
    assert not on_disk(tmp_path)[part.window].any()
    shown = dock.viewer.layers["big labels (on disk)"]
    assert shown.get_value((3 + 50 / 2, 4 + 50 / 2), world=True)[1] == 0
    assert dock.binding is None
