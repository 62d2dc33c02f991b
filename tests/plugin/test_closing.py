"""A window with unsaved work asks before it closes."""

import pytest
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_resunet.plugin.views.closing import CloseGuard


@pytest.fixture
def guarded(qtbot):
    """A window, the widget in it, and its guard, which asks and follows `answers`."""
    window, widget = QMainWindow(), QWidget()
    window.setCentralWidget(widget)
    qtbot.addWidget(window)
    asked, answers = [], [False, True]

    def secure(can_stay):
        asked.append(can_stay)
        return answers.pop(0)

    guard = CloseGuard(widget, secure)
    guard.follow()
    window.show()
    return window, guard, asked


def test_the_window_stays_open_until_the_work_is_secure(guarded):
    window, _, asked = guarded
    assert not window.close()
    assert window.isVisible()
    assert window.close()
    assert asked == [False, False]  # a program closes it: it must not stay for the user


def test_a_guard_that_let_go_asks_nothing(guarded):
    window, guard, asked = guarded
    guard.unbind()
    guard.unbind()
    assert window.close()
    assert asked == []


def test_a_widget_that_moved_guards_its_new_window_only(guarded, qtbot):
    window, guard, asked = guarded
    other = QMainWindow()
    qtbot.addWidget(other)
    other.setCentralWidget(window.centralWidget())
    guard.follow()
    assert window.close()
    assert asked == []
    assert not other.close()
