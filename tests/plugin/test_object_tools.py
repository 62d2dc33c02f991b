"""The tools for whole objects: keys and mouse on a Labels layer, each one undo step."""

from types import SimpleNamespace

import numpy as np
import pytest
from harness import Dock
from napari.components import ViewerModel
from napari.layers import Labels
from napari.settings import get_settings
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from qtpy.QtCore import QPoint, Qt

from napari_resunet._package import STARTER
from napari_resunet.plugin.controllers.object_tools import SEPARATE
from napari_resunet.plugin.layers.labels_watch import LabelsWatch
from napari_resunet.plugin.tools import CONTOURS_KEY, NEXT_KEY, TOOLS
from napari_resunet.session.store.labels import LabelsStore

SHAPE = (80, 100)


class Desk(Dock):
    """The dock with labels to edit."""

    def open(self, kind="plane"):
        shape, place = KINDS[kind]
        self.tools = self.app.tools
        self.image = self.viewer.add_image(np.zeros(shape, np.uint8), name="cells", **place)
        self.layer = self.layers.make_binding(self.image).layer
        self.viewer.dims.set_point(0, 0)
        for plane in np.asarray(self.layer.data).reshape(-1, *SHAPE):
            put_objects(plane)
        self.layer.refresh()
        return self

    @property
    def plane(self):
        return np.asarray(self.layer.data).reshape(-1, *SHAPE)[self.number]

    @property
    def number(self):
        return 0 if self.viewer.dims.ndim == 2 else self.viewer.dims.current_step[0]

    def button(self, name):
        return self.find(f"tool_{name}")

    def world(self, place):
        point = np.array(self.viewer.dims.point, float)
        point[-2:] = np.array(place) * self.image.scale[-2:] + self.image.translate[-2:]
        return tuple(point)

    def press(self, key, at=(0, 0)):
        self.viewer.cursor.position = self.world(at)
        keymap = {str(k): f for k, f in self.layer.keymap.items()}
        keymap[key](self.layer)

    def drag(self, *places, modifiers=(), button=1):
        event = SimpleNamespace(
            type="mouse_press", position=self.world(places[0]), modifiers=modifiers,
            button=button, is_dragging=False, handled=False, view_direction=None,
            dims_displayed=[0, 1],
        )  # fmt: skip
        mouse_press_callbacks(self.layer, event)
        event.type, event.is_dragging = "mouse_move", True
        for place in places[1:]:
            event.position = self.world(place)
            mouse_move_callbacks(self.layer, event)
        event.type = "mouse_release"
        mouse_release_callbacks(self.layer, event)

    def one_step(self, act):
        """Do something and see that Ctrl-Z and its opposite are exact."""
        before = np.array(self.layer.data)
        act()
        after = np.array(self.layer.data)
        assert not np.array_equal(before, after)
        self.layer.undo()
        assert np.array_equal(self.layer.data, before)
        self.layer.redo()
        assert np.array_equal(self.layer.data, after)
        return after


def put_objects(plane):
    plane[10:30, 10:30] = 1
    plane[10:30, 30:50] = 2
    plane[50:70, 60:80] = 5


KINDS = {
    "plane": (SHAPE, {}),
    "moved": (SHAPE, {"scale": (2, 0.5), "translate": (30, -7)}),
    "stack": ((3, *SHAPE), {}),
    "channels": ((2, *SHAPE), {"axis_labels": ("channel", "y", "x")}),
}


@pytest.fixture
def make_desk(make_bench):
    return lambda kind="plane": make_bench(Desk).open(kind)


@pytest.fixture
def desk(make_desk):
    return make_desk()


@pytest.fixture(params=KINDS)
def any_desk(request, make_desk):
    desk = make_desk(request.param)
    if request.param == "stack":
        desk.viewer.dims.set_point(0, 1)
    return desk


def test_delete_by_key(any_desk):
    any_desk.one_step(lambda: any_desk.press("D", at=(20, 20)))
    assert set(np.unique(any_desk.plane)) == {0, 2, 5}


def test_merge_by_a_drag(any_desk):
    any_desk.press("J")
    any_desk.one_step(lambda: any_desk.drag((20, 20), (20, 35), (20, 40)))
    assert set(np.unique(any_desk.plane)) == {0, 1, 5}


def test_split_by_a_line(any_desk):
    any_desk.press("K")
    any_desk.one_step(lambda: any_desk.drag((45, 69), (60, 69), (75, 69)))
    assert (any_desk.plane == 5).sum() == pytest.approx(200, abs=25)
    new = set(np.unique(any_desk.plane)) - {0, 1, 2, 5}
    assert len(new) == 1
    assert (any_desk.plane == new.pop()).sum() == pytest.approx(200, abs=25)


