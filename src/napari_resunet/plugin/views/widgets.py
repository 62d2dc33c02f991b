"""Small widgets for the sections of the dock.

Each is used by several sections, or works around a behaviour of Qt. Texts about the
workflow belong in the sections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QScrollBar,
    QSizePolicy,
    QWidget,
)
from superqt import QDoubleSlider, QElidingLabel, QLabeledDoubleSlider

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qtpy.QtGui import QFontMetrics, QKeyEvent

LONGEST_LABEL = "Verified area"
"""The widest label of a row; the fields of all sections align to it."""

KEY_STEPS: Mapping[int, float] = {
    Qt.Key.Key_Left: -0.01,
    Qt.Key.Key_Down: -0.01,
    Qt.Key.Key_Right: 0.01,
    Qt.Key.Key_Up: 0.01,
    Qt.Key.Key_PageDown: -0.1,
    Qt.Key.Key_PageUp: 0.1,
    Qt.Key.Key_Home: -1.0,
    Qt.Key.Key_End: 1.0,
}


class KeyedCombo(QComboBox):
    """A combo box whose items have keys; it emits only when the user chooses."""

    chosen = Signal(str)

    def __init__(self, name: str, accessible: str, placeholder: str = "") -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setPlaceholderText(placeholder)
        # A long layer name must not widen the whole dock.
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(3)
        self.setMinimumWidth(56)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.currentIndexChanged.connect(self._on_index_changed)

    def set_items(self, items: Sequence[tuple[str, str, str]], current: str | None) -> None:
        """Offer items, each (key, title, tooltip), and choose one without a signal."""
        blocker = QSignalBlocker(self)
        self.clear()
        for index, (key, title, tooltip) in enumerate(items):
            self.addItem(title, key)
            self.setItemData(index, tooltip, Qt.ItemDataRole.ToolTipRole)
        self.set_current(current)
        blocker.unblock()

    def set_current(self, key: str | None) -> None:
        """Choose an item without a signal; an unknown key chooses none."""
        blocker = QSignalBlocker(self)
        self.setCurrentIndex(-1 if key is None else self.findData(key))
        self._show_tooltip()
        blocker.unblock()

    def current_key(self) -> str | None:
        """Return the key of the chosen item."""
        key = self.currentData()
        return None if key is None else str(key)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Leave letters to the canvas: S must smooth an object, not choose *Slice*."""
        if event is not None and event.text().strip():
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _on_index_changed(self) -> None:
        self._show_tooltip()
        key = self.current_key()
        if key is not None:
            self.chosen.emit(key)

    def _show_tooltip(self) -> None:
        tooltip = self.currentData(Qt.ItemDataRole.ToolTipRole)
        # The narrow dock cuts off long titles.
        self.setToolTip(tooltip or self.currentText())


class _Lines:
    """Makes the room of a label that of some lines, so that nothing moves with its text."""

    _lines: int
    fontMetrics: Callable[[], QFontMetrics]

    def sizeHint(self) -> QSize:
        """Return the room of all lines; a long text must not widen the dock."""
        # The last pixels are for underscores in names of files.
        return QSize(0, self._lines * self.fontMetrics().lineSpacing() + 4)

    def minimumSizeHint(self) -> QSize:
        """Return the same height, whatever the text is."""
        return self.sizeHint()

    def heightForWidth(self, width: int) -> int:
        """Return the same height, although Qt would make room for a longer text."""
        return self.sizeHint().height()


class ReservedText(_Lines, QElidingLabel):
    """A text whose room is always there; what does not fit is in its tooltip."""

    def __init__(self, name: str, lines: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setWordWrap(lines > 1)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        # Texts quote names of files and layers, which must not be read as HTML.
        self.setTextFormat(Qt.TextFormat.PlainText)
        self._lines = lines
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_text(self, text: str) -> None:
        """Show a text."""
        self.setText(text)
        self.setToolTip(text)
        self.setAccessibleName(text)


class CountsLabel(_Lines, QLabel):
    """Counts of what differs, each with a square in its colour, in room for two lines."""

    _lines = 2

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.setWordWrap(True)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def set_counts(self, counts: Sequence[tuple[str, str, str]]) -> None:
        """Show counts, each (kind, colour, text)."""
        parts = (
            (f'<span style="color:{colour}">■</span> ' if colour else "") + text
            for _, colour, text in counts
        )
        self.setText(", ".join(parts))


class Caption(QLabel):
    """The label of a row, as wide as the widest one in any section."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setIndent(0)

    def sizeHint(self) -> QSize:
        """Return the natural size with the width that all captions share."""
        hint = super().sizeHint()
        measure = self.fontMetrics().horizontalAdvance
        hint.setWidth(hint.width() - measure(self.text()) + measure(LONGEST_LABEL))
        return hint

    def minimumSizeHint(self) -> QSize:
        """Return the same size, so that a caption is never cut off."""
        return self.sizeHint()


class Section(QWidget):
    """A group of rows whose labels align with the other sections'."""

    def __init__(self) -> None:
        super().__init__()
        self._form = QFormLayout(self)
        self._form.setContentsMargins(4, 2, 4, 4)
        self._form.setHorizontalSpacing(8)
        self._form.setVerticalSpacing(4)
        self._form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def add_row(self, label: str, field: QWidget) -> Caption:
        """Add a labelled field."""
        caption = Caption(label)
        caption.setBuddy(field)
        self._form.addRow(caption, field)
        return caption

    def add_heading(self, text: str) -> Caption:
        """Add a line of text above a field that takes the whole width."""
        caption = Caption(text)
        self._form.addRow(caption)
        return caption

    def add_wide(self, item: QWidget | QLayout) -> None:
        """Add a widget or a layout as wide as the section."""
        self._form.addRow(item)


class UnitSlider(QLabeledDoubleSlider):
    """A slider from 0 to 1 that emits while it is dragged, and obeys the keys."""

    def __init__(self, name: str, accessible: str, tooltip: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setToolTip(tooltip)
        self.setRange(0, 1)
        inner = self.findChild(QDoubleSlider)
        if inner is not None:
            # superqt's slider swallows the keys without moving.
            inner.setFocusProxy(self)
            inner.setSingleStep(0.01)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move with the arrow, page, Home and End keys."""
        step = None if event is None else KEY_STEPS.get(event.key())
        if step is None:
            super().keyPressEvent(event)
        else:
            self.setValue(min(max(self.value() + step, 0.0), 1.0))


class WheelGuard(QObject):
    """Makes the mouse wheel scroll the dock instead of changing what is under it."""

    def protect(self, inside: QWidget) -> None:
        """Guard every combo box, spin box and slider inside a widget."""
        for kind in (QComboBox, QAbstractSpinBox, QAbstractSlider):
            for child in inside.findChildren(kind):
                if not isinstance(child, QScrollBar):
                    child.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                    child.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Pass the wheel on to the scroll area unless the widget has the focus."""
        if event is None or event.type() != QEvent.Type.Wheel:
            return False
        if isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def make_button(text: str, name: str, tooltip: str) -> QPushButton:
    """Make a button with the name by which `Dock.set_enabled` finds it."""
    button = QPushButton(text)
    button.setObjectName(name)
    button.setToolTip(tooltip)
    button.setMinimumWidth(80)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button


def make_row(*widgets: QWidget) -> QHBoxLayout:
    """Put widgets side by side with equal widths."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget, 1)
    return row
