"""Measure: the table of the labels in view, and when it no longer counts."""

import json

import numpy as np
import pandas as pd
import pytest
from harness import SHAPE, Headless
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QComboBox

from napari_resunet.network.model_file import new_model
from napari_resunet.plugin.messages import (
    NO_TABLE_WIDGET,
    NO_TRACKS,
    NOT_MEASURED,
    NOT_MEASURED_NOW,
)
from napari_resunet.plugin.views.histogram import Histogram
from napari_resunet.plugin.views.results import ResultsSection
from napari_resunet.session.measurements import histogram_of
from napari_resunet.session.settings import MEASURE_GROUPS, MeasureSettings
from napari_resunet.session.workers import Workers
from napari_resunet.types import ModelInfo

WHOLE = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))


class Bench(Headless):
    """The app behind a fake dock, whose user measures with the settings shown."""

    settings = MeasureSettings()

    def propose(self, labels, index=()):
        binding = self.app.layers.make_binding(self.image)
        binding.apply(index, WHOLE, WHOLE, labels, "instances")
        self.state.changed.emit()
        return binding

    def start(self):
        self.view.results.ask_measure.return_value = self.settings
        self.view.results.measure_clicked.emit()

    def measure(self):
        self.start()
        self.finish()

    def finish(self):
        while self.app.jobs.current is not None:
            self.step()

    def save(self, path):
        self.view.results.ask_table.return_value = path
        self.view.results.save_table_clicked.emit()
        self.finish()

    @property
    def framed(self):
        return self.app.measure.frame.lines

    @property
    def features(self):
        return self.labels.layer.features

    @property
    def table_text(self):
        return self.view.results.set_table_text.call_args.args[0]


@pytest.fixture
def bench():
    bench = Bench(Workers())
    yield bench
    bench.app.shut_down()


def objects(*numbers):
    """Objects of 100 pixels, one beside the other."""
    labels = np.zeros(SHAPE, np.int32)
    for place, number in enumerate(numbers):
        labels[5:15, 12 * place : 12 * place + 10] = number
    return labels


def test_the_row_of_an_object_is_at_its_label(bench):
    bench.image.data = objects(2, 5) * 3
    assert bench.reason("measure")
    bench.propose(objects(2, 5))
    assert bench.reason("measure") == ""
    assert bench.reason("save_table") == NOT_MEASURED
    bench.measure()
    assert len(bench.features) == 6
    found = np.flatnonzero(bench.features["area_px"].notna())
    assert found.tolist() == [2, 5]
    assert bench.features["mean_intensity"][5] == 15
    assert bench.table_text == "2 objects measured."
    assert bench.reason("save_table") == ""
    assert bench.message == NO_TABLE_WIDGET  # this viewer has no window


def test_the_saved_table_has_all_columns_and_the_image(bench, tmp_path):
    bench.image.units, bench.image.scale = ("um", "um"), (0.5, 0.25)
    bench.viewer.add_image(
        np.full(SHAPE, 7.0), name="actin", units=("um", "um"), scale=(0.5, 0.25)
    )
    bench.propose(objects(1))
    bench.labels.verify((), objects(0, 1) + objects(1) > 0)
    bench.measure()
    bench.save(tmp_path / "cells")
    table = pd.read_csv(tmp_path / "cells.csv")
    assert table["image"].tolist() == ["cells"]
    assert table["area_um2"].tolist() == [12.5]
    assert table["verified"].tolist() == [1]
    assert table["mean_intensity_cells"].tolist() == [0]
    assert table["mean_intensity_actin"].tolist() == [7]
    assert "saved in 'cells.csv'" in bench.message


def paint(bench, label=9):
    bench.labels.layer.data_setitem((np.array([30]), np.array([30])), label)


def erase(bench):
    paint(bench, 0)


def undo(bench):
    bench.labels.layer.undo()


def propose(bench):
    bench.propose(objects(3, 4))


def verify(bench):
    bench.labels.verify((), objects(1) > 0)
    bench.state.changed.emit()


def verify_as_much_elsewhere(bench):
    bench.labels.review.plane(()).unverify(objects(0, 0, 1) > 0)
    bench.labels.verify((), objects(0, 0, 0, 1) > 0)
    bench.state.changed.emit()


def rescale(bench):
    bench.image.units, bench.image.scale = ("um", "um"), (2, 2)


def other_pixels(bench):
    bench.image.data = np.ones(SHAPE)


