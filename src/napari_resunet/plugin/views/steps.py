"""The four steps, of which one is open: Segment, Correct, Learn, Results."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget
from superqt import QCollapsible, QElidingLabel

from napari_resunet.plugin.views.protocol import StepName

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIMITED = 2**24 - 1
"""Qt's largest height of a widget."""

TITLES: Mapping[StepName, str] = {
    "segment": "Segment",
    "correct": "Correct",
    "learn": "Learn",
    "results": "Results",
}
HEADER_HEIGHT = 26


class Step(QCollapsible):
    """A numbered line that opens; while it is closed, it says how far the step is.

    Parameters
    ----------
    name : str
        Name of the step.
    number : int
        Its number, from 1.
    content : QWidget
        What is shown while the step is open.
    """

    def __init__(self, name: StepName, number: int, content: QWidget) -> None:
        super().__init__("", expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._content_widget, self._is_next = content, False
        # No animation, because each frame redraws the canvas as well.
        self.setDuration(0)
        self._arrow, self._title = QLabel(), QLabel(f"{number}  {TITLES[name]}")
        self._state = QElidingLabel()
        self._state.setObjectName(f"state_{name}")
        self._state.setAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        self._state.setTextFormat(Qt.TextFormat.PlainText)
        button = self.toggleButton()
        button.setObjectName(f"step_{name}")
        button.setAccessibleName(f"Step {number}: {TITLES[name]}")
        button.setFixedHeight(HEADER_HEIGHT)
        self._fill(button)
        self.setContent(content)
        layout = self.layout()
        if layout is not None:
            layout.setContentsMargins(0, 0, 0, 0)
            layout.setSpacing(0)
        self.toggled.connect(self._show_open)
        self.collapse(animate=False)
        self.set_next(False)

    def set_state(self, text: str) -> None:
        """Show how far the step is."""
        self._state.setText(text)
        self._state.setToolTip(text)

    def set_next(self, is_next: bool) -> None:
        """Show whether the next thing to do is in this step."""
        font = self._title.font()
        font.setBold(is_next or self.isExpanded())
        self._title.setFont(font)
        self._is_next = is_next
        self._show_arrow()

    def _fill(self, button: QWidget) -> None:
        row = QHBoxLayout(button)
        row.setContentsMargins(6, 0, 6, 0)
        row.setSpacing(6)
        for label in (self._arrow, self._title):
            row.addWidget(label)
        row.addWidget(self._state, 1)
        for label in (self._arrow, self._title, self._state):
            label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)

    def _show_open(self, is_open: bool) -> None:
        # superqt limits the height to what the content needs now; rows may appear later.
        self._content_widget.setMaximumHeight(UNLIMITED if is_open else 0)
        # Tab must not go through what is not seen.
        self._content_widget.setVisible(is_open)
        self.set_next(self._is_next)

    def _show_arrow(self) -> None:
        closed = "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        opened = "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        self._arrow.setText(opened if self.isExpanded() else closed)


class Steps(QWidget):
    """The steps below each other.

    Parameters
    ----------
    contents : mapping of str to QWidget
        What each step shows while it is open.
    """

    def __init__(self, contents: Mapping[StepName, QWidget]) -> None:
        super().__init__()
        self._steps = {
            name: Step(name, number, contents[name])
            for number, name in enumerate(get_args(StepName), 1)
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for name, step in self._steps.items():
            column.addWidget(step)
            step.toggled.connect(lambda is_open, name=name: self._toggled(name, is_open))
        column.addStretch(1)
        self.open("segment")

    @property
    def opened(self) -> StepName | None:
        """The open step; None if the user closed it."""
        return next((n for n, step in self._steps.items() if step.isExpanded()), None)

    def open(self, name: StepName) -> None:
        """Open a step, and close the others."""
        if not self._steps[name].isExpanded():
            self._steps[name].expand(animate=False)

    def set_state(self, name: StepName, text: str) -> None:
        """Show how far a step is."""
        self._steps[name].set_state(text)

    def set_next(self, name: StepName | None) -> None:
        """Show in which step the next thing to do is."""
        for own, step in self._steps.items():
            step.set_next(own == name)

    def _toggled(self, name: StepName, is_open: bool) -> None:
        for other, step in self._steps.items():
            if is_open and other != name and step.isExpanded():
                step.collapse(animate=False)
