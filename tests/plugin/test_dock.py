"""The dock's widgets: exact texts, signals from the user only, setters without signals."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, get_args

import pytest
from qtpy.QtCore import QObject, QPoint, QPointF, QRect, Qt, QTimer
from qtpy.QtGui import QAction, QShortcut, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFileDialog,
    QLabel,
    QProgressBar,
    QSlider,
    QToolButton,
    QWidget,
)
from superqt import QDoubleSlider

from napari_resunet.plugin.views import status_line
from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.loss_plot import LossPlot
from napari_resunet.plugin.views.page_protocols import VersionRow
from napari_resunet.plugin.views.protocol import CONTROLS, StepName
from napari_resunet.plugin.views.session import OpenSessionDialog
from napari_resunet.session.store.recent import RecentSession

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

TEXTS = {
    "segment": "Segment",
    "fine_tune": "Fine-tune",
    "stop": "Stop",
    "cancel": "Cancel",
    "resume": "Resume",
    "keep_best": "Keep best",
    "discard": "Discard",
    "use_candidate": "Use the new one",
    "keep_old": "Keep the old one",
    "compare_candidate": "Compare",
    "go_back": "Go back",
    "mark_verified": "Mark as verified",
    "unmark": "Unmark",
    "next": "Next",
    "show_map": "Show map",
}
CLICKS = {
    "segment": "segment.segment_clicked",
    "fine_tune": "fine_tune.fine_tune_clicked",
    "stop": "fine_tune.fine_tune_stopped",
    "cancel": "status.cancel_clicked",
    "resume": "fine_tune.interrupted.resume_clicked",
    "keep_best": "fine_tune.interrupted.keep_best_clicked",
    "discard": "fine_tune.interrupted.discard_clicked",
    "go_back": "model.go_back_clicked",
    "mark_verified": "correct.mark_verified_clicked",
    "unmark": "correct.unmark_clicked",
    "next": "correct.next_clicked",
    "open_session": "session.open_clicked",
    "move_session": "session.move_clicked",
    "export_labels": "results.export_clicked",
    "measure": "results.measure_clicked",
    "save_table": "results.save_table_clicked",
    "save_into_image": "results.save_into_clicked",
    "open_sample": "welcome.sample_clicked",
    "flip_versions": "versions.flip_clicked",
    "next_difference": "versions.next_difference_clicked",
}
VALUE_SIGNALS = (
    "image.image_chosen",
    "image.pin_toggled",
    "image.axis_answered",
    "image.channels_chosen",
    "image.object_size_changed",
    "image.object_size_previewed",
    "image.object_size_auto_changed",
    "model.version_chosen",
    "model.device_chosen",
    "segment.scope_changed",
    "segment.stack_chosen",
    "segment.own_labels_chosen",
    "segment.foreground_changed",
    "segment.split_changed",
    "correct.verified_area_changed",
    "correct.map_toggled",
    "correct.contours_toggled",
    "results.column_chosen",
    "versions.compare_toggled",
    "fine_tune.auto_fine_tune_switched",
)
MENU = {
    "load": ("Load model…", "model.load_clicked"),
    "save": ("Export model…", "model.save_clicked"),
    "new_classes": ("New classes…", "model.new_classes_clicked"),
}
SMALL = 330, 620
"""What napari leaves to the dock in a window of 1280 x 720 pixels."""

VERSIONS = [("a", "starter", "As shipped"), ("b", "mine", "12 objects")]
STEPS = get_args(StepName)
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
    widget.resize(*SMALL)
    widget.image.set_images([("1", "cells"), ("2", "nuclei")], "1")
    colours = enumerate(["red", "green", "blue", "far red"])
    widget.image.set_channels([(str(i), x) for i, x in colours], ["0", "1", "2"])
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


def settle() -> None:
    """Let nested layouts pass on their new sizes, one level at a time."""
    for _ in range(10):
        QApplication.processEvents()


@pytest.mark.parametrize(("name", "text"), TEXTS.items())
def test_buttons_carry_exactly_these_texts(dock: Dock, name: str, text: str) -> None:
    assert find(dock, QAbstractButton, name).text() == text


@pytest.mark.parametrize(("name", "signal"), CLICKS.items())
def test_a_click_is_one_signal(dock: Dock, qtbot: QtBot, name: str, signal: str) -> None:
    with qtbot.waitSignal(attrgetter(signal)(dock), timeout=1000):
        find(dock, QAbstractButton, name).click()


@pytest.mark.parametrize("name", MENU)
def test_the_menu_does_what_it_says(dock: Dock, qtbot: QtBot, name: str) -> None:
    text, signal = MENU[name]
    action = find(dock, QAction, name)
    assert action.text() == text
    with qtbot.waitSignal(attrgetter(signal)(dock), timeout=1000):
        action.trigger()


def test_the_device_is_chosen_in_the_menu(dock: Dock, qtbot: QtBot) -> None:
    with qtbot.waitSignal(dock.model.device_chosen, timeout=1000) as blocker:
        find(dock, QAction, "device_cpu").trigger()
    assert blocker.args == ["cpu"]
    dock.model.set_device("auto")
    assert find(dock, QAction, "device_auto").isChecked()
    assert not find(dock, QAction, "device_cpu").isChecked()


@pytest.mark.parametrize(
    ("name", "index", "signal", "value"),
    [
        ("image", 1, "image.image_chosen", "2"),
        ("version", 1, "model.version_chosen", "b"),
        ("scope", 2, "segment.scope_changed", "stack"),
        ("verified_area", 1, "correct.verified_area_changed", "slice"),
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
    dock.image.set_channels([("0", "a"), ("1", "b")], ["1"])
    dock.image.set_axis_question(3, True)
    dock.image.set_pinned(True)
    dock.image.set_object_size(24.0, "24 px, estimated", auto=True, suggested=33.3)
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
    dock.image.set_object_size(24.0, "24 px, estimated", auto=True)
    dock.model.set_versions(VERSIONS, "b")
    dock.segment.set_foreground(0.4)
    dock.fine_tune.minutes = 3.0
    assert find(dock, QComboBox, "image").currentIndex() == -1
    assert find(dock, QLabel, "object_size_text").text() == "24 px, estimated"
    assert find(dock, QComboBox, "version").currentText() == "mine"
    assert find(dock, QComboBox, "version").toolTip() == "12 objects"
    assert find(dock, QWidget, "foreground").value() == pytest.approx(0.4)
    assert dock.fine_tune.minutes == 3.0


def test_an_unknown_object_size_says_so(dock: Dock) -> None:
    dock.image.set_object_size(None, "Segment estimates it", auto=True)
    assert find(dock, QDoubleSpinBox, "object_size").text() == "not known"
    assert find(dock, QLabel, "object_size_text").text() == "Segment estimates it"


def test_a_suggested_size_moves_nothing_and_one_click_uses_it(dock: Dock) -> None:
    recorder = Recorder(dock)
    origin = "42 px (27 µm), as version 2 learned"
    dock.image.set_object_size(42.0, origin, auto=True)
    below, height = find(dock, QAbstractButton, "segment"), dock.image.height()
    place = below.mapTo(dock, below.rect().topLeft())
    dock.image.set_object_size(42.0, origin, auto=True, suggested=26.8)
    QApplication.processEvents()
    use = find(dock, QAbstractButton, "use_object_size")
    assert use.isVisible()
    assert use.text() == "Use 27 px"
    suggestion = find(dock, QLabel, "object_size_suggestion")
    assert suggestion.text() == "This image looks like 27 px"
    assert origin in suggestion.toolTip()
    assert (
        suggestion.fontMetrics().horizontalAdvance(suggestion.text()) <= suggestion.width()
    )
    assert (below.mapTo(dock, below.rect().topLeft()), dock.image.height()) == (
        place,
        height,
    )
    use.click()
    assert recorder.sent == [27.0]
    dock.image.set_object_size(27.0, "27 px, set by you", auto=False)
    assert not use.isVisible()


@pytest.mark.parametrize(
    ("n", "slots", "shown"),
    [(0, [], 0), (1, ["0"], 1), (2, ["0"], 2), (4, ["0", "1"], 3), (4, ["0", "1", "2"], 3)],
)
def test_one_input_more_than_are_used_is_offered(
    dock: Dock, n: int, slots: list[str], shown: int
) -> None:
    dock.image.set_channels([(str(i), f"channel {i}") for i in range(n)], slots)
    buttons = [find(dock, QToolButton, f"channel_{i}") for i in range(3)]
    assert sum(button.isVisible() for button in buttons) == shown


@pytest.mark.parametrize(
    ("slot", "ticked", "sent"),
    [
        (0, ["3"], (("0", "3"), ("1",), ("2",))),
        (1, ["1"], (("0",), ("2",))),
        (1, ["1", "3"], (("0",), ("3",), ("2",))),
    ],
)
def test_a_tick_sends_what_each_input_sees(
    dock: Dock, slot: int, ticked: list[str], sent: object
) -> None:
    recorder = Recorder(dock)
    actions = find(dock, QToolButton, f"channel_{slot}").menu().actions()
    for action in actions:
        if action.data() in ticked:
            action.trigger()
    assert recorder.sent[-1] == sent


def test_the_menu_of_channels_stays_open_and_sends_once(dock: Dock, qtbot: QtBot) -> None:
    recorder = Recorder(dock)
    menu = find(dock, QToolButton, "channel_0").menu()
    menu.popup(dock.mapToGlobal(dock.rect().center()))
    for action in menu.actions()[1:3]:
        place = menu.actionGeometry(action).center()
        qtbot.mouseMove(menu, place)
        qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=place)
        assert menu.isVisible()
    assert recorder.sent == []
    menu.close()
    assert recorder.sent == [(("0", "1", "2"), ("1",), ("2",))]


@pytest.mark.parametrize("name", CONTROLS)
def test_a_disabled_control_says_why(dock: Dock, name: Any) -> None:
    control = dock.findChild(QWidget, name) or find(dock, QAction, name)
    normal = control.toolTip()
    assert normal
    dock.set_enabled(name, False, "Open an image first")
    assert not control.isEnabled()
    assert control.toolTip() == "Open an image first"
    dock.set_enabled(name, True)
    assert control.isEnabled()
    assert control.toolTip() == normal


def test_progress_is_shown_and_hidden(dock: Dock) -> None:
    show = dock.status.show_progress
    bar = find(dock, QProgressBar, "progress")
    show(3, 12, "Tile 3 of 12")
    assert (bar.value(), bar.maximum(), bar.text()) == (3, 12, "Tile 3 of 12")
    show(None, None, "")
    assert (bar.value(), bar.text()) == (0, "")


def test_a_bar_without_an_end_stands_still(dock: Dock) -> None:
    """Each frame of an animation would redraw napari's canvas."""
    dock.status.show_progress(0, None, "loading the model …")
    bar = find(dock, QProgressBar, "progress")
    assert bar.maximum() > bar.minimum()
    assert bar.text() == "loading the model …"


