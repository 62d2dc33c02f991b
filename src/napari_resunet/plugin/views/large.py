"""The one button of an image that is too large for labels in memory, or of a part of it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_resunet.plugin.views.widgets import make_button


class LargeRow(QWidget):
    """Work here, or Done; neither for ordinary images."""

    work_here_clicked = Signal()
    write_back_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        here = make_button(
            "Work here",
            "work_here",
            "Correct the labels in view: they become an image of their own until you click "
            "Done",
        )
        here.clicked.connect(self.work_here_clicked)
        done = make_button(
            "Done: write back",
            "write_back",
            "Write the labels of this part back to those of the whole image, and close it",
        )
        done.clicked.connect(self.write_back_clicked)
        self._buttons = {"work_here": here, "write_back": done}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for button in (here, done):
            column.addWidget(button)
        self.show_button(None)

    def show_button(self, name: str | None) -> None:
        """Show one of the buttons, or none."""
        for own, button in self._buttons.items():
            button.setVisible(own == name)
        self.setVisible(name is not None)
