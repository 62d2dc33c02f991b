"""The legend of classes picks what the brush paints, in the colours of the labels."""

import numpy as np
import pytest
from harness import SHAPE
from qtpy.QtWidgets import QToolButton

from napari_resunet.network.model_file import new_model
from napari_resunet.plugin.controllers.class_buttons import ClassButtonsController
from napari_resunet.plugin.messages import version_from
from napari_resunet.plugin.views.class_buttons import ClassButtons
from napari_resunet.types import ModelInfo

NAMES = ("background", "axon", "a very long name of myelin & more")


@pytest.fixture(scope="module")
def tissue():
    return new_model(ModelInfo(task="classes", class_names=NAMES))


@pytest.fixture
def legend(bench, qtbot, tissue):
    """The buttons beside a dock with an image, its labels, and a model of classes."""
    bench.legend = ClassButtons()
    qtbot.addWidget(bench.legend)
    bench.controller = ClassButtonsController(bench.state, bench.layers, bench.legend)
    bench.image = bench.viewer.add_image(np.zeros(SHAPE), name="nerve")
    bench.layers.make_binding(bench.image)
    bench.state.versions.add(version_from(tissue, 1))
    bench.state.changed.emit()
    yield bench
    bench.controller.shut_down()


def buttons(legend):
    found = legend.legend.findChildren(QToolButton)
    return {button.label: button for button in found}


def pressed(legend):
    return [label for label, button in buttons(legend).items() if button.isChecked()]


def test_each_class_has_its_name_and_colour(legend):
    assert [b.accessibleName() for b in buttons(legend).values()] == list(NAMES)
    for label in (1, 2):
        colour = buttons(legend)[label].icon().pixmap(12).toImage().pixelColor(5, 5)
        shown = np.round(255 * np.asarray(legend.labels.get_color(label))[:3])
        drawn = [colour.red(), colour.green(), colour.blue()]
        assert np.allclose(drawn, shown, atol=8)  # a screen may have 16 bits
    assert NAMES[2] in buttons(legend)[2].toolTip()
    assert not legend.legend.isHidden()


def test_a_click_picks_the_class_and_takes_the_brush(legend):
    legend.viewer.layers.selection.active = legend.image
    buttons(legend)[2].click()
    assert legend.labels.selected_label == 2
    assert legend.labels.mode == "paint"
    assert legend.viewer.layers.selection.active is legend.labels
    legend.labels.mode = "fill"
    buttons(legend)[1].click()
    assert legend.labels.mode == "fill"
    assert pressed(legend) == [1]
    buttons(legend)[1].click()
    assert pressed(legend) == [1]


def test_the_legend_follows_the_brush_and_the_model(legend):
    legend.labels.selected_label = 2
    assert pressed(legend) == [2]
    legend.labels.selected_label = 9
    assert pressed(legend) == []
    before = legend.labels
    legend.state.versions.choose("starter")
    legend.state.changed.emit()
    assert legend.legend.isHidden()
    before.selected_label = 1  # nobody listens
    legend.state.versions.choose(legend.state.versions.all()[1].key)
    legend.state.changed.emit()
    assert pressed(legend) == [1]


def test_six_classes_fit_into_the_dock(legend, qtbot):
    legend.legend.set_classes([(i, f"class {i}", "#ff0000") for i in range(6)])
    legend.legend.setFixedWidth(320)
    legend.legend.adjustSize()
    assert legend.legend.sizeHint().height() <= 60
    assert legend.legend.minimumSizeHint().width() <= 320
