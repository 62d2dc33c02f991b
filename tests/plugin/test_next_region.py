"""Next goes where the model is least sure, and says why."""

import numpy as np
import pytest
from harness import Headless
from napari.components import ViewerModel

from napari_resunet.engine import uncertainty
from napari_resunet.engine.uncertainty import Region
from napari_resunet.events import Progress
from napari_resunet.plugin.layers.image_layers import visible_window
from napari_resunet.session.next_region import Found
from napari_resunet.session.workers import Workers


@pytest.fixture
def desk(dock, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    return dock


def go_next(desk):
    desk.click("next")
    desk.wait()


def shown(desk):
    """The middle of the view in image pixels."""
    layer = desk.app.layers.image(desk.app.state.image_key)
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
    desk.app.image.set_object_size(20)
    desk.segment()
    go_next(desk)
    assert "unsure about" in desk.message or "least sure here" in desk.message
    row, column = shown(desk)
    assert desk.app.next_region.frame.lines
    assert row > image.shape[0] / 2 - 40
    assert column > image.shape[1] / 2 - 40


def test_what_is_verified_is_left_and_at_last_all_is(desk, nuclei):
    desk.viewer.add_image(nuclei[0], name="cells")
    desk.app.image.set_object_size(20)
    desk.segment()
    places = set()
    for _ in range(30):
        go_next(desk)
        if "nothing left" in desk.message:
            break
        frame = desk.app.next_region.frame.lines[0]
        places.add(tuple(frame.min(0)))
        region = np.zeros(nuclei[0].shape, bool)
        top, left = np.round(frame.min(0) + 0.5).astype(int)
        bottom, right = np.round(frame.max(0) + 0.5).astype(int)
        region[top:bottom, left:right] = True
        binding = desk.app.layers.binding(desk.app.state.image_key)
        binding.verify((), region)
        desk.app.state.changed.emit()
    assert "nothing left" in desk.message
    assert len(places) == 9
    assert binding.review.plane(()).verified.all()


def test_next_goes_on_though_nothing_was_verified_and_says_when_there_is_no_more(
    desk, nuclei
):
    desk.viewer.add_image(nuclei[0], name="cells")
    desk.app.image.set_object_size(20)
    desk.segment()
    places = []
    for _ in range(9):
        go_next(desk)
        assert "model is" in desk.message
        places.append(tuple(desk.app.next_region.frame.lines[0].min(0)))
    assert len(set(places)) == 9
    go_next(desk)
    assert "no other place" in desk.message


def test_next_stays_with_a_pinned_image(desk, image_of_nuclei):
    desk.viewer.add_image(image_of_nuclei[::-1].copy(), name="other")
    desk.viewer.add_image(image_of_nuclei, name="cells")
    desk.app.image.set_object_size(20)
    desk.click("pin_image")
    desk.segment()
    desk.mark("slice")
    go_next(desk)
    assert "nothing left" in desk.message
    assert desk.labels.name == "cells labels"
    desk.click("pin_image")
    go_next(desk)
    assert desk.labels.name == "other labels"
    assert desk.viewer.layers.selection.active is desk.labels


def test_next_proposes_at_need_in_a_stack_and_moves_the_slider(desk, image_of_nuclei):
    stack = np.stack([image_of_nuclei] * 3)
    desk.viewer.add_image(stack, name="movie", scale=(4, 0.5, 0.5))
    desk.viewer.dims.set_point(0, 0)
    desk.app.image.set_object_size(20)
    desk.segment("slice")
    desk.app.review.choose_area("slice")
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
    key = desk.app.layers.images()[1][0]
    desk.app.state.choose(key)
    desk.app.image.set_object_size(20)
    desk.segment()
    desk.app.review.choose_area("slice")
    desk.click("mark_verified")
    go_next(desk)
    assert desk.app.state.image_key == desk.app.layers.images()[0][0]
    assert desk.labels.name == "other labels"
    assert desk.labels.data.any()


def test_next_has_a_key_that_goes_with_the_dock(desk, nuclei):
    press(desk)
    assert desk.app.jobs.current is None
    desk.viewer.add_image(np.stack([nuclei[0]] * 2), name="cells")
    assert "key N" in desk.find("next").toolTip()
    desk.app.image.set_object_size(20)
    desk.viewer.dims.ndisplay = 3
    press(desk)
    assert "2D" in desk.message
    assert desk.app.jobs.current is None
    desk.viewer.dims.ndisplay = 2
    press(desk)
    desk.wait()
    assert desk.app.next_region.frame.lines
    desk.app.shut_down()
    assert "N" not in map(str, desk.viewer.keymap)


def test_a_key_that_the_user_bound_stays_theirs(make_bench):
    viewer, pressed = ViewerModel(), []
    viewer.bind_key("N", pressed.append)
    bench = make_bench(viewer=viewer)
    press(bench)
    bench.app.shut_down()
    press(bench)
    assert pressed == [viewer, viewer]


def test_next_can_be_cancelled_and_waits_for_other_jobs(desk, nuclei):
    desk.viewer.add_image(np.tile(nuclei[0], (3, 3)), name="cells")
    desk.app.image.set_object_size(20)
    desk.click("next")
    assert not desk.find("segment").isEnabled()
    assert desk.find("cancel").isEnabled()
    desk.click("cancel")
    desk.wait()
    assert "Cancelled" in desk.message
    assert desk.app.layers.binding(desk.app.state.image_key) is None


@pytest.fixture
def searching(monkeypatch):
    """A search that has begun, without the network, and is about to find a region."""
    bench = Headless(Workers())

    def find(workers, request, token):
        yield Progress(0, 1, "looking")
        image_id = request.candidates[0].image.image_id
        region = Region((slice(10, 20), slice(10, 30)), 2.0, 2)
        return Found(image_id, (), region, 0.0, None)

    monkeypatch.setattr("napari_resunet.plugin.controllers.next_region.find_next", find)
    bench.app.next_region.start()
    bench.step()
    yield bench
    bench.app.shut_down()


def test_the_view_goes_to_what_was_found(searching):
    searching.step()
    assert "unsure about 2 objects" in searching.message
    assert searching.app.next_region.frame.lines


def test_other_pixels_make_the_search_stale(searching):
    searching.image.data = np.zeros((64, 80), np.uint8)
    searching.step()
    assert searching.app.jobs.current is None
    assert searching.labels is None
    assert not searching.app.next_region.frame.lines
    assert "The image was changed" in searching.message
    assert searching.reason("next") == ""


def test_another_object_size_makes_the_search_stale(searching):
    searching.app.image.set_object_size(60)
    searching.step()
    assert searching.app.jobs.current is None
    assert searching.labels is None
    assert not searching.app.next_region.frame.lines
    assert "changed" in searching.message
    assert searching.reason("next") == ""


def test_the_view_really_moves(make_window_dock, nuclei, monkeypatch):
    monkeypatch.setattr(uncertainty, "REGION", 64)
    dock = make_window_dock(show=True)
    image = dock.viewer.add_image(nuclei[0], name="cells")
    dock.app.image.set_object_size(20)
    go_next(dock)
    frame = dock.app.next_region.frame.lines[0]

    def fills_the_view():
        rows, columns = visible_window(image)
        assert rows.stop - rows.start < image.data.shape[0]
        assert rows.start <= frame[:, 0].min() + 1
        assert frame[:, 0].max() - 1 <= rows.stop
        assert columns.start <= frame[:, 1].min() + 1

    dock.until(fills_the_view)
