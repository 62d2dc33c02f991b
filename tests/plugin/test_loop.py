"""Image, model, Segment, correct, Fine-tune: with a real viewer and real torch."""

import numpy as np
import pytest
import torch

from napari_resunet._package import STARTER
from napari_resunet.engine.predict import Predictor


def test_segment_loads_the_starter_and_adds_a_labels_layer(dock, image_of_nuclei):
    dock.app.state.versions.__init__()  # nothing is loaded yet
    place = {"scale": (0.5, 0.25), "translate": (3, 4), "units": ("um", "um"),
             "axis_labels": ("y", "x")}  # fmt: skip
    image = dock.viewer.add_image(image_of_nuclei, name="cells", **place)
    dock.segment()
    layer = dock.viewer.layers["cells labels"]
    assert layer.data.max() > 10
    for attribute in ("scale", "translate", "units", "axis_labels"):
        assert np.array_equal(getattr(layer, attribute), getattr(image, attribute))
    device = dock.find("device_in_use").text()
    assert "CPU" in device or "cuda" in device
    assert "verified" in dock.view.status.hint
    assert "px" in dock.find("object_size_text").text()


def test_verified_and_edited_pixels_survive_while_painting_goes_on(
    dock, image_of_nuclei, sure_fine_tuning
):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    layer = dock.labels
    before = layer.data.copy()
    strokes = []

    def paint(*event):
        place = (5 + 3 * len(strokes) % 100, 64 + len(strokes) % 30)
        layer.selected_label = 900 + len(strokes)
        layer.brush_size = 2
        layer.paint(place, layer.selected_label)
        strokes.append((place, layer.selected_label))

    shapes = dock.viewer.add_shapes(
        [[[0, 0], [0, 60], [119, 60], [119, 0]]], shape_type="polygon"
    )
    dock.mark(f"shapes:{shapes.unique_id}")
    # A stroke whenever a job begins, ends or reports how far it is.
    dock.app.jobs.changed.connect(paint)
    dock.app.jobs.progress.connect(paint)
    dock.click("fine_tune")
    dock.wait()
    assert len(strokes) > 4
    for place, value in strokes:
        assert layer.data[place] == value
    assert np.array_equal(layer.data[5:110, 3:55], before[5:110, 3:55])
    assert not np.array_equal(layer.data[5:110, 100:] > 0, before[5:110, 100:] > 0)


def test_fine_tune_shows_its_plot_and_adds_a_version_to_go_back_from(
    dock, nuclei, sure_fine_tuning
):
    dock.viewer.add_image(nuclei[0], name="cells")
    dock.segment()
    first = dock.labels.data.copy()
    dock.labels.data = nuclei[1].copy()  # the user corrected everything
    dock.fine_tune()
    found = "Finds 12 of the 14 held-out objects right (before: 7)."
    assert dock.find("result_text").text() == found
    drawn = [(1, 0.5)], [(1, 12)]
    plot = dock.view.fine_tune.plot
    dock.until(lambda: plot.points() == drawn)
    assert (plot.before, plot.title) == (7, "right of 14")
    assert "1: learned from 9 objects" in dock.app.state.versions.current.title
    dock.viewer.layers.remove(dock.labels)
    dock.segment()
    assert not np.array_equal(dock.labels.data > 0, first > 0)  # the new model proposes
    dock.viewer.layers.remove(dock.labels)
    dock.click("go_back")
    dock.wait()
    assert dock.app.state.versions.current.key == STARTER
    assert not dock.find("result_text").text()  # the score is not the starter's
    dock.segment()
    assert np.array_equal(dock.labels.data > 0, first > 0)


def test_real_fine_tuning_ends_with_a_score_and_leaves_what_is_verified(dock, nuclei):
    pixels, truth = (np.ascontiguousarray(array[:100, :130]) for array in nuclei)
    dock.viewer.add_image(pixels, name="cells")
    dock.segment()
    dock.labels.data = truth.copy()
    dock.fine_tune()
    result = dock.find("result_text").text()
    assert "held-out objects right" in result
    assert np.array_equal(dock.labels.data, truth)
    versions = dock.app.state.versions
    improved = versions.current.key != STARTER
    assert improved == result.startswith("Finds")
    assert (versions.candidate is not None) == result.startswith("Too close to call")
    plot = dock.view.fine_tune.plot
    dock.until(lambda: any(plot.points()))


def test_stop_keeps_and_cancel_throws_away(dock, image_of_nuclei, sure_fine_tuning):
    sure_fine_tuning.endless = True
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    dock.mark("slice")
    progress = dock.find("progress")
    dock.click("fine_tune")
    dock.until(lambda: "step" in progress.text())
    dock.click("cancel")
    dock.wait()
    assert "Cancelled" in dock.message
    assert len(dock.app.state.versions.listed()) == 1
    dock.click("fine_tune")
    dock.until(lambda: "step" in progress.text())
    dock.click("stop")
    dock.wait()
    assert len(dock.app.state.versions.listed()) == 2
    assert dock.find("result_text").text()
    assert dock.find("fine_tune").isEnabled()


def test_the_sliders_redraw_without_the_network(dock, image_of_nuclei, monkeypatch):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    n_pixels = (dock.labels.data > 0).sum()

    def forbidden(self, tiles, tta):
        raise AssertionError("the network ran")

    monkeypatch.setattr("napari_resunet.engine.predict.Predictor._run", forbidden)
    for value in (0.9, 0.95, 0.98):
        dock.find("foreground").setValue(value)
    dock.wait()
    assert (dock.labels.data > 0).sum() < n_pixels


def test_classes_go_the_same_loop(dock, nuclei, monkeypatch, sure_fine_tuning):
    image, truth = nuclei
    dock.viewer.add_image(image, name="cells")
    monkeypatch.setattr(dock.view, "ask_class_names", lambda: ("nucleus",))
    dock.click("new_classes")
    dock.wait()
    assert "1 nucleus" in dock.message
    assert not dock.find("split").isEnabled()
    dock.labels.data = (truth > 0).astype(np.int32)
    dock.fine_tune()
    assert len(dock.app.state.versions.listed()) == 3
    assert dock.app.state.versions.current.model.info.task == "classes"
    assert set(np.unique(dock.labels.data)) == {0, 1}


def test_two_images_do_not_mix(dock, nuclei):
    dock.viewer.add_image(nuclei[0], name="one")
    dock.segment()
    first = dock.labels.data.copy()
    dock.viewer.add_image(np.ascontiguousarray(nuclei[0][::-1, :100]), name="two")
    dock.app.state.choose(dock.app.layers.images()[1][0])
    dock.segment()
    assert dock.viewer.layers["two labels"].data.shape == (160, 100)
    assert np.array_equal(dock.viewer.layers["one labels"].data, first)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("cuDNN"), KeyError("x")]
)
def test_an_error_in_a_worker_is_reported_and_frees_the_dock(
    dock, image_of_nuclei, monkeypatch, error
):
    def broken(self, tiles, tta):
        raise error

    monkeypatch.setattr(Predictor, "_run", broken)
    monkeypatch.setattr(dock.app.workers, "_segmenter", None)
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    assert dock.message
    assert "Traceback" not in dock.message
    assert dock.find("segment").isEnabled()
