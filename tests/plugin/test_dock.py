"""The dock's widgets: exact texts, signals from the user only, setters without signals."""

from __future__ import annotations

import os
import subprocess
import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
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

from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.loss_plot import LossPlot
from napari_resunet.plugin.views.protocol import CONTROLS, VersionRow
from napari_resunet.plugin.views.session import OpenSessionDialog
from napari_resunet.session.store.recent import RecentSession

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

TEXTS = {
    "segment": "Segment",
    "cancel_segment": "Cancel",
    "fine_tune": "Fine-tune",
    "stop": "Stop",
    "cancel_fine_tune": "Cancel",
    "resume": "Resume",
    "keep_best": "Keep best",
    "discard": "Discard",
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
    "segment": "segment.segment_clicked",
    "cancel_segment": "segment.segment_cancelled",
    "fine_tune": "fine_tune.fine_tune_clicked",
    "stop": "fine_tune.fine_tune_stopped",
    "cancel_fine_tune": "fine_tune.fine_tune_cancelled",
    "resume": "fine_tune.interrupted.resume_clicked",
    "keep_best": "fine_tune.interrupted.keep_best_clicked",
    "discard": "fine_tune.interrupted.discard_clicked",
    "go_back": "model.go_back_clicked",
    "save": "model.save_clicked",
    "load": "model.load_clicked",
    "new_classes": "model.new_classes_clicked",
    "mark_verified": "correct.mark_verified_clicked",
    "unmark": "correct.unmark_clicked",
    "next": "correct.next_clicked",
    "open_session": "session.open_clicked",
    "move_session": "session.move_clicked",
    "export_labels": "session.export_clicked",
    "flip_versions": "versions.flip_clicked",
}
VALUE_SIGNALS = (
    "image.image_chosen",
    "image.channels_chosen",
    "image.object_size_changed",
    "image.object_size_previewed",
    "image.object_size_auto_changed",
    "model.version_chosen",
    "model.device_chosen",
    "segment.scope_changed",
    "segment.own_labels_chosen",
    "segment.foreground_changed",
    "segment.split_changed",
    "correct.verified_area_changed",
    "correct.map_toggled",
    "versions.compare_toggled",
    "fine_tune.auto_fine_tune_switched",
)
VERSIONS = [("a", "starter", "As shipped"), ("b", "mine", "12 objects")]
AREAS = [("visible", "Visible area"), ("slice", "Whole slice")]


class Recorder(QObject):
    """Remembers what every signal with a value has sent."""

    def __init__(self, dock: Dock) -> None:
        super().__init__()
        self.sent: list[Any] = []
        for name in VALUE_SIGNALS:
            attrgetter(name)(dock).connect(self.record)

    def record(self, value: Any) -> None:
        """Remember one value."""
        self.sent.append(value)


@pytest.fixture
def dock(qtbot: QtBot, tmp_path: Path) -> Dock:
    """Return a dock of the usual size on the screen, filled with choices."""
    widget = Dock()
    qtbot.addWidget(widget)
    widget.resize(330, 900)
    widget.image.set_images([("1", "cells"), ("2", "nuclei")], "1")
    widget.image.set_channels(["red", "green", "blue", "far red"], (0, 1, 2))
    widget.model.set_versions(VERSIONS, "a")
    widget.correct.set_choices(AREAS, "visible")
    widget.session.set_place(tmp_path)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def find(dock: Dock, kind: type[Any], name: str) -> Any:
    """Find one child by the name of its object."""
    children = dock.findChildren(kind, name)
    assert len(children) == 1
    return children[0]


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_buttons_carry_exactly_these_texts(dock: Dock, name: str, text: str) -> None:
    assert find(dock, QAbstractButton, name).text() == text


