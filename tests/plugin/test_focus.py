"""The keyboard goes back to the canvas, so that keys act on the image."""

import pytest
from qtpy.QtCore import QEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.focus import CanvasFocus


@pytest.fixture
def window(qtbot):
    """A window with a canvas and the dock, of which the minutes have the keyboard."""
    window, middle = QMainWindow(), QWidget()
    qtbot.addWidget(window)
    window.canvas = QOpenGLWidget(middle)
    window.setCentralWidget(middle)
    window.dock = Dock(window)
    window.focus = CanvasFocus(window.dock, window.dock.acted, window)
    window.dock.steps.open("learn")
    with qtbot.waitExposed(window):
        window.show()
    window.minutes = window.dock.findChild(QWidget, "minutes")
    window.minutes.setFocus()
    assert window.focusWidget() is window.minutes
    return window


def test_after_an_action_in_the_dock(window, qtbot):
    window.dock.findChild(QWidget, "auto_fine_tune").click()
    qtbot.waitUntil(lambda: window.focusWidget() is window.canvas)


def test_when_the_mouse_comes_to_the_image(window):
    QApplication.sendEvent(window.canvas, QEvent(QEvent.Type.Enter))
    assert window.focusWidget() is window.canvas


def test_what_is_not_in_the_dock_keeps_it(window):
    other = QWidget(window)
    other.show()
    other.setFocus()
    window.focus._give_back()
    assert window.focusWidget() is other


def test_no_more_once_the_dock_has_ended(window, qtbot):
    window.focus.unbind()
    window.dock.findChild(QWidget, "auto_fine_tune").click()
    QApplication.processEvents()
    assert window.focusWidget() is not window.canvas
