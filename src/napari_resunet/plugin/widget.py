"""The dock widget that napari opens, and what stays when napari takes it away.

The dock's × takes the widget out of the window for good, and opening the dock again makes
a new one. View and controller are therefore the window's: a dock only shows them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMainWindow, QSizePolicy, QVBoxLayout, QWidget

from napari_resunet.plugin.controller import Controller
from napari_resunet.plugin.gl_context import CanvasContext
from napari_resunet.plugin.view import SegmentView
from napari_resunet.session.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QCloseEvent

MINIMUM_WIDTH = 330


class Panel(QObject):
    """View and controller of one viewer, from the first dock until the window closes.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers are worked on.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.view = SegmentView()
        self.controller = Controller(self.view, viewer, Settings())
        self.dock: QWidget | None = None
        """Where the view is: kept, so that the view lives on while no window shows it."""
        self._window: QMainWindow | None = None
        self._context: CanvasContext | None = None
        self._may_hide = False

    @classmethod
    def of(cls, viewer: ViewerModel) -> Panel:
        """Find the panel of a viewer's window, or make one."""
        return _panels.get(_unwrapped(viewer)) or cls(viewer)

    def show_in(self, dock: QWidget) -> None:
        """Move the view into a dock; the one that had it stays empty."""
        layout = dock.layout()
        assert layout is not None
        layout.addWidget(self.view)
        self.dock = dock

    def follow(self, window: QMainWindow) -> None:
        """Stay as long as this window does."""
        if self._window is None:
            self._window = window
            self._context = CanvasContext(self._viewer, window)
            _panels[_unwrapped(self._viewer)] = self
            window.installEventFilter(self)

    def dock_closed(self, dock: QWidget) -> None:
        """End with the dock if there is no window to end with."""
        if self._window is None and self.dock is dock:
            self.end()

    def end(self) -> None:
        """Write what is left and let go of everything."""
        self.controller.shut_down()
        if self._window is not None and self._context is not None:
            self._window.removeEventFilter(self)
            self._context.unbind()
            del _panels[_unwrapped(self._viewer)]
        self.dock = self._window = self._context = None

    def eventFilter(self, window: QObject | None, event: QEvent | None) -> bool:
        """End with the window; one whose close was refused is not hidden."""
        kind = None if event is None else event.type()
        if event is not None and kind == QEvent.Type.Close:
            self._may_hide = True
            QTimer.singleShot(0, self._still_there)
        if event is not None and (
            (kind == QEvent.Type.Close and not event.spontaneous())
            or (kind == QEvent.Type.Hide and self._may_hide)
        ):
            self.end()
        return False

    def _still_there(self) -> None:
        self._may_hide = False


_panels: WeakKeyDictionary[ViewerModel, Panel] = WeakKeyDictionary()
"""Of the viewers whose windows are open."""


def _unwrapped(viewer: ViewerModel) -> ViewerModel:
    """Take the viewer out of the proxy that napari injects, a new one each time."""
    found: ViewerModel = inspect.unwrap(viewer)
    return found


class SegmentWidget(QWidget):
    """Segment and fine-tune.

    Parameters
    ----------
    napari_viewer : ViewerModel
        Injected by napari.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        # Without this, napari fills the dock's lower half with nothing.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(MINIMUM_WIDTH)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._panel = Panel.of(napari_viewer)
        self._panel.show_in(self)
        self.view, self.controller = self._panel.view, self._panel.controller

    def event(self, event: QEvent | None) -> bool:
        """Look for the window once napari has put the dock there."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            QTimer.singleShot(0, self._follow_window)
        return super().event(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Abandon jobs when a widget in no window is closed."""
        self._panel.dock_closed(self)
        super().closeEvent(event)

    def _follow_window(self) -> None:
        parent = self.parentWidget()
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parentWidget()
        if parent is not None:
            self._panel.follow(parent)