@pytest.mark.parametrize(("name", "signal"), CLICKS.items())
def test_a_click_is_one_signal(dock: Dock, qtbot: QtBot, name: str, signal: str) -> None:
    with qtbot.waitSignal(attrgetter(signal)(dock), timeout=1000):
        qtbot.mouseClick(find(dock, QAbstractButton, name), Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    ("name", "index", "signal", "value"),
    [
        ("image", 1, "image.image_chosen", "2"),
        ("version", 1, "model.version_chosen", "b"),
        ("device", 3, "model.device_chosen", "cpu"),
        ("scope", 2, "segment.scope_changed", "stack"),
        ("verified_area", 1, "correct.verified_area_changed", "slice"),
        ("channel_0", 3, "image.channels_chosen", (3, 1, 2)),
        ("channel_1", 0, "image.channels_chosen", (0, 2)),
    ],
)
def test_a_choice_sends_its_key(
    dock: Dock, qtbot: QtBot, name: str, index: int, signal: str, value: object
) -> None:
    with qtbot.waitSignal(attrgetter(signal)(dock), timeout=1000) as blocker:
        find(dock, QComboBox, name).setCurrentIndex(index)
    assert blocker.args == [value]


@pytest.mark.parametrize("name", ["foreground", "split"])
def test_a_slider_sends_its_value_while_it_moves(
    dock: Dock, qtbot: QtBot, name: str
) -> None:
    slider = find(dock, QWidget, name)
    with qtbot.waitSignal(
        getattr(dock.segment, f"{name}_changed"), timeout=1000
    ) as blocker:
        slider.setSliderDown(True)
        slider.setSliderPosition(0.25)
    assert blocker.args == pytest.approx([0.25])


def test_fine_tuning_by_itself_is_off_until_it_is_switched_on(dock: Dock) -> None:
    recorder = Recorder(dock)
    switch = find(dock, QAbstractButton, "auto_fine_tune")
    assert not switch.isChecked()
    switch.click()
    switch.click()
    assert recorder.sent == [True, False]


def test_a_slider_follows_the_keys(dock: Dock, qtbot: QtBot) -> None:
    recorder = Recorder(dock)
    slider = find(dock, QWidget, "foreground")
    for key in (Qt.Key.Key_Right, Qt.Key.Key_PageUp, Qt.Key.Key_End, Qt.Key.Key_Left):
        qtbot.keyClick(slider, key)
    assert recorder.sent == pytest.approx([0.01, 0.11, 1.0, 0.99])


def test_a_click_on_a_slider_gives_it_the_focus(dock: Dock, qtbot: QtBot) -> None:
    slider = find(dock, QWidget, "split")
    dock.activateWindow()
    qtbot.mouseClick(slider.findChild(QDoubleSlider), Qt.MouseButton.LeftButton)
    assert dock.focusWidget() is slider


def test_object_size_is_sent_and_zero_is_not_a_size(dock: Dock) -> None:
    recorder = Recorder(dock)
    size = find(dock, QDoubleSpinBox, "object_size")
    size.setValue(30.0)
    size.setValue(0.0)
    find(dock, QCheckBox, "object_size_auto").setChecked(True)
    assert recorder.sent == [30.0, True]