def test_the_parts_of_a_split_object_look_different(desk):
    desk.press("K")
    for old in range(120, 130):
        desk.plane[50:70, 60:80], desk.plane[0, 0] = old, old + 97
        desk.drag((45, 69), (75, 69))
        parts = np.unique(desk.plane[50:70, 60:80])
        assert len(parts) == 2
        one, other = (desk.layer.get_color(part) for part in parts)
        assert np.linalg.norm(one - other) > 0.3


def test_add_by_a_scribble_and_by_a_box(any_desk):
    any_desk.layer.brush_size = 6
    any_desk.press("A")
    any_desk.one_step(lambda: any_desk.drag((40, 10), (40, 30)))
    assert any_desk.plane[40, 20] == 6
    box = ((60, 10), (62, 30), (75, 40))
    any_desk.one_step(lambda: any_desk.drag(*box, modifiers=("Shift",)))
    rows, columns = np.nonzero(any_desk.plane == 7)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 75, 10, 40)


def test_add_over_an_object_says_why_not(desk):
    before = desk.plane.copy()
    desk.press("A")
    desk.drag((20, 12), (20, 28))
    assert "Object 1 is there already" in desk.message
    assert np.array_equal(desk.plane, before)


def hover(desk, place):
    desk.viewer.cursor.position = desk.world(place)
    event = SimpleNamespace(
        type="mouse_move", position=desk.world(place), modifiers=(), is_dragging=False
    )
    mouse_move_callbacks(desk.layer, event)


def test_a_mouse_at_rest_shows_what_a_click_would_add(any_desk):
    desk = any_desk
    desk.layer.brush_size = 8
    desk.press("A")
    hover(desk, (40, 20))
    desk.until(lambda: bool(desk.tools.preview.lines))
    before = np.array(desk.layer.data)
    outline = np.concatenate(desk.tools.preview.lines)
    desk.drag((40, 20))
    rows, columns = np.nonzero(desk.plane == 6)
    assert outline.min(0) == pytest.approx((rows.min(), columns.min()), abs=1)
    assert outline.max(0) == pytest.approx((rows.max(), columns.max()), abs=1)
    assert (np.array(desk.layer.data) != before).sum() == len(rows)
    assert not desk.tools.preview.lines


def test_no_preview_over_an_object_or_with_another_tool(desk):
    desk.press("A")
    hover(desk, (40, 20))
    desk.until(lambda: bool(desk.tools.preview.lines))
    hover(desk, (20, 20))
    desk.until(lambda: not desk.tools.preview.lines)
    hover(desk, (40, 20))
    desk.press("K")
    assert not desk.tools.preview.lines
    hover(desk, (40, 20))
    assert not desk.tools._rested.isActive()


def test_the_brush_goes_on_with_what_a_tool_made(desk):
    desk.press("A")
    desk.drag((40, 10), (40, 30))
    desk.layer.mode = "paint"
    assert desk.layer.selected_label == 6
    desk.press("D", at=(40, 20))
    desk.layer.mode = "pan_zoom"
    desk.layer.mode = "paint"
    assert desk.layer.selected_label > 5


def test_smooth_by_key(any_desk):
    any_desk.plane[58:61, 68:71] = 0
    any_desk.one_step(lambda: any_desk.press("S", at=(52, 62)))
    assert (any_desk.plane[58:61, 68:71] == 5).all()


def test_an_edit_stays_in_its_slice(make_desk):
    desk = make_desk("stack")
    desk.viewer.dims.set_point(0, 1)
    before = desk.layer.data.copy()
    desk.press("D", at=(20, 20))
    desk.press("S", at=(60, 70))
    desk.press("J")
    desk.drag((20, 40), (60, 70))
    assert np.array_equal(desk.layer.data[[0, 2]], before[[0, 2]])


def test_more_edit_dimensions_and_contours_change_nothing_of_that(make_desk):
    desk = make_desk("stack")
    desk.layer.n_edit_dimensions = 3
    desk.layer.contour = 2
    desk.one_step(lambda: desk.press("D", at=(20, 20)))
    assert (desk.layer.data == 1).any(axis=(1, 2)).tolist() == [False, True, True]


def test_copy_to_the_next_slice(make_desk):
    desk = make_desk("stack")
    desk.layer.data[1] = 0
    desk.one_step(lambda: desk.press("C", at=(20, 20)))
    assert np.array_equal(desk.layer.data[1] == 1, desk.layer.data[0] == 1)
    desk.viewer.dims.set_point(0, 2)
    desk.press("C", at=(20, 20))
    assert "Nothing was copied" in desk.message
    assert not desk.layer.data[1, 50:].any()


