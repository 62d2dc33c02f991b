"""Next goes where the model is least sure, and says why; the map can be seen."""

import numpy as np
import pytest

from napari_resunet.engine import uncertainty
from napari_resunet.plugin.image_layers import visible_window


@pytest.fixture
def desk(dock, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    return dock


def go_next(desk):
    desk.click("next")
    desk.wait()


def shown(desk):
    """The middle of the view in image pixels."""
    layer = desk.controller.layers.image(desk.controller._image_key)
    centre = desk.viewer.scene.camera.center[-2:]
    return tuple(np.asarray(layer.world_to_data((0,) * (layer.ndim - 2) + centre))[-2:])


def press(desk):
    {str(key): run for key, run in desk.viewer.keymap.items()}["N"](desk.viewer)


def faded(image):
    """The same image with one quarter hard to see."""
    half = [n // 2 for n in image.shape]
    quarter = image[half[0] :, half[1] :]
    result = image.copy()
    result[half[0] :, half[1] :] = np.median(image) + (quarter - np.median(image)) * 0.12
    return result


def test_next_goes_to_the_doubtful_part_and_says_why(desk, nuclei):
    image = faded(nuclei[0].astype(float)).astype(np.float32)
    desk.viewer.add_image(image, name="cells")
    desk.controller.set_object_size(20)
    desk.segment()
    go_next(desk)
    assert "unsure about" in desk.message or "least sure here" in desk.message
    row, column = shown(desk)
    assert desk.controller.correcting.next.frame.lines
    assert row > image.shape[0] / 2 - 40
    assert column > image.shape[1] / 2 - 40


def test_what_is_verified_is_left_and_at_last_all_is(desk, nuclei):
    desk.viewer.add_image(nuclei[0], name="cells")
    desk.controller.set_object_size(20)
    desk.segment()
    places = set()
    for _ in range(30):
        go_next(desk)
        if "nothing left" in desk.message:
            break
        frame = desk.controller.correcting.next.frame.lines[0]
        places.add(tuple(frame.min(0)))
        region = np.zeros(nuclei[0].shape, bool)
        top, left = np.round(frame.min(0) + 0.5).astype(int)
        bottom, right = np.round(frame.max(0) + 0.5).astype(int)
        region[top:bottom, left:right] = True
        binding = desk.controller.layers.binding(desk.controller._image_key)
        binding.verify((), region)
        desk.controller.refresh()
    assert "nothing left" in desk.message
    assert len(places) == 9
    assert binding.review.plane(()).verified.all()


def test_next_proposes_at_need_in_a_stack_and_moves_the_slider(desk, image_of_nuclei):
    stack = np.stack([image_of_nuclei] * 3)
    desk.viewer.add_image(stack, name="movie", scale=(4, 0.5, 0.5))
    desk.viewer.dims.set_point(0, 0)
    desk.controller.set_object_size(20)
    desk.segment("slice")
    desk.controller.choose_region("slice")
    desk.click("mark_verified")
    go_next(desk)
    index = round(desk.viewer.dims.point[0] / 4)
    assert index in (1, 2)
    assert desk.labels.data[index].any()
    assert not desk.labels.data[3 - index].any()
    assert "model is" in desk.message


def test_next_goes_to_another_image(desk, image_of_nuclei):
    desk.viewer.add_image(image_of_nuclei[::-1].copy(), name="other")
    desk.viewer.add_image(image_of_nuclei, name="cells")
    key = desk.controller.layers.images()[1][0]
    desk.controller.choose_image(key)
    desk.controller.set_object_size(20)
    desk.segment()
    desk.controller.choose_region("slice")
    desk.click("mark_verified")
    go_next(desk)
    assert desk.controller._image_key == desk.controller.layers.images()[0][0]
    assert desk.labels.name == "other labels"
    assert desk.labels.data.any()


def test_next_has_a_key_that_goes_with_the_dock(desk, nuclei):
    press(desk)
    assert desk.work.job is None
    desk.viewer.add_image(np.stack([nuclei[0]] * 2), name="cells")
    assert "key N" in desk.find("next").toolTip()
    desk.controller.set_object_size(20)
    desk.viewer.dims.ndisplay = 3
    press(desk)
    assert "2D" in desk.message
    assert desk.work.job is None
    desk.viewer.dims.ndisplay = 2
    press(desk)
    desk.wait()
    assert desk.controller.correcting.next.frame.lines
    desk.controller.shut_down()
    assert "N" not in map(str, desk.viewer.keymap)


def test_a_key_that_the_user_bound_stays_theirs(make_napari_viewer):
    viewer, pressed = make_napari_viewer(), []
    viewer.bind_key("N", pressed.append)
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    widget.controller.shut_down()
    {str(key): run for key, run in viewer.keymap.items()}["N"](viewer)
    assert pressed == [viewer]


def test_next_can_be_cancelled_and_waits_for_other_jobs(desk, nuclei):
    desk.viewer.add_image(np.tile(nuclei[0], (3, 3)), name="cells")
    desk.controller.set_object_size(20)
    desk.click("next")
    assert not desk.find("segment").isEnabled()
    assert desk.find("cancel_segment").isEnabled()
    desk.click("cancel_segment")
    desk.wait()
    assert "Cancelled" in desk.message
    assert desk.controller.layers.binding(desk.controller._image_key) is None


@pytest.mark.parametrize("what", ["pixels", "size"])
def test_a_change_meanwhile_makes_the_search_stale(desk, nuclei, what):
    image = desk.viewer.add_image(np.tile(nuclei[0], (3, 3)), name="cells")
    desk.controller.set_object_size(20)
    desk.click("next")
    if what == "pixels":
        image.data = np.zeros((64, 80), np.uint8)
    else:
        desk.controller.set_object_size(60)
    desk.wait()
    desk.qtbot.wait(300)
    assert desk.controller.layers.binding(desk.controller._image_key) is None
    assert not desk.controller.correcting.next.frame.lines
    assert "changed" in desk.message
    assert desk.find("next").isEnabled()


def test_the_map_is_shown_over_the_image_and_taken_away(desk, image_of_nuclei):
    place = {"scale": (2, 0.5), "translate": (30, 7)}
    image = desk.viewer.add_image(image_of_nuclei, name="cells", **place)
    assert not desk.find("show_map").isEnabled()
    desk.segment()
    active = desk.viewer.layers.selection.active
    desk.click("show_map")
    shown = desk.controller.correcting.map.layer
    assert np.allclose(shown.extent.world, image.extent.world, atol=0.6)
    assert (shown.data.min() >= 0, shown.data.max() <= 1.001) == (True, True)
    places = [image.data_to_world(p) for p in np.argwhere(desk.labels.data > 0)[::200]]
    assert np.mean([shown.get_value(p, world=True) for p in places]) > 0.8
    assert desk.viewer.layers.selection.active is active
    assert [name for _, name in desk.controller.layers.images()] == ["cells"]
    desk.click("show_map")
    assert desk.controller.correcting.map.layer is None
    assert not desk.find("show_map").isChecked()


def test_the_map_follows_the_slices_and_a_removed_one_is_off(desk, image_of_nuclei):
    stack = np.stack([image_of_nuclei, image_of_nuclei[::-1]])
    desk.viewer.add_image(stack, name="movie")
    desk.segment("stack")
    desk.click("show_map")
    shown = desk.controller.correcting.map
    seen = []
    for z in (0, 1):
        desk.viewer.dims.set_point(0, z)
        seen.append(shown.layer.data)
    assert not np.array_equal(*seen)
    desk.viewer.layers.remove(shown.layer)
    assert not desk.find("show_map").isChecked()
    assert shown.layer is None


def test_the_view_really_moves(make_napari_viewer, qtbot, starter, nuclei, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    viewer = make_napari_viewer(show=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    image = viewer.add_image(nuclei[0], name="cells")
    controller = widget.controller
    controller.work.versions.starter_loaded(starter)
    controller.set_object_size(20)
    controller.correcting.next.start()
    qtbot.waitUntil(lambda: controller.work.job is None, timeout=60_000)
    qtbot.wait(300)
    rows, columns = visible_window(image)
    frame = controller.correcting.next.frame.lines[0]
    assert rows.stop - rows.start < image.data.shape[0]
    assert rows.start <= frame[:, 0].min() + 1
    assert frame[:, 0].max() - 1 <= rows.stop
    assert columns.start <= frame[:, 1].min() + 1
    controller.shut_down()
