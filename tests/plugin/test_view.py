"""The dock's widgets: exact words, signals from the user only, setters that are silent.

What the signals lead to is the controller's and is tested there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("qtpy.QtWidgets")
pytest.importorskip("pytestqt")

from qtpy.QtCore import QObject, QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QProgressBar,
    QSlider,
    QWidget,
)
from superqt import QDoubleSlider

from napari_resunet.plugin.loss_plot import LossPlot
from napari_resunet.plugin.view import CONTROLS, SegmentView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytestqt.qtbot import QtBot

TEXTS = {
    "segment": "Segment",
    "cancel_segment": "Cancel",
    "fine_tune": "Fine-tune",
    "stop": "Stop",
    "cancel_fine_tune": "Cancel",
    "go_on": "Resume",
    "keep_best": "Keep best",
    "drop_interrupted": "Discard",
    "go_back": "Go back",
    "save": "Export model…",
    "load": "Load model…",
    "new_classes": "New classes…",
    "mark_verified": "Mark as verified",
    "unmark": "Unmark",
    "next": "Next",
    "show_map": "Show map",
    "tool_delete": "Delete",
    "tool_merge": "Merge",
    "tool_split": "Split",
    "tool_add": "Add",
    "tool_smooth": "Smooth",
    "tool_copy": "Copy to next",
}
CLICKS = {
    "segment": "segment_clicked",
    "cancel_segment": "segment_cancelled",
    "fine_tune": "fine_tune_clicked",
    "stop": "fine_tune_stopped",
    "cancel_fine_tune": "fine_tune_cancelled",
    "go_back": "go_back_clicked",
    "save": "save_clicked",
    "load": "load_clicked",
    "new_classes": "new_classes_clicked",
    "mark_verified": "mark_verified_clicked",
    "unmark": "unmark_clicked",
    "next": "next_clicked",
}
VALUE_SIGNALS = (
    "image_chosen",
    "channels_chosen",
    "object_size_changed",
    "object_size_previewed",
    "object_size_auto_changed",
    "version_chosen",
    "device_chosen",
    "scope_changed",
    "foreground_changed",
    "split_changed",
    "verified_area_changed",
)
VERSIONS = [("a", "starter", "As shipped"), ("b", "mine", "12 objects")]
AREAS = [("visible", "Visible area"), ("slice", "Whole slice")]


class Recorder(QObject):
    """Remembers what every signal with a value has sent."""

    def __init__(self, view: SegmentView) -> None:
        super().__init__()
        self.sent: list[Any] = []
        for name in VALUE_SIGNALS:
            getattr(view, name).connect(self.record)

    def record(self, value: Any) -> None:
        """Remember one value."""
        self.sent.append(value)


@pytest.fixture
def view(qtbot: QtBot) -> SegmentView:
    """Return a view of a dock's size on the screen, filled with choices."""
    widget = SegmentView()
    qtbot.addWidget(widget)
    widget.resize(330, 900)
    widget.set_images([("1", "cells"), ("2", "nuclei")], "1")
    widget.set_channels(["red", "green", "blue", "far red"], (0, 1, 2))
    widget.set_versions(VERSIONS, "a")
    widget.set_verified_choices(AREAS, "visible")
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def find(view: SegmentView, kind: type[Any], name: str) -> Any:
    """Find one child by the name of its object."""
    children = view.findChildren(kind, name)
    assert len(children) == 1
    return children[0]


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_buttons_carry_exactly_these_texts(view: SegmentView, name: str, text: str) -> None:
    assert find(view, QAbstractButton, name).text() == text


@pytest.mark.parametrize(("name", "signal"), CLICKS.items())
def test_a_click_is_one_signal(
    view: SegmentView, qtbot: QtBot, name: str, signal: str
) -> None:
    with qtbot.waitSignal(getattr(view, signal), timeout=1000):
        qtbot.mouseClick(find(view, QAbstractButton, name), Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    ("name", "index", "signal", "value"),
    [
        ("image", 1, "image_chosen", "2"),
        ("version", 1, "version_chosen", "b"),
        ("device", 3, "device_chosen", "cpu"),
        ("scope", 2, "scope_changed", "stack"),
        ("verified_area", 1, "verified_area_changed", "slice"),
        ("channel_0", 3, "channels_chosen", (3, 1, 2)),
        ("channel_1", 0, "channels_chosen", (0, 2)),
    ],
)
def test_a_choice_sends_its_key(
    view: SegmentView, qtbot: QtBot, name: str, index: int, signal: str, value: object
) -> None:
    with qtbot.waitSignal(getattr(view, signal), timeout=1000) as blocker:
        find(view, QComboBox, name).setCurrentIndex(index)
    assert blocker.args == [value]