def test_copy_replaces_a_proposal_but_nothing_of_the_user(make_desk):
    desk = make_desk("stack")
    desk.layer.data[:] = 0
    desk.layer.data[0, 20:40, 20:40] = 5
    shifted = np.zeros(SHAPE, np.int32)
    shifted[24:42, 26:44] = 9
    for number in (1, 2):
        desk.layer.data[number] = shifted
    review = desk.binding.review.plane((1,))
    review.last_written = shifted.copy()  # as a proposal is
    desk.one_step(lambda: desk.press("C", at=(30, 30)))
    assert np.array_equal(desk.layer.data[1] == 5, desk.layer.data[0] == 5)
    assert not (desk.layer.data[1] == 9).any()
    desk.viewer.dims.set_point(0, 1)
    desk.press("C", at=(30, 30))
    assert np.array_equal(desk.layer.data[2] == 9, shifted == 9)  # the user drew it


@pytest.fixture
def volume(make_desk):
    """Open a stack whose slices are one volume, and show its middle slice."""
    desk = make_desk("stack")
    desk.state.chosen.stack = "volume"
    desk.viewer.dims.set_point(0, 1)
    return desk


def present(desk):
    """List the labels of each slice."""
    return [set(np.unique(plane).tolist()) for plane in desk.layer.data]


def test_with_alt_an_object_is_deleted_in_all_slices(volume):
    volume.one_step(lambda: volume.press("Alt+D", at=(20, 20)))
    assert present(volume) == [{0, 2, 5}] * 3
    assert volume.message == "Delete: done in 3 slices. Ctrl-Z takes it back."
    volume.button("delete").click()
    volume.one_step(lambda: volume.drag((60, 70), modifiers=("Alt",)))
    assert present(volume) == [{0, 2}] * 3
    volume.one_step(lambda: volume.drag((20, 40)))
    assert present(volume) == [{0, 2}, {0}, {0, 2}]


def test_with_alt_objects_are_merged_in_all_slices(volume):
    volume.layer.data[0, 10:30, 10:30] = 0
    volume.press("Alt+J")
    assert "in all slices" in volume.message
    volume.one_step(lambda: volume.drag((20, 20), (20, 40)))
    assert present(volume) == [{0, 1, 5}] * 3
    assert not (volume.layer.data[0, 10:30, 10:30] == 1).any()


def test_with_alt_a_line_divides_an_object_in_all_slices(volume):
    volume.press("K")
    line = (45, 69), (60, 69), (75, 69)
    volume.one_step(lambda: volume.drag(*line, modifiers=("Alt",)))
    assert all(len(labels) == 5 for labels in present(volume))
    assert len(set.union(*present(volume))) == 5
    assert (volume.layer.data[0] == volume.layer.data[2]).all()


def test_the_key_with_alt_takes_the_tool_for_all_slices_until_it_is_put_away(volume):
    volume.press("Alt+K")
    volume.press("K")  # now for one slice
    volume.drag((45, 69), (75, 69))
    assert [len(labels) for labels in present(volume)] == [4, 5, 4]
    volume.press("K")
    assert volume.tools.active_tool is None


def test_a_new_part_gets_a_number_that_no_slice_has(volume):
    volume.layer.selected_label = 40
    volume.layer.paint((2, 75, 5), 40)
    volume.press("Alt+K")
    volume.drag((45, 69), (75, 69))
    assert (volume.layer.data == 40).any(axis=(1, 2)).tolist() == [False, False, True]
    assert max(set.union(*present(volume))) > 40


def test_separate_slices_are_never_edited_together(make_desk):
    desk = make_desk("stack")
    before = desk.layer.data.copy()
    desk.press("Alt+D", at=(20, 20))
    assert np.array_equal(desk.layer.data, before)
    assert desk.message == SEPARATE


def test_alt_means_nothing_where_there_is_one_slice(make_desk):
    for kind in ("plane", "channels"):
        desk = make_desk(kind)
        desk.press("Alt+D", at=(20, 20))
        assert set(np.unique(desk.plane)) == {0, 2, 5}


