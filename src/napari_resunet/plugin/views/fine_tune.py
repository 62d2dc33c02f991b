"""The section Fine-tune: start, progress, losses, result, and resuming."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.loss_plot import LossPlot
from napari_resunet.plugin.views.widgets import (
    ProgressLine,
    Section,
    TextLine,
    make_button,
    make_row,
)
from napari_resunet.session.settings import MINUTES, Settings


class InterruptedRow(QWidget):
    """A sentence and three buttons; hidden while there is nothing to resume."""

    resume_clicked = Signal()
    keep_best_clicked = Signal()
    discard_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._text = TextLine("interrupted_text")
        resume = make_button("Resume", "resume", "Train for the rest of the time")
        resume.clicked.connect(self.resume_clicked)
        keep = make_button("Keep best", "keep_best", "End it, and keep the best so far")
        keep.clicked.connect(self.keep_best_clicked)
        discard = make_button("Discard", "discard", "Throw it away")
        discard.clicked.connect(self.discard_clicked)
        for button in (resume, keep, discard):
            button.setMinimumWidth(60)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addLayout(make_row(resume, keep, discard))
        self.set_text("")

    def set_text(self, text: str) -> None:
        """Describe the interrupted fine-tuning; an empty text hides the offer."""
        self._text.set_text(text)
        self.setVisible(bool(text))


class FineTuneSection(Section):
    """Fine-tune, its progress, and its result."""

    fine_tune_clicked = Signal()
    fine_tune_stopped = Signal()
    fine_tune_cancelled = Signal()
    auto_fine_tune_switched = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Fine-tune")
        self._add_start()
        self._add_switch()
        stop = make_button("Stop", "stop", "End now and keep the best so far")
        stop.clicked.connect(self.fine_tune_stopped)
        cancel = make_button("Cancel", "cancel_fine_tune", "End now and throw it away")
        cancel.clicked.connect(self.fine_tune_cancelled)
        self.add_wide(make_row(stop, cancel))
        self.interrupted = InterruptedRow()
        self.add_wide(self.interrupted)
        self.progress = ProgressLine("fine_tune_progress", "Progress of the fine-tuning")
        self.add_wide(self.progress)
        self.plot = LossPlot()
        self.add_wide(self.plot)
        self._result = TextLine("result_text")
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
        switch = QCheckBox("Learn while I correct")
        switch.setObjectName("auto_fine_tune")
        switch.setToolTip(
            "Fine-tune by itself each time an area is marked as verified, and renew the "
            "proposals elsewhere when the model got better"
        )
        switch.toggled.connect(self.auto_fine_tune_switched)
        self.add_wide(switch)

    @property
    def minutes(self) -> float:
        """Approximate time to fine-tune, in minutes."""
        return float(self._minutes.value())

    @minutes.setter
    def minutes(self, minutes: float) -> None:
        self._minutes.setValue(minutes)

    def set_result_text(self, text: str) -> None:
        """Show the scores before and after."""
        self._result.set_text(text)
