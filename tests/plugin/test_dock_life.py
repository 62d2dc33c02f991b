"""The dock's ×, a dock opened again, two docks, and the end of the window."""

import gc
import weakref

import numpy as np
import pytest
from napari._qt.widgets.qt_viewer_dock_widget import QtCustomTitleBar
from qtpy.QtWidgets import QWidget

from napari_resunet.plugin import widget as widget_module
from napari_resunet.plugin.widget import SegmentWidget
from napari_resunet.session.store.folder import SessionFolder

SHAPE = (60, 80)


def labels_of_two():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:20, 10:20] = 1
    labels[30:45, 40:60] = 2
    return labels


@pytest.fixture
def viewer(make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros(SHAPE), name="cells")
    return viewer


@pytest.fixture
def open_dock(viewer, qtbot):
    def run():
        dock, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
        qtbot.wait(10)
        return dock, widget

    return run


def propose(controller):
    binding = controller.layers.make_binding(controller._image())
    whole = tuple(slice(0, n) for n in SHAPE)
    binding.apply((), whole, whole, labels_of_two(), "instances")
    controller.refresh()
    return binding.layer


def click_x(dock, qtbot):
    dock.findChild(QtCustomTitleBar).close_button.click()
    gc.collect()
    qtbot.wait(50)


def restored(root):
    """All labels that a session folder holds."""
    folder = SessionFolder.open(root)
    try:
        keys = [record.key for record in folder.file.images]
        places = [(key, index) for key in keys for index in folder.planes(key)]
        return [folder.load_plane(key, index).labels for key, index in places]
    finally:
        folder.close()


def test_strokes_after_the_x_are_kept_and_a_dock_opened_again_goes_on(
    viewer, open_dock, qtbot
):
    dock, first = open_dock()
    layer = propose(first.controller)
    first.view.set_message("Two objects.")
    first.controller.set_object_size(31)
    qtbot.waitUntil(lambda: first.controller.autosave.folder is not None)
    root = first.controller.autosave.folder.root
    click_x(dock, qtbot)
    layer.paint((50, 10), 9)
    _, again = open_dock()
    assert again.controller is first.controller
    assert again.controller.layers.binding(again.controller.image_key).layer is layer
    assert again.view.findChild(QWidget, "session_place").toolTip() == str(root)
    assert again.view.findChild(QWidget, "object_size").value() == pytest.approx(31)
    assert again.view.isVisibleTo(again)
    again.view.findChild(QWidget, "mark_verified").click()
    assert again.controller.layers.binding(again.controller.image_key).counts()[0] == 3
    viewer.window._qt_window.close()
    assert any((labels == 9).any() for labels in restored(root))
    assert sum(layer.name.endswith("labels") for layer in viewer.layers) == 1


@pytest.mark.parametrize("gone", [False, True], ids=["docked", "after the x"])
def test_with_the_window_all_is_written_and_let_go_once(
    viewer, open_dock, qtbot, monkeypatch, gone
):
    dock, widget = open_dock()
    ends = []
    layer = propose(widget.controller)
    autosave = widget.controller.autosave
    qtbot.waitUntil(lambda: autosave.folder is not None)
    root, shut_session = autosave.folder.root, autosave.shut_session
    monkeypatch.setattr(autosave, "shut_session", lambda: (ends.append(1), shut_session()))
    if gone:
        click_x(dock, qtbot)
    layer.paint((50, 10), 9)
    viewer.window._qt_window.close()
    assert any((labels == 9).any() for labels in restored(root))
    widget.controller.shut_down()
    assert ends == [1]
    assert not widget_module._panels


def test_a_closed_window_leaves_nothing_of_the_dock(viewer, open_dock, qtbot):
    _, widget = open_dock()
    propose(widget.controller)
    controller = weakref.ref(widget.controller)
    del widget, _
    viewer.close()
    qtbot.wait(50)
    gc.collect()
    assert controller() is None


def test_a_second_dock_takes_the_view_over(viewer, open_dock, qtbot):
    _, first = open_dock()
    layer = propose(first.controller)
    second = SegmentWidget(viewer)
    other = viewer.window.add_dock_widget(second, name="another")
    qtbot.wait(10)
    assert second.controller is first.controller
    assert second.view.parentWidget() is second
    click_x(other, qtbot)
    layer.paint((50, 10), 9)
    assert first.controller.layers.bindings()
    third = SegmentWidget(viewer)
    assert third.controller is first.controller


def test_a_refused_close_of_the_window_changes_nothing(viewer, open_dock, qtbot):
    from qtpy.QtGui import QCloseEvent

    class ByTheUser(QCloseEvent):
        def spontaneous(self):
            return True

    _, widget = open_dock()
    propose(widget.controller)
    panel = widget._panel
    panel.eventFilter(viewer.window._qt_window, ByTheUser())
    qtbot.wait(10)
    viewer.window._qt_window.hide()
    assert widget.controller.layers.bindings()


def test_two_viewers_have_two_panels(make_napari_viewer, open_dock, qtbot):
    _, one = open_dock()
    other = make_napari_viewer()
    _, two = other.window.add_plugin_dock_widget("napari-resunet")
    qtbot.wait(10)
    assert one.controller is not two.controller
    assert len(widget_module._panels) == 2
    other.close()
    assert len(widget_module._panels) == 1
    assert one.controller.image_key is not None
