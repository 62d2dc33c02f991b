"""The dock as one widget: signals out, setters in; it decides nothing.

This is all of the GUI that the controller sees, so that it can be replaced by a fake.
Only Qt belongs here: no napari, no torch, no engine. Setters never emit.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFrame,
    QInputDialog,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.session_section import SessionSection
from napari_resunet.plugin.versions_section import VersionsSection
from napari_resunet.plugin.view_parts import (
    MessageKind,
    MessageLine,
    Section,
    WheelGuard,
)
from napari_resunet.plugin.view_sections import (
    CorrectSection,
    FineTuneSection,
    ImageSection,
    ModelSection,
    SegmentSection,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ControlName = Literal[
    "segment",
    "cancel_segment",
    "fine_tune",
    "stop",
    "cancel_fine_tune",
    "go_on",
    "keep_best",
    "drop_interrupted",
    "go_back",
    "save",
    "load",
    "new_classes",
    "use_labels",
    "mark_verified",
    "foreground",
    "split",
    "unmark",
    "next",
    "show_map",
    "tool_delete",
    "tool_merge",
    "tool_split",
    "tool_add",
    "tool_smooth",
    "tool_copy",
]
CONTROLS: tuple[ControlName, ...] = get_args(ControlName)
SAVE_SUFFIX = "safetensors"
OPEN_FILTER = "Models (*.safetensors *.pt *.pth);;All files (*)"
SAVE_FILTER = "Models (*.safetensors)"


class SegmentView(QWidget):
    """The dock: image, model, Segment, correct, Fine-tune, message."""

    image_chosen = Signal(str)
    channels_chosen = Signal(tuple)
    object_size_changed = Signal(float)
    object_size_previewed = Signal(float)
    object_size_auto_changed = Signal(bool)
    version_chosen = Signal(str)
    device_chosen = Signal(str)
    load_clicked = Signal()
    save_clicked = Signal()
    go_back_clicked = Signal()
    new_classes_clicked = Signal()
    scope_changed = Signal(str)
    segment_clicked = Signal()
    segment_cancelled = Signal()
    own_labels_chosen = Signal(str)
    use_labels_clicked = Signal()
    foreground_changed = Signal(float)
    split_changed = Signal(float)
    verified_area_changed = Signal(str)
    mark_verified_clicked = Signal()
    unmark_clicked = Signal()
    tool_clicked = Signal(str)
    next_clicked = Signal()
    map_toggled = Signal(bool)
    fine_tune_clicked = Signal()
    fine_tune_stopped = Signal()
    fine_tune_cancelled = Signal()
    auto_fine_tune_switched = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._image = ImageSection()
        self._model = ModelSection()
        self._segment = SegmentSection()
        self._correct = CorrectSection()
        self._fine_tune = FineTuneSection()
        self.interrupted = self._fine_tune.interrupted
        self.versions = VersionsSection()
        self.session = SessionSection()
        self._message = MessageLine()
        self._guard = WheelGuard(self)
        self._lay_out()
        self._controls = {name: self._control(name) for name in CONTROLS}
        self._tooltips = {name: w.toolTip() for name, w in self._controls.items()}
        self._forward_upper()
        self._forward_lower()

    def set_images(self, images: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer images, each (key, name), and show which one is chosen."""
        self._image.set_images(images, current)

    def set_channels(self, names: Sequence[str], chosen: Sequence[int]) -> None:
        """Offer channels and show up to three chosen ones; no names hide the row."""
        self._image.set_channels(names, chosen)

    def set_object_size(
        self, pixels: float | None, factor: float | None, auto: bool
    ) -> None:
        """Show the object size in image pixels, the scaling, and who chose it."""
        self._image.set_object_size(pixels, factor, auto)

    def set_versions(
        self, versions: Sequence[tuple[str, str, str]], current: str | None
    ) -> None:
        """Offer versions of the model, each (id, title, tooltip)."""
        self._model.set_versions(versions, current)

    def set_device(self, key: str) -> None:
        """Show the chosen device: auto, cuda, mps or cpu."""
        self._model.set_device(key)

    def set_device_text(self, text: str) -> None:
        """Show the device in use."""
        self._model.set_device_text(text)

    def set_scope(self, key: str) -> None:
        """Show the chosen scope: visible, slice or stack."""
        self._segment.set_scope(key)

    def set_own_labels(
        self, choices: Sequence[tuple[str, str]], current: str | None
    ) -> None:
        """Offer Labels layers of the user's own, each (key, title); none hide the row."""
        self._segment.set_own_labels(choices, current)

    def set_segment_progress(self, done: int | None, total: int | None, text: str) -> None:
        """Show how far the segmentation is; no `done` hides the bar."""
        self._segment.progress.show_progress(done, total, text)

    def set_foreground(self, value: float) -> None:
        """Show the foreground threshold, 0 to 1."""
        self._segment.set_foreground(value)

    def set_split(self, value: float) -> None:
        """Show how eagerly touching objects are cut apart, 0 to 1."""
        self._segment.set_split(value)

    def set_verified_choices(
        self, choices: Sequence[tuple[str, str]], current: str | None
    ) -> None:
        """Offer areas to check, each (key, title)."""
        self._correct.set_choices(choices, current)

    def set_verified_text(self, text: str) -> None:
        """Show how much is verified."""
        self._correct.set_text(text)

    def set_map_shown(self, shown: bool) -> None:
        """Show whether the probability map is in the viewer."""
        self._correct.set_map_shown(shown)

    def set_tool(self, name: str | None) -> None:
        """Show which tool is in hand."""
        self._correct.tools.set_tool(name)

    @property
    def minutes(self) -> float:
        """About how long to fine-tune."""
        return float(self._fine_tune.minutes.value())

    @minutes.setter
    def minutes(self, minutes: float) -> None:
        self._fine_tune.minutes.setValue(minutes)

    def set_fine_tune_progress(
        self, done: int | None, total: int | None, text: str
    ) -> None:
        """Show how far the fine-tuning is; no `done` hides the bar."""
        self._fine_tune.progress.show_progress(done, total, text)

    def start_plot(self) -> None:
        """Show an empty loss plot."""
        self._fine_tune.plot.start()

    def cut_plot(self, step: int) -> None:
        """Show the loss plot up to a step, from which the run goes on."""
        self._fine_tune.plot.cut(step)

    def add_loss(self, step: int, training_loss: float, held_out: float | None) -> None:
        """Add one step to the loss plot."""
        self._fine_tune.plot.add(step, training_loss, held_out)

    def set_result_text(self, text: str) -> None:
        """Show the comparison of before and after, plain or HTML."""
        self._fine_tune.set_result_text(text)

    def set_message(self, text: str, kind: MessageKind = "info") -> None:
        """Show a message below everything; an empty one hides the line."""
        self._message.set_message(text, kind)

    def set_enabled(self, name: ControlName, enabled: bool, reason: str = "") -> None:
        """Enable a button or slider, or disable it and say why in its tooltip."""
        control = self._controls[name]
        control.setEnabled(enabled)
        normal = self._tooltips[name]
        control.setToolTip(normal if enabled or not reason else reason)

    def ask_open_path(self) -> Path | None:
        """Ask for a model file to open; None if the user thinks better of it."""
        dialog = QFileDialog(self, "Load a model", "", OPEN_FILTER)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        return self._run_dialog(dialog)

    def ask_save_path(self, suggested: Path) -> Path | None:
        """Ask where to save a model; None if the user thinks better of it."""
        folder = str(suggested.parent)
        dialog = QFileDialog(self, "Save the model", folder, SAVE_FILTER)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix(SAVE_SUFFIX)
        dialog.selectFile(suggested.name)
        return self._run_dialog(dialog)

    def ask_class_names(self) -> tuple[str, ...]:
        """Ask for the names of classes; none if the user thinks better of it."""
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
        # The message stays in sight however far the sections are scrolled.
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addWidget(self._message)

    def _sections(self) -> tuple[Section, ...]:
        return (
            self._image,
            self._model,
            self._segment,
            self._correct,
            self._fine_tune,
            self.versions,
            self.session,
        )

    def _forward_upper(self) -> None:
        self._image.image_chosen.connect(self.image_chosen)
        self._image.channels_chosen.connect(self.channels_chosen)
        self._image.object_size_changed.connect(self.object_size_changed)
        self._image.object_size_previewed.connect(self.object_size_previewed)
        self._image.object_size_auto_changed.connect(self.object_size_auto_changed)
        self._model.version_chosen.connect(self.version_chosen)
        self._model.device_chosen.connect(self.device_chosen)
        self._model.load_clicked.connect(self.load_clicked)
        self._model.save_clicked.connect(self.save_clicked)
        self._model.go_back_clicked.connect(self.go_back_clicked)
        self._model.new_classes_clicked.connect(self.new_classes_clicked)

    def _forward_lower(self) -> None:
        self._segment.scope_changed.connect(self.scope_changed)
        self._segment.segment_clicked.connect(self.segment_clicked)
        self._segment.segment_cancelled.connect(self.segment_cancelled)
        self._segment.own_labels_chosen.connect(self.own_labels_chosen)
        self._segment.use_labels_clicked.connect(self.use_labels_clicked)
        self._segment.foreground_changed.connect(self.foreground_changed)
        self._segment.split_changed.connect(self.split_changed)
        self._correct.verified_area_changed.connect(self.verified_area_changed)
        self._correct.mark_verified_clicked.connect(self.mark_verified_clicked)
        self._correct.unmark_clicked.connect(self.unmark_clicked)
        self._correct.next_clicked.connect(self.next_clicked)
        self._correct.map_toggled.connect(self.map_toggled)
        self._correct.tools.tool_clicked.connect(self.tool_clicked)
        self._fine_tune.fine_tune_clicked.connect(self.fine_tune_clicked)
        self._fine_tune.fine_tune_stopped.connect(self.fine_tune_stopped)
        self._fine_tune.auto_fine_tune_switched.connect(self.auto_fine_tune_switched)
        self._fine_tune.fine_tune_cancelled.connect(self.fine_tune_cancelled)
