"""The page Images: the list of images, and in the header the way through it."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QMimeData, QSignalBlocker, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QIcon, QImage, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.queue_protocol import QueueRow
from napari_resunet.plugin.views.widgets import make_button, make_row

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("Image", "State", "Objects", "Min")
PICTURE = 32
FILES = "Images (*.tif *.tiff *.png *.jpg *.jpeg zarr.json);;All files (*)"
PICTURE_MS = 100
"""Pictures are asked for when the list has stood still for so long."""


class QueueBar(QWidget):
    """◀, which image of how many, and ▶; the number opens the list."""

    page_wanted = Signal()
    previous_clicked = Signal()
    next_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        back = _arrow("\N{BLACK LEFT-POINTING TRIANGLE}", "previous_image", "before")
        back.clicked.connect(self.previous_clicked)
        self._images = make_button(
            "Images",
            "show_images",
            "The list of images: add files, propose all",
        )
        self._images.clicked.connect(self.page_wanted)
        forward = _arrow("\N{BLACK RIGHT-POINTING TRIANGLE}", "next_image", "after")
        forward.clicked.connect(self.next_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for widget in (back, self._images, forward):
            row.addWidget(widget)
        self.set_position(0, 0)
        # As wide as a long text, so that nothing moves when it changes.
        widest = self._images.fontMetrics().horizontalAdvance("888 of 888")
        self._images.setFixedWidth(widest + 12)

    def set_position(self, number: int, total: int) -> None:
        """Show which of the images is open; 0 if none of them is."""
        known = f"{number} of {total}" if number else f"{total} images"
        self._images.setText(known if total > 1 else "Images")


def _arrow(text: str, name: str, which: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName(name)
    button.setText(text)
    button.setAccessibleName(f"The image {which} this one")
    button.setToolTip(f"Open the image {which} this one; the labels of this one are saved")
    button.setMinimumSize(22, 24)
    return button


class QueueSection(QWidget):
    """The list of images, what is added to it, and what is done with it."""

    paths_chosen = Signal(list, str, bool)
    item_chosen = Signal(str)
    previous_clicked = Signal()
    next_clicked = Signal()
    sort_clicked = Signal()
    propose_all_clicked = Signal()
    export_all_clicked = Signal()
    skip_clicked = Signal(list)
    remove_clicked = Signal(list)
    pictures_wanted = Signal(list)

    def __init__(self) -> None:
        super().__init__()
        self.bar = QueueBar()
        self.bar.previous_clicked.connect(self.previous_clicked)
        self.bar.next_clicked.connect(self.next_clicked)
        self._rows: list[QueueRow] = []
        self._current: str | None = None
        self._pictures: dict[str, QIcon] = {}
        # As large as a picture, so that no name moves when one arrives.
        self._no_picture = QIcon(_squared(None))
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(4, 2, 4, 4)
        self._column.setSpacing(4)
        self._add_choice()
        self._add_list()
        self._add_buttons()
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PICTURE_MS)
        self._pause.timeout.connect(self._ask_for_pictures)

    def set_rows(self, rows: Sequence[QueueRow], current: str | None) -> None:
        """Show the images, the open one in bold; the chosen ones stay chosen."""
        if list(rows) == self._rows and current == self._current:
            return
        before, self._rows = self._rows, list(rows)
        bold, self._current = {current, self._current}, current
        same = [row.key for row in rows] == [row.key for row in before]
        if not same:
            self._rebuild()
        for number, row in enumerate(rows):
            # Rows that stay as they are would take long in a long list.
            if not same or row != before[number] or row.key in bold:
                self._fill(self.list.topLevelItem(number), row)
        self._pause.start()

    def set_position(self, number: int, total: int) -> None:
        """Show which of the images is open; 0 if none of them is."""
        self.bar.set_position(number, total)

    def set_picture(self, key: str, picture: Any) -> None:
        """Show the small picture of an image, uint8, shape (Y, X, 3)."""
        pixels = np.ascontiguousarray(picture)
        height, width = pixels.shape[:2]
        image = QImage(
            pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
        )
        self._pictures[key] = QIcon(_squared(QPixmap.fromImage(image)))
        for number, row in enumerate(self._rows):
            item = self.list.topLevelItem(number)
            if row.key == key and item is not None:
                item.setIcon(0, self._pictures[key])

    def ask_folder(self) -> Path | None:
        """Ask for a folder to export to; None if the user cancels."""
        path = QFileDialog.getExistingDirectory(self, "Export the labels of all images")
        return Path(path) if path else None

    def add_dropped(self, data: QMimeData | None) -> bool:
        """Add the files and folders that were dropped; return whether there are any."""
        paths = dropped_paths(data)
        if paths:
            self._choose(paths)
        return bool(paths)

    def chosen(self) -> list[str]:
        """Return the keys of the selected rows, in order."""
        rows = sorted(index.row() for index in self.list.selectedIndexes())
        return [self._rows[n].key for n in dict.fromkeys(rows)]

    # Layout -------------------------------------------------------------------------

    def _add_choice(self) -> None:
        files = make_button("Add files…", "add_files", "Add images to the list")
        files.clicked.connect(self._ask_files)
        folder = make_button(
            "Add folder…", "add_folder", "Add the images of a folder to the list"
        )
        folder.clicked.connect(self._ask_folder)
        self._column.addLayout(make_row(files, folder))
        self._pattern = QLineEdit()
        self._pattern.setObjectName("pattern")
        self._pattern.setAccessibleName("Names of the images in a folder")
        self._pattern.setPlaceholderText("All names, or *_dapi.tif")
        self._pattern.setToolTip("Which names in a folder count; several with spaces")
        self._recursive = QCheckBox("with subfolders")
        self._recursive.setObjectName("recursive")
        self._recursive.setToolTip("Add the images of its subfolders too")
        row = make_row(self._pattern)
        row.addWidget(self._recursive)
        self._column.addLayout(row)

    def _add_list(self) -> None:
        self.list = QTreeWidget()
        self.list.setObjectName("images")
        self.list.setAccessibleName("Images")
        self.list.setHeaderLabels(COLUMNS)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setIconSize(QSize(PICTURE, PICTURE))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.list.setMinimumHeight(120)
        header = self.list.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.list.itemClicked.connect(self._clicked)
        self.list.itemActivated.connect(self._activated)
        bar = self.list.verticalScrollBar()
        if bar is not None:
            bar.valueChanged.connect(self._scrolled)
        self._column.addWidget(self.list, 1)

    def _add_buttons(self) -> None:
        propose = make_button(
            "Propose all",
            "propose_all",
            "Segment every image that you have not edited, with the model in use",
        )
        propose.clicked.connect(self.propose_all_clicked)
        sort = make_button(
            "Least sure first", "sort_images", "Sort by how unsure the model is"
        )
        sort.clicked.connect(self.sort_clicked)
        skip = make_button(
            "Skip", "skip_images", "Leave the selected images out, or no longer"
        )
        skip.clicked.connect(self._skip)
        remove = make_button(
            "Remove", "remove_images",
            "Take the selected images off the list; their files and labels stay",
        )  # fmt: skip
        remove.clicked.connect(self._remove)
        export = make_button(
            "Export all…", "export_all", "Write the labels of all images into a folder"
        )
        export.clicked.connect(self.export_all_clicked)
        self._column.addLayout(make_row(propose, export))
        for button in (sort, skip, remove):
            button.setMinimumWidth(0)  # as wide as its text
        row = make_row(sort, skip, remove)
        row.setStretch(0, 2)
        self._column.addLayout(row)

    def _rebuild(self) -> None:
        """Make all rows again; what was chosen stays chosen, and the list does not jump."""
        selected = {i.data(0, Qt.ItemDataRole.UserRole) for i in self.list.selectedItems()}
        bar = self.list.verticalScrollBar()
        place = 0 if bar is None else bar.value()
        blocker = QSignalBlocker(self.list)
        self.list.clear()
        for row in self._rows:
            item = QTreeWidgetItem(self.list)
            item.setData(0, Qt.ItemDataRole.UserRole, row.key)
            item.setSizeHint(0, QSize(0, PICTURE + 4))
            item.setIcon(0, self._pictures.get(row.key, self._no_picture))
            item.setSelected(row.key in selected)
        blocker.unblock()
        if bar is not None:
            bar.setValue(place)

    def _fill(self, item: QTreeWidgetItem | None, row: QueueRow) -> None:
        assert item is not None
        font = item.font(0)
        font.setBold(row.key == self._current)
        for column, text in enumerate(row.cells):
            item.setText(column, text)
            item.setFont(column, font)
            # Qt would read names of files as HTML.
            item.setToolTip(column, f"<pre>{escape(row.tooltip)}</pre>")

    # What the user does -------------------------------------------------------------

    def _choose(self, paths: list[Path]) -> None:
        pattern, recursive = self._pattern.text(), self._recursive.isChecked()
        self.paths_chosen.emit(paths, pattern, recursive)

    def _ask_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Add images", "", FILES)
        if paths:
            self._choose([Path(path) for path in paths])

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Add the images of a folder")
        if path:
            self._choose([Path(path)])

    def _skip(self) -> None:
        self.skip_clicked.emit(self.chosen())

    def _remove(self) -> None:
        self.remove_clicked.emit(self.chosen())

    def _clicked(self, item: QTreeWidgetItem) -> None:
        # With Ctrl or Shift, rows are selected.
        if QApplication.keyboardModifiers() == Qt.KeyboardModifier.NoModifier:
            self._activated(item)

    def _activated(self, item: QTreeWidgetItem) -> None:
        self.item_chosen.emit(str(item.data(0, Qt.ItemDataRole.UserRole)))

    def _scrolled(self) -> None:
        self._pause.start()

    def _ask_for_pictures(self) -> None:
        """Ask for the pictures of the rows in view that have none yet."""
        viewport = self.list.viewport()
        if viewport is None or not self.list.isVisible():
            return
        items = [self.list.topLevelItem(number) for number in range(len(self._rows))]
        wanted = [
            row.key
            for row, item in zip(self._rows, items, strict=True)
            if row.key not in self._pictures
            and self.list.visualItemRect(item).intersects(viewport.rect())
        ]
        if wanted:
            self.pictures_wanted.emit(wanted)

    def showEvent(self, event: Any) -> None:
        """Ask for the pictures when the page is opened."""
        super().showEvent(event)
        self._pause.start()


def _squared(picture: QPixmap | None) -> QPixmap:
    """Put a picture into the middle of a square, so that names are below each other."""
    square = QPixmap(PICTURE, PICTURE)
    square.fill(Qt.GlobalColor.transparent)
    if picture is not None:
        painter = QPainter(square)
        left = (PICTURE - picture.width()) // 2
        painter.drawPixmap(left, (PICTURE - picture.height()) // 2, picture)
        painter.end()
    return square


def dropped_paths(data: QMimeData | None) -> list[Path]:
    """List the local files and folders that are dropped."""
    if data is None or not data.hasUrls():
        return []
    return [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
