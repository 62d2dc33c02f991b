"""Gives the keyboard back to the canvas, so that keys act on the image again."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_resunet.plugin.views.page_protocols import SignalLike


class CanvasFocus(QObject):
    """Focuses the canvas after each action in the dock, and when the mouse enters it.

    Parameters
    ----------
    dock : QWidget
        The dock.
    acted : signal
        The user used a control of the dock.
    window : QMainWindow
        The window; its central widget holds the canvas.
    """

    def __init__(self, dock: QWidget, acted: SignalLike, window: QMainWindow) -> None:
        super().__init__(dock)
        self._dock, self._acted = dock, acted
        middle = window.centralWidget()
        found = [] if middle is None else middle.findChildren(QOpenGLWidget)
        self._canvas: QWidget | None = found[0] if found else None
        acted.connect(self._soon)
        if self._canvas is not None:
            self._canvas.installEventFilter(self)

    def unbind(self) -> None:
        """Stop listening."""
        self._acted.disconnect(self._soon)
        if self._canvas is not None:
            self._canvas.removeEventFilter(self)
        self._canvas = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Focus the canvas when the mouse comes from the dock."""
        if event is not None and event.type() == QEvent.Type.Enter:
            self._give_back()
        return False

    def _soon(self) -> None:
        # After Qt has given the focus to the control that was clicked.
        QTimer.singleShot(0, self._give_back)

    def _give_back(self) -> None:
        window = self._dock.window()
        focused = None if window is None else window.focusWidget()
        inside = focused is not None and self._dock.isAncestorOf(focused)
        if inside and self._canvas is not None:
            self._canvas.setFocus()
