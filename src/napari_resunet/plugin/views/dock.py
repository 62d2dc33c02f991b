"""The dock as one widget: header, status line, four steps, and pages instead of them.

Its parts have signals for what the user did and setters for what is shown; setters never
emit. Only Qt belongs here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QAction, QKeySequence, QShortcut
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QScrollArea,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.tools import LIST_KEY
from napari_resunet.plugin.views.correct import CorrectSection
from napari_resunet.plugin.views.fine_tune import FineTuneSection
from napari_resunet.plugin.views.image import ImageSection
from napari_resunet.plugin.views.keys import KeysPage
from napari_resunet.plugin.views.model import ModelBar
from napari_resunet.plugin.views.protocol import (
    CONTROLS,
    ControlName,
    MessageKind,
    PageName,
)
from napari_resunet.plugin.views.queue import QueueSection, dropped_paths
from napari_resunet.plugin.views.results import ResultsSection
from napari_resunet.plugin.views.segment import SegmentSection
from napari_resunet.plugin.views.session import SessionSection
from napari_resunet.plugin.views.status_line import StatusLine
from napari_resunet.plugin.views.steps import Steps
from napari_resunet.plugin.views.versions import VersionsSection
from napari_resunet.plugin.views.welcome import Welcome
from napari_resunet.plugin.views.widgets import WheelGuard

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_resunet.plugin.views.protocol import DockView

SAVE_SUFFIX = "safetensors"
OPEN_FILTER = "Models (*.safetensors *.pt *.pth);;All files (*)"
SAVE_FILTER = "Models (*.safetensors)"
TITLES: dict[PageName, str] = {
    "images": "Images",
    "versions": "Versions of the model",
    "session": "Session",
    "keys": "Keys",
}
# napari draws a border around disabled buttons only, which would move what is below.
STYLE = """
QPushButton {border: 1px solid transparent;}
QPushButton[primary="true"] {background: palette(highlight);}
ReservedText, #compared_text, #differences_text, #candidate_counts,
#state_segment, #state_correct, #state_learn, #state_results {padding: 0px; margin: 0px;}
"""


class Dock(QWidget):
    """Header and status line, and below them the steps or another page."""

    acted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = ImageSection()
        self.queue = QueueSection()
        self.model = ModelBar()
        self.status = StatusLine()
        self.segment = SegmentSection()
        self.correct = CorrectSection()
        self.fine_tune = FineTuneSection()
        self.results = ResultsSection()
        self.versions = VersionsSection()
        self.session = SessionSection()
        self.welcome = Welcome()
        self._guard = WheelGuard(self)
        self._lay_out()
        self.setStyleSheet(STYLE)
        self._controls = {name: self._control(name) for name in CONTROLS}
        self._tooltips = {name: w.toolTip() for name, w in self._controls.items()}
        self.model.page_wanted.connect(self.show_page)
        self.queue.bar.page_wanted.connect(self._show_images)
        self.setAcceptDrops(True)
        self.model.keys_wanted.connect(self._show_keys)
        self._list_keys = QShortcut(QKeySequence(LIST_KEY), self)
        self._list_keys.activated.connect(self._show_keys)
        self._guard.protect(self)
        self._connect_acted()

    def set_message(self, text: str, kind: MessageKind = "info") -> None:
        """Show a message in the status line; an empty one gives way to the hint."""
        self.status.set_message(text, kind)

    def set_enabled(self, name: ControlName, enabled: bool, reason: str = "") -> None:
        """Enable a control, or disable it and give the reason in its tooltip."""
        control = self._controls[name]
        control.setEnabled(enabled)
        normal = self._tooltips[name]
        control.setToolTip(normal if enabled or not reason else reason)

    def set_primary(self, name: ControlName | None) -> None:
        """Highlight the button that the user probably needs next."""
        for own, control in self._controls.items():
            wanted = own == name
            if isinstance(control, QWidget) and control.property("primary") != wanted:
                control.setProperty("primary", wanted)
                style = control.style()
                if style is not None:
                    style.polish(control)

    def show_welcome(self, wanted: bool) -> None:
        """Show how to begin instead of the steps, or the steps again."""
        self._steps_or_welcome.setCurrentIndex(int(wanted))

    def show_page(self, name: PageName) -> None:
        """Show the steps, or another page instead of them."""
        self._pages.setCurrentWidget(self._page[name])

    def ask_open_path(self) -> Path | None:
        """Ask for a model file to open; None if the user cancels."""
        dialog = QFileDialog(self, "Load a model", "", OPEN_FILTER)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        return self._run_dialog(dialog)

    def ask_save_path(self, suggested: Path) -> Path | None:
        """Ask where to save a model; None if the user cancels."""
        folder = str(suggested.parent)
        dialog = QFileDialog(self, "Save the model", folder, SAVE_FILTER)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(SAVE_SUFFIX)
        dialog.selectFile(suggested.name)
        return self._run_dialog(dialog)

    def ask_class_names(self) -> tuple[str, ...]:
        """Ask for the names of the classes; empty if the user cancels."""
        text, accepted = QInputDialog.getText(
            self, "New classes", "Names of the classes, with commas (label 1, label 2, …):"
        )
        names = [name.strip() for name in text.split(",")]
        return tuple(name for name in names if name) if accepted else ()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files and folders."""
        if event is not None and dropped_paths(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Add them to the list of images."""
        if event is not None and self.queue.add_dropped(event.mimeData()):
            event.acceptProposedAction()

    def _show_images(self) -> None:
        shown = self._pages.currentWidget() is self._page["images"]
        self.show_page("steps" if shown else "images")

    def _show_keys(self) -> None:
        self.show_page("keys")

    def _run_dialog(self, dialog: QFileDialog) -> Path | None:
        accepted = dialog.exec()
        paths = dialog.selectedFiles()
        dialog.deleteLater()
        return Path(paths[0]) if accepted and paths else None

    def _control(self, name: ControlName) -> QWidget | QAction:
        # Not by `or`, because an empty combo box is false.
        for kind in (QWidget, QAction):
            control: QWidget | QAction | None = self.findChild(kind, name)
            if control is not None:
                return control
        raise KeyError(name)

    # Layout -------------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.steps = Steps(
            {
                "segment": _column(self.image, self.segment),
                "correct": self.correct,
                "learn": self.fine_tune,
                "results": self.results,
            }
        )
        self._steps_or_welcome = QStackedWidget()
        self._steps_or_welcome.addWidget(_scrolling(self.steps))
        self._steps_or_welcome.addWidget(_scrolling(_column(self.welcome)))
        self._page: dict[PageName, QWidget] = {
            "steps": self._steps_or_welcome,
            "images": self._drawer("images", self.queue),
            "versions": self._drawer("versions", _scrolling(_column(self.versions))),
            "session": self._drawer("session", _scrolling(_column(self.session))),
            "keys": self._drawer("keys", _scrolling(_column(KeysPage()))),
        }
        self._pages = QStackedWidget()
        for page in self._page.values():
            self._pages.addWidget(page)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(4, 4, 4, 2)
        whole.setSpacing(4)
        whole.addLayout(self._header())
        whole.addWidget(self.status)
        whole.addWidget(self._pages, 1)
        whole.addWidget(self.session.line)

    def _header(self) -> QVBoxLayout:
        first = QHBoxLayout()
        first.setSpacing(6)
        first.addWidget(self.image.chooser, 1)
        first.addWidget(self.queue.bar)
        first.addWidget(self.model.menu_button)
        header = QVBoxLayout()
        header.setSpacing(4)
        header.addLayout(first)
        header.addWidget(self.model)
        return header

    def _drawer(self, name: PageName, content: QWidget) -> QWidget:
        back = QToolButton()
        back.setObjectName(f"close_{name}")
        back.setText("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK} Back")
        back.setToolTip("Show the steps again")
        back.clicked.connect(lambda: self.show_page("steps"))
        row = QHBoxLayout()
        row.addWidget(back)
        row.addWidget(QLabel(TITLES[name]), 1, Qt.AlignmentFlag.AlignRight)
        drawer = QWidget()
        column = QVBoxLayout(drawer)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(content, 1)
        return drawer

    def _connect_acted(self) -> None:
        """Tell when the user is done with a control, but not while they type."""
        for button in self.findChildren(QAbstractButton):
            button.clicked.connect(self._acted)
        for combo in self.findChildren(QComboBox):
            combo.activated.connect(self._acted)
        for slider in self.findChildren(QAbstractSlider):
            slider.sliderReleased.connect(self._acted)
        for box in self.findChildren(QAbstractSpinBox):
            line = box.lineEdit()
            if line is not None:
                line.returnPressed.connect(self._acted)
        for action in self.model.findChildren(QAction):
            action.triggered.connect(self._acted)

    def _acted(self) -> None:
        self.acted.emit()


def _column(*widgets: QWidget) -> QWidget:
    content = QWidget()
    column = QVBoxLayout(content)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(0)
    for widget in widgets:
        column.addWidget(widget)
    column.addStretch(1)
    return content


def _scrolling(content: QWidget) -> QScrollArea:
    """Make a page scroll in a dock that is too low for it."""
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setWidget(content)
    return scroll


if TYPE_CHECKING:
    _is_a_dock_view: type[DockView] = Dock