def test_the_progress_is_drawn_twice_a_second_at_most(dock: Dock, qtbot: QtBot) -> None:
    bar = find(dock, QProgressBar, "progress")
    for done in range(1, 100):
        dock.status.show_progress(done, 100, "")
    assert bar.value() == 1
    qtbot.waitUntil(lambda: bar.value() == 99, timeout=10_000)


def test_a_message_is_plain_text_of_a_kind(dock: Dock) -> None:
    label = find(dock, QLabel, "message")
    dock.set_message("<b>cells</b> was removed", "warning")
    assert label.text() == label.toolTip() == "<b>cells</b> was removed"
    assert label.textFormat() == Qt.TextFormat.PlainText
    assert label.accessibleName().startswith("warning")


def test_the_hint_is_shown_while_there_is_no_message(dock: Dock) -> None:
    label = find(dock, QLabel, "message")
    dock.status.set_hint("Click Segment.")
    assert label.text() == "Click Segment."
    dock.set_message("Learning.")
    dock.status.set_hint("Click Next.")
    assert label.text() == "Learning."
    dock.set_message("")
    assert label.text() == "Click Next."


def test_a_warning_gives_way_to_the_hint(
    dock: Dock, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = find(dock, QLabel, "message")
    dock.status.set_hint("Click Segment.")
    monkeypatch.setitem(status_line.EXPIRY_MS, "warning", 1)
    dock.set_message("The image is out of view.", "warning")
    assert label.text() == "The image is out of view."
    qtbot.waitUntil(lambda: label.text() == "Click Segment.", timeout=10_000)


@pytest.mark.parametrize("step", STEPS)
def test_an_open_step_fits_beside_the_others(dock: Dock, step: Any) -> None:
    dock.segment.set_own_labels([("1", "mine")], "1")
    dock.segment.set_stack("film")
    dock.fine_tune.interrupted.set_text("A fine-tuning was interrupted at 40 %.")
    dock.fine_tune.plot.start()
    dock.fine_tune.set_result_text("Finds 12 of the 14 held-out objects right.")
    dock.steps.open(step)
    settle()
    area = dock.steps.parentWidget()
    assert area is not None
    assert dock.steps.minimumSizeHint().height() <= area.height()
    shown = [w for w in dock.steps.findChildren(QWidget) if w.isVisible()]
    inside = QRect(QPoint(0, 0), area.size())
    for widget in shown:
        place = QRect(widget.mapTo(area, QPoint(0, 0)), widget.size())
        assert inside.contains(place), widget.objectName()


def test_one_step_is_open_at_a_time(dock: Dock, qtbot: QtBot) -> None:
    assert dock.steps.opened == "segment"
    for name in STEPS[1:]:
        header = find(dock, QAbstractButton, f"step_{name}")
        qtbot.mouseClick(header, Qt.MouseButton.LeftButton)
        assert dock.steps.opened == name
    assert find(dock, QWidget, "export_labels").isVisible()
    assert not find(dock, QWidget, "segment").isVisible()


def answer(choose: Any) -> None:
    """Act on the dialog that opens next."""

    def act() -> None:
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QDialog)
        choose(dialog)

    QTimer.singleShot(0, act)


