"""Asks before a window with unsaved work closes."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QWidget


class CloseGuard(QObject):
    """Handles the close event of the main window before the window does.

    Parameters
    ----------
    widget : QWidget
        A widget in the window.
    secure : callable
        Saves the work; called with whether the window may stay open. Returns False if the
        user wants it to stay open.
    """

    def __init__(self, widget: QWidget, secure: Callable[[bool], bool]) -> None:
        super().__init__(widget)
        self._widget = widget
        self._secure = secure
        self._window: QMainWindow | None = None

    def follow(self) -> None:
        """Listen to the window that the widget is in now."""
        window = main_window(self._widget)
        if window is not None and window is not self._window:
            self.unbind()
            self._window = window
            window.installEventFilter(self)

    def unbind(self) -> None:
        """Stop listening."""
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the window open if the user wants that."""
        if (
            event is None
            or event.type() != QEvent.Type.Close
            or watched is not self._window
        ):
            return False
        # A window that is closed by code must not stay half closed.
        if self._secure(event.spontaneous()):
            return False
        event.ignore()
        return True


def main_window(widget: QWidget) -> QMainWindow | None:
    """Find the main window that a widget is in, if any."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent
