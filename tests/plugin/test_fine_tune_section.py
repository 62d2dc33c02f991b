"""The section Learn: in little room, nothing moves, one question, one plot of one thing."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QAbstractButton, QApplication, QDialog, QWidget

from napari_resunet.plugin.views.fine_tune import FineTuneSection, RightDialog

WIDTH, HEIGHT = 340, 360
LONG = "Too close to call: before 5 of 12 held-out objects right, now 4. " * 5
COUNTS = (("more", "#00b7eb", "3 more"), ("same", "", "30 the same"))


@pytest.fixture
def section(qtbot):
    section = FineTuneSection()
    qtbot.addWidget(section)
    section.resize(WIDTH, HEIGHT)
    with qtbot.waitExposed(section):
        section.show()
    return section


def find(section, name):
    return section.findChild(QWidget, name)


def places(section):
    """Where everything is that can be clicked or read."""
    QApplication.processEvents()
    named = [w for w in section.findChildren(QWidget) if w.objectName() and w.isVisible()]
    return {w.objectName(): (w.mapTo(section, w.rect().topLeft()), w.size()) for w in named}


def show_everything(section):
    section.set_data_text(LONG)
    section.candidate.set_text(LONG)
    section.plot.start()
    section.plot.set_before(5, 12)
    section.plot.add(1, 0.9, 4)
    section.plot.redraw()
    section.set_result_text(LONG)


def test_it_fits_and_nothing_moves_when_a_text_appears(section):
    before = places(section)
    show_everything(section)
    after = places(section)
    assert {"fine_tune", "stop", "details", "result_text"} <= set(before)
    assert {name: after[name] for name in before} == before
    assert section.minimumSizeHint().width() <= WIDTH
    assert section.sizeHint().height() <= HEIGHT
    for name, (corner, size) in after.items():
        assert corner.x() + size.width() <= WIDTH, name
        assert corner.y() + size.height() <= HEIGHT, name


def test_no_button_is_cut(section):
    show_everything(section)
    QApplication.processEvents()
    for button in section.findChildren(QAbstractButton):
        if button.isVisible() and button.text():
            assert button.width() >= button.sizeHint().width(), button.text()


def test_what_does_not_fit_is_in_the_tooltip(section):
    section.set_result_text(LONG)
    assert find(section, "result_text").toolTip() == LONG
    assert find(section, "result_text").text() == LONG


def test_what_differs_is_shown_in_the_place_of_the_choice(section):
    section.candidate.set_text("Too close to call.")
    text, counts = find(section, "candidate_text"), find(section, "candidate_counts")
    following = find(section, "next_candidate_difference")
    before = places(section)
    assert (text.isVisible(), counts.isVisible(), following.isEnabled()) == (1, 0, 0)
    section.candidate.show_comparison(COUNTS)
    assert (text.isVisible(), counts.isVisible(), following.isEnabled()) == (0, 1, 1)
    assert "3 more" in counts.text()
    assert "#00b7eb" in counts.text()
    after = places(section)
    assert after["candidate_counts"] == before["candidate_text"]
    assert all(after[name] == before[name] for name in before.keys() & after.keys())
    section.candidate.show_comparison(())
    assert (text.isVisible(), counts.isVisible(), following.isEnabled()) == (1, 0, 0)


def test_one_choice_at_a_time_the_interrupted_one_first(section):
    choices = section.interrupted, section.candidate, section.longer
    shown = [choice.isVisible for choice in choices]
    assert [is_shown() for is_shown in shown] == [False, False, False]
    section.longer.set_text("Give it 6 minutes.")
    assert [is_shown() for is_shown in shown] == [False, False, True]
    section.candidate.set_text("Too close to call.")
    assert [is_shown() for is_shown in shown] == [False, True, False]
    section.interrupted.set_text("A fine-tuning was interrupted.")
    assert [is_shown() for is_shown in shown] == [True, False, False]
    section.interrupted.set_text("")
    assert [is_shown() for is_shown in shown] == [False, True, False]
    section.candidate.set_text("")
    assert [is_shown() for is_shown in shown] == [False, False, True]


def test_a_longer_run_is_one_click(section, qtbot):
    section.longer.set_text("Give it 6 minutes.")
    with qtbot.waitSignal(section.longer.longer_clicked, timeout=1000):
        find(section, "longer").click()


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("use_candidate", "use_clicked"),
        ("keep_old", "keep_clicked"),
        ("compare_candidate", "compare_clicked"),
        ("next_candidate_difference", "next_clicked"),
    ],
)
def test_a_choice_is_a_signal(section, qtbot, name, signal):
    section.candidate.set_text("Too close to call.")
    section.candidate.show_comparison(COUNTS)
    with qtbot.waitSignal(getattr(section.candidate, signal), timeout=1000):
        find(section, name).click()


@pytest.mark.parametrize("answer", ["view", "edited", "draw", None])
def test_the_question_what_is_right(section, answer):
    seen = []

    def click():
        dialog = QApplication.activeModalWidget()
        assert isinstance(dialog, QDialog)
        buttons = dialog.findChildren(QAbstractButton)
        seen.extend(b.text() for b in buttons)
        if answer is None:
            dialog.reject()
        else:
            dialog.findChild(QWidget, f"right_{answer}").click()

    QTimer.singleShot(0, click)
    assert section.ask_what_is_right("") == answer
    assert seen == [
        "Everything in view is right",
        "Only what I edited and its surroundings",
        "Let me draw the area",
    ]


def test_without_edits_their_surroundings_cannot_be_chosen(qtbot):
    dialog = RightDialog("You have not edited anything.")
    qtbot.addWidget(dialog)
    edited = dialog.findChild(QWidget, "right_edited")
    assert not edited.isEnabled()
    assert edited.toolTip() == "You have not edited anything."
    assert not any(b.autoDefault() for b in dialog.findChildren(QAbstractButton))


def drawn(plot):
    return [name for name, item in vars(plot._items).items() if item.isVisible()]


def test_the_plot_shows_one_thing(section):
    plot = section.plot
    plot.start()
    plot.set_before(5, 12)
    plot.add(1, 0.9, 4)
    plot.add(2, 0.5, 7)
    plot.redraw()
    assert (plot.title, plot.before) == ("right of 12", 5)
    assert plot.points() == ([(1, 0.9), (2, 0.5)], [(1, 4), (2, 7)])
    assert drawn(plot) == ["held_out", "before"]
    find(section, "details").click()
    assert plot.title == "training loss"
    assert plot.before is None
    assert drawn(plot) == ["training"]
    find(section, "details").click()
    assert drawn(plot) == ["held_out", "before"]
    plot.start()
    plot.set_before(0.5, None)
    plot.redraw()
    assert (plot.title, plot.before) == ("score", 0.5)
    plot.start()  # of a run without anything held out
    plot.add(1, 0.9, None)
    plot.redraw()
    assert drawn(plot) == ["held_out"]


def test_a_resumed_run_forgets_later_points(section):
    section.plot.start()
    for step in range(1, 6):
        section.plot.add(step, 0.5, step)
    section.plot.cut(3)
    section.plot.redraw()
    assert [step for step, _ in section.plot.points()[1]] == [1, 2, 3]
