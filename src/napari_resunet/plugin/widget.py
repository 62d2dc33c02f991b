"""The dock widget that napari opens: puts view and controller together, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_resunet.plugin.controller import Controller
from napari_resunet.plugin.view import SegmentView
from napari_resunet.session.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QCloseEvent

MINIMUM_WIDTH = 330


class SegmentWidget(QWidget):
    """Segment and fine-tune.

    Parameters
    ----------
    napari_viewer : ViewerModel
        Injected by napari.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.view = SegmentView()
        # Without this, napari fills the dock's lower half with nothing.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(MINIMUM_WIDTH)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.view)
        self.controller = Controller(self.view, napari_viewer, Settings())

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Abandon jobs when the widget goes for good (hiding the dock is not that)."""
        self.controller.shut_down()
        super().closeEvent(event)
