"""The buttons of the tools for whole objects: one at most is pressed."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSizePolicy, QWidget

from napari_resunet.plugin.tools import TOOLS
from napari_resunet.plugin.view_parts import make_button

COLUMNS = 3


class ToolButtons(QWidget):
    """A grid of buttons; which one looks pressed is for the controller to say."""

    tool_clicked = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        # Or a form in a dock that is too low presses the rows flat.
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
        """Press the button of the tool in hand, without a signal."""
        for own, button in self._buttons.items():
            button.setChecked(own == name)

    def _clicked(self) -> None:
        for name, button in self._buttons.items():
            if button is self.sender():
                self.tool_clicked.emit(name)