def test_formats_to_export_are_check_boxes_that_stay_as_they_were(dock: Dock) -> None:
    def choose(dialog: QDialog) -> None:
        boxes = dialog.findChildren(QCheckBox)
        shown = [(box.text(), box.isChecked()) for box in boxes]
        assert shown == [
            ("OME-TIFF labels", True), ("ImageJ ROIs", False), ("QuPath GeoJSON", False),
            ("Tracks", False),
        ]  # fmt: skip
        boxes[0].click()
        boxes[2].click()
        dialog.accept()

    answer(choose)
    assert dock.results.ask_formats("") == ("geojson",)
    answer(lambda dialog: dialog.reject())
    assert dock.results.ask_formats("") is None
    answer(lambda dialog: dialog.accept())
    assert dock.results.ask_formats("") == ("geojson",)


def test_tracks_can_be_chosen_where_there_are_some(dock: Dock) -> None:
    def choose(dialog: QDialog) -> None:
        tracks = dialog.findChildren(QCheckBox)[3]
        told.append(tracks.toolTip())
        tracks.click()
        dialog.accept()

    told: list[str] = []
    for _ in range(2):
        answer(choose)
        assert dock.results.ask_formats("No film.") == ("ome-tiff",)
    answer(choose)
    assert dock.results.ask_formats("") == ("ome-tiff", "ctc")
    assert told == ["No film.", "No film.", "A folder for the Cell Tracking Challenge"]
    answer(lambda dialog: dialog.accept())
    assert dock.results.ask_formats("No film.") == ("ome-tiff",)