@pytest.mark.parametrize("name", ["foreground", "split"])
def test_a_slider_sends_its_value_while_it_moves(
    view: SegmentView, qtbot: QtBot, name: str
) -> None:
    slider = find(view, QWidget, name)
    with qtbot.waitSignal(getattr(view, f"{name}_changed"), timeout=1000) as blocker:
        slider.setSliderDown(True)
        slider.setSliderPosition(0.25)
    assert blocker.args == pytest.approx([0.25])


def test_a_slider_follows_the_keys(view: SegmentView, qtbot: QtBot) -> None:
    recorder = Recorder(view)
    slider = find(view, QWidget, "foreground")
    for key in (Qt.Key.Key_Right, Qt.Key.Key_PageUp, Qt.Key.Key_End, Qt.Key.Key_Left):
        qtbot.keyClick(slider, key)
    assert recorder.sent == pytest.approx([0.01, 0.11, 1.0, 0.99])


def test_a_click_on_a_slider_gives_it_the_focus(view: SegmentView, qtbot: QtBot) -> None:
    slider = find(view, QWidget, "split")
    view.activateWindow()
    qtbot.mouseClick(slider.findChild(QDoubleSlider), Qt.MouseButton.LeftButton)
    assert view.focusWidget() is slider


def test_object_size_is_sent_and_zero_is_not_a_size(view: SegmentView) -> None:
    recorder = Recorder(view)
    size = find(view, QDoubleSpinBox, "object_size")
    size.setValue(30.0)
    size.setValue(0.0)
    find(view, QCheckBox, "object_size_auto").setChecked(True)
    assert recorder.sent == [30.0, True]


