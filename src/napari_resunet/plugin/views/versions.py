"""The sections Model and Versions: the version in use, and the list of all."""

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

from napari_resunet.plugin.views.protocol import VersionControl, VersionRow
from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    Section,
    TextLine,
    make_button,
    make_row,
)
from napari_resunet.session.settings import DEVICES, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


class ModelSection(Section):
    """Which version of the model is used, and on which device."""

    version_chosen = Signal(str)
    device_chosen = Signal(str)
    load_clicked = Signal()
    save_clicked = Signal()
    go_back_clicked = Signal()
    new_classes_clicked = Signal()

    def __init__(self) -> None:
        super().__init__("Model")
        self._versions = KeyedCombo("version", "Model version", "No model")
        self._versions.chosen.connect(self.version_chosen)
        self.add_row("Version", self._versions)
        load = make_button("Load model…", "load", "Open a model file")
        load.clicked.connect(self.load_clicked)
        save = make_button("Export model…", "save", "Write this version to a model file")
        save.clicked.connect(self.save_clicked)
        back = make_button("Go back", "go_back", "Use the version before this one")
        back.clicked.connect(self.go_back_clicked)
        classes = make_button(
            "New classes…", "new_classes", "Start a model that paints classes, not objects"
        )
        classes.clicked.connect(self.new_classes_clicked)
        self.add_wide(make_row(load, save))
        self.add_wide(make_row(back, classes))
        self._devices = KeyedCombo("device", "Device")
        self._devices.set_items(DEVICES, Settings().device)
        self._devices.chosen.connect(self.device_chosen)
        self.add_row("Device", self._devices)
        self._device_text = TextLine("device_text")
        self.add_wide(self._device_text)

    def set_versions(
        self, versions: Sequence[tuple[str, str, str]], current: str | None
    ) -> None:
        """Offer versions, each (key, title, tooltip)."""
        self._versions.set_items(versions, current)

    def set_device(self, key: str) -> None:
        """Show the chosen device."""
        self._devices.set_current(key)

    def set_device_text(self, text: str) -> None:
        """Show the device in use."""
        self._device_text.set_text(text)


COLUMNS = ("No.", "Held out", "Learned from", "Date")
HEIGHT = 110


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
        """Show whose proposal is in view; empty if no versions are compared."""
        self._flip.setVisible(bool(title))
        self._compared.set_text(f"You see the proposal of '{title}'." if title else "")
        blocker = QSignalBlocker(self._compare)
        self._compare.setChecked(bool(title))
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
        reasons = {} if row is None else row.reasons
        for name, (button, _, tooltip) in self._buttons.items():
            reason = reasons.get(name, "")
            button.setEnabled(row is not None and not reason)
            button.setToolTip(reason or tooltip)
        can_compare = row is not None and not reasons.get("compare_versions")
        # A comparison can always be ended.
        self._compare.setEnabled(can_compare or self._compare.isChecked())