def test_the_size_slider_sends_what_the_number_shows(dock: Dock) -> None:
    recorder = Recorder(dock)
    slider = find(dock, QSlider, "object_size_slider")
    slider.setValue(slider.maximum() // 2)
    shown = find(dock, QDoubleSpinBox, "object_size").value()
    assert recorder.sent == [pytest.approx(shown, abs=0.06)]
    assert 40 < shown < 50  # the middle of 2 to 1000 on a logarithmic scale


def test_a_drag_of_the_size_slider_asks_once(dock: Dock) -> None:
    recorder = Recorder(dock)
    changed: list[float] = []
    dock.image.object_size_changed.connect(changed.append)
    slider = find(dock, QSlider, "object_size_slider")
    slider.setSliderDown(True)
    for position in (100, 120, 140):
        slider.setSliderPosition(position)
    assert changed == []
    assert len(recorder.sent) == 3  # previews
    slider.setSliderDown(False)
    assert changed == [recorder.sent[-1]]


def test_setters_are_silent(dock: Dock) -> None:
    recorder = Recorder(dock)
    dock.image.set_images([("3", "other")], "3")
    dock.image.set_channels(["a", "b"], (1,))
    dock.image.set_object_size(24.0, 1.0, auto=True)
    dock.model.set_versions(VERSIONS, "b")
    dock.model.set_device("cpu")
    dock.segment.set_scope("stack")
    dock.segment.set_foreground(0.4)
    dock.segment.set_split(0.6)
    dock.correct.set_choices(AREAS, "slice")
    dock.fine_tune.minutes = 3.0
    assert recorder.sent == []


def test_setters_are_shown(dock: Dock) -> None:
    dock.image.set_images([], None)
    dock.image.set_object_size(24.0, 1.0, auto=True)
    dock.model.set_versions(VERSIONS, "b")
    dock.segment.set_foreground(0.4)
    dock.fine_tune.minutes = 3.0
    assert find(dock, QComboBox, "image").currentIndex() == -1
    assert (
        find(dock, QLabel, "object_size_text").text()
        == "24 px · image scaled \N{MULTIPLICATION SIGN}1.00"
    )
    assert find(dock, QComboBox, "version").currentText() == "mine"
    assert find(dock, QComboBox, "version").toolTip() == "12 objects"
    assert find(dock, QWidget, "foreground").value() == pytest.approx(0.4)
    assert dock.fine_tune.minutes == 3.0


def test_an_unknown_object_size_says_so(dock: Dock) -> None:
    dock.image.set_object_size(None, None, auto=True)
    assert find(dock, QDoubleSpinBox, "object_size").text() == "not known"
    assert not find(dock, QLabel, "object_size_text").isVisible()


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"], ["a", "b", "c", "d"]])
def test_as_many_channel_selectors_as_channels(dock: Dock, names: list[str]) -> None:
    dock.image.set_channels(names, (0,))
    shown = [find(dock, QComboBox, f"channel_{i}").isVisible() for i in range(3)]
    assert sum(shown) == min(3, len(names))


@pytest.mark.parametrize("name", CONTROLS)
def test_a_disabled_control_says_why(dock: Dock, name: Any) -> None:
    control = find(dock, QWidget, name)
    normal = control.toolTip()
    assert normal
    dock.set_enabled(name, False, "Open an image first")
    assert not control.isEnabled()
    assert control.toolTip() == "Open an image first"
    dock.set_enabled(name, True)
    assert control.isEnabled()
    assert control.toolTip() == normal


@pytest.mark.parametrize("which", ["segment", "fine_tune"])
def test_progress_is_shown_and_hidden(dock: Dock, which: str) -> None:
    show = getattr(dock, which).progress.show_progress
    bar = find(dock, QProgressBar, f"{which}_progress_bar")
    text = find(dock, QLabel, f"{which}_progress_text")
    assert not bar.isVisible()
    show(3, 12, "Tile 3 of 12")
    assert (bar.isVisible(), bar.value(), bar.maximum()) == (True, 3, 12)
    assert text.text() == "Tile 3 of 12"
    show(0, None, "Starting")
    assert bar.maximum() == 0
    show(None, None, "")
    assert not bar.isVisible()
    assert not text.isVisible()


def test_a_message_is_plain_text_of_a_kind(dock: Dock) -> None:
    label = find(dock, QLabel, "message")
    assert not label.isVisible()
    dock.set_message("<b>cells</b> was removed", "warning")
    assert label.isVisible()
    assert label.textFormat() == Qt.TextFormat.PlainText
    assert label.accessibleName().startswith("warning")
    dock.set_message("")
    assert not label.isVisible()


def test_the_plot_shows_the_points_of_its_run(dock: Dock, qtbot: QtBot) -> None:
    plot = dock.findChild(LossPlot)
    assert plot is not None
    assert not plot.isVisible()
    dock.fine_tune.plot.start()
    assert plot.isVisible()
    dock.fine_tune.plot.add(1, 0.9, 0.8)
    dock.fine_tune.plot.add(2, 0.5, None)
    drawn = ([(1, 0.9), (2, 0.5)], [(1, 0.8)])
    qtbot.waitUntil(lambda: plot.points() == drawn, timeout=10000)
    dock.fine_tune.plot.start()
    assert plot.points() == ([], [])


def test_the_wheel_does_not_change_what_it_passes_over(dock: Dock) -> None:
    recorder = Recorder(dock)
    find(dock, QAbstractButton, "segment").setFocus()
    for combo in dock.findChildren(QComboBox):
        QApplication.sendEvent(combo, _wheel(combo))
    slider = find(dock, QWidget, "split").findChild(QDoubleSlider)
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


def test_tab_goes_top_to_bottom(dock: Dock) -> None:
    names: list[str] = []
    widget: QWidget | None = dock.nextInFocusChain()
    while widget is not None and widget is not dock:
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


def test_it_fits_a_narrow_dock(dock: Dock) -> None:
    dock.image.set_images([("1", "a very long layer name " * 5)], "1")
    dock.model.set_versions([("a", "a very long version name " * 5, "")], "a")
    dock.fine_tune.set_result_text("AP@0.5 0.62 before, 0.81 after " * 5)
    QApplication.processEvents()
    section = find(dock, QAbstractButton, "segment").parentWidget()
    assert section is not None
    assert section.width() <= 330


ROWS = [
    VersionRow("a", ("0", "", "starter", ""), "", {"rename_version": "No file."}),
    VersionRow("b", ("1", "0.80", "3 obj", ""), "", {"compare_versions": "In use."}),
]


@pytest.fixture
def versions(dock: Dock) -> Any:
    """Return the list of versions with two rows; the second one is in use and chosen."""
    dock.versions.set_rows(ROWS, "b")
    return dock.versions


def choose(versions: Any, row: int) -> None:
    versions.list.setCurrentItem(versions.list.topLevelItem(row))


def test_what_cannot_be_done_with_a_version_says_why(dock: Dock, versions: Any) -> None:
    rename = find(dock, QAbstractButton, "rename_version")
    normal = rename.toolTip()
    assert rename.isEnabled()
    choose(versions, 0)
    assert not rename.isEnabled()
    assert rename.toolTip() == "No file."
    assert find(dock, QAbstractButton, "use_version").isEnabled()
    choose(versions, 1)
    assert rename.isEnabled()
    assert rename.toolTip() == normal


def test_a_comparison_can_be_ended_whatever_is_chosen(dock: Dock, versions: Any) -> None:
    compare = find(dock, QAbstractButton, "compare_versions")
    assert not compare.isEnabled()
    choose(versions, 0)
    assert compare.isEnabled()
    versions.show_comparison("mine")
    choose(versions, 1)
    assert compare.isEnabled()


@pytest.mark.parametrize("name", ["use", "rename", "note", "export", "delete"])
def test_a_button_sends_the_key_of_the_chosen_version(
    dock: Dock, versions: Any, qtbot: QtBot, name: str
) -> None:
    with qtbot.waitSignal(getattr(versions, f"{name}_clicked"), timeout=1000) as blocker:
        find(dock, QAbstractButton, f"{name}_version").click()
    assert blocker.args == ["b"]


def test_the_chosen_version_stays_chosen_when_the_list_changes(versions: Any) -> None:
    choose(versions, 0)
    versions.set_rows([*ROWS, VersionRow("c", ("2", "", "", ""), "")], "c")
    assert versions.chosen() == "a"


def test_file_dialogs(dock: Dock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(QFileDialog, "exec", _accept)
    saved = dock.ask_save_path(tmp_path / "mine.safetensors")
    assert saved == tmp_path / "mine.safetensors"
    monkeypatch.setattr(QFileDialog, "exec", _reject)
    assert dock.ask_save_path(tmp_path / "mine.safetensors") is None
    assert dock.ask_open_path() is None


def _accept(dialog: QFileDialog) -> int:
    return 1


def _reject(dialog: QFileDialog) -> int:
    return 0


def test_the_list_shows_what_it_can_of_a_damaged_session(
    qtbot: QtBot, tmp_path: Path
) -> None:
    (tmp_path / "thumbnail.png").write_text("<svg/>")
    for changed in ("garbage", "", "0001-01-01T00:00:00", "2026-99-99"):
        shown = RecentSession(tmp_path, "a", changed, 3, tmp_path / "thumbnail.png")
        dialog = OpenSessionDialog([shown])
        assert dialog.list.item(0).text() == "a\n3 corrected objects"
        dialog.deleteLater()


def test_opening_imports_neither_pyqtgraph_nor_torch_nor_napari() -> None:
    code = (
        "import sys\n"
        "from qtpy.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from napari_resunet.plugin.views.dock import Dock\n"
        "dock = Dock(); dock.show(); dock.fine_tune.plot.start()\n"
        "app.processEvents()\n"
        "heavy = {'pyqtgraph', 'torch', 'napari'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
