"""Layers come, go and change under a running job: no crash, nothing stale, nothing lost."""

import numpy as np
import pytest


@pytest.fixture
def busy(dock, nuclei):
    """A dock that has just begun to segment a larger image."""
    dock.viewer.add_image(np.tile(nuclei[0], (4, 4)), name="cells")
    dock.controller.state.scale = 1.0
    dock.controller.choose_scope("slice")
    dock.click("segment")
    assert dock.work.job is not None
    return dock


def settle(dock):
    dock.wait()
    dock.qtbot.wait(300)


def test_removing_the_image_drops_its_job(busy):
    labels = busy.labels
    busy.viewer.layers.remove("cells")
    settle(busy)
    assert not labels.data.any()
    assert "removed" in busy.message
    assert busy.find("segment").toolTip() == "Open an image first."


def test_removing_the_labels_drops_the_job_and_segment_makes_new_ones(busy):
    busy.viewer.layers.remove(busy.labels)
    settle(busy)
    others = [x for x in busy.viewer.layers if x.name != "guide lines"]
    assert [layer.name for layer in others] == ["cells"]
    busy.click("segment")
    busy.wait()
    assert busy.labels.data.any()


def test_renaming_changes_nothing(busy):
    busy.viewer.layers["cells"].name = "other"
    busy.wait()
    assert busy.labels.data.any()
    assert busy.controller.layers.images()[0][1] == "other"


@pytest.mark.parametrize("shape", [(640, 704), (64, 80)])
def test_other_pixels_make_the_result_stale(busy, shape):
    labels = busy.labels
    busy.viewer.layers["cells"].data = np.zeros(shape, np.uint8)
    settle(busy)
    assert not labels.data.any()
    busy.click("segment")
    busy.wait()
    assert busy.labels.data.shape == shape


def test_cancel_leaves_the_labels_as_they_were(busy):
    busy.click("cancel_segment")
    settle(busy)
    assert not busy.labels.data.any()
    assert "Cancelled" in busy.message
    assert busy.find("segment").isEnabled()


def test_hiding_the_dock_loses_nothing(busy):
    busy.widget.parent().hide()
    busy.wait()
    assert busy.labels.data.any()


def test_closing_the_viewer_while_a_job_runs(busy):
    busy.widget.controller.shut_down()
    busy.viewer.close()
    busy.qtbot.wait(300)


def test_choosing_another_version_drops_the_job(busy):
    busy.controller.choose_version("starter")
    settle(busy)
    assert not busy.labels.data.any()


def test_two_images_do_not_mix(dock, nuclei):
    dock.viewer.add_image(nuclei[0], name="one")
    dock.segment()
    first = dock.labels.data.copy()
    dock.viewer.add_image(np.ascontiguousarray(nuclei[0][::-1, :100]), name="two")
    dock.controller.choose_image(dock.controller.layers.images()[1][0])
    dock.segment()
    assert dock.viewer.layers["two labels"].data.shape == (160, 100)
    assert np.array_equal(dock.viewer.layers["one labels"].data, first)


def test_the_image_may_go_while_fine_tuning(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    labels = dock.labels
    before = labels.data.copy()
    dock.controller.choose_region("slice")
    dock.click("fine_tune")
    dock.viewer.layers.remove("cells")
    settle(dock)
    assert np.array_equal(labels.data, before)
