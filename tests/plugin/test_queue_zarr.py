"""OME-Zarr images in the list of images: found, proposed, corrected, and opened again."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog
from stores import change, make_store, write_group
from test_queue import Bench, Proposing, reopened, run_job, verify

from napari_resunet.ome_zarr import arrays, pyramid
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.views.queue import FILES
from napari_resunet.plugin.views.session import SessionSection


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(1, 255, shape, np.uint8)


CELLS = noise(2, 32, 48)


def make_plate(path):
    """Write a plate of two wells; one of them has two fields."""
    fields = {"B/3": ["0", "1"], "C/4": ["0"]}
    for n, (well, names) in enumerate(fields.items()):
        for field in names:
            image = noise(20, 24, seed=10 * n + int(field))
            make_store(path / well / field, [image])
        images = [{"path": field} for field in names]
        write_group(path / well, {"well": {"images": images}})
    wells = [{"path": well} for well in fields]
    write_group(path, {"plate": {"wells": wells}})
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder with an OME-Zarr that has a TIFF inside, and a TIFF."""
    folder = tmp_path / "data"
    store = folder / "a.ome.zarr"
    make_store(
        store, [CELLS, CELLS[:, ::2, ::2]], "cyx", scale=[1, 0.5, 0.5],
        channels=("DAPI", "GFP"),
    )  # fmt: skip
    tifffile.imwrite(store / "inside.tif", noise(9, 9))
    tifffile.imwrite(folder / "b.tif", noise(30, 40))
    return folder


@pytest.fixture
def bench(folder):
    bench = Bench(folder)
    workers = Proposing()
    bench.workers = workers
    bench.app.propose_all._workers = bench.app.queue_layers._workers = workers
    bench.app.autosave.resume()
    yield bench
    bench.app.shut_down()


def names(bench):
    return [item.name for item in bench.items]


def layer(bench):
    return bench.app.layers.image(bench.state.image_key)


def test_a_folder_in_ome_zarr_is_one_image_with_its_channels_and_its_scale(bench):
    bench.add([bench.folder], pattern="", recursive=True)
    assert names(bench) == ["a", "b"]
    assert bench.shown == ["a"]
    assert np.array_equal(layer(bench).data, CELLS)
    assert image_layers.axes_of(layer(bench)) == "CYX"
    assert bench.state.chosen.channel_names == ("DAPI", "GFP")
    assert image_layers.pixel_size(layer(bench)) == pytest.approx(0.5)


@pytest.mark.parametrize("chosen", [".", "zarr.json"])
def test_it_can_be_chosen_itself_or_by_the_file_in_it(bench, chosen):
    bench.add([bench.folder / "a.ome.zarr" / chosen])
    assert names(bench) == ["a"]
    assert bench.shown == ["a"]
    assert "zarr.json" in FILES


def test_each_field_of_a_plate_is_an_image(bench, tmp_path):
    plate = make_plate(tmp_path / "plate.zarr")
    bench.add([tmp_path], pattern="plate*", recursive=False)
    assert names(bench) == ["plate/B/3/0", "plate/B/3/1", "plate/C/4/0"]
    bench.go(2)
    assert bench.shown == ["plate/C/4/0"]
    assert np.array_equal(layer(bench).data, noise(20, 24, seed=10))
    assert bench.items[2].path == str(plate / "C" / "4" / "0")


def test_labels_and_what_was_verified_come_back_also_in_a_reopened_session(bench):
    bench.add([bench.folder])
    before = bench.paint()
    verify(bench)
    bench.done()
    assert bench.shown == ["b"]
    bench.go(0)
    assert np.array_equal(bench.labels.layer.data, before)
    later = reopened(bench, bench.folder)
    assert later.shown == ["a", "a labels"]
    assert np.array_equal(later.labels.layer.data, before)
    assert later.labels.review.plane(()).verified.all()
    assert np.array_equal(layer(later).data, CELLS)
    (recorded,) = bench.workers.recorded
    assert np.array_equal(recorded.image.levels[0], CELLS)
    assert not later.app.autosave.folder.file.images[0].stored
    later.go(1)
    later.go(0)
    assert np.array_equal(later.labels.layer.data, before)
    later.app.shut_down()


def test_a_plate_is_proposed_measured_and_exported_field_by_field(bench, tmp_path):
    bench.add([make_plate(tmp_path / "plate.zarr")])
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    assert bench.states == ["proposed"] * 3
    record = bench.app.autosave.folder.file.images[-1]
    assert (record.scale, set(record.units)) == ((0.5, 0.5), {"micrometer"})
    out = tmp_path / "out"
    bench.view.queue.ask_folder.return_value = out
    bench.view.results.ask_formats.return_value = ("ome-tiff", "measurements")
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    written = sorted(p.name for p in out.glob("*_labels.tif"))
    stems = ["plate_B_3_0", "plate_B_3_1", "plate_C_4_0"]
    assert written == [f"{stem}_labels.tif" for stem in stems]
    with (out / "measurements.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert float(rows[0]["area_um2"]) == 10 * 12 * 0.25


def test_one_that_moved_is_asked_for_and_its_labels_are_kept(bench):
    bench.add([bench.folder])
    before = bench.paint()
    bench.go(1)
    assert bench.app.autosave.flush(60)
    moved = bench.folder.parent / "c.zarr"
    shutil.move(bench.folder / "a.ome.zarr", moved)
    bench.view.session.ask_image.return_value = moved / "zarr.json"
    bench.go(0)
    assert np.array_equal(bench.labels.layer.data, before)
    assert bench.items[0].path == str(moved)


def test_its_new_place_is_asked_for_as_a_folder(qtbot, tmp_path, monkeypatch):
    section = SessionSection()
    qtbot.addWidget(section)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: ("x.tif", ""))
    for before in ("/data/a.zarr", "/data/plate.ome.zarr/B/3/0"):
        assert section.ask_image("a", before) == tmp_path
    assert section.ask_image("a", "/data/a.tif") == Path("x.tif")


