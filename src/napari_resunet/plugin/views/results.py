"""The step Results: what was found, and where to take it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog

from napari_resunet.plugin.views.widgets import ReservedText, Section, make_button

TEXT_LINES = 4


class ResultsSection(Section):
    """The numbers of the image, and the export of its labels."""

    export_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._text = ReservedText("results_text", TEXT_LINES)
        self.add_wide(self._text)
        export = make_button(
            "Export labels…",
            "export_labels",
            "Write the labels of the image as a TIFF, with a note of how they were made",
        )
        export.clicked.connect(self.export_clicked)
        self.add_wide(export)

    def set_text(self, text: str) -> None:
        """Show what was found."""
        self._text.set_text(text)

    def ask_export(self, suggested: str) -> Path | None:
        """Ask for a file to write labels to; None if the user cancels."""
        found, _ = QFileDialog.getSaveFileName(
            self, "Export the labels", suggested, "TIFF (*.tif *.tiff)"
        )
        return Path(found) if found else None
