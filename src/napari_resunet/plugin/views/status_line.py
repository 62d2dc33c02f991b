"""The status line: what happens now, how long it will take, and the one Cancel.

It is always in the same place and always as high, so that nothing moves when a text
appears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.protocol import MessageKind
from napari_resunet.plugin.views.widgets import ReservedText, make_button

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ICONS: Mapping[MessageKind, QStyle.StandardPixmap] = {
    "info": QStyle.StandardPixmap.SP_MessageBoxInformation,
    "warning": QStyle.StandardPixmap.SP_MessageBoxWarning,
    "error": QStyle.StandardPixmap.SP_MessageBoxCritical,
}

EXPIRY_MS: Mapping[MessageKind, int] = {"info": 10_000, "warning": 5000}
"""Messages are shown this long, then the hint again; errors stay until the next message."""

REDRAW_MS = 500
"""Shortest time between two changes of the progress. Each one redraws the whole window,
because napari's canvas is an OpenGL widget, and takes time from the work itself."""

MESSAGE_LINES = 3
ICON_SIZE = 16


class StatusLine(QWidget):
    """A message or hint, the progress, and Cancel."""

    cancel_clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hint = ""
        """What to do next, shown while there is no message."""
        self._kind: MessageKind = "info"
        self._progress: tuple[int | None, int | None, str] = None, None, ""
        self._expiry = _timer(self, 0, self._expired)
        self._pause = _timer(self, REDRAW_MS, self._draw_progress)
        self._icon = QLabel()
        self._icon.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._icon.setFixedWidth(ICON_SIZE)
        self.text = ReservedText("message", MESSAGE_LINES)
        self._add_bar()
        first = QHBoxLayout()
        first.setSpacing(6)
        first.addWidget(self._icon)
        first.addWidget(self.text, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 2, 4, 2)
        layout.setSpacing(3)
        layout.addLayout(first)
        layout.addLayout(self._second)
        self._show("", "info")
        self.text.ensurePolished()
        self.show_progress(None, None, "")

    def set_message(self, text: str, kind: MessageKind) -> None:
        """Show a message; an empty one gives way to the hint."""
        self._expiry.stop()
        self._show(text or self.hint, kind if text else "info")
        if text and kind in EXPIRY_MS:
            self._expiry.start(EXPIRY_MS[kind])

    def set_hint(self, text: str) -> None:
        """Show what to do next, now or as soon as the message is over."""
        shown = self.text.text()
        if shown in ("", self.hint):
            self._show(text, "info")
        self.hint = text

    def show_progress(self, done: int | None, total: int | None, text: str) -> None:
        """Show progress; ``done=None`` empties the bar.

        Between two calls, at least `REDRAW_MS` pass on the screen.
        """
        begins_or_ends = (done is None) != (self._progress[0] is None)
        self._progress = done, total, text
        if begins_or_ends or not self._pause.isActive():
            self._draw_progress()
            self._pause.start()

    def _draw_progress(self) -> None:
        done, total, text = self._progress
        # A bar without an end would be animated, and each frame redraws the whole window.
        self._bar.setRange(0, total or 1)
        self._bar.setValue(done or 0)
        width = self._bar.width() - 12
        elide = self._bar.fontMetrics().elidedText
        self._bar.setFormat(elide(text, Qt.TextElideMode.ElideRight, width))
        self._bar.setToolTip(text)

    def _add_bar(self) -> None:
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._bar.setAccessibleName("Progress")
        self._bar.setTextVisible(True)
        self._bar.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        cancel = make_button("Cancel", "cancel", "Stop what is running")
        cancel.setMinimumWidth(64)
        cancel.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        cancel.clicked.connect(self.cancel_clicked)
        self._second = QHBoxLayout()
        self._second.setSpacing(6)
        self._second.addWidget(self._bar, 1)
        self._second.addWidget(cancel)

    def _expired(self) -> None:
        self._show(self.hint, "info")

    def _show(self, text: str, kind: MessageKind) -> None:
        self._kind = kind
        style = self.style()
        if style is not None:
            icon = style.standardIcon(ICONS[kind])
            self._icon.setPixmap(icon.pixmap(ICON_SIZE, ICON_SIZE))
        self.text.set_text(text)
        self.text.setAccessibleName(f"{kind}: {text}" if text else "")


def _timer(parent: QWidget, milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
