"""The drawer Session: where the work is saved, and the dialogs about sessions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImageReader, QPixmap
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.files import split_scene
from napari_resunet.ome_zarr.metadata import lies_in_store
from napari_resunet.plugin.views.page_protocols import Unsaved
from napari_resunet.plugin.views.widgets import ReservedText, Section, make_button, make_row
from napari_resunet.session.store.recent import RecentSession
from napari_resunet.session.store.safety import local_file

NOTHING = "Nothing to save yet. Your work will be saved by itself."
LARGEST_PICTURE = 512
"""Largest side of a thumbnail in pixels; ours have 96."""


class SessionSection(Section):
    """Where the session is saved; opening another one, and moving it."""

    open_clicked = Signal()
    move_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._saved, self._trouble = NOTHING, ""
        self.line = ReservedText("session_line", 1)
        self._place = ReservedText("session_place", 4)
        self.add_wide(self._place)
        open_ = make_button("Open session…", "open_session", "Open an earlier session")
        open_.clicked.connect(self.open_clicked)
        self._move = make_button("Move…", "move_session", "Keep the session elsewhere")
        self._move.clicked.connect(self.move_clicked)
        self.add_wide(make_row(open_, self._move))
        self.set_place(None)

    def set_place(self, folder: Path | None) -> None:
        """Show the session's folder; None if there is none yet."""
        self._saved = NOTHING if folder is None else f"Saved in {folder}"
        self._move.setEnabled(folder is not None)
        self._show()

    def set_trouble(self, sentence: str) -> None:
        """Show why the session cannot be written; empty if it can."""
        self._trouble = sentence
        self._show()

    def _show(self) -> None:
        self._place.set_text("\n".join(filter(None, (self._saved, self._trouble))))
        self.line.set_text(self._trouble or self._saved)
        font = self.line.font()
        font.setBold(bool(self._trouble))
        self.line.setFont(font)

    def ask_parent(self) -> Path | None:
        """Ask for the folder to move the session into; None if the user cancels."""
        found = QFileDialog.getExistingDirectory(self, "Move the session into")
        return Path(found) if found else None

    def ask_session(self, sessions: Sequence[RecentSession]) -> Path | None:
        """Ask which session to open; None if the user cancels."""
        dialog = OpenSessionDialog(sessions, self)
        accepted = dialog.exec()
        dialog.deleteLater()
        return dialog.chosen() if accepted else None

    def ask_copy(self, sentence: str) -> bool:
        """Ask whether to open a copy of a session that is in use."""
        answer = QMessageBox.question(
            self, "The session is in use", f"{sentence}\n\nOpen a copy?"
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def ask_image(self, name: str, before: str) -> Path | None:
        """Ask for the file of an image that has moved; None if the user cancels."""
        # The dialog looks up its path, which must not be on a network.
        known = local_file(str(split_scene(Path(before))[0]))
        title = f"Where is the image '{name}' now? (It was {before or 'in no file'})"
        if lies_in_store(before):
            found = QFileDialog.getExistingDirectory(self, title)
        else:
            found, _ = QFileDialog.getOpenFileName(self, title, str(known or ""))
        return Path(found) if found else None

    def ask_unsaved(self, sentence: str, can_stay: bool) -> Unsaved:
        """Ask what to do with work that cannot be written before the window closes.

        A window that is not visible, as in a script, asks nothing and returns "lose".
        """
        window = self.window()
        if window is None or not window.isVisible():
            return "lose"
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setWindowTitle("Work is not saved")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(sentence)
        roles = QMessageBox.ButtonRole
        again = box.addButton("Try again", roles.AcceptRole)
        other = box.addButton("Another folder…", roles.ActionRole)
        lose = box.addButton("Close and lose it", roles.DestructiveRole)
        stay = box.addButton("Stay", roles.RejectRole) if can_stay else None
        box.setDefaultButton(again)
        box.setEscapeButton(stay or again)
        box.exec()
        clicked = box.clickedButton()
        box.deleteLater()
        if clicked is other:
            return self.ask_parent() or "again"
        if clicked is lose:
            return "lose"
        return "stay" if stay is not None and clicked is stay else "again"


class OpenSessionDialog(QDialog):
    """A list of sessions with thumbnails, and a button for any other folder."""

    def __init__(
        self, sessions: Sequence[RecentSession], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Open a session")
        self.resize(520, 420)
        self._other: Path | None = None
        self.list = QListWidget()
        self.list.setObjectName("sessions")
        self.list.setAccessibleName("Recent sessions")
        self.list.setIconSize(QSize(72, 72))
        for session in sessions:
            self.list.addItem(session_item(session))
        self.list.setCurrentRow(0)
        self.list.itemDoubleClicked.connect(self.accept)
        other = make_button(
            "Another folder…", "other_session", "A session that lies elsewhere"
        )
        other.clicked.connect(self._ask_other)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.list, 1)
        layout.addWidget(other)
        layout.addWidget(buttons)

    def chosen(self) -> Path | None:
        """Return the chosen folder."""
        item = self.list.currentItem()
        if self._other is not None or item is None:
            return self._other
        return Path(item.data(Qt.ItemDataRole.UserRole))

    def _ask_other(self) -> None:
        found = QFileDialog.getExistingDirectory(self, "Open a session folder")
        if found:
            self._other = Path(found)
            self.accept()


def session_item(session: RecentSession) -> QListWidgetItem:
    """Make the item of a list that shows a session."""
    objects = f"{session.checked_objects} corrected objects"
    item = QListWidgetItem(f"{session.name}\n{_day(session.changed)}{objects}")
    if session.thumbnail is not None:
        item.setIcon(QIcon(_picture(session.thumbnail)))
    item.setToolTip(str(session.folder))
    item.setData(Qt.ItemDataRole.UserRole, str(session.folder))
    return item


def _day(moment: str) -> str:
    with suppress(ValueError, OverflowError, OSError):
        return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M} · "
    return ""


def _picture(path: Path) -> QPixmap:
    """Read a thumbnail, but only a small PNG, because the session may come from anyone."""
    reader = QImageReader(str(path), b"png")
    reader.setAutoDetectImageFormat(False)
    size = reader.size()
    if not 0 < max(size.width(), size.height()) <= LARGEST_PICTURE:
        return QPixmap()
    return QPixmap.fromImageReader(reader)
