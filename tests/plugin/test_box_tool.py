"""The box that a user drags on the image, with the mouse on a real canvas's model."""

from types import SimpleNamespace

import numpy as np
import pytest
from harness import Dock
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import QPoint, Qt

SHAPE = (80, 100)


class Desk(Dock):
    """The dock with an image, labels, and a mouse."""

    def open(self, shape=SHAPE, **place):
        self.image = self.viewer.add_image(np.zeros(shape, np.uint8), **place)
        self.layer = self.layers.make_binding(self.image).layer
        self.layer.data[..., 10:20, 10:20] = 1
        self.layer.data[..., 40:50, 60:70] = 2
        self.viewer.dims.set_point(0, 0)
        self.viewer.layers.selection.active = self.layer
        self.app.review.choose_area("box")
        return self

    def world(self, place):
        point = np.array(self.viewer.dims.point, float)
        point[-2:] = self.image.data_to_world((*[0] * (self.image.ndim - 2), *place))[-2:]
        return tuple(point)

    def drag(self, *places, button=1):
        """Drag as napari's canvas passes it on: to the viewer, then to the active layer."""
        event = SimpleNamespace(
            type="mouse_press", position=self.world(places[0]), modifiers=(),
            button=button, is_dragging=False, handled=False, view_direction=None,
            dims_displayed=[0, 1],
        )  # fmt: skip
        self._pass_on(mouse_press_callbacks, event)
        event.type, event.is_dragging = "mouse_move", True
        for place in places[1:]:
            event.position = self.world(place)
            self._pass_on(mouse_move_callbacks, event)
            yield
        event.type = "mouse_release"
        self._pass_on(mouse_release_callbacks, event)

    def _pass_on(self, callbacks, event):
        callbacks(self.viewer, event)
        active = self.viewer.layers.selection.active
        if active is not None:
            callbacks(active, event)

    def box(self, *places, **event):
        for _ in self.drag(*places, **event):
            pass

    def escape(self):
        {str(k): f for k, f in self.image.keymap.items()}["Escape"](self.image)

    @property
    def is_waiting(self):
        return self.app.review.box.is_active

    @property
    def preview(self):
        return self.app.overlays.lines("box")


@pytest.fixture
def desk(make_bench):
    return make_bench(Desk).open()


def is_as_before(desk):
    return (
        desk.viewer.layers.selection.active is desk.layer
        and desk.image.mouse_pan
        and not desk.image.mouse_drag_callbacks
        and not [k for k in desk.image.keymap if str(k) == "Escape"]
    )


@pytest.mark.parametrize("corners", [((5, 5), (30, 40)), ((30, 40), (5, 5))])
def test_a_dragged_box_is_verified(desk, corners):
    before = desk.layer.data.copy()
    desk.click("mark_verified")
    assert "Drag a box" in desk.message
    assert not desk.viewer.scene.camera.mouse_pan
    desk.box(corners[0], (12, 20), corners[1])
    expected = np.zeros(SHAPE, bool)
    expected[5:31, 5:41] = True
    assert np.array_equal(desk.verified(), expected)
    assert len(desk.app.review.outline.lines) == 1
    assert "verified" in desk.message
    assert not desk.is_waiting
    assert is_as_before(desk)
    assert desk.viewer.scene.camera.mouse_pan
    assert np.array_equal(desk.layer.data, before)


def test_the_box_is_seen_while_it_is_dragged(desk):
    desk.click("mark_verified")
    drag = desk.drag((5, 5), (20, 30), (30, 60))
    next(drag)
    assert desk.preview[0].max(0).tolist() == [20, 30]
    next(drag)
    assert desk.preview[0].max(0).tolist() == [30, 60]
    assert not desk.verified().any()
    assert next(drag, "released") == "released"
    assert not desk.preview
    assert desk.verified().sum() == 26 * 56


def test_a_box_beyond_the_image_ends_with_it(desk):
    desk.click("mark_verified")
    desk.box((60, 70), (200, 300))
    expected = np.zeros(SHAPE, bool)
    expected[60:, 70:] = True
    assert np.array_equal(desk.verified(), expected)


def test_a_box_on_a_slice_of_a_moved_stack(make_bench):
    desk = make_bench(Desk).open((3, *SHAPE), scale=(1, 2, 0.5), translate=(0, 30, -7))
    desk.viewer.dims.set_point(0, 1)
    desk.click("mark_verified")
    desk.box((5, 5), (30, 40))
    assert desk.verified((1,)).sum() == 26 * 36
    assert desk.binding.review.verified_planes() == [(1,)]


def test_escape_leaves(desk):
    desk.click("mark_verified")
    desk.escape()
    assert is_as_before(desk)
    assert not desk.is_waiting
    assert desk.message == ""
    desk.box((5, 5), (30, 40))
    assert not desk.verified().any()


