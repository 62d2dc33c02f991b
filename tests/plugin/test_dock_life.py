"""The dock's ×, a dock opened again, two docks, and the end of the window."""

import gc
import weakref
from threading import Event

import numpy as np
import pytest
from harness import TIMEOUT
from napari._qt.widgets.qt_viewer_dock_widget import QtCustomTitleBar
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_resunet.events import Progress
from napari_resunet.plugin import widget as widget_module
from napari_resunet.plugin.jobs import Job
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
    def run(viewer=viewer):
        dock, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
        qtbot.waitUntil(lambda: is_followed(viewer, widget), timeout=TIMEOUT)
        return dock, widget

    return run


def is_followed(viewer, widget):
    """Return whether the dock has found its window, and the window's panel is its own."""
    panel = widget_module._panels.get(viewer)
    return panel is widget._panel and panel._window is viewer.window._qt_window


def propose(app):
    binding = app.layers.make_binding(app.layers.image(app.state.image_key))
    whole = tuple(slice(0, n) for n in SHAPE)
    binding.apply((), whole, whole, labels_of_two(), "instances")
    app.state.changed.emit()
    return binding.layer


def click_x(dock, qtbot):
    with qtbot.waitSignal(dock.destroyed, timeout=TIMEOUT):
        dock.findChild(QtCustomTitleBar).close_button.click()
        gc.collect()


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
    layer = propose(first.app)
    first.view.set_message("Two objects.")
    first.app.image.set_object_size(31)
    qtbot.waitUntil(lambda: first.app.autosave.folder is not None, timeout=TIMEOUT)
    root = first.app.autosave.folder.root
    click_x(dock, qtbot)
    layer.paint((50, 10), 9)
    _, again = open_dock()
    assert again.app is first.app
    assert again.app.layers.binding(again.app.state.image_key).layer is layer
    assert again.view.findChild(QWidget, "session_line").text() == f"Saved in {root}"
    assert again.view.findChild(QWidget, "object_size").value() == pytest.approx(31)
    assert again.view.isVisibleTo(again)
    again.view.findChild(QWidget, "mark_verified").click()
    assert again.app.layers.binding(again.app.state.image_key).counts()[0] == 3
    viewer.window._qt_window.close()
    assert any((labels == 9).any() for labels in restored(root))
    assert sum(layer.name.endswith("labels") for layer in viewer.layers) == 1


@pytest.mark.parametrize("gone", [False, True], ids=["docked", "after the x"])
def test_with_the_window_all_is_written_and_let_go_once(
    viewer, open_dock, qtbot, monkeypatch, gone
):
    dock, widget = open_dock()
    ends = []
    layer = propose(widget.app)
    autosave = widget.app.autosave
    qtbot.waitUntil(lambda: autosave.folder is not None, timeout=TIMEOUT)
    root, place = autosave.folder.root, widget.app.place
    close = place.close
    monkeypatch.setattr(place, "close", lambda: (ends.append(1), close()))
    if gone:
        click_x(dock, qtbot)
    layer.paint((50, 10), 9)
    viewer.window._qt_window.close()
    assert any((labels == 9).any() for labels in restored(root))
    widget.app.shut_down()
    assert ends == [1]
    assert not widget_module._panels


def test_a_closed_window_leaves_nothing_of_the_dock(viewer, open_dock, qtbot):
    _, widget = open_dock()
    propose(widget.app)
    app = weakref.ref(widget.app)
    del widget, _
    viewer.close()

    def is_gone():
        gc.collect()
        return app() is None

    qtbot.waitUntil(is_gone, timeout=TIMEOUT)


def test_a_closed_dock_leaves_nothing_behind(qtbot):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 20)))
    counts = [len(viewer.layers.events.removed.callbacks)]
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    app = weakref.ref(widget.app)
    widget.close()
    counts.append(len(viewer.layers.events.removed.callbacks))
    assert counts[0] == counts[1]
    viewer.add_image(np.zeros((20, 20)))
    del widget
    gc.collect()
    assert app() is None or not app().layers._bindings


def test_a_second_dock_takes_the_view_over(viewer, open_dock, qtbot):
    _, first = open_dock()
    layer = propose(first.app)
    second = SegmentWidget(viewer)
    other = viewer.window.add_dock_widget(second, name="another")
    qtbot.waitUntil(lambda: is_followed(viewer, second), timeout=TIMEOUT)
    assert second.app is first.app
    assert second.view.parentWidget() is second
    click_x(other, qtbot)
    layer.paint((50, 10), 9)
    assert first.app.layers.bindings()
    third = SegmentWidget(viewer)
    assert third.app is first.app


def test_a_refused_close_of_the_window_changes_nothing(viewer, open_dock, qtbot):
    from qtpy.QtGui import QCloseEvent

    class ByTheUser(QCloseEvent):
        def spontaneous(self):
            return True

    _, widget = open_dock()
    propose(widget.app)
    panel = widget._panel
    panel.eventFilter(viewer.window._qt_window, ByTheUser())
    qtbot.waitUntil(lambda: not panel._may_hide, timeout=TIMEOUT)
    viewer.window._qt_window.hide()
    assert widget.app.layers.bindings()


def test_two_viewers_have_two_panels(make_napari_viewer, open_dock):
    _, one = open_dock()
    other = make_napari_viewer()
    _, two = open_dock(other)
    assert one.app is not two.app
    assert len(widget_module._panels) == 2
    other.close()
    assert len(widget_module._panels) == 1
    assert one.app.state.image_key is not None


class LongJob:
    """A job that goes on until it is asked to end, or let end."""

    def __init__(self, app, qtbot):
        self.token, self.results = None, []
        self.may_end, self.ended = Event(), Event()
        # Unlike a segmentation, it does not end with its image.
        app.jobs.start(Job("fine-tune", self.steps, self.results.append))
        qtbot.waitUntil(lambda: self.token is not None, timeout=TIMEOUT)

    def steps(self, token):
        self.token = token
        try:
            yield Progress(0, 0, "working")
            while not (token.cancelled or self.may_end.is_set()):
                self.may_end.wait(0.01)
            return "result"
        finally:
            self.ended.set()


@pytest.fixture
def start_job(qtbot):
    jobs = []

    def start(app):
        jobs.append(LongJob(app, qtbot))
        return jobs[-1]

    yield start
    for job in jobs:
        job.may_end.set()


def test_a_job_goes_on_while_the_dock_is_hidden(viewer, open_dock, qtbot, start_job):
    dock, widget = open_dock()
    labels = propose(widget.app)
    viewer.window.show()
    qtbot.waitUntil(widget.isVisible, timeout=TIMEOUT)
    job = start_job(widget.app)
    dock.hide()
    qtbot.waitUntil(lambda: not widget.isVisible(), timeout=TIMEOUT)
    assert widget.app.jobs.kind == "fine-tune"
    assert not job.token.cancelled
    job.may_end.set()
    qtbot.waitUntil(lambda: widget.app.jobs.current is None, timeout=TIMEOUT)
    assert job.results == ["result"]
    assert np.array_equal(labels.data, labels_of_two())


def test_a_job_is_asked_to_end_when_the_window_closes(viewer, open_dock, qtbot, start_job):
    _, widget = open_dock()
    app, labels = widget.app, propose(widget.app)
    job = start_job(app)
    viewer.close()
    assert job.token.cancelled
    assert app.jobs.current is None
    qtbot.waitUntil(job.ended.is_set, timeout=TIMEOUT)
    assert job.results == []
    assert np.array_equal(labels.data, labels_of_two())