def test_the_size_slider_sends_what_the_number_shows(view: SegmentView) -> None:
    recorder = Recorder(view)
    slider = find(view, QSlider, "object_size_slider")
    slider.setValue(slider.maximum() // 2)
    shown = find(view, QDoubleSpinBox, "object_size").value()
    assert recorder.sent == [pytest.approx(shown, abs=0.06)]
    assert 40 < shown < 50  # the middle of 2 to 1000 on a logarithmic scale


def test_a_drag_of_the_size_slider_asks_once(view: SegmentView) -> None:
    recorder = Recorder(view)
    changed: list[float] = []
    view.object_size_changed.connect(changed.append)
    slider = find(view, QSlider, "object_size_slider")
    slider.setSliderDown(True)
    for position in (100, 120, 140):
        slider.setSliderPosition(position)
    assert changed == []
    assert len(recorder.sent) == 3  # previews
    slider.setSliderDown(False)
    assert changed == [recorder.sent[-1]]


def test_setters_are_silent(view: SegmentView) -> None:
    recorder = Recorder(view)
    view.set_images([("3", "other")], "3")
    view.set_channels(["a", "b"], (1,))
    view.set_object_size(24.0, 1.0, auto=True)
    view.set_versions(VERSIONS, "b")
    view.set_device("cpu")
    view.set_scope("stack")
    view.set_foreground(0.4)
    view.set_split(0.6)
    view.set_verified_choices(AREAS, "slice")
    view.minutes = 3.0
    assert recorder.sent == []


def test_setters_are_shown(view: SegmentView) -> None:
    view.set_images([], None)
    view.set_object_size(24.0, 1.0, auto=True)
    view.set_versions(VERSIONS, "b")
    view.set_foreground(0.4)
    view.minutes = 3.0
    assert find(view, QComboBox, "image").currentIndex() == -1
    assert (
        find(view, QLabel, "object_size_text").text()
        == "24 px · image scaled \N{MULTIPLICATION SIGN}1.00"
    )
    assert find(view, QComboBox, "version").currentText() == "mine"
    assert find(view, QComboBox, "version").toolTip() == "12 objects"
    assert find(view, QWidget, "foreground").value() == pytest.approx(0.4)
    assert view.minutes == 3.0


def test_an_unknown_object_size_says_so(view: SegmentView) -> None:
    view.set_object_size(None, None, auto=True)
    assert find(view, QDoubleSpinBox, "object_size").text() == "not known"
    assert not find(view, QLabel, "object_size_text").isVisible()


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_as_many_channel_selectors_as_channels(view: SegmentView, names: list[str]) -> None:
    view.set_channels(names, (0,))
    shown = [find(view, QComboBox, f"channel_{i}").isVisible() for i in range(3)]
    assert sum(shown) == min(3, len(names))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_disabled_control_says_why(view: SegmentView, name: Any) -> None:
    control = find(view, QWidget, name)
    normal = control.toolTip()
    assert normal
    view.set_enabled(name, False, "Open an image first")
    assert not control.isEnabled()
    assert control.toolTip() == "Open an image first"
    view.set_enabled(name, True)
    assert control.isEnabled()
    assert control.toolTip() == normal


@pytest.mark.parametrize("which", ["segment", "fine_tune"])
def test_progress_is_shown_and_hidden(view: SegmentView, which: str) -> None:
    show: Callable[..., None] = getattr(view, f"set_{which}_progress")
    bar = find(view, QProgressBar, f"{which}_progress_bar")
    text = find(view, QLabel, f"{which}_progress_text")
    assert not bar.isVisible()
    show(3, 12, "Tile 3 of 12")
    assert (bar.isVisible(), bar.value(), bar.maximum()) == (True, 3, 12)
    assert text.text() == "Tile 3 of 12"
    show(0, None, "Starting")
    assert bar.maximum() == 0
    show(None, None, "")
    assert not bar.isVisible()
    assert not text.isVisible()


def test_a_message_is_plain_text_of_a_kind(view: SegmentView) -> None:
    label = find(view, QLabel, "message")
    assert not label.isVisible()
    view.set_message("<b>cells</b> was removed", "warning")
    assert label.isVisible()
    assert label.textFormat() == Qt.TextFormat.PlainText
    assert label.accessibleName().startswith("warning")
    view.set_message("")
    assert not label.isVisible()


def test_the_plot_shows_the_points_of_its_run(view: SegmentView, qtbot: QtBot) -> None:
    plot = view.findChild(LossPlot)
    assert plot is not None
    assert not plot.isVisible()
    view.start_plot()
    assert plot.isVisible()
    view.add_loss(1, 0.9, 0.8)
    view.add_loss(2, 0.5, None)
    drawn = ([(1, 0.9), (2, 0.5)], [(1, 0.8)])
    qtbot.waitUntil(lambda: plot.points() == drawn, timeout=10000)
    view.start_plot()
    assert plot.points() == ([], [])


def test_the_wheel_does_not_change_what_it_passes_over(view: SegmentView) -> None:
    recorder = Recorder(view)
    find(view, QAbstractButton, "segment").setFocus()
    for combo in view.findChildren(QComboBox):
        QApplication.sendEvent(combo, _wheel(combo))
    slider = find(view, QWidget, "split").findChild(QDoubleSlider)
    QApplication.sendEvent(slider, _wheel(slider))
    assert recorder.sent == []


def _wheel(widget: QWidget) -> QWheelEvent:
    middle = QPointF(widget.rect().center())
    return QWheelEvent(
        middle,
        widget.mapToGlobal(middle),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )


def test_tab_goes_top_to_bottom(view: SegmentView) -> None:
    names: list[str] = []
    widget: QWidget | None = view.nextInFocusChain()
    while widget is not None and widget is not view:
        names.append(widget.objectName())
        widget = widget.nextInFocusChain()
    order = [
        "image",
        "object_size",
        "version",
        "load",
        "save",
        "go_back",
        "new_classes",
        "device",
    ]
    order += ["scope", "segment", "cancel_segment", "foreground", "split"]
    order += ["verified_area", "mark_verified", "fine_tune", "minutes", "stop"]
    order += ["cancel_fine_tune"]
    assert [name for name in names if name in order] == order


def test_it_fits_a_narrow_dock(view: SegmentView) -> None:
    view.set_images([("1", "a very long layer name " * 5)], "1")
    view.set_versions([("a", "a very long version name " * 5, "")], "a")
    view.set_result_text("AP@0.5 0.62 before, 0.81 after " * 5)
    QApplication.processEvents()
    section = find(view, QAbstractButton, "segment").parentWidget()
    assert section is not None
    assert section.width() <= 330


def test_file_dialogs(
    view: SegmentView, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(QFileDialog, "exec", _accept)
    saved = view.ask_save_path(tmp_path / "mine.safetensors")
    assert saved == tmp_path / "mine.safetensors"
    monkeypatch.setattr(QFileDialog, "exec", _reject)
    assert view.ask_save_path(tmp_path / "mine.safetensors") is None
    assert view.ask_open_path() is None


def _accept(dialog: QFileDialog) -> int:
    return 1


def _reject(dialog: QFileDialog) -> int:
    return 0


def test_opening_imports_neither_pyqtgraph_nor_torch_nor_napari() -> None:
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari_resunet.plugin.view import SegmentView\n"
        "view = SegmentView(); view.show(); view.start_plot(); app.processEvents()\n"
        "heavy = {'pyqtgraph', 'torch', 'napari'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