@pytest.mark.parametrize("leave", ["brush", "tool", "removed"])
def test_taking_another_tool_leaves(desk, leave):
    desk.click("mark_verified")
    if leave == "brush":
        desk.viewer.layers.selection.active = desk.layer
        desk.layer.mode = "paint"
    elif leave == "tool":
        desk.click("tool_delete")
    else:
        desk.viewer.layers.remove(desk.image)
    assert not desk.is_waiting
    assert not desk.image.mouse_drag_callbacks
    if leave == "tool":
        desk.box((12, 12), (13, 13))
        assert not (desk.layer.data == 1).any()  # it was deleted
    assert not desk.verified().any() if leave != "removed" else True


def test_taking_the_box_leaves_a_tool(desk):
    desk.click("tool_delete")
    desk.click("mark_verified")
    assert desk.app.tools.active_tool is None
    desk.box((5, 5), (30, 40))
    assert desk.verified().any()
    assert (desk.layer.data == 1).any()


def test_a_brush_does_not_paint_and_comes_back(desk):
    desk.layer.mode = "paint"
    before = desk.layer.data.copy()
    desk.click("mark_verified")
    desk.box((5, 5), (30, 40))
    assert np.array_equal(desk.layer.data, before)
    assert desk.viewer.layers.selection.active is desk.layer
    assert str(desk.layer.mode) == "paint"


def test_a_click_and_the_other_button_are_no_box(desk):
    desk.click("mark_verified")
    desk.box((5, 5), (6, 6))
    desk.box((5, 5), (30, 40), button=2)
    assert desk.is_waiting
    assert not desk.verified().any()
    desk.box((5, 5), (30, 40))
    assert desk.verified().any()


def test_a_box_is_unmarked(desk):
    desk.mark("slice")
    desk.app.review.choose_area("box")
    desk.click("unmark")
    desk.box((5, 5), (30, 40))
    assert not desk.verified()[5:31, 5:41].any()
    assert desk.verified().sum() == 8000 - 26 * 36


def test_where_nothing_was_proposed_nothing_is_verified(desk):
    half = slice(0, 80), slice(0, 50)
    desk.binding.apply((), half, half, np.zeros((80, 50), np.int32), "instances")
    desk.click("mark_verified")
    desk.box((50, 80), (70, 95))
    assert not desk.verified().any()
    assert "nothing there to learn from" in desk.message


def test_let_me_draw_ends_with_one_more_click_on_fine_tune(desk, monkeypatch):
    asked, learned = [], []

    def ask(no_edits):
        asked.append(no_edits)
        return "draw"

    monkeypatch.setattr(desk.view.fine_tune, "ask_what_is_right", ask)
    monkeypatch.setattr(desk.app.fine_tune, "_start", lambda *_: learned.append(1))
    desk.click("fine_tune")
    assert desk.is_waiting
    assert "Drag a box" in desk.message
    desk.box((5, 5), (30, 40))
    assert not learned
    assert "Fine-tune" in desk.message
    text = desk.find("training_data_text")
    expected = "Will learn from 1 object in 1 area on 1 image, 1 of them edited by you."
    desk.until(lambda: text.text() == expected)
    desk.click("fine_tune")
    assert learned
    assert len(asked) == 1


def test_the_box_ends_with_the_dock(desk):
    desk.click("mark_verified")
    desk.app.shut_down()
    assert not desk.image.mouse_drag_callbacks
    assert desk.image.mouse_pan


def test_with_the_mouse_in_a_real_window(make_window_dock, qtbot):
    dock = make_window_dock(show=True)
    viewer = dock.viewer
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="cells")
    layer = dock.layers.make_binding(image).layer
    layer.data[10:30, 10:30] = 1
    layer.mode = "paint"
    canvas = viewer.window._qt_viewer.canvas.native

    def on_screen(place):
        camera = viewer.scene.camera
        away = (np.array(place) - camera.center[-2:]) * camera.zoom
        return QPoint(
            canvas.width() // 2 + round(away[1]), canvas.height() // 2 + round(away[0])
        )

    def move(place):
        # Until napari has seen it: the window may still be on its way to the screen.
        def is_there():
            qtbot.mouseMove(canvas, on_screen(place))
            assert viewer.cursor.position == pytest.approx(place, abs=0.5)

        dock.until(is_there)

    centre = viewer.scene.camera.center
    dock.app.review.choose_area("box")
    dock.click("mark_verified")
    move((10, 30))
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=on_screen((10, 30)))
    move((20, 40))
    assert dock.app.overlays.lines("box")
    move((40, 65))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=on_screen((40, 65)))
    rows, columns = np.nonzero(dock.verified())
    assert (rows.min(), columns.min()) == pytest.approx((10, 30), abs=1)
    assert (rows.max(), columns.max()) == pytest.approx((40, 65), abs=1)
    assert viewer.scene.camera.center == centre  # the canvas was not dragged
    assert not dock.app.review.box.is_active
    assert set(np.unique(layer.data)) == {0, 1}  # nothing was painted
    dock.click("mark_verified")
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert not dock.app.review.box.is_active
