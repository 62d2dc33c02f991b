"""The section Correct: tools for whole objects, the verified area, and Next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_resunet.plugin.tools import NEXT_KEY, TOOLS
from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    Section,
    TextLine,
    make_button,
    make_row,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = 3


class ToolButtons(QWidget):
    """A grid of buttons; the controller says which one looks pressed."""

    tool_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        # In a dock that is too low, the form would squeeze the rows.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(6)
        self._buttons: dict[str, QPushButton] = {}
        for position, tool in enumerate(TOOLS):
            button = make_button(tool.title, tool.control, tool.tooltip)
            button.setMinimumWidth(60)
            button.setCheckable(True)
            button.clicked.connect(self._clicked)
            self._buttons[tool.name] = button
            grid.addWidget(button, *divmod(position, COLUMNS))

    def set_tool(self, name: str | None) -> None:
        """Show which tool is in use, without a signal."""
        for own, button in self._buttons.items():
            button.setChecked(own == name)

    def _clicked(self) -> None:
        for name, button in self._buttons.items():
            if button is self.sender():
                self.tool_clicked.emit(name)


class CorrectSection(Section):
    """Tools for whole objects, the verified area, and Next."""

    verified_area_changed = Signal(str)
    mark_verified_clicked = Signal()
    unmark_clicked = Signal()
    next_clicked = Signal()
    map_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Correct")
        self.tools = ToolButtons()
        self.add_wide(self.tools)
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
        self._text = TextLine("verified_text")
        self.add_wide(self._text)
        self._add_next()

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
        self.add_wide(make_row(next_, self._map))

    def set_map_shown(self, shown: bool) -> None:
        """Show whether the probability map is in the viewer."""
        self._map.setChecked(shown)

    def set_choices(self, choices: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer areas, each (key, title)."""
        self._areas.set_items([(key, title, title) for key, title in choices], current)

    def set_text(self, text: str) -> None:
        """Show how much is verified."""
        self._text.set_text(text)
