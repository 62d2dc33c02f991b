"""Labels are saved into the OME-Zarr that their image was opened from."""

import json

import numpy as np
import pytest
import zarr
from napari.layers import Image
from napari.layers._source import layer_source
from stores import make_store

PIXELS = np.random.default_rng(0).integers(1, 200, (60, 80)).astype(np.uint16)


def cells():
    labels = np.zeros(PIXELS.shape, np.int32)
    labels[5:15, 5:15] = 1
    labels[30:40, 30:50] = 2
    return labels


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "x.ome.zarr", [PIXELS, PIXELS[::2, ::2]])


def open_image(bench, path, data=PIXELS):
    """Show an image as a reader plugin does that opened it from a path."""
    with layer_source(path=str(path), reader_plugin="napari-ome-zarr"):
        bench.viewer.add_layer(Image(data, name="im", scale=(0.5,) * data.ndim))


@pytest.fixture
def opened(bench, store):
    """The dock with labels on an image that was opened from an OME-Zarr."""
    open_image(bench, store)
    bench.viewer.add_labels(cells(), scale=(0.5, 0.5))
    bench.click("use_labels")
    bench.wait()
    return bench


def answers(bench, monkeypatch, name, replace=None):
    section, asked = bench.view.results, []
    monkeypatch.setattr(section, "ask_labels_name", lambda suggested: name)
    monkeypatch.setattr(section, "ask_replace", lambda n: asked.append(n) or replace)
    return asked


def save(bench):
    bench.find("save_into_image").click()
    bench.until(lambda: bench.app.session_jobs.current is None)


def saved(store, name, level=0):
    return zarr.open_group(str(store), mode="r")[f"labels/{name}/{level}"][...]


def test_labels_are_saved_at_all_levels_with_how_they_were_made(opened, store, monkeypatch):
    answers(opened, monkeypatch, "nuclei")
    save(opened)
    assert "saved into 'x.ome.zarr', named 'nuclei'" in opened.message
    assert np.array_equal(saved(store, "nuclei"), cells())
    assert np.array_equal(saved(store, "nuclei", 1), cells()[::2, ::2])
    text = (store / "labels" / "nuclei" / "zarr.json").read_text()
    note = json.loads(text)["attributes"]["napari-resunet"]
    assert note["image"]["name"] == "im"
    assert note["checked_share"] == 0
    assert len(note["model"]["sha256"]) == 64


@pytest.mark.parametrize("replace", [True, False])
def test_it_asks_before_labels_are_replaced(opened, store, monkeypatch, replace):
    asked = answers(opened, monkeypatch, "nuclei", replace)
    save(opened)
    assert asked == []
    opened.binding.layer.paint((50, 70), 7)
    save(opened)
    assert asked == ["nuclei"]
    assert saved(store, "nuclei").max() == (7 if replace else 2)


def test_a_name_that_cannot_be_used_is_one_sentence(opened, store, monkeypatch):
    answers(opened, monkeypatch, "../x")
    save(opened)
    assert "'../x' cannot be the name: give a name of letters" in opened.message
    assert not (store / "labels").exists()


def test_a_full_disk_is_one_sentence(opened, store, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    answers(opened, monkeypatch, "nuclei")
    monkeypatch.setattr("napari_resunet.ome_zarr.labels._write_arrays", full)
    save(opened)
    assert "cannot be written (No space left on device)" in opened.message
    assert [p.name for p in store.iterdir() if p.is_dir()] == ["0", "1"]


def test_it_is_offered_for_images_from_an_ome_zarr_only(opened, tmp_path):
    button = opened.find("save_into_image")
    assert not button.isHidden()
    (tmp_path / "plain").mkdir()
    for path in (tmp_path / "plain", tmp_path / "x.tif", "https://example.org/x.ome.zarr"):
        open_image(opened, path)
        opened.viewer.layers.selection.active = opened.viewer.layers[-1]
        opened.until(button.isHidden)
        opened.viewer.layers.selection.active = opened.viewer.layers["im"]
        opened.until(lambda: not button.isHidden())


def test_without_labels_it_says_what_to_do(bench, store):
    open_image(bench, store)
    bench.find("save_into_image").click()
    assert bench.message == "There are no labels to save yet: click Segment first."
