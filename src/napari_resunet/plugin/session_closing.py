"""Asks before a window closes that holds work which is not on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QMainWindow, QWidget

if TYPE_CHECKING:
    from napari_resunet.plugin.autosave import Autosave


class Closing(QObject):
    """Hears of the main window's closing before the window does.

    Parameters
    ----------
    autosave : Autosave
        Whose work is at stake.
    """

    def __init__(self, autosave: Autosave) -> None:
        super().__init__(autosave.section)
        self._keeper = autosave
        self._window: QMainWindow | None = None

    def follow(self) -> None:
        """Listen to the window that the dock is in now."""
        window = _main_window(self._keeper.section)
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
        """Keep the window open where the user wants that."""
        if (
            event is None
            or event.type() != QEvent.Type.Close
            or watched is not self._window
        ):
            return False
        # What a program closes must not stay half closed.
        if self._keeper.secure(can_stay=event.spontaneous()):
            return False
        event.ignore()
        return True


def _main_window(widget: QWidget) -> QMainWindow | None:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent
