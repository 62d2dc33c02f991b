"""The row that tells of an interrupted fine-tuning; its buttons lead to `interrupted`."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_resunet.plugin.view_parts import TextLine, make_button, make_row


class InterruptedRow(QWidget):
    """A sentence and three buttons, hidden while there is nothing to go on with."""

    go_on_clicked = Signal()
    keep_best_clicked = Signal()
    drop_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._text = TextLine("interrupted_text")
        go_on = make_button("Resume", "go_on", "Train for the rest of the time")
        go_on.clicked.connect(self.go_on_clicked)
        keep = make_button("Keep best", "keep_best", "End it, and keep the best so far")
        keep.clicked.connect(self.keep_best_clicked)
        drop = make_button("Discard", "drop_interrupted", "Throw it away")
        drop.clicked.connect(self.drop_clicked)
        for button in (go_on, keep, drop):
            button.setMinimumWidth(60)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addLayout(make_row(go_on, keep, drop))
        self.set_text("")

    def set_text(self, text: str) -> None:
        """Tell of an interrupted fine-tuning; an empty text hides all."""
        self._text.set_text(text)
        self.setVisible(bool(text))
