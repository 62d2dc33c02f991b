"""The drawer Versions: all versions of the model, and what can be done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QInputDialog,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
)

from napari_resunet.plugin.views.page_protocols import VersionControl, VersionRow
from napari_resunet.plugin.views.widgets import (
    CountsLabel,
    ReservedText,
    Section,
    make_button,
    make_row,
)
from napari_resunet.session.settings import MAX_LEARNED

if TYPE_CHECKING:
    from collections.abc import Sequence


COLUMNS = ("No.", "Held out", "Learned from", "Date")
HEIGHT = 150
KEPT = f"The last {MAX_LEARNED} learned versions are kept, and those with a name or a note."


class VersionsSection(Section):
    """All versions of the model, and what can be done with the chosen one."""

    use_clicked = Signal(str)
    rename_clicked = Signal(str)
    note_clicked = Signal(str)
    export_clicked = Signal(str)
    delete_clicked = Signal(str)
    compare_toggled = Signal(bool)
    flip_clicked = Signal()
    next_difference_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, VersionRow] = {}
        self._current = ""
        self._add_list()
        kept = ReservedText("versions_kept", 2)
        kept.set_text(KEPT)
        self.add_wide(kept)
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

    def show_comparison(
        self, text: str, counts: Sequence[tuple[str, str, str]] = ()
    ) -> None:
        """Show what is in view and what differs; empty if no versions are compared."""
        for button in (self._flip, self._next):
            button.setVisible(bool(text))
        self._compared.set_text(text)
        self._differences.set_counts(counts)
        blocker = QSignalBlocker(self._compare)
        self._compare.setChecked(bool(text))
        blocker.unblock()

    def ask_text(self, title: str, question: str, before: str) -> str | None:
        """Ask for a line of text; None if the user cancels."""
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
        self._buttons: dict[VersionControl, tuple[QPushButton, Any, str]] = {}
        buttons: tuple[tuple[VersionControl, str, str, Any], ...] = (
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
        )
        for name, text, tooltip, signal in buttons:
            button = make_button(text, name, tooltip)
            button.setMinimumWidth(60)
            button.clicked.connect(self._clicked)
            self._buttons[name] = (button, signal, tooltip)
        widgets = [button for button, _, _ in self._buttons.values()]
        self.add_wide(make_row(*widgets[:3]))
        self.add_wide(make_row(*widgets[3:]))

    def _add_compare(self) -> None:
        self._compare = make_button(
            "Compare",
            "compare_versions",
            "Propose the visible area with this version and the one in use, and see what "
            "differs; your labels stay as they are",
        )
        self._compare.setCheckable(True)
        self._compare.toggled.connect(self.compare_toggled)
        self._flip = make_button("Flip", "flip_versions", "Show the other proposal")
        self._flip.clicked.connect(self.flip_clicked)
        self._next = make_button(
            "Next difference", "next_difference", "Look at the next difference"
        )
        self._next.clicked.connect(self.next_difference_clicked)
        self._compared = ReservedText("compared_text", lines=2)
        self._differences = CountsLabel("differences_text")
        for widget in (self._flip, self._next):
            widget.setMinimumWidth(0)  # as wide as its text
            policy = widget.sizePolicy()
            policy.setRetainSizeWhenHidden(True)
            widget.setSizePolicy(policy)
        row = make_row(self._compare, self._flip, self._next)
        # In equal parts, the longest text would be cut.
        for position, stretch in enumerate((3, 2, 4)):
            row.setStretch(position, stretch)
        self.add_wide(row)
        self.add_wide(self._compared)
        self.add_wide(self._differences)

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
        reasons = {} if row is None else row.reasons
        for name, (button, _, tooltip) in self._buttons.items():
            reason = reasons.get(name, "")
            button.setEnabled(row is not None and not reason)
            button.setToolTip(reason or tooltip)
        can_compare = row is not None and not reasons.get("compare_versions")
        # A comparison can always be ended.
        self._compare.setEnabled(can_compare or self._compare.isChecked())
