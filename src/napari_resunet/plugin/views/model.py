"""The model in the header: the version in use, the way back, and the menu."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qtpy.QtCore import Signal
from qtpy.QtGui import QAction, QActionGroup
from qtpy.QtWidgets import QHBoxLayout, QMenu, QSizePolicy, QToolButton, QWidget

from napari_resunet.plugin.views.protocol import PageName
from napari_resunet.plugin.views.remote import RemoteDialog
from napari_resunet.plugin.views.widgets import KeyedCombo, make_button
from napari_resunet.session.settings import DEVICE, DEVICES, REMOTE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class ModelBar(QWidget):
    """Which version of the model is used, and everything that is needed less often."""

    version_chosen = Signal(str)
    device_chosen = Signal(str)
    remote_clicked = Signal()
    load_clicked = Signal()
    save_clicked = Signal()
    go_back_clicked = Signal()
    new_classes_clicked = Signal()
    page_wanted = Signal(str)
    keys_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._versions = KeyedCombo("version", "Model version", "No model")
        self._versions.chosen.connect(self.version_chosen)
        back = make_button("Go back", "go_back", "Use the version before this one")
        back.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        back.clicked.connect(self.go_back_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._versions, 1)
        row.addWidget(back)
        self.menu_button = self._menu_button()

    def set_versions(
        self, versions: Sequence[tuple[str, str, str]], current: str | None
    ) -> None:
        """Offer versions, each (key, title, tooltip)."""
        self._versions.set_items(versions, current)

    def set_device(self, key: str) -> None:
        """Show the chosen device."""
        for action in self._devices.actions():
            action.setChecked(action.data() == key)

    def set_device_text(self, text: str) -> None:
        """Show the device in use."""
        self._in_use.setText(f"In use: {text}" if text else "In use: not known yet")

    def ask_server(self, url: str) -> tuple[str, str] | None:
        """Ask for the address and the key of a server; None if the user cancels."""
        dialog = RemoteDialog(url, self)
        dialog.exec()
        dialog.deleteLater()
        return dialog.answer

    def _device_clicked(self, action: QAction) -> None:
        if action.data() == REMOTE.key:
            self.remote_clicked.emit()
        else:
            self.device_chosen.emit(action.data())

    def _menu_button(self) -> QToolButton:
        button = QToolButton()
        button.setObjectName("menu")
        button.setText("\N{MIDLINE HORIZONTAL ELLIPSIS}")
        button.setAccessibleName("More")
        button.setToolTip("Models, device, versions, session, keys")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        button.setMinimumSize(36, 24)
        menu = QMenu(button)
        menu.setToolTipsVisible(True)
        self._fill(menu)
        button.setMenu(menu)
        return button

    def _fill(self, menu: QMenu) -> None:
        self._add(menu, "Load model…", "load", "Open a model file", self.load_clicked.emit)
        self._add(
            menu, "Export model…", "save", "Write this version to a model file",
            self.save_clicked.emit,
        )  # fmt: skip
        self._add(
            menu, "New classes…", "new_classes",
            "Start a model that paints classes, not objects",
            self.new_classes_clicked.emit,
        )  # fmt: skip
        self._add_devices(menu)
        menu.addSeparator()
        self._add_page(menu, "Versions", "versions", "All versions of the model")
        self._add_page(menu, "Session", "session", "Where your work is saved")
        menu.addSeparator()
        self._add(menu, "Keys (?)", "keys", "List all keys", self.keys_wanted.emit)

    def _add(
        self, menu: QMenu, text: str, name: str, tooltip: str, start: Callable[[], None]
    ) -> None:
        action = cast("QAction", menu.addAction(text))
        action.setObjectName(name)
        action.setToolTip(tooltip)
        # Without Qt's argument, which says whether the action is checked.
        action.triggered.connect(lambda: start())

    def _add_page(self, menu: QMenu, text: str, page: PageName, tooltip: str) -> None:
        self._add(menu, text, f"show_{page}", tooltip, lambda: self.page_wanted.emit(page))

    def _add_devices(self, menu: QMenu) -> None:
        devices = cast("QMenu", menu.addMenu("Device"))
        devices.setToolTip(DEVICE)
        devices.setToolTipsVisible(True)
        self._devices = QActionGroup(self)
        for key, title, description in (*DEVICES, REMOTE):
            action = cast("QAction", devices.addAction(title))
            action.setObjectName(f"device_{key}")
            action.setData(key)
            action.setCheckable(True)
            action.setChecked(key == Settings().device)
            action.setToolTip(description)
            self._devices.addAction(action)
        self._devices.triggered.connect(self._device_clicked)
        devices.addSeparator()
        self._in_use = cast("QAction", devices.addAction(""))
        self._in_use.setObjectName("device_in_use")
        self._in_use.setEnabled(False)
        self.set_device_text("")