@pytest.mark.parametrize("step", STEPS)
def test_nothing_moves_when_a_text_appears(dock: Dock, step: Any) -> None:
    dock.steps.open(step)
    settle()
    buttons = [b for b in dock.findChildren(QAbstractButton) if b.isVisible()]
    before = [b.mapTo(dock, QPoint(0, 0)) for b in buttons]
    dock.set_message("A long message that says what to do next. " * 5, "error")
    dock.status.show_progress(3, 12, "tile 3 of 12, about 40 s left " * 3)
    dock.correct.set_text("221 objects · 3 edits · 12 verified in 40,000 pixels " * 2)
    dock.fine_tune.set_result_text("Finds 12 of the 14 held-out objects right. " * 3)
    dock.image.set_object_size(24.0, "24 px, estimated", auto=True, suggested=33.0)
    dock.session.set_trouble("The disk is full: make room, or move the session. " * 3)
    dock.steps.set_state(step, "221 objects " * 9)
    settle()
    assert [b.mapTo(dock, QPoint(0, 0)) for b in buttons] == before


def test_a_page_is_shown_instead_of_the_steps(dock: Dock) -> None:
    for page in ("versions", "session"):
        find(dock, QAction, f"show_{page}").trigger()
        assert not find(dock, QWidget, "segment").isVisible()
        find(dock, QAbstractButton, f"close_{page}").click()
        assert find(dock, QWidget, "segment").isVisible()


@pytest.mark.parametrize("by_key", [False, True])
def test_the_keys_are_listed(dock: Dock, by_key: bool) -> None:
    if by_key:
        shortcut = find(dock, QShortcut, "")
        assert shortcut.key().toString() == "?"
        shortcut.activated.emit()
    else:
        find(dock, QAction, "keys").trigger()
    shown = [x.text() for x in dock.findChildren(QLabel) if x.isVisible()]
    assert {"G", "R", "N", "T", "?", "D", "J", "K", "A", "S", "C"} <= set(shown)


