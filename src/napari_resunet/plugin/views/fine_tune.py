"""The section Learn: what is learned from, start, plot, result, and what to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QDialog,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.loss_plot import LossPlot
from napari_resunet.plugin.views.widgets import (
    CountsLabel,
    ReservedText,
    Section,
    make_button,
    make_row,
)
from napari_resunet.session.settings import MINUTES, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QShowEvent

    from napari_resunet.plugin.views.protocol import Right

LINES, RESULT_LINES = 2, 4
"""Lines of text whose room is reserved."""

QUESTION = (
    "Nothing in this image is marked as verified yet, and Fine-tune learns only from what "
    "you say is right.\n\nWhat is right now, with the background between the objects?"
)
ANSWERS: dict[Right, tuple[str, str]] = {
    "view": (
        "Everything in view is right",
        "Mark the visible area of this slice as verified, and learn from it",
    ),
    "edited": (
        "Only what I edited and its surroundings",
        "Mark the objects that you edited as verified, with one object diameter around "
        "them, and learn from that",
    ),
    "draw": (
        "Let me draw the area",
        "Drag a box on the image; then click Fine-tune again",
    ),
}


def _text_row(text: ReservedText, button: QPushButton | None) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    row.addWidget(text, 1)
    if button is not None:
        row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
    return row


class Choice(QWidget):
    """A sentence, buttons to choose from, and perhaps one beside the sentence."""

    changed = Signal()

    def __init__(
        self, name: str, *buttons: QAbstractButton, beside: QPushButton | None = None
    ) -> None:
        super().__init__()
        self._text = ReservedText(name, LINES)
        for button in buttons:
            button.setMinimumWidth(60)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        self._row = _text_row(self._text, beside)
        layout.addLayout(self._row)
        layout.addLayout(make_row(*buttons))

    @property
    def is_offered(self) -> bool:
        """Whether there is something to choose."""
        return bool(self._text.text())

    def set_text(self, text: str) -> None:
        """Describe the choice; an empty text takes it away."""
        self._text.set_text(text)
        self.changed.emit()


class InterruptedRow(Choice):
    """The offer to resume an interrupted fine-tuning."""

    resume_clicked = Signal()
    keep_best_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self) -> None:
        resume = make_button("Resume", "resume", "Train for the rest of the time")
        keep = make_button("Keep best", "keep_best", "End it, and keep the best so far")
        discard = make_button("Discard", "discard", "Throw it away")
        super().__init__("interrupted_text", resume, keep, discard)
        resume.clicked.connect(self.resume_clicked)
        keep.clicked.connect(self.keep_best_clicked)
        discard.clicked.connect(self.discard_clicked)


class CandidateRow(Choice):
    """The choice between a new version that is too close to call and the old one."""

    use_clicked = Signal()
    keep_clicked = Signal()
    compare_clicked = Signal()
    next_clicked = Signal()

    def __init__(self) -> None:
        compare = make_button(
            "Compare",
            "compare_candidate",
            "Show what both propose for the visible area; click again to end it",
        )
        use = make_button("Use the new one", "use_candidate", "Put the new version in use")
        keep = make_button(
            "Keep the old one", "keep_old", "Delete the new version, and keep the old one"
        )
        self._next = QToolButton()
        self._next.setObjectName("next_candidate_difference")
        self._next.setAccessibleName("Next difference")
        self._next.setArrowType(Qt.ArrowType.RightArrow)
        super().__init__("candidate_text", use, keep, self._next, beside=compare)
        self._next.clicked.connect(self.next_clicked)
        self._counts = CountsLabel("candidate_counts")
        self._row.insertWidget(1, self._counts, 1)
        self.show_comparison(())
        compare.clicked.connect(self.compare_clicked)
        use.clicked.connect(self.use_clicked)
        keep.clicked.connect(self.keep_clicked)

    def show_comparison(self, counts: Sequence[tuple[str, str, str]]) -> None:
        """Show what differs instead of the choice; empty if it is not compared."""
        self._next.setEnabled(bool(counts))
        self._next.setToolTip("Next difference" if counts else "Click Compare first.")
        self._counts.set_counts(counts)
        self._counts.setVisible(bool(counts))
        self._text.setVisible(not counts)


class LongerRow(Choice):
    """The offer to fine-tune again for longer."""

    longer_clicked = Signal()

    def __init__(self) -> None:
        longer = make_button(
            "Fine-tune longer", "longer", "Start again, for as long as is said here"
        )
        super().__init__("longer_text", longer)
        longer.clicked.connect(self.longer_clicked)


class Choices(QStackedWidget):
    """One choice at a time, in room that is always there."""

    def __init__(self, *choices: Choice) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._choices = choices
        self.addWidget(QWidget())
        for choice in choices:
            self.addWidget(choice)
            choice.changed.connect(self._show_first)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Make room for all choices in the theme's font, which hidden ones do not know."""
        for child in self.findChildren(QWidget):
            child.ensurePolished()
            child.updateGeometry()
        super().showEvent(event)

    def _show_first(self) -> None:
        offered = [i for i, choice in enumerate(self._choices, 1) if choice.is_offered]
        self.setCurrentIndex(offered[0] if offered else 0)