@pytest.mark.parametrize(
    "change",
    [erase, undo, propose, verify, verify_as_much_elsewhere, rescale, other_pixels],
)
def test_a_change_drops_the_table(bench, tmp_path, change):
    bench.propose(objects(1, 2))
    bench.labels.verify((), objects(0, 0, 1) > 0)
    paint(bench)
    bench.measure()
    assert len(bench.features) == 10
    change(bench)
    assert bench.features.empty
    assert bench.table_text == NOT_MEASURED_NOW
    assert bench.reason("save_table") == NOT_MEASURED_NOW
    bench.save(tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
    bench.measure()
    assert not bench.features.empty
    assert bench.reason("save_table") == ""


def export(bench, path):
    bench.view.results.ask_formats.return_value = ("geojson",)
    bench.view.results.ask_export.return_value = path
    bench.view.results.export_clicked.emit()
    while bench.app.session_jobs.current is not None:
        bench.step()
    return [f["properties"] for f in json.loads(path.read_text("utf-8"))["features"]]


def test_what_was_measured_goes_to_qupath(bench, tmp_path):
    bench.image.data = objects(1, 2) * 3
    bench.propose(objects(1, 2))
    assert all("measurements" not in o for o in export(bench, tmp_path / "a.geojson"))
    assert bench.message.startswith("The labels were exported; ")
    bench.measure()
    one, two = export(bench, tmp_path / "a.geojson")
    assert one["name"] == "0001"
    assert one["measurements"]["area_px"] == 100
    assert two["measurements"]["mean_intensity"] == 6
    assert "label" not in two["measurements"]
    assert bench.message.startswith("The labels were exported, with their measurements; ")


def test_a_film_can_be_exported_as_tracks(bench, tmp_path):
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(np.zeros((2, *SHAPE)), name="film")
    bench.propose(objects(4), (0,))
    bench.propose(objects(4), (1,))
    results = bench.view.results
    results.ask_formats.return_value = None
    results.export_clicked.emit()
    assert results.ask_formats.call_args.args == (NO_TRACKS,)
    bench.state.chosen.stack = "film"
    results.ask_formats.return_value = ("ctc",)
    results.ask_export.side_effect = lambda suggested: tmp_path / suggested

    def save():
        results.export_clicked.emit()
        while bench.app.session_jobs.current is not None:
            bench.step()

    save()
    assert results.ask_formats.call_args.args == ("",)
    (folder,) = tmp_path.glob("*_ctc")
    assert (folder / "res_track.txt").read_text() == "1 0 1 0\n"
    assert len(list(folder.glob("mask*.tif"))) == 2
    save()  # what an earlier export wrote is replaced
    (folder / "notes.txt").write_text("mine")
    save()
    assert "not as it was exported before" in bench.message
    assert (folder / "notes.txt").exists()


@pytest.mark.parametrize("change", [paint, lambda bench: bench.labels.layer.data.fill(3)])
def test_measurements_of_other_labels_do_not_go_to_qupath(bench, tmp_path, change):
    bench.propose(objects(1, 2))
    bench.measure()
    change(bench)  # or what no event tells
    found = export(bench, tmp_path / "a.geojson")
    assert found
    assert all("measurements" not in one for one in found)


def test_what_leaves_the_labels_as_they_are_keeps_the_table(bench):
    bench.propose(objects(1, 2))
    bench.labels.verify((), objects(0, 0, 1) > 0)
    bench.measure()
    bench.labels.show_contours(False)
    bench.labels.layer.refresh()
    bench.labels.layer.selected_label = 2
    bench.labels.layer.name = "other"
    bench.labels.verify((), objects(0, 0, 1) > 0)  # is verified already
    bench.state.changed.emit()
    assert len(bench.features) == 3


def test_a_change_that_no_event_tells_is_found_before_the_table_is_saved(bench, tmp_path):
    bench.propose(objects(1, 2))
    bench.measure()
    bench.labels.layer.data[0, 0] = 7
    bench.save(tmp_path / "t.csv")
    assert bench.message == NOT_MEASURED_NOW
    assert not (tmp_path / "t.csv").exists()


def test_labels_that_change_while_they_are_measured_get_no_table(bench):
    bench.propose(objects(1, 2))
    bench.start()
    bench.step()
    paint(bench)
    bench.finish()
    assert bench.features.empty
    assert bench.message == NOT_MEASURED_NOW


def test_cancel_ends_it(bench):
    bench.propose(np.arange(1, 2001, dtype=np.int32).reshape(SHAPE))
    bench.settings = MeasureSettings(group="all")
    bench.start()
    bench.step(3)
    assert "objects measured" in bench.view.status.show_progress.call_args.args[2]
    bench.view.status.cancel_clicked.emit()
    bench.finish()
    assert bench.features.empty
    assert "Cancelled" in bench.message


def test_numbers_far_apart_are_only_saved(bench, tmp_path):
    bench.propose(objects(1, 5_000_000))
    bench.measure()
    assert bench.features.empty
    assert "needs a row for each number up to 5,000,000" in bench.table_text
    bench.save(tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv")["label"].tolist() == [1, 5_000_000]


def test_classes_are_only_saved(bench, tmp_path):
    model = new_model(ModelInfo("classes", ("background", "axon")))
    bench.state.versions.loaded("starter", model)
    bench.propose(objects(1, 0, 1))
    bench.measure()
    assert bench.features.empty
    assert "a class has many pieces" in bench.table_text
    bench.save(tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv")["class"].tolist() == ["axon", "axon"]


def test_in_a_stack_the_features_follow_the_slice(bench):
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(np.zeros((3, *SHAPE)), name="stack")
    bench.propose(objects(1, 2), (0,))
    bench.propose(objects(0, 1), (2,))
    bench.viewer.dims.set_point(0, 0)
    bench.measure()
    assert bench.features["centroid_x_px"][1] == 4.5
    assert "napari's table shows slice 0" in bench.table_text
    bench.viewer.dims.set_point(0, 2)
    assert bench.features["centroid_x_px"][1] == 16.5
    assert "napari's table shows slice 2" in bench.table_text


def test_the_selected_object_is_framed(bench):
    bench.propose(objects(1, 2))
    bench.labels.layer.selected_label = 2
    assert bench.framed == []  # nothing is measured yet
    bench.measure()
    bench.labels.layer.selected_label = 1
    bench.labels.layer.selected_label = 2
    (frame,) = bench.framed
    assert frame.min(0).tolist() == [4.5, 11.5]
    assert frame.max(0).tolist() == [14.5, 21.5]
    bench.labels.layer.selected_label = 3  # a new object
    assert bench.framed == []
    bench.labels.layer.selected_label = 2
    paint(bench)
    assert bench.framed == []


def test_a_row_leads_to_the_slice_of_its_object(bench):
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(np.zeros((3, *SHAPE)), name="stack")
    bench.propose(objects(1), (0,))
    bench.propose(objects(0, 7), (2,))
    bench.viewer.dims.set_point(0, 0)
    bench.measure()
    assert bench.features["plane"][7] == 2
    bench.labels.layer.selected_label = 7
    assert bench.viewer.dims.point[0] == 2
    assert len(bench.framed) == 1
    bench.viewer.dims.set_point(0, 1)
    assert bench.framed == []


def test_slices_that_are_one_volume_are_measured_as_one(bench):
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(
        np.zeros((6, *SHAPE)), name="stack", scale=(2, 0.5, 0.5), units=("um",) * 3
    )
    for plane in (2, 3, 4):
        bench.propose(objects(1), (plane,))
    bench.state.chosen.stack = "volume"
    bench.viewer.dims.set_point(0, 0)
    bench.measure()
    assert bench.features["volume_um3"][1] == 150
    assert bench.features["centroid_z_um"][1] == 6
    assert bench.table_text == "1 object measured as volumes."
    bench.labels.layer.selected_label = 2
    bench.labels.layer.selected_label = 1
    assert bench.viewer.dims.point[0] == 6  # micrometres: its middle slice
    bench.viewer.dims.set_point(0, 4)
    bench.labels.layer.selected_label = 2
    bench.labels.layer.selected_label = 1
    assert bench.viewer.dims.point[0] == 4  # shows it, too
    assert len(bench.framed) == 1
    bench.view.segment.stack_chosen.emit("separate")
    bench.state.changed.emit()
    assert bench.table_text == NOT_MEASURED_NOW


def test_volumes_of_a_film_are_shown_frame_by_frame(bench):
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(np.zeros((2, 3, *SHAPE)), name="film")
    for index in [(0, 0), (0, 1), (1, 1)]:
        bench.propose(objects(1), index)
    bench.state.chosen.stack = "film"
    bench.measure()
    text = "2 objects in 1 track measured as volumes. The table shows slice 0."
    assert bench.table_text == text
    assert bench.features["volume_px"][1] == 200
    bench.viewer.dims.set_point(1, 2)
    assert bench.features["volume_px"][1] == 200
    bench.viewer.dims.set_point(0, 1)
    assert bench.features["volume_px"][1] == 100


def test_classes_are_measured_slice_by_slice(bench, tmp_path):
    model = new_model(ModelInfo("classes", ("background", "axon")))
    bench.state.versions.loaded("starter", model)
    bench.viewer.layers.clear()
    bench.image = bench.viewer.add_image(np.zeros((2, *SHAPE)), name="stack")
    bench.propose(objects(1), (0,))
    bench.propose(objects(1), (1,))
    bench.state.chosen.stack = "volume"
    bench.measure()
    bench.save(tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv")["area_px"].tolist() == [100, 100]


def test_channels_have_the_names_of_the_image(bench):
    bench.viewer.layers.clear()
    image = bench.viewer.add_image(
        np.stack([np.zeros(SHAPE), np.ones(SHAPE)]), name="two", axis_labels=("c", "y", "x")
    )
    bench.image = image
    bench.propose(objects(1))
    bench.state.chosen.channel_names = ("DAPI", "actin")
    bench.measure()
    assert bench.features["mean_intensity_DAPI"][1] == 0
    assert bench.features["mean_intensity_actin"][1] == 1


def test_the_histogram_is_of_the_column_that_was_chosen(bench):
    bench.image.data = objects(1, 2, 3, 4) * 10
    bench.propose(objects(1, 2, 3, 4))
    bench.measure()
    results = bench.view.results
    names, shown = results.set_columns.call_args.args
    assert shown == names[0] == "area_px"
    assert "label" not in names
    assert results.show_histogram.call_args.args[2] == [0, 4]
    results.column_chosen.emit("mean_intensity")
    name, edges, counts = results.show_histogram.call_args.args
    assert (name, edges, counts) == ("mean_intensity", [10, 25, 40], [2, 2])
    paint(bench)
    assert results.show_histogram.call_args.args[2] == []
    bench.measure()
    assert results.show_histogram.call_args.args[0] == "mean_intensity"


def test_odd_columns_have_a_histogram():
    largest = np.finfo(float).max
    edges, counts = histogram_of(np.array([-largest, largest, np.inf, np.nan]))
    assert edges == [-largest, largest]
    assert counts == [2]
    assert histogram_of(np.array([np.nan])) == ([], [])
    assert sum(histogram_of(np.full(9, 3))[1]) == 9


def test_the_histogram_is_drawn(qtbot):
    section = ResultsSection()
    qtbot.addWidget(section)
    section.set_columns(["area_px", "solidity"], "area_px")
    section.show_histogram("area_px", [1, 2, 4], [7, 3])
    plot = section.findChild(Histogram)
    assert plot.bars() == [(1, 2, 7), (2, 4, 3)]
    section.show_histogram("", [], [])
    assert plot.bars() == []


def answer(act):
    """Do something in the dialog that opens next, as a user would."""
    QTimer.singleShot(0, lambda: act(QApplication.activeModalWidget()))


def test_the_form_asks_for_the_columns(qtbot):
    section = ResultsSection()
    qtbot.addWidget(section)

    def choose(dialog):
        dialog.findChild(QComboBox).setCurrentText(MEASURE_GROUPS[1].title)
        dialog.accept()

    answer(choose)
    chosen = section.ask_measure(MeasureSettings())
    assert chosen == MeasureSettings(group="all")
    answer(lambda dialog: dialog.reject())
    assert section.ask_measure(chosen) is None


def test_napari_shows_the_table_and_keeps_row_and_object_together(window_dock, monkeypatch):
    dock = window_dock
    dock.viewer.add_image(np.zeros(SHAPE), name="cells")
    binding = dock.layers.make_binding(dock.viewer.layers["cells"])
    binding.apply((), WHOLE, WHOLE, objects(2, 5, 500), "instances")
    dock.state.changed.emit()
    results = dock.view.results
    monkeypatch.setattr(results, "ask_measure", lambda before: before)
    dock.click("measure")
    dock.wait()
    _, widget = dock.viewer.window.add_plugin_dock_widget("napari", "Features table widget")
    table = widget.table
    assert table.model().rowCount() == 501
    table.selectRow(5)
    assert binding.layer.selected_label == 5
    binding.layer.selected_label = 2
    assert [i.row() for i in table.selectionModel().selectedRows()] == [2]
    binding.layer.selected_label = 500
    assert table.rowAt(table.viewport().height() - 5) == 500
    binding.layer.selected_label = 77  # a new object has no row
    binding.layer.paint((30, 30), 77)
    assert table.model().rowCount() == 0