def test_the_session_line_says_where_or_what_is_wrong(dock: Dock, tmp_path: Path) -> None:
    line = find(dock, QLabel, "session_line")
    assert line.text() == f"Saved in {tmp_path}"
    dock.session.set_trouble("The disk is full.")
    assert line.text() == "The disk is full."
    dock.session.set_trouble("")
    assert line.text() == f"Saved in {tmp_path}"


def test_the_next_button_is_highlighted(dock: Dock) -> None:
    dock.set_primary("segment")
    dock.set_primary("mark_verified")
    highlighted = [b.objectName() for b in dock.findChildren(QAbstractButton)
                   if b.property("primary")]  # fmt: skip
    assert highlighted == ["mark_verified"]


def test_letters_are_left_to_the_canvas(dock: Dock, qtbot: QtBot) -> None:
    """S must smooth an object, not choose the scope *Slice*."""
    recorder = Recorder(dock)
    scope = find(dock, QComboBox, "scope")
    for letter in "sdwc":
        qtbot.keyClicks(scope, letter)
    assert recorder.sent == []
    qtbot.keyClick(scope, Qt.Key.Key_Down)
    assert recorder.sent == ["slice"]


@pytest.mark.parametrize("name", ["segment", "mark_verified", "object_size_auto"])
def test_each_action_gives_the_keys_back(dock: Dock, qtbot: QtBot, name: str) -> None:
    with qtbot.waitSignal(dock.acted, timeout=1000):
        find(dock, QAbstractButton, name).click()


def test_typing_a_number_keeps_the_keys_until_return(dock: Dock, qtbot: QtBot) -> None:
    acted: list[bool] = []
    dock.acted.connect(lambda: acted.append(True))
    box = find(dock, QDoubleSpinBox, "minutes")
    box.lineEdit().selectAll()
    qtbot.keyClicks(box.lineEdit(), "2.5")
    assert acted == []
    qtbot.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    assert acted
    assert dock.fine_tune.minutes == 2.5


def test_how_to_begin_is_shown_with_earlier_sessions(
    dock: Dock, qtbot: QtBot, tmp_path: Path
) -> None:
    dock.welcome.set_sessions([RecentSession(tmp_path, "nuclei", "", 3, None)])
    dock.show_welcome(True)
    assert not find(dock, QWidget, "segment").isVisible()
    item = dock.welcome.list.item(0)
    with qtbot.waitSignal(dock.welcome.session_chosen, timeout=1000) as blocker:
        dock.welcome.list.itemClicked.emit(item)
    assert blocker.args == [tmp_path]
    dock.show_welcome(False)
    assert find(dock, QWidget, "segment").isVisible()


def test_the_plot_shows_the_points_of_its_run(dock: Dock, qtbot: QtBot) -> None:
    plot = dock.findChild(LossPlot)
    assert plot is not None
    dock.fine_tune.plot.start()
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
    order = ["image", "menu", "version", "go_back", "cancel", "step_segment"]
    order += ["object_size", "scope", "segment", "foreground", "split", "step_correct"]
    order += ["verified_area", "mark_verified", "step_learn", "fine_tune", "minutes"]
    order += ["stop", "step_results", "export_labels"]
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


def test_nothing_moves_when_versions_are_compared(dock: Dock, versions: Any) -> None:
    def layout() -> dict[str, tuple[int, int, int]]:
        shown = [x for x in versions.findChildren(QWidget) if x.isVisible()]
        return {x.objectName(): (x.x(), x.y(), x.height()) for x in shown}

    dock.show_page("versions")
    settle()
    before = layout()
    counts = [("more", "#00b7eb", "1,234 more"), ("same", "", "12,345 the same")]
    versions.show_comparison("You see the proposal of '<b>a very long name</b>'.", counts)
    settle()
    after = layout()
    assert {name: after[name] for name in before} == before
    for name in ("flip_versions", "next_difference"):
        button = find(dock, QAbstractButton, name)
        needed = button.fontMetrics().horizontalAdvance(button.text())
        assert button.isVisible()
        assert button.width() >= needed
    assert "<b>" in find(dock, QLabel, "compared_text").text()
    assert "#00b7eb" in find(dock, QLabel, "differences_text").text()


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
