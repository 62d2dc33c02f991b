"""The section Correct: tools for whole objects, the verified area, and Next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QRectF, QSize, Signal
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_resunet.plugin.tools import CONTOURS_KEY, DONE_KEY, NEXT_KEY, TOOLS
from napari_resunet.plugin.views.class_buttons import ClassButtons
from napari_resunet.plugin.views.large import LargeRow
from napari_resunet.plugin.views.tool_buttons import IconButton
from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    ReservedText,
    Section,
    make_button,
    make_row,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGMA = ("#000004", "#51127c", "#b73779", "#fc8961", "#fcfdbf")
"""Colours of the probability map from 0 to 1, at equal distances."""

SPACING = 4
SEPARATION = 10
"""Pixels between the tools and the button for contours."""


class ToolButtons(QWidget):
    """A row of buttons; the controller says which one looks pressed."""

    tool_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        # In a dock that is too low, the form would squeeze the row.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.row = QHBoxLayout(self)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.setSpacing(SPACING)
        self._buttons: dict[str, IconButton] = {}
        for tool in TOOLS:
            button = IconButton(tool.name, tool.title, tool.key)
            button.setObjectName(tool.control)
            button.setToolTip(f"{tool.title}: {tool.tooltip}")
            button.setCheckable(True)
            button.clicked.connect(self._clicked)
            self._buttons[tool.name] = button
            self.row.addWidget(button)

    def set_tool(self, name: str | None) -> None:
        """Show which tool is in use, without a signal."""
        for own, button in self._buttons.items():
            button.setChecked(own == name)

    def _clicked(self) -> None:
        for name, button in self._buttons.items():
            if button is self.sender():
                self.tool_clicked.emit(name)


class MapLegend(QWidget):
    """Says what the colours of the probability map mean; keeps its room while hidden."""

    def __init__(self) -> None:
        super().__init__()
        # A form gives no room to a hidden row, so only what is inside is hidden.
        self._inside = QWidget()
        self._inside.setObjectName("map_legend")
        self._inside.setAccessibleName("Colours of the probability map")
        row = QHBoxLayout(self._inside)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("surely background"))
        row.addWidget(_Gradient(), 1)
        row.addWidget(QLabel("surely inside"))
        room = QVBoxLayout(self)
        room.setContentsMargins(0, 0, 0, 0)
        room.addWidget(self._inside)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.show_colours(False)

    def sizeHint(self) -> QSize:
        """Return the size of the colours, shown or not."""
        return self._inside.sizeHint()

    def minimumSizeHint(self) -> QSize:
        """Return the same size."""
        return self.sizeHint()

    def show_colours(self, shown: bool) -> None:
        """Show or hide the colours."""
        self._inside.setVisible(shown)


class _Gradient(QWidget):
    """A bar of the colours from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.setMinimumWidth(40)
        self.setFixedHeight(12)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bar."""
        painter, bar = QPainter(self), QRectF(self.rect())
        gradient = QLinearGradient(bar.topLeft(), bar.topRight())
        for n, colour in enumerate(MAGMA):
            gradient.setColorAt(n / (len(MAGMA) - 1), QColor(colour))
        painter.fillRect(bar, gradient)
        painter.end()


class CorrectSection(Section):
    """Tools for whole objects, the verified area, and Next."""

    verified_area_changed = Signal(str)
    mark_verified_clicked = Signal()
    unmark_clicked = Signal()
    next_clicked = Signal()
    done_clicked = Signal()
    map_toggled = Signal(bool)
    contours_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.large = LargeRow()
        self.add_wide(self.large)
        self.tools = ToolButtons()
        self._add_contours()
        self.add_wide(self.tools)
        self.classes = ClassButtons()
        self.add_wide(self.classes)
        self._areas = KeyedCombo("verified_area", "Verified area")
        self._areas.chosen.connect(self.verified_area_changed)
        self.add_row("Verified area", self._areas)
        mark = make_button(
            "Mark as verified",
            "mark_verified",
            "Every pixel of the area is right now, background too: learn from it",
        )
        mark.clicked.connect(self.mark_verified_clicked)
        unmark = make_button(
            "Unmark", "unmark", "Take the area back: not verified after all"
        )
        unmark.clicked.connect(self.unmark_clicked)
        self.add_wide(make_row(mark, unmark))
        self._add_next()
        self._text = ReservedText("verified_text", lines=2)
        self.add_wide(self._text)

    def set_map_shown(self, wanted: bool, shown: bool) -> None:
        """Show whether the map is switched on, and explain its colours if it is shown."""
        self._map.setChecked(wanted)
        self._legend.show_colours(shown)

    def set_contours_shown(self, shown: bool) -> None:
        """Show whether labels are contours."""
        self._contours.setChecked(shown)

    def set_choices(self, choices: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer areas, each (key, title)."""
        self._areas.set_items([(key, title, title) for key, title in choices], current)

    def set_text(self, text: str) -> None:
        """Show how much is found, and how much of it is verified."""
        self._text.set_text(text)

    def _add_contours(self) -> None:
        self._contours = IconButton("contours", "Contours", CONTOURS_KEY)
        self._contours.setObjectName("contours")
        self._contours.setToolTip(
            f"Show contours, which hide nothing, or filled labels (key {CONTOURS_KEY})"
        )
        self._contours.setCheckable(True)
        self._contours.setChecked(True)
        self._contours.clicked.connect(self.contours_toggled)
        self.tools.row.addSpacing(SEPARATION)
        self.tools.row.addWidget(self._contours)

    def _add_next(self) -> None:
        next_ = make_button(
            "Next",
            "next",
            f"Go to the unverified area where the model is least sure (key {NEXT_KEY})",
        )
        next_.clicked.connect(self.next_clicked)
        self._map = make_button(
            "Show map", "show_map", "Show how probable objects are, pixel by pixel"
        )
        self._map.setCheckable(True)
        self._map.clicked.connect(self.map_toggled)
        done = make_button(
            # A single one would be a shortcut of Qt.
            "Done && next",
            "done_next",
            f"This image is done: open the next one (key {DONE_KEY}). Its labels are "
            "saved, but nothing is marked as verified",
        )
        done.clicked.connect(self.done_clicked)
        for button in (next_, self._map, done):
            button.setMinimumWidth(60)
        self.add_wide(make_row(next_, self._map, done))
        self._legend = MapLegend()
        self.add_wide(self._legend)
