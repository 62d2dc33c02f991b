"""The list of model versions in the dock; what its buttons do is `version_actions`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QInputDialog,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_resunet.plugin.view_parts import Section, TextLine, make_button, make_row

COLUMNS = ("No.", "Held out", "Learned from", "Date")
HEIGHT = 110


@dataclass(frozen=True)
class VersionRow:
    """A line of the list.

    Attributes
    ----------
    key : str
        Of the version.
    cells : tuple of str
        One for each of `COLUMNS`.
    tooltip : str
        Name, note, parent.
    deletable : bool
        Whether it may be deleted.
    """

    key: str
    cells: tuple[str, str, str, str]
    tooltip: str
    deletable: bool


class VersionsSection(Section):
    """All versions of the model, and what can be done with the chosen one."""

    use_clicked = Signal(str)
    rename_clicked = Signal(str)
    note_clicked = Signal(str)
    export_clicked = Signal(str)
    delete_clicked = Signal(str)
    compare_toggled = Signal(bool)
    flip_clicked = Signal()

    def __init__(self) -> None:
        super().__init__("Versions")
        self._rows: dict[str, VersionRow] = {}
        self._current = ""
        self._add_list()
        self._add_buttons()
        self._add_compare()
        self.show_comparison("")

    def set_rows(self, rows: Sequence[VersionRow], current: str) -> None:
        """Show the versions, the one in use in bold; the chosen one stays chosen."""
        if list(rows) == list(self._rows.values()) and current == self._current:
            return
        chosen = self.chosen() or current
        self._rows = {row.key: row for row in rows}
        self._current = current
        blocker = QSignalBlocker(self.list)
        self.list.clear()
        for row in rows:
            self._add_row(row, current)
            if row.key == chosen:
                self.list.setCurrentItem(
                    self.list.topLevelItem(self.list.topLevelItemCount() - 1)
                )
        blocker.unblock()
        self._enable()

    def chosen(self) -> str | None:
        """Return the key of the chosen version."""
        item = self.list.currentItem()
        return None if item is None else str(item.data(0, Qt.ItemDataRole.UserRole))

    def show_comparison(self, title: str) -> None:
        """Show which version's proposal is in view; empty while none is compared."""
        self._flip.setVisible(bool(title))
        self._compared.set_text(f"You see the proposal of '{title}'." if title else "")
        blocker = QSignalBlocker(self._compare)
        self._compare.setChecked(bool(title))
        blocker.unblock()

    def ask_text(self, title: str, question: str, before: str) -> str | None:
        """Ask for a line of text; None if the user thinks better of it."""
        text, accepted = QInputDialog.getText(self, title, question, text=before)
        return text.strip() if accepted else None

    def _add_list(self) -> None:
        self.list = QTreeWidget()
        self.list.setObjectName("versions")
        self.list.setAccessibleName("Model versions")
        self.list.setHeaderLabels(COLUMNS)
        self.list.setRootIsDecorated(False)
        self.list.setFixedHeight(HEIGHT)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.list.header()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.list.currentItemChanged.connect(self._enable)
        self.add_wide(self.list)

    def _add_buttons(self) -> None:
        self._buttons = {}
        for name, text, tooltip, signal in (
            ("use_version", "Use", "Propose with this version", self.use_clicked),
            ("rename_version", "Rename…", "Give this version a name", self.rename_clicked),
            ("note_version", "Note…", "Write a note about it", self.note_clicked),
            (
                "export_version",
                "Export model…",
                "Write it to a model file",
                self.export_clicked,
            ),
            ("delete_version", "Delete", "Delete it from the session", self.delete_clicked),
        ):
            button = make_button(text, name, tooltip)
            button.setMinimumWidth(60)
            button.clicked.connect(self._clicked)
            self._buttons[name] = (button, signal, tooltip)
        buttons = [button for button, _, _ in self._buttons.values()]
        self.add_wide(make_row(*buttons[:3]))
        self.add_wide(make_row(*buttons[3:]))

    def _add_compare(self) -> None:
        self._compare = make_button(
            "Compare",
            "compare_versions",
            "Propose the visible area with this version and the one in use, and flip "
            "between the two; your labels stay as they are",
        )
        self._compare.setCheckable(True)
        self._compare.toggled.connect(self.compare_toggled)
        self._flip = make_button("Flip", "flip_versions", "Show the other proposal")
        self._flip.clicked.connect(self.flip_clicked)
        self.add_wide(make_row(self._compare, self._flip))
        self._compared = TextLine("compared_text")
        self._compared.setTextFormat(Qt.TextFormat.PlainText)
        self.add_wide(self._compared)

    def _add_row(self, row: VersionRow, current: str) -> None:
        item = QTreeWidgetItem(self.list, list(row.cells))
        item.setData(0, Qt.ItemDataRole.UserRole, row.key)
        font = item.font(0)
        font.setBold(row.key == current)
        for column in range(len(COLUMNS)):
            item.setToolTip(column, row.tooltip)
            item.setFont(column, font)

    def _clicked(self) -> None:
        sender, key = self.sender(), self.chosen()
        for button, signal, _ in self._buttons.values():
            if button is sender and key is not None:
                signal.emit(key)

    def _enable(self) -> None:
        row = self._rows.get(self.chosen() or "")
        own = row is not None and row.cells[0] != "0"
        in_use = row is not None and row.key == self._current
        starter = "The bundled model has no file of its own."
        unsupported_reason = {
            "use_version": "It is in use." if in_use else "",
            "rename_version": "" if own else starter,
            "note_version": "" if own else starter,
            "delete_version": ""
            if row is not None and row.deletable
            else "The starter and the version in use cannot be deleted.",
        }
        for name, (button, _, tooltip) in self._buttons.items():
            reason = unsupported_reason.get(name, "")
            button.setEnabled(row is not None and not reason)
            button.setToolTip(reason or tooltip)
        other = row is not None and not in_use
        self._compare.setEnabled(other or self._compare.isChecked())
