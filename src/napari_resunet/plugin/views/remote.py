"""The dialog that asks for another computer to compute on."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

HOW = (
    "On the other computer, type <b>napari-resunet serve</b>. It prints an address, a key, "
    "and how to reach it through SSH."
)


class RemoteDialog(QDialog):
    """Asks for the address and the key of a server.

    Parameters
    ----------
    url : str
        The address that is shown first.
    parent : QWidget
        Where the dialog appears.

    Attributes
    ----------
    answer : (str, str) or None
        Address and key; None if the user cancelled.
    """

    def __init__(self, url: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compute on another computer")
        self.answer: tuple[str, str] | None = None
        how = QLabel(HOW)
        how.setWordWrap(True)
        self._url = _line("remote_url", url, "Address of the server")
        self._key = _line("remote_key", "", "The key that the server printed")
        self._key.setEchoMode(QLineEdit.EchoMode.Password)
        form = QFormLayout()
        form.addRow("URL", self._url)
        form.addRow("Key", self._key)
        column = QVBoxLayout(self)
        column.addWidget(how)
        column.addLayout(form)
        column.addWidget(self._buttons())
        self._key.setFocus()

    def _buttons(self) -> QDialogButtonBox:
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        connect = buttons.addButton("Connect", QDialogButtonBox.ButtonRole.AcceptRole)
        assert connect is not None
        connect.setObjectName("remote_connect")
        connect.setDefault(True)
        buttons.accepted.connect(self._accept)
        buttons.rejected.connect(self.reject)
        return buttons

    def _accept(self) -> None:
        self.answer = self._url.text(), self._key.text()
        self.accept()


def _line(name: str, text: str, tooltip: str) -> QLineEdit:
    line = QLineEdit(text)
    line.setObjectName(name)
    line.setToolTip(tooltip)
    line.setMinimumWidth(280)
    return line
