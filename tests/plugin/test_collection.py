"""Layers report what changed by signals, each with what it is about."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.image_layers import layer_id_of

SHAPE = (20, 30)


class Listener:
    """Remembers what was emitted."""

    def __init__(self, layers):
        self.changes, self.strokes, self.data, self.notices = 0, [], [], []
        layers.changed.connect(self.change)
        layers.stroke.connect(self.strokes.append)
        layers.data_changed.connect(self.data.append)
        layers.notice.connect(self.notices.append)

    def change(self):
        self.changes += 1


@pytest.fixture
def layers():
    layers = Layers(ViewerModel())
    yield layers
    layers.unbind()


@pytest.fixture
def image(layers):
    return layers.viewer.add_image(np.zeros(SHAPE), name="cells")


@pytest.fixture
def heard(layers, image):
    return Listener(layers)


def test_a_layer_that_comes_goes_or_changes_is_a_change(layers, image, heard):
    actions = [
        lambda: layers.viewer.add_image(np.zeros(SHAPE)),
        lambda: layers.viewer.layers.pop(),
        lambda: setattr(image, "name", "nuclei"),
        lambda: setattr(image, "scale", (2, 2)),
        lambda: setattr(layers.viewer.dims, "ndisplay", 3),
    ]
    for act in actions:
        before = heard.changes
        act()
        assert heard.changes > before
    assert heard.strokes == heard.data == heard.notices == []


def test_a_stroke_names_the_image_whose_labels_were_changed(layers, image, heard):
    other = layers.viewer.add_image(np.zeros(SHAPE))
    layers.make_binding(other)
    layer = layers.make_binding(image).layer
    heard.strokes.clear()
    layer.paint((5, 5), 1)
    assert set(heard.strokes) == {layer_id_of(image)}


def test_our_own_writing_is_no_stroke(layers, image, heard):
    window = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    binding = layers.make_binding(image)
    heard.strokes.clear()
    binding.apply((), window, window, np.ones(SHAPE, np.int32), "instances")
    assert heard.strokes == []


def test_other_pixels_name_their_image(layers, image, heard):
    image.data = np.ones(SHAPE)
    assert heard.data == [layer_id_of(image)]


def test_labels_of_another_shape_are_let_go_with_a_notice(layers, image, heard):
    layer = layers.make_binding(image).layer
    layer.data = np.zeros((5, 5), np.int32)
    assert ["another shape" in notice for notice in heard.notices] == [True]
    assert layers.bindings() == {}
    assert layer in layers.viewer.layers
    heard.strokes.clear()
    layer.paint((2, 2), 1)
    assert heard.strokes == []


def test_unbound_layers_are_silent(layers, image, heard):
    layer = layers.make_binding(image).layer
    layers.unbind()
    heard.strokes.clear()
    before = heard.changes
    image.name = "nuclei"
    layer.paint((5, 5), 1)
    assert heard.changes == before
    assert heard.strokes == []