class RightDialog(QDialog):
    """The question what is right, with three answers.

    Parameters
    ----------
    no_edits : str
        Why "edited" cannot be chosen; empty if it can.
    parent : QWidget or None
        The window in front of which it opens.
    """

    def __init__(self, no_edits: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("What is right?")
        self.setObjectName("what_is_right")
        self.answer: Right | None = None
        column = QVBoxLayout(self)
        text = QLabel(QUESTION)
        text.setWordWrap(True)
        column.addWidget(text)
        self._buttons: dict[Right, QPushButton] = {}
        for answer, (title, tooltip) in ANSWERS.items():
            button = make_button(title, f"right_{answer}", tooltip)
            # Enter must not say that something is right.
            button.setAutoDefault(False)
            button.clicked.connect(self._chosen)
            self._buttons[answer] = button
            column.addWidget(button)
        if no_edits:
            self._buttons["edited"].setEnabled(False)
            self._buttons["edited"].setToolTip(no_edits)

    def _chosen(self) -> None:
        for answer, button in self._buttons.items():
            if button is self.sender():
                self.answer = answer
        self.accept()


class FineTuneSection(Section):
    """Fine-tune, what it learns from, and its result."""

    fine_tune_clicked = Signal()
    fine_tune_stopped = Signal()
    auto_fine_tune_switched = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.plot = LossPlot()
        self._data = ReservedText("training_data_text", LINES)
        self.add_wide(self._data)
        self._add_start()
        self._add_switch()
        self.interrupted, self.candidate = InterruptedRow(), CandidateRow()
        self.longer = LongerRow()
        self.add_wide(Choices(self.interrupted, self.candidate, self.longer))
        self.add_wide(self.plot)
        self._result = ReservedText("result_text", RESULT_LINES)
        self.add_wide(self._result)

    def _add_start(self) -> None:
        start = make_button(
            "Fine-tune", "fine_tune", "Train a copy of the model on the verified areas"
        )
        start.clicked.connect(self.fine_tune_clicked)
        self._minutes = QDoubleSpinBox()
        self._minutes.setObjectName("minutes")
        self._minutes.setAccessibleName(MINUTES.title)
        self._minutes.setToolTip(MINUTES.description)
        self._minutes.setRange(MINUTES.minimum, MINUTES.maximum)
        self._minutes.setDecimals(1)
        self._minutes.setSingleStep(0.5)
        self._minutes.setValue(Settings().minutes)
        self._minutes.setSuffix(" min")
        self._minutes.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(start, 1)
        row.addWidget(QLabel("for about"))
        row.addWidget(self._minutes)
        self.add_wide(row)

    def _add_switch(self) -> None:
        switch = self._auto = QCheckBox("Learn while I correct")
        switch.setObjectName("auto_fine_tune")
        switch.setToolTip(
            "Fine-tune by itself each time an area is marked as verified, and renew the "
            "proposals elsewhere when the model got better"
        )
        switch.toggled.connect(self.auto_fine_tune_switched)
        stop = make_button("Stop", "stop", "End now and keep the best so far")
        stop.clicked.connect(self.fine_tune_stopped)
        details = QPushButton("Details")
        details.setObjectName("details")
        details.setToolTip("Show the training loss instead of what the model finds")
        details.setCheckable(True)
        details.toggled.connect(self.plot.show_loss)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(switch, 1)
        row.addWidget(details)
        row.addWidget(stop)
        self.add_wide(row)

    @property
    def minutes(self) -> float:
        """Approximate time to fine-tune, in minutes."""
        return float(self._minutes.value())

    @minutes.setter
    def minutes(self, minutes: float) -> None:
        self._minutes.setValue(minutes)

    def set_auto(self, on: bool) -> None:
        """Show whether *Learn while I correct* is on."""
        blocker = QSignalBlocker(self._auto)
        self._auto.setChecked(on)
        blocker.unblock()

    def set_data_text(self, text: str) -> None:
        """Show what Fine-tune will learn from."""
        self._data.set_text(text)

    def set_result_text(self, text: str) -> None:
        """Show what the model finds on the held-out part, and the start before it."""
        self._result.set_text(text)

    def ask_what_is_right(self, no_edits: str) -> Right | None:
        """Ask what is right, because nothing is verified; None if the user cancels."""
        dialog = RightDialog(no_edits, self.window())
        dialog.exec()
        dialog.deleteLater()
        return dialog.answer
