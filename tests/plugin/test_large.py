"""Images that are too large for labels in memory: their labels are in a file."""

import shutil

import dask.array
import numpy as np
import pytest
import tifffile
from harness import Headless
from label_stores import squares, write_store
from napari.layers import Image, Labels
from stores import make_store

from napari_resunet.errors import Cancelled, FileError
from napari_resunet.events import Progress
from napari_resunet.plugin.controllers import large
from napari_resunet.plugin.controllers.segment import IN_FILE
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.image_layers import Origin, set_origin
from napari_resunet.plugin.messages import LABELS_IN_FILE
from napari_resunet.session.large.label_store import open_store

SHAPE = (120, 140)


class FakeWhole:
    """Stands in for the run: writes what the test put in."""

    def __init__(self, labels):
        self.labels, self.requests, self.error = labels, [], None

    def __call__(self, workers, request, token):
        self.requests.append(request)
        yield Progress(1, 2, "block 1 of 2")
        if self.error is not None:
            raise self.error
        return open_store(write_store(request.target, self.labels, source=request.source))


class NoWorkers:
    """Proposes nothing."""

    def segment(self, request, token):
        yield Progress(0, 1)


@pytest.fixture
def labels():
    return squares(SHAPE, first=5, step=20, side=12)


@pytest.fixture
def whole(labels, monkeypatch):
    monkeypatch.setattr(image_layers, "MAX_IN_MEMORY", 10**4)
    fake = FakeWhole(labels)
    monkeypatch.setattr(large, "segment_whole", fake)
    return fake


@pytest.fixture
def bench(whole, tmp_path, labels):
    bench = Headless(NoWorkers())
    bench.viewer.layers.clear()
    pixels = np.where(labels, 200, 10).astype(np.uint8)
    tifffile.imwrite(tmp_path / "big.tif", pixels)
    bench.image = add(bench, pixels, tmp_path / "big.tif")
    bench.app.segment.choose_scope("slice")
    yield bench
    bench.app.shut_down()


def add(bench, pixels, path=None, **place):
    layer = Image(pixels, name="big", **place)
    if path is not None:
        set_origin(layer, Origin(f"key{len(bench.viewer.layers)}", str(path)))
    bench.viewer.add_layer(layer)
    return layer


def run_whole(bench):
    bench.app.segment.segment()
    bench.step(2)


def store_layers(bench):
    return [x for x in bench.viewer.layers if isinstance(x, Labels) and x.multiscale]


def test_a_large_image_is_segmented_into_a_file(bench, whole, labels, tmp_path):
    run_whole(bench)
    (request,) = whole.requests
    assert request.source == tmp_path / "big.tif"
    assert request.target == tmp_path / "big_labels.ome.zarr"
    (layer,) = store_layers(bench)
    np.testing.assert_array_equal(layer.data[0][...], labels)
    assert not layer.editable
    assert bench.message == (
        f"The labels are in '{request.target}'. Zoom to a place, and click Work here to "
        "correct it."
    )
    assert bench.labels is None  # nothing in memory


def test_the_button_knows_that_labels_go_into_a_file(bench):
    show = bench.view.segment.set_segment_time
    assert show.call_args.args == ("", True)
    bench.app.segment.choose_scope("visible")
    assert show.call_args.args == ("", False)


def test_labels_in_a_file_are_no_target_of_anything(bench):
    run_whole(bench)
    (layer,) = store_layers(bench)
    bench.viewer.layers.selection.active = layer
    assert bench.app.layers.user_labels() == []
    assert bench.state.image_key == image_layers.layer_id_of(bench.image)
    bench.app.segment.choose_scope("visible")
    bench.app.segment.segment()
    assert bench.message == IN_FILE
    for control in ("next", "mark_verified", "fine_tune", "measure"):
        assert bench.reason(control) == LABELS_IN_FILE
    assert bench.labels is None


