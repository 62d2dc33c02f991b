"""The step Results: what was found, and where to take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from magicgui.widgets import request_values
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QPushButton

from napari_resunet.plugin.views.forms import ask_settings
from napari_resunet.plugin.views.histogram import Histogram
from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    ReservedText,
    Section,
    make_button,
    make_row,
)
from napari_resunet.session.settings import (
    EXPORT,
    EXPORTS,
    MEASURE_GROUPS,
    MEASUREMENTS,
    TRACKS,
    Choice,
    MeasureSettings,
)

KINDS = {
    ".tif": "TIFF (*.tif *.tiff)",
    ".zip": "ImageJ ROIs (*.zip)",
    ".geojson": "GeoJSON (*.geojson)",
    "_ctc": "Folder of tracks (*)",
}
"""Of files, by the end of the name that is suggested, as a dialog shows them."""

TEXT_LINES = 4
TABLE_LINES = 2


class ResultsSection(Section):
    """The numbers of the image, and where its labels and its table go."""

    export_clicked = Signal()
    measure_clicked = Signal()
    save_table_clicked = Signal()
    column_chosen = Signal(str)
    save_into_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._formats = {choice.key: choice is EXPORTS[0] for choice in EXPORTS}
        self._text = ReservedText("results_text", TEXT_LINES)
        self.add_wide(self._text)
        export = _button(
            "Export…",
            "export_labels",
            "Write the labels for Fiji, QuPath, or any other program, with a note of how "
            "they were made",
            self.export_clicked,
        )
        measure = _button(
            "Measure…",
            "measure",
            "Measure size and intensities of all objects, and show them as a table",
            self.measure_clicked,
        )
        save = _button(
            "Save table…",
            "save_table",
            "Write the table as CSV or Parquet",
            self.save_table_clicked,
        )
        self.add_wide(export)
        self._save_into = _button(
            "Save into the image…",
            "save_into_image",
            "Save the labels into the OME-Zarr that the image was opened from",
            self.save_into_clicked,
        )
        self._save_into.hide()
        self.add_wide(self._save_into)
        self.add_wide(make_row(measure, save))
        self._table_text = ReservedText("table_text", TABLE_LINES)
        self.add_wide(self._table_text)
        self._columns = KeyedCombo("column", "Column of the histogram")
        self._columns.chosen.connect(self.column_chosen)
        self.add_row("Histogram", self._columns)
        self._histogram = Histogram()
        self.add_wide(self._histogram)

    def set_text(self, text: str) -> None:
        """Show what was found."""
        self._text.set_text(text)

    def set_table_text(self, text: str) -> None:
        """Show what was measured, or why that no longer counts."""
        self._table_text.set_text(text)

    def set_columns(self, names: Sequence[str], current: str | None) -> None:
        """Offer columns for the histogram, and show which one it is of."""
        self._columns.set_items([(name, name, "") for name in names], current)
        self._columns.setEnabled(bool(names))

    def show_histogram(
        self, name: str, edges: Sequence[float], counts: Sequence[int]
    ) -> None:
        """Show the number of objects between each edge and the next; none clear it."""
        self._histogram.show_counts(name, edges, counts)

    def ask_formats(
        self, no_tracks: str, *, measure: bool = False
    ) -> tuple[str, ...] | None:
        """Ask which formats to write; those of the last time are checked.

        Tracks can be chosen unless `no_tracks` says why not.
        """
        choices = (*EXPORTS, TRACKS, *([MEASUREMENTS] if measure else []))
        boxes = {choice.key: self._box(choice) for choice in choices}
        if no_tracks:
            options = {"tooltip": no_tracks, "enabled": False}
            boxes[TRACKS.key] |= {"value": False, "options": options}
        answers = request_values(boxes, title=EXPORT, parent=self)
        if answers is None:
            return None
        self._formats |= answers
        return tuple(key for key, wanted in answers.items() if wanted)

    def _box(self, choice: Choice) -> dict[str, Any]:
        """Describe the check box of a format."""
        return {
            "annotation": bool,
            "value": self._formats.get(choice.key, False),
            "label": choice.title,
            "options": {"tooltip": choice.description},
        }

    def ask_export(self, suggested: str) -> Path | None:
        """Ask for a file to write labels to; None if the user cancels."""
        kind = next(kind for end, kind in KINDS.items() if suggested.endswith(end))
        found, _ = QFileDialog.getSaveFileName(self, "Export the labels", suggested, kind)
        return Path(found) if found else None

    def ask_measure(self, before: MeasureSettings) -> MeasureSettings | None:
        """Ask what to measure; None if the user cancels."""
        return ask_settings(self, "Measure", before, {"group": MEASURE_GROUPS})

    def ask_table(self, suggested: str) -> Path | None:
        """Ask for a file to write the table to; None if the user cancels."""
        found, _ = QFileDialog.getSaveFileName(
            self, "Save the table", suggested, "CSV (*.csv);;Parquet (*.parquet)"
        )
        return Path(found) if found else None

    def set_can_save_into(self, possible: bool) -> None:
        """Show the button for images that labels can be saved into."""
        self._save_into.setVisible(possible)

    def ask_labels_name(self, suggested: str) -> str | None:
        """Ask for a name for labels in an image; None if the user cancels."""
        text, accepted = QInputDialog.getText(
            self, "Save into the image", "Name of the labels", text=suggested
        )
        return text.strip() if accepted else None

    def ask_replace(self, name: str) -> bool:
        """Ask whether to replace the labels of a name in an image."""
        answer = QMessageBox.question(
            self,
            "Save into the image",
            f"The image has labels named '{name}' already. Replace them?",
        )
        return bool(answer == QMessageBox.StandardButton.Yes)


def _button(
    text: str, name: str, tooltip: str, clicked: Callable[..., object]
) -> QPushButton:
    button = make_button(text, name, tooltip)
    button.clicked.connect(clicked)
    return button
