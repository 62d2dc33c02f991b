"""The dock as one widget: its sections, one message line, and questions about models.

Sections have signals for what the user did and setters for what is shown; setters never
emit. Only Qt belongs here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QInputDialog,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.correct import CorrectSection
from napari_resunet.plugin.views.fine_tune import FineTuneSection
from napari_resunet.plugin.views.image import ImageSection
from napari_resunet.plugin.views.protocol import CONTROLS, ControlName, MessageKind
from napari_resunet.plugin.views.segment import SegmentSection
from napari_resunet.plugin.views.session import SessionSection
from napari_resunet.plugin.views.versions import ModelSection, VersionsSection
from napari_resunet.plugin.views.widgets import (
    MessageLine,
    Section,
    WheelGuard,
)

if TYPE_CHECKING:
    from napari_resunet.plugin.views.protocol import DockView

SAVE_SUFFIX = "safetensors"
OPEN_FILTER = "Models (*.safetensors *.pt *.pth);;All files (*)"
SAVE_FILTER = "Models (*.safetensors)"


class Dock(QWidget):
    """All sections in one scrolling column, with the message below them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = ImageSection()
        self.model = ModelSection()
        self.segment = SegmentSection()
        self.correct = CorrectSection()
        self.fine_tune = FineTuneSection()
        self.versions = VersionsSection()
        self.session = SessionSection()
        self._message = MessageLine()
        self._guard = WheelGuard(self)
        self._lay_out()
        self._controls = {name: self._control(name) for name in CONTROLS}
        self._tooltips = {name: w.toolTip() for name, w in self._controls.items()}

    def set_message(self, text: str, kind: MessageKind = "info") -> None:
        """Show a message below all sections; an empty one hides the line."""
        self._message.set_message(text, kind)

    def set_enabled(self, name: ControlName, enabled: bool, reason: str = "") -> None:
        """Enable a control, or disable it and give the reason in its tooltip."""
        control = self._controls[name]
        control.setEnabled(enabled)
        normal = self._tooltips[name]
        control.setToolTip(normal if enabled or not reason else reason)

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

    def _run_dialog(self, dialog: QFileDialog) -> Path | None:
        accepted = dialog.exec()
        paths = dialog.selectedFiles()
        dialog.deleteLater()
        return Path(paths[0]) if accepted and paths else None

    def _control(self, name: ControlName) -> QWidget:
        control = self.findChild(QWidget, name)
        if control is None:
            raise KeyError(name)
        return control

    def _lay_out(self) -> None:
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(8)
        for section in self._sections():
            column.addWidget(section)
        column.addStretch(1)
        self._guard.protect(content)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidget(content)
        # The message stays in view however far the sections are scrolled.
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addWidget(self._message)

    def _sections(self) -> tuple[Section, ...]:
        return (
            self.image,
            self.model,
            self.segment,
            self.correct,
            self.fine_tune,
            self.versions,
            self.session,
        )


if TYPE_CHECKING:
    _is_a_dock_view: type[DockView] = Dock