def test_a_damaged_one_fails_with_its_sentence(bench):
    change(bench.folder / "a.ome.zarr" / "0" / "zarr.json", "data_type", to="object")
    bench.add([bench.folder])
    assert bench.states[0] == "failed"
    assert "its pixels are 'object', not numbers" in bench.message
    bench.go(1)
    assert bench.shown == ["b"]


# Large ones ----------------------------------------------------------------------------


@pytest.fixture
def as_large(monkeypatch):
    """Take images for large ones, which are not read as a whole."""
    for module in (arrays, pyramid):
        monkeypatch.setattr(module, "HARMLESS_BYTES", 100)


@pytest.mark.usefixtures("as_large")
def test_a_large_one_is_shown_in_its_levels_and_comes_back_in_them(bench):
    bench.add([bench.folder])
    assert layer(bench).multiscale
    assert [level.shape for level in layer(bench).data] == [(2, 32, 48), (2, 16, 24)]
    before = bench.paint()
    assert before.shape[-2:] == (32, 48)
    later = reopened(bench, bench.folder)
    assert layer(later).multiscale
    assert np.array_equal(later.labels.layer.data, before)
    assert not later.app.autosave.folder.file.images[0].stored
    later.app.shut_down()


@pytest.mark.usefixtures("as_large")
def test_only_the_planes_that_are_shown_are_read(bench, monkeypatch):
    pixels, read = noise(9, 2, 40, 50).astype(np.uint16), []
    store = make_store(bench.folder / "c.zarr", [pixels, pixels[..., ::2, ::2]], "tcyx")
    whole = arrays.ZarrLevel.__getitem__

    def recorded(level, where):
        read.append(whole(level, where))
        return read[-1]

    monkeypatch.setattr(arrays.ZarrLevel, "__getitem__", recorded)
    bench.add([store])
    assert bench.shown == ["c"]
    assert {part.shape[:2] for part in read} == {(1, 1)}
    assert len(read) < 9
    bench.viewer.dims.set_current_step(0, 5)
    shown = np.asarray(layer(bench)._slice.image.raw)
    assert np.array_equal(shown, layer(bench).data[layer(bench).data_level][5, 0])


@pytest.mark.usefixtures("as_large")
def test_it_is_opened_at_the_level_whose_labels_fit_into_memory(bench, monkeypatch):
    monkeypatch.setattr(pyramid, "memory_bytes", lambda: 2 * 4 * 16 * 24)
    bench.add([bench.folder])
    assert layer(bench).data.shape == (2, 16, 24)
    assert image_layers.pixel_size(layer(bench)) == pytest.approx(1.0)
    assert "'a': It was opened at 16 × 24 pixels" in bench.message
    before = bench.paint()
    monkeypatch.setattr(pyramid, "memory_bytes", lambda: 2**40)
    later = reopened(bench, bench.folder)
    assert layer(later).data.shape == (2, 16, 24)  # where its labels are
    assert np.array_equal(later.labels.layer.data, before)
    later.app.shut_down()


@pytest.mark.usefixtures("as_large")
def test_a_level_that_napari_would_draw_slowly_is_left_out_if_there_is_a_coarser_one(
    bench, monkeypatch
):
    monkeypatch.setattr(pyramid, "COMFORTABLE", 16 * 24)
    make_store(bench.folder / "c.zarr", [CELLS[0]])
    bench.add([bench.folder], pattern="", recursive=False)
    assert layer(bench).data.shape == (2, 16, 24)
    bench.go(2)
    assert layer(bench).data.shape == (32, 48)


@pytest.mark.usefixtures("as_large")
def test_no_level_is_opened_that_leaves_out_planes(bench, monkeypatch):
    pixels = noise(4, 32, 48)
    make_store(bench.folder / "c.zarr", [pixels, pixels[::2, ::2, ::2]], "zyx")
    bench.add([bench.folder / "c.zarr"])
    assert layer(bench).data.shape == (4, 32, 48)
    bench.view.queue.remove_clicked.emit([bench.items[0].key])
    monkeypatch.setattr(pyramid, "memory_bytes", lambda: 4 * pixels.size)
    bench.add([bench.folder / "c.zarr"])
    assert bench.states == ["failed"]


def test_one_whose_labels_do_not_fit_fails_before_anything_is_allocated(bench, monkeypatch):
    monkeypatch.setattr(pyramid, "memory_bytes", lambda: 1000)
    bench.add([bench.folder])
    assert bench.states[0] == "failed"
    assert "is too large: its labels need" in bench.message
    assert bench.shown == []


def test_a_small_picture_is_drawn(bench):
    bench.add([bench.folder])
    bench.go(1)
    bench.view.queue.pictures_wanted.emit([bench.items[0].key])
    while bench.app.pictures.current is not None:
        bench.app.pictures._running.step()
    key, picture = bench.view.queue.set_picture.call_args.args
    assert (key, picture.shape[-1]) == (bench.items[0].key, 3)


def test_labels_can_be_saved_into_it(bench):
    bench.add([bench.folder])
    bench.paint()
    bench.view.results.ask_labels_name.return_value = "nuclei"
    bench.view.results.save_into_clicked.emit()
    while bench.app.session_jobs.current is not None:
        bench.app.session_jobs._running.step()
    assert (Path(bench.items[0].path) / "labels" / "nuclei" / "1").is_dir()
