"""What the dock shows while no image is open: how to begin, and earlier sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QListWidget, QListWidgetItem

from napari_resunet.plugin.views.session import session_item
from napari_resunet.plugin.views.widgets import Section, make_button, make_row
from napari_resunet.session.store.recent import RecentSession

BEGIN = "Open an image to begin: drag it into the window, or"
IMAGES = "Images (*.tif *.tiff *.png *.jpg *.jpeg *.npy)"
CONTINUE = "Or continue an earlier session:"


class Welcome(Section):
    """Open a sample, a file or a folder, or an earlier session."""

    sample_clicked = Signal()
    paths_chosen = Signal(list)
    session_chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.add_wide(_text(BEGIN))
        sample = make_button("Open sample", "open_sample", "Open nuclei, to try it out")
        sample.clicked.connect(self.sample_clicked)
        file = make_button("Open image…", "open_image", "Open one or several images")
        file.clicked.connect(self._ask_files)
        folder = make_button("Open folder…", "open_folder", "Open a folder as one stack")
        folder.clicked.connect(self._ask_folder)
        self.add_wide(make_row(sample, file, folder))
        self._caption = _text(CONTINUE)
        self.add_wide(self._caption)
        self.list = QListWidget()
        self.list.setObjectName("recent_sessions")
        self.list.setAccessibleName("Recent sessions")
        self.list.setIconSize(QSize(56, 56))
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.itemActivated.connect(self._chosen)
        self.list.itemClicked.connect(self._chosen)
        self.add_wide(self.list)
        self.set_sessions(())

    def set_sessions(self, sessions: Sequence[RecentSession]) -> None:
        """Offer earlier sessions; without any, the list is hidden."""
        self.list.clear()
        for session in sessions:
            self.list.addItem(session_item(session))
        self.list.setVisible(bool(sessions))
        self._caption.setVisible(bool(sessions))

    def _chosen(self, item: QListWidgetItem) -> None:
        self.session_chosen.emit(Path(item.data(Qt.ItemDataRole.UserRole)))

    def _ask_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Open images", "", IMAGES)
        if paths:
            self.paths_chosen.emit([Path(path) for path in paths])

    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a folder as one stack")
        if path:
            self.paths_chosen.emit([Path(path)])


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
