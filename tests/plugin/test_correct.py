"""The section Correct: a row of icons, all in view, and nothing moves."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget

from napari_resunet.plugin.tools import CONTOURS_KEY, TOOLS
from napari_resunet.plugin.views.correct import CorrectSection

WIDTH, HEIGHT = 340, 360
LONG = "123,456 objects in this slice · 1,234 edits\nVerified: 1,234 objects in 1,234,567"
THEMES = {"dark": ("#262930", "#f0f1f2"), "light": ("#efebe9", "#3b3a39")}


@pytest.fixture
def section(qtbot):
    widget = CorrectSection()
    qtbot.addWidget(widget)
    widget.set_choices([("visible", "Visible area")], "visible")
    widget.resize(WIDTH, widget.sizeHint().height())
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def places(section):
    shown = [x for x in section.findChildren(QWidget) if x.objectName() and x.isVisible()]
    return {
        x.objectName(): (x.mapTo(section, QPoint()).x(), x.mapTo(section, QPoint()).y())
        for x in shown
        if x.objectName() != "map_legend"
    }


def test_it_fits_its_room(section):
    assert section.minimumSizeHint().width() <= WIDTH
    assert section.sizeHint().height() <= HEIGHT
    inside = section.rect()
    buttons = [b for b in section.findChildren(QAbstractButton) if b.isVisible()]
    assert len(buttons) == len(TOOLS) + 6
    for button in buttons:
        corner = button.mapTo(section, button.rect().bottomRight())
        assert inside.contains(corner), button.objectName()
        needed = button.fontMetrics().horizontalAdvance(button.text())
        assert button.width() >= needed


def test_a_large_image_has_one_button_more_and_so_has_a_part_of_it(section):
    for name in ("work_here", "write_back", None):
        section.large.show_button(name)
        shown = [
            button.objectName()
            for button in section.large.findChildren(QAbstractButton)
            if button.isVisible()
        ]
        assert shown == ([] if name is None else [name])
    assert section.sizeHint().height() <= HEIGHT


def test_the_tools_are_one_row_and_each_says_its_name_and_key(section):
    rows = set()
    for tool in TOOLS:
        button = section.findChild(QAbstractButton, tool.control)
        rows.add(button.mapTo(section, QPoint()).y())
        for text in (button.accessibleName(), button.toolTip()):
            assert tool.title in text
            assert f"key {tool.key}" in text
    contours = section.findChild(QAbstractButton, "contours")
    rows.add(contours.mapTo(section, QPoint()).y())
    assert len(rows) == 1
    assert f"key {CONTOURS_KEY}" in contours.accessibleName()


def test_nothing_moves_when_texts_and_the_legend_appear(section):
    before, height = places(section), section.sizeHint().height()
    section.set_text(LONG)
    section.set_map_shown(True, True)
    QApplication.processEvents()
    assert section.findChild(QWidget, "map_legend").isVisible()
    assert places(section) == before
    assert section.sizeHint().height() == height
    text = section.findChild(QLabel, "verified_text")
    assert text.toolTip() == LONG
    assert text.height() >= 2 * text.fontMetrics().lineSpacing()


@pytest.mark.parametrize("theme", THEMES)
def test_icons_are_drawn_in_the_colour_of_the_text(section, theme):
    background, foreground = THEMES[theme]
    section.setStyleSheet(
        f"QPushButton {{ background-color: {background}; color: {foreground}; border: 0 }}"
    )
    expected = [int(foreground[i : i + 2], 16) for i in (1, 3, 5)]
    drawn = set()
    for button in section.tools.findChildren(QAbstractButton):
        picture = button.grab().toImage().convertToFormat(QImage.Format.Format_RGB32)
        pixels = np.frombuffer(
            picture.constBits().asarray(picture.sizeInBytes()), np.uint8
        ).reshape(picture.height(), -1)
        pixels = pixels[:, : 4 * picture.width()].reshape(picture.height(), -1, 4)
        rgb = pixels[..., 2::-1].astype(int)
        like_text = np.abs(rgb - expected).sum(-1) < 60
        icon = like_text[: -18 if picture.height() > 30 else None]
        assert icon.sum() > 15, button.objectName()
        drawn.add(icon.tobytes())
    assert len(drawn) == len(TOOLS) + 1


def test_there_is_room_for_two_lines_of_a_larger_font(section):
    section.setStyleSheet("QLabel { font-size: 20px }")
    QApplication.processEvents()
    text = section.findChild(QLabel, "verified_text")
    assert text.height() >= 2 * text.fontMetrics().lineSpacing() > 40


def test_only_the_user_switches_contours(section):
    asked = []
    section.contours_toggled.connect(asked.append)
    section.set_contours_shown(False)
    assert asked == []
    section.findChild(QAbstractButton, "contours").click()
    assert asked == [True]