def test_edits_in_all_slices_are_the_users_and_verified_areas_stay(volume):
    whole = (slice(0, 80), slice(0, 100))
    proposal = np.zeros(SHAPE, np.int32)
    put_objects(proposal)
    volume.layer.data[:] = 0
    for number in range(3):
        volume.binding.apply((number,), whole, whole, proposal, "instances")
        volume.binding.verify((number,), np.ones(SHAPE, bool))
    volume.press("Alt+D", at=(20, 20))
    edited = volume.binding.edited()
    assert sorted(edited) == [(0,), (1,), (2,)]
    assert all(np.array_equal(mask, proposal == 1) for mask in edited.values())
    assert all(volume.verified((number,)).all() for number in range(3))
    corrections = volume.binding.corrections()
    assert all(not (c.labels == 1).any() for c in corrections)
    for number in range(3):
        volume.binding.apply((number,), whole, whole, proposal, "instances")
    assert not (volume.layer.data == 1).any()


def test_what_was_done_and_undone_in_all_slices_is_on_disk_at_once(volume):
    def saved():
        volume.app.autosave.flush(60)
        root = volume.app.autosave.folder.root
        planes = sorted(root.glob("planes/*/*"))
        return [set(np.unique(LabelsStore(p, SHAPE).load().labels)) for p in planes]

    assert saved() == [{0, 1, 2, 5}] * 3
    watch = LabelsWatch(volume.binding, volume.viewer, {})
    while watch.capture(10, 10):
        pass
    volume.press("Alt+D", at=(20, 20))
    assert sorted(watch.capture(10, 0)) == [(0,), (1,), (2,)]
    volume.layer.undo()
    assert sorted(watch.capture(10, 0)) == [(0,), (1,), (2,)]
    volume.layer.redo()
    assert sorted(watch.capture(10, 0)) == [(0,), (1,), (2,)]
    watch.unbind()
    assert saved() == [{0, 2, 5}] * 3


def test_copying_is_for_stacks(desk, make_desk):
    assert not desk.button("copy").isEnabled()
    assert "one slice" in desk.button("copy").toolTip()
    assert make_desk("stack").button("copy").isEnabled()
    assert not make_desk("channels").button("copy").isEnabled()


def test_buttons_take_tools_and_say_their_keys(desk):
    for tool in TOOLS:
        button = desk.button(tool.name)
        if tool.name != "copy":
            assert f"key {tool.key}" in button.toolTip()
            button.click()
            assert (button.isChecked(), desk.tools.active_tool) == (True, tool.name)
            assert tool.hint in desk.message
            button.click()
            assert (button.isChecked(), desk.tools.active_tool) == (False, None)


def test_with_delete_in_hand_each_click_deletes(desk):
    desk.button("delete").click()
    desk.drag((20, 20))
    desk.drag((60, 70))
    assert set(np.unique(desk.plane)) == {0, 2}


def test_escape_gives_back_the_brush(desk):
    desk.layer.mode = "paint"
    desk.button("split").click()
    assert desk.layer.mode == "pan_zoom"
    assert not desk.layer.mouse_pan
    desk.press("Escape")
    assert desk.layer.mode == "paint"
    assert desk.tools.active_tool is None
    assert not desk.button("split").isChecked()
    before = len(desk.layer.mouse_drag_callbacks)
    desk.button("split").click()
    desk.button("merge").click()
    desk.press("Escape")
    assert len(desk.layer.mouse_drag_callbacks) == before


def test_a_tool_of_napari_takes_over(desk):
    desk.button("split").click()
    desk.layer.mode = "erase"
    assert desk.tools.active_tool is None
    assert desk.layer.mode == "erase"
    desk.drag((20, 20), (20, 25))
    assert desk.plane[20, 22] == 0
    assert 6 not in desk.plane


def test_another_layer_puts_the_tool_down(desk):
    desk.button("add").click()
    desk.viewer.layers.selection.active = desk.image
    assert desk.tools.active_tool is None
    assert desk.layer.mouse_pan


def test_the_view_can_be_moved_again_after_a_tool(desk):
    desk.button("merge").click()
    desk.press("J")
    assert desk.layer.mouse_pan
    assert desk.layer.cursor == "standard"


def test_the_drag_is_drawn_and_the_line_goes(desk):
    desk.button("split").click()
    seen = []
    trace = desk.tools._trace
    lay = trace.draw
    trace.draw = lambda *a: (lay(*a), seen.append(len(trace.lines)))
    desk.drag((45, 69), (60, 69), (75, 69))
    assert seen == [1, 1]
    assert desk.tools.active_tool == "split"
    assert not trace.lines


def test_other_mouse_buttons_do_nothing(desk):
    before = desk.plane.copy()
    desk.button("merge").click()
    desk.drag((20, 20), (20, 40), button=2)
    assert np.array_equal(desk.plane, before)


def test_what_cannot_be_done_is_said(desk):
    desk.press("D", at=(5, 90))
    assert "no object" in desk.message
    desk.press("J")
    desk.drag((20, 15), (20, 18))
    assert "two objects" in desk.message
    desk.layer.visible = False
    before = desk.plane.copy()
    desk.press("D", at=(20, 20))
    assert np.array_equal(desk.plane, before)
    assert "Show" in desk.message


