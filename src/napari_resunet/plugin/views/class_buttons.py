"""A legend of classes: buttons with their colours, which pick the class for the brush."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QToolButton, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent

COLUMNS = 3
SWATCH = 12
"""Side of a colour in pixels."""


class ClassButton(QToolButton):
    """The colour and the name of one class; the whole name is in the tooltip."""

    def __init__(self, label: int, name: str, colour: str) -> None:
        super().__init__()
        self.label = label
        self._name = name
        self.setObjectName(f"class_{label}")
        self.setAccessibleName(name)
        self.setToolTip(f"Paint {name} (label {label})")
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setIconSize(QSize(SWATCH, SWATCH))
        swatch = QPixmap(SWATCH, SWATCH)
        swatch.fill(QColor(colour) if colour else QColor(0, 0, 0, 0))
        self.setIcon(QIcon(swatch))

    def minimumSizeHint(self) -> QSize:
        """Return the same size as `sizeHint`, so that long names can be cut."""
        return self.sizeHint()

    def sizeHint(self) -> QSize:
        """Return a size that no name makes wider: columns share the width out."""
        return QSize(48, super().sizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Cut the name to the new width."""
        super().resizeEvent(event)
        room = max(0, self.width() - SWATCH - 20)
        short = self.fontMetrics().elidedText(self._name, Qt.TextElideMode.ElideRight, room)
        self.setText(short.replace("&", "&&"))


class ClassButtons(QWidget):
    """One button for each class; hidden while there are none."""

    class_clicked = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("class_buttons")
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        for column in range(COLUMNS):
            self._grid.setColumnStretch(column, 1)
        self._buttons: list[ClassButton] = []
        self._classes: list[tuple[int, str, str]] = []
        self.hide()

    def set_classes(self, classes: Sequence[tuple[int, str, str]]) -> None:
        """Offer classes, each (label, name, colour as "#rrggbb" or empty)."""
        self.setVisible(bool(classes))
        if list(classes) == self._classes:
            return
        self._classes = list(classes)
        for button in self._buttons:
            self._grid.removeWidget(button)
            button.setParent(None)
            button.deleteLater()
        self._buttons = [ClassButton(*one) for one in classes]
        for position, button in enumerate(self._buttons):
            button.clicked.connect(self._clicked)
            self._grid.addWidget(button, *divmod(position, COLUMNS))

    def set_class(self, label: int | None) -> None:
        """Show which class the brush paints, without a signal."""
        for button in self._buttons:
            button.setChecked(button.label == label)

    def _clicked(self) -> None:
        button = self.sender()
        if isinstance(button, ClassButton):
            button.setChecked(True)
            self.class_clicked.emit(button.label)
