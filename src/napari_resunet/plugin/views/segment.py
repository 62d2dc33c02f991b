"""The section Segment: proposes labels, and tunes how prediction maps become labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    Section,
    UnitSlider,
    make_button,
)
from napari_resunet.session.settings import (
    FOREGROUND,
    SCOPE,
    SCOPES,
    SPLIT,
    STACKS,
    Settings,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QResizeEvent

PADDING = 24
"""Pixels of a button that its text does not use."""

LONG = "Takes {}: the middle is proposed first, and Cancel keeps what is there."
INTO_FILE = "Takes {}, and goes into a file: Cancel keeps the blocks that are done."


class SegmentButton(QPushButton):
    """The button Segment, which says on which image it works."""

    def __init__(self, tooltip: str) -> None:
        super().__init__("Segment")
        self._image, self._time, self._tooltip = "", "", tooltip
        self._how = LONG
        self.setObjectName("segment")
        self.setMinimumWidth(80)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip(tooltip)

    def set_image(self, name: str) -> None:
        """Show the name of the image; empty if there is none."""
        self._image = name
        self.setAccessibleName(f'Segment "{name}"' if name else "Segment")
        self.setToolTip(self._tooltip)
        self._elide()

    def set_time(self, text: str, into_file: bool) -> None:
        """Show how long it will take; empty if that is short or not known."""
        self._time, self._how = text, INTO_FILE if into_file else LONG
        self.setToolTip(self._tooltip)
        self._elide()

    def setToolTip(self, text: str | None) -> None:
        """Show a tooltip, with the whole name of the image and the time below it."""
        self._tooltip = text or ""
        name = f'"{self._image}"' if self._image else ""
        time = self._how.format(self._time) if self._time else ""
        super().setToolTip("\n".join(filter(None, (self._tooltip, name, time))))

    def sizeHint(self) -> QSize:
        """Return a size that no name makes wider."""
        return QSize(80, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        """Return the same size."""
        return self.sizeHint()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Cut the name to the new width."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        if not self._image:
            self.setText("Segment")
            return
        measure, time = self.fontMetrics(), f" ({self._time})" if self._time else ""
        room = self.width() - measure.horizontalAdvance(f'Segment ""{time}') - PADDING
        name = measure.elidedText(self._image, Qt.TextElideMode.ElideMiddle, max(room, 0))
        self.setText(f'Segment "{name}"{time}'.replace("&", "&&"))


class SegmentSection(Section):
    """Segment, the user's own labels, and the two sliders."""

    scope_changed = Signal(str)
    segment_clicked = Signal()
    stack_chosen = Signal(str)
    own_labels_chosen = Signal(str)
    use_labels_clicked = Signal()
    foreground_changed = Signal(float)
    split_changed = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._scopes = KeyedCombo("scope", SCOPE)
        self._scopes.set_items(SCOPES, Settings().scope)
        self._scopes.chosen.connect(self.scope_changed)
        self.add_row("Scope", self._scopes)
        self._start = SegmentButton("Propose labels for the scope")
        self._start.clicked.connect(self.segment_clicked)
        self.add_wide(self._start)
        self._stacks = KeyedCombo("stack", "What the slices are")
        self._stacks.set_items(STACKS, "separate")
        self._stacks.chosen.connect(self.stack_chosen)
        self._stack_caption = self.add_row("Slices are", self._stacks)
        self.set_stack(None)
        self._add_own_labels()
        self._add_sliders()

    def _add_own_labels(self) -> None:
        self._own = KeyedCombo("own_labels", "Labels layer of yours")
        self._own.chosen.connect(self.own_labels_chosen)
        use = make_button(
            "Use",
            "use_labels",
            "Copy the labels of this layer, to correct them and to learn from them",
        )
        use.setMinimumWidth(56)
        use.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        use.clicked.connect(self.use_labels_clicked)
        self._own_row = QWidget()
        row = QHBoxLayout(self._own_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._own, 1)
        row.addWidget(use)
        self._own_caption = self.add_row("Or labels of", self._own_row)
        self.set_own_labels([], None)

    def _add_sliders(self) -> None:
        self._foreground = UnitSlider(
            "foreground", FOREGROUND.title, FOREGROUND.description
        )
        self._foreground.valueChanged.connect(self.foreground_changed)
        self._split = UnitSlider("split", SPLIT.title, SPLIT.description)
        self._split.valueChanged.connect(self.split_changed)
        for slider in (self._foreground, self._split):
            self.add_heading(slider.accessibleName())
            self.add_wide(slider)

    def set_segment_title(self, name: str) -> None:
        """Show which image *Segment* works on; empty if there is none."""
        self._start.set_image(name)

    def set_segment_time(self, text: str, into_file: bool = False) -> None:
        """Show how long *Segment* will take; empty if it is short or not known."""
        self._start.set_time(text, into_file)

    def set_own_labels(
        self, choices: Sequence[tuple[str, str]], current: str | None
    ) -> None:
        """Offer Labels layers, each (key, title); without any the row is hidden."""
        self._own.set_items([(key, title, title) for key, title in choices], current)
        self._own_row.setVisible(bool(choices))
        self._own_caption.setVisible(bool(choices))

    def ask_replace(self, sentence: str) -> bool:
        """Ask whether other labels take the place of those that the image has."""
        answer = QMessageBox.question(self, "Replace the labels?", sentence)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def set_scope(self, key: str) -> None:
        """Show the chosen scope."""
        self._scopes.set_current(key)

    def set_stack(self, key: str | None) -> None:
        """Show what the slices of the image are; None hides it, for one slice."""
        if key is not None:
            self._stacks.set_current(key)
        self._stacks.setVisible(key is not None)
        self._stack_caption.setVisible(key is not None)

    def set_foreground(self, value: float) -> None:
        """Show the foreground threshold, 0 to 1."""
        blocker = QSignalBlocker(self._foreground)
        self._foreground.setValue(value)
        blocker.unblock()

    def set_split(self, value: float) -> None:
        """Show the split level, 0 (join) to 1 (split)."""
        blocker = QSignalBlocker(self._split)
        self._split.setValue(value)
        blocker.unblock()