def test_labels_are_replaced_only_if_the_user_agrees(bench, whole, labels):
    run_whole(bench)
    bench.app.segment.segment()
    assert "replace them" in bench.view.segment.ask_replace.call_args.args[0]
    assert len(whole.requests) == 1
    bench.view.segment.ask_replace.return_value = True
    shutil.rmtree(whole.requests[0].target)
    whole.labels = labels[::-1]
    run_whole(bench)
    (layer,) = store_layers(bench)
    np.testing.assert_array_equal(layer.data[0][...], labels[::-1])


def test_a_cancelled_run_says_that_it_goes_on(bench, whole):
    whole.error = Cancelled()
    run_whole(bench)
    assert bench.message == large.STOPPED
    whole.error = FileError("The disk is full.")
    run_whole(bench)
    assert bench.message == "The disk is full."
    assert store_layers(bench) == []


def test_an_image_in_no_file_stays_in_memory_or_is_refused(bench, whole):
    bench.viewer.layers.clear()
    pixels = np.zeros((200, 200), np.uint8)
    assert not image_layers.is_large(add(bench, pixels))
    bench.viewer.layers.clear()
    add(bench, dask.array.from_array(pixels))
    bench.app.segment.segment()
    assert bench.message == large.NO_FILE
    assert whole.requests == []


def test_one_slice_of_a_large_stack_is_refused(bench, whole, tmp_path):
    bench.viewer.layers.clear()
    add(bench, np.zeros((5, 120, 140), np.uint8), tmp_path / "big.tif")
    bench.app.segment.segment()
    assert bench.message == large.ALL_SLICES
    assert whole.requests == []


def test_a_small_image_has_its_labels_in_memory(bench, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(image_layers, "MAX_IN_MEMORY", 10**6)
    bench.app.segment.segment()
    assert whole.requests == []
    assert bench.labels is not None


def test_a_store_lies_over_its_image_at_a_coarser_level(bench, whole, labels):
    bench.image.scale, bench.image.translate = (0.5, 0.5), (3, 4)
    whole.labels = labels[::2, ::2]
    run_whole(bench)
    (layer,) = store_layers(bench)
    for corner in (np.zeros(2), np.ones(2)):
        np.testing.assert_allclose(
            layer.data_to_world(corner * (60, 70) - 0.5),
            bench.image.data_to_world(corner * SHAPE - 0.5),
        )


def test_a_session_shows_the_labels_again(bench, make_dock, labels, tmp_path):
    run_whole(bench)
    assert bench.app.autosave.flush(60)
    root = bench.app.autosave.folder.root
    bench.app.shut_down()
    assert not list(root.glob("planes/*"))  # no label is in the session
    dock = make_dock()
    dock.open_session(root)
    (layer,) = store_layers(dock)
    np.testing.assert_array_equal(layer.data[0][...], labels)
    assert not layer.editable
    assert dock.state.chosen.store == tmp_path / "big_labels.ome.zarr"
    assert dock.binding is None
    dock.end()
    shutil.rmtree(tmp_path / "big_labels.ome.zarr")
    again = make_dock()
    again.open_session(root)
    assert store_layers(again) == []
    assert "are not there, or are damaged" in again.message


def test_a_session_opens_an_ome_zarr_again_with_its_labels(
    bench, make_dock, labels, tmp_path
):
    channels = np.stack([np.zeros(SHAPE), np.where(labels, 200, 10)]).astype(np.uint8)
    store = make_store(tmp_path / "two.ome.zarr", [channels, channels[:, ::2, ::2]], "cyx")
    bench.viewer.layers.clear()
    add(bench, [dask.array.from_zarr(store / level)[1] for level in "01"], store)
    bench.state.chosen.store = write_store(
        tmp_path / "two_labels.ome.zarr", labels, source=store, channels=[1]
    )
    assert bench.app.autosave.flush(60)
    root = bench.app.autosave.folder.root
    bench.app.shut_down()
    dock = make_dock()
    dock.open_session(root)
    image = dock.layers.image(dock.state.image_key)
    np.testing.assert_array_equal(image.data[1][...], channels[1, ::2, ::2])
    assert len(store_layers(dock)) == 1