def test_a_model_of_classes_has_no_objects_to_edit(desk):
    from napari_resunet.network.model_file import new_model
    from napari_resunet.types import ModelInfo

    model = new_model(ModelInfo(task="classes", class_names=("background", "axon")))
    desk.app.state.versions.loaded(STARTER, model)
    desk.app.state.changed.emit()
    assert not desk.button("merge").isEnabled()
    assert "classes" in desk.button("merge").toolTip()
    before = desk.plane.copy()
    desk.press("D", at=(20, 20))
    assert np.array_equal(desk.plane, before)


def test_keys_come_with_the_labels_and_go_with_the_dock(desk):
    other = desk.viewer.add_labels(np.zeros(SHAPE, int))
    assert not other.keymap
    assert len(desk.layer.keymap) == len(TOOLS) + sum(tool.through for tool in TOOLS)
    desk.button("add").click()
    desk.app.shut_down()
    assert not desk.layer.keymap
    assert desk.layer.mouse_pan
    assert [layer.name for layer in desk.viewer.layers] == [
        "cells",
        "cells labels",
        "Labels",
    ]


def test_removed_labels_take_the_tool_with_them(desk):
    desk.button("add").click()
    desk.viewer.layers.remove(desk.layer)
    assert desk.tools.active_tool is None
    assert not desk.button("add").isEnabled()
    assert "Segment first" in desk.button("add").toolTip()


def test_by_real_mouse_and_keys_in_a_real_window(make_window_dock, qtbot):
    dock = make_window_dock(show=True)
    viewer = dock.viewer
    image = viewer.add_image(np.zeros(SHAPE, np.uint8), name="cells")
    layer = dock.layers.make_binding(image).layer
    put_objects(layer.data)
    layer.refresh()
    canvas = viewer.window._qt_viewer.canvas.native

    def on_screen(row, column):
        _, middle_row, middle_column = viewer.scene.camera.center
        zoom = viewer.scene.camera.zoom
        x = canvas.width() / 2 + (column - middle_column) * zoom
        y = canvas.height() / 2 + (row - middle_row) * zoom
        return QPoint(round(x), round(y))

    def move(place):
        # Until napari has seen it: the window may still be on its way to the screen.
        def is_there():
            qtbot.mouseMove(canvas, on_screen(*place))
            assert viewer.cursor.position == pytest.approx(place, abs=0.5)

        dock.until(is_there)

    def drag(*places):
        move(places[0])
        qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=on_screen(*places[0]))
        for place in places[1:]:
            move(place)
        qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=on_screen(*places[-1]))

    dock.click("tool_merge")
    drag((20, 20), (20, 30), (20, 40))
    assert set(np.unique(layer.data)) == {0, 1, 5}
    dock.click("tool_split")
    drag((5, 30), (20, 30), (35, 30))
    assert len(np.unique(layer.data[10:30, 10:50])) == 2
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert layer.mouse_pan
    move((60, 70))
    qtbot.keyClick(canvas, Qt.Key.Key_D)
    assert 5 not in layer.data
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert 5 in layer.data


def test_our_keys_are_none_of_napari(make_napari_viewer):
    make_napari_viewer()
    used = {str(key) for key in [*Labels.class_keymap, *ViewerModel.class_keymap]}
    assert {"E", "P", "M"} <= used
    through = [f"Alt+{tool.key}" for tool in TOOLS if tool.through]
    ours = [NEXT_KEY, CONTOURS_KEY, *(tool.key for tool in TOOLS), *through]
    assert len(set(ours)) == len(ours)
    assert not set(ours) & used
    own = get_settings().shortcuts.shortcuts
    labels = {str(k) for name, keys in own.items() if "labels" in name for k in keys}
    everywhere = {str(key) for keys in own.values() for key in keys}
    assert not set(ours) & labels
    assert not {NEXT_KEY, CONTOURS_KEY} & everywhere


def test_an_edited_object_survives_the_next_proposal(desk):
    whole = (slice(0, 80), slice(0, 100))
    proposal = np.zeros(SHAPE, np.int32)
    put_objects(proposal)
    desk.binding.apply((), whole, whole, proposal, "instances")
    desk.press("D", at=(20, 20))
    desk.press("K")
    desk.drag((45, 69), (75, 69))
    mine = desk.plane.copy()
    desk.binding.apply((), whole, whole, proposal, "instances")
    assert np.array_equal(desk.plane, mine)
