"""The page Images: what it shows, what it sends, and that nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QWidget

from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.queue_protocol import QueueRow

SMALL = 330, 620
ROWS = [
    QueueRow(f"k{n}", (f"plate1_well_B{n:02d}_dapi", "proposed", f"{37 * n:,}", "3"), "tip")
    for n in range(40)
]


@pytest.fixture
def dock(qtbot):
    dock = Dock()
    qtbot.addWidget(dock)
    dock.resize(*SMALL)
    dock.show()
    dock.show_page("images")
    QApplication.processEvents()
    return dock


def click(dock, name):
    dock.findChild(QAbstractButton, name).click()


def layout(dock):
    QApplication.processEvents()
    shown = [w for w in dock.findChildren(QWidget) if w.isVisible() and w.objectName()]
    return {w.objectName(): (w.mapTo(dock, QPoint(0, 0)), w.size()) for w in shown}


def test_a_full_list_fits_and_moves_nothing(dock):
    before = layout(dock)
    dock.queue.set_rows(ROWS, "k2")
    dock.queue.set_position(103, 140)
    dock.queue.set_picture("k0", np.zeros((32, 20, 3), np.uint8))
    after = layout(dock)
    names = {n for n in before if not n.startswith("qt_")}
    assert {n: after[n] for n in names} == {n: before[n] for n in names}
    for name in ("propose_all", "remove_images", "next_image"):
        place, size = after[name]
        assert place.x() + size.width() <= SMALL[0]
        assert place.y() + size.height() <= SMALL[1]


def test_the_header_says_which_image_is_open(dock):
    button = dock.findChild(QAbstractButton, "show_images")
    assert button.text() == "Images"
    dock.queue.set_position(3, 40)
    assert button.text() == "3 of 40"
    dock.queue.set_position(0, 40)
    assert button.text() == "40 images"
    needed = button.fontMetrics().horizontalAdvance("340 of 400")
    assert button.width() > needed
    assert dock.queue.isVisible()
    button.click()
    assert not dock.queue.isVisible()


def test_a_click_opens_an_image_and_the_selection_stays(dock, qtbot):
    dock.queue.set_rows(ROWS, "k0")
    sent = []
    dock.queue.item_chosen.connect(sent.append)
    items = dock.queue.list
    place = items.visualItemRect(items.topLevelItem(1)).center()
    qtbot.mouseClick(items.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert sent == ["k1"]
    dock.queue.set_rows([*ROWS[1:], ROWS[0]], "k1")
    assert dock.queue.chosen() == ["k1"]
    assert items.topLevelItem(0).font(0).bold()


def test_names_of_files_are_not_read_as_html(dock):
    row = QueueRow("k", ("<b>x</b>", "new", "", ""), "<img src='x'>")
    dock.queue.set_rows([row], None)
    item = dock.queue.list.topLevelItem(0)
    assert item.text(0) == "<b>x</b>"
    assert "<img" not in item.toolTip(0)
    assert "&lt;img" in item.toolTip(0)


@pytest.mark.parametrize("name", ["skip", "remove"])
def test_buttons_send_the_selected_images(dock, name):
    dock.queue.set_rows(ROWS, None)
    sent = []
    getattr(dock.queue, f"{name}_clicked").connect(sent.append)
    for number in (4, 2):
        dock.queue.list.topLevelItem(number).setSelected(True)
    click(dock, f"{name}_images")
    assert sent == [["k2", "k4"]]


def test_files_and_folders_are_chosen_with_the_pattern(dock, monkeypatch, tmp_path):
    sent = []
    dock.queue.paths_chosen.connect(lambda *args: sent.append(args))
    path = tmp_path / "a.tif"
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *args: ([str(path)], ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *args: str(tmp_path))
    click(dock, "add_files")
    dock.findChild(QWidget, "pattern").setText("*_dapi.tif")
    click(dock, "recursive")
    click(dock, "add_folder")
    assert sent == [([path], "", False), ([tmp_path], "*_dapi.tif", True)]


def test_what_is_dropped_onto_the_dock_is_added(dock, tmp_path):
    sent = []
    dock.queue.paths_chosen.connect(lambda *args: sent.append(args))
    for urls in ([QUrl("https://example.org/x.tif")], [QUrl.fromLocalFile(str(tmp_path))]):
        data = QMimeData()
        data.setUrls(urls)
        event = QDropEvent(
            QPointF(5, 5), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )  # fmt: skip
        dock.dropEvent(event)
    assert sent == [([tmp_path], "", False)]


def test_only_pictures_in_view_are_asked_for_once(dock, qtbot):
    wanted = []
    dock.queue.pictures_wanted.connect(wanted.extend)
    with qtbot.waitSignal(dock.queue.pictures_wanted):
        dock.queue.set_rows(ROWS, None)
    assert wanted[0] == "k0"
    assert len(wanted) < len(ROWS)
    for key in wanted:
        dock.queue.set_picture(key, np.zeros((32, 32, 3), np.uint8))
    seen = set(wanted)
    wanted.clear()
    with qtbot.waitSignal(dock.queue.pictures_wanted):
        dock.queue.list.verticalScrollBar().setValue(10)
    assert wanted
    assert not seen & set(wanted)
