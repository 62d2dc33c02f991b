"""One test for each known trap of napari that applies to us."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.engine.predict import Predictor
from napari_resunet.plugin.labels_binding import LabelsBinding


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("full"), RuntimeError("cuDNN"), KeyError("x")]
)
def test_an_error_in_a_worker_is_told_and_the_dock_is_not_busy_for_ever(
    dock, image_of_nuclei, monkeypatch, error
):
    def broken(self, tiles, mirrored):
        raise error

    monkeypatch.setattr(Predictor, "_run", broken)
    monkeypatch.setattr(dock.work.workers, "_segmenter", None)
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    assert dock.message
    assert "Traceback" not in dock.message
    assert dock.find("segment").isEnabled()


@pytest.fixture
def binding():
    image = Image(np.zeros((40, 50)), name="cells")
    strokes = []
    said = []
    binding = LabelsBinding(image, lambda: strokes.append(1), said.append, said.append)
    binding.strokes = strokes
    return binding


WINDOW = slice(0, 40), slice(0, 50)


def proposal(value):
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 10 + value : 20 + value] = 1
    labels.setflags(write=False)
    return labels


def test_undo_after_a_renewed_proposal_writes_no_stale_pixels(binding):
    binding.apply((), WINDOW, WINDOW, proposal(0), "instances")
    binding.layer.paint((30, 30), 77)
    painted = binding.layer.data == 77
    binding.apply((), WINDOW, WINDOW, proposal(5), "instances")
    expected = binding.layer.data.copy()
    binding.layer.undo()
    assert np.array_equal(binding.layer.data, expected)
    assert (binding.layer.data[painted] == 77).all()


def test_painting_does_not_change_the_proposal(binding):
    labels = proposal(0)
    binding.apply((), WINDOW, WINDOW, labels, "instances")
    binding.layer.paint((15, 15), 5)
    assert labels.max() == 1


def test_a_stroke_in_progress_is_not_disturbed(binding):
    layer = binding.layer

    class Event:
        type = "mouse_press"

    event = Event()
    drag = binding._drag(layer, event)
    next(drag)
    layer.paint((30, 30), 77)
    event.type = "mouse_move"
    binding.apply((), WINDOW, WINDOW, proposal(0), "instances")
    assert set(np.unique(layer.data)) == {0, 77}
    next(drag)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(drag)
    assert (layer.data == 77).any()
    assert (layer.data[10:20, 10:20] > 0).all()


def test_strokes_fills_undo_and_scripts_are_all_noticed(binding):
    layer = binding.layer
    layer.paint((30, 30), 7)
    layer.fill((0, 0), 3)
    layer.undo()
    assert len(binding.strokes) >= 3
    layer.data[5, 5] = 9  # a script: napari tells nobody
    binding.verify((), np.ones((40, 50), bool))
    assert binding.review.plane(()).edited[5, 5]


def test_our_own_writing_is_no_stroke(binding):
    binding.apply((), WINDOW, WINDOW, proposal(0), "instances")
    assert not binding.strokes


def test_the_paint_mode_stays_when_a_proposal_arrives(binding):
    binding.layer.mode = "paint"
    binding.apply((), WINDOW, WINDOW, proposal(0), "instances")
    assert binding.layer.mode == "paint"


def test_unbind_is_the_inverse_of_bind(binding):
    before = (
        len(binding.layer.events.paint.callbacks),
        len(binding.layer.mouse_drag_callbacks),
    )
    binding.unbind()
    binding.bind()
    after = (
        len(binding.layer.events.paint.callbacks),
        len(binding.layer.mouse_drag_callbacks),
    )
    assert before == after
    binding.unbind()
    binding.layer.paint((3, 3), 1)
    assert not binding.strokes


def test_a_closed_dock_leaves_nothing_behind(qtbot):
    from napari_resunet.plugin.widget import SegmentWidget

    viewer = ViewerModel()
    viewer.add_image(np.zeros((20, 20)))
    counts = [len(viewer.layers.events.removed.callbacks)]
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    controller = weakref.ref(widget.controller)
    widget.close()
    counts.append(len(viewer.layers.events.removed.callbacks))
    assert counts[0] == counts[1]
    viewer.add_image(np.zeros((20, 20)))
    del widget
    gc.collect()
    assert controller() is None or not controller().layers._bindings


def test_torch_imported_after_a_viewer_does_not_kill_the_process():
    code = """
import napari
viewer = napari.Viewer()
from napari_resunet.network.torch_import import torch, torchvision
print("alive", torchvision.__version__ != "")
viewer.close()
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert "alive True" in out.stdout, out.stderr
