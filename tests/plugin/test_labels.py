"""Our Labels layer: what we write, what the user does, and data from other hands."""

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image

from napari_resunet.plugin.layers.labels import LabelsBinding

SHAPE = (60, 80)
HIGHEST = np.iinfo(np.int32).max
WINDOW = slice(0, 40), slice(0, 50)


@pytest.fixture
def binding():
    image = Image(np.zeros((40, 50)), name="cells")
    binding = LabelsBinding(image)
    binding.strokes = []
    binding.stroke.connect(binding.strokes.append)
    return binding


def moved_proposal(value):
    labels = np.zeros((40, 50), np.int32)
    labels[10:20, 10 + value : 20 + value] = 1
    labels.setflags(write=False)
    return labels


def test_undo_after_a_renewed_proposal_writes_no_stale_pixels(binding):
    binding.apply((), WINDOW, WINDOW, moved_proposal(0), "instances")
    binding.layer.paint((30, 30), 77)
    painted = binding.layer.data == 77
    binding.apply((), WINDOW, WINDOW, moved_proposal(5), "instances")
    expected = binding.layer.data.copy()
    binding.layer.undo()
    assert np.array_equal(binding.layer.data, expected)
    assert (binding.layer.data[painted] == 77).all()


def test_painting_does_not_change_the_proposal(binding):
    labels = moved_proposal(0)
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
    binding.apply((), WINDOW, WINDOW, moved_proposal(0), "instances")
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
    layer.data[5, 5] = 9  # a script: napari emits no event
    binding.verify((), np.ones((40, 50), bool))
    assert binding.review.plane(()).edited[5, 5]


def test_undo_lowers_the_count_of_edits_and_redo_raises_it(binding):
    layer = binding.layer
    layer.paint((30, 30), 7)
    layer.paint((10, 30), 8)
    assert binding.edits == 2
    layer.undo()
    layer.undo()
    assert binding.edits == 0
    layer.redo()
    assert binding.edits == 1
    layer.paint((20, 30), 9)
    layer.contour = 0  # redraws, and changes nothing
    layer.refresh()
    assert binding.edits == 2
    layer.undo()
    binding.apply((), WINDOW, WINDOW, moved_proposal(0), "instances")
    layer.undo()
    assert binding.edits == 1


def test_what_was_undone_before_a_lock_stays_undone(binding):
    layer = binding.layer
    layer.paint((30, 30), 7)
    layer.paint((10, 30), 8)
    layer.undo()
    layer.editable = False
    layer.editable = True
    layer.refresh()
    assert binding.edits == 1


def test_labels_are_hidden_until_nothing_covers_them(binding):
    binding.cover("map")
    binding.cover("comparison")
    binding.uncover("map")
    assert not binding.layer.visible
    assert binding.style().visible
    binding.uncover("comparison")
    assert binding.layer.visible
    binding.layer.visible = False
    binding.cover("map")
    binding.uncover("map")
    assert not binding.layer.visible


def test_our_own_writing_is_no_stroke(binding):
    binding.apply((), WINDOW, WINDOW, moved_proposal(0), "instances")
    assert not binding.strokes


def test_the_paint_mode_stays_when_a_proposal_arrives(binding):
    binding.layer.mode = "paint"
    binding.apply((), WINDOW, WINDOW, moved_proposal(0), "instances")
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


@pytest.fixture
def two(bench):
    """Two images with labels; a session that keeps them is open."""
    for name in ("one", "other"):
        image = bench.viewer.add_image(np.zeros(SHAPE, np.uint8), name=name)
        bench.layers.make_binding(image).layer.data[5:15, 5:15] = 200
    bench.one, bench.other = bench.layers.bindings().values()
    assert bench.app.autosave.flush(60)
    return bench


def proposal(label=1):
    labels = np.zeros(SHAPE, np.int32)
    labels[30:40, 30:40] = label
    return labels


def propose(binding, labels=None):
    window = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    labels = proposal() if labels is None else labels
    binding.apply((), window, window, labels, "instances")


@pytest.mark.parametrize(
    "convert",
    [
        lambda data: data.astype(np.uint8),
        lambda data: data.astype(np.uint64),
        da.from_array,
        lambda data: np.broadcast_to(data, data.shape),
    ],
    ids=["uint8", "uint64", "dask", "read only"],
)
def test_labels_of_another_dtype_are_int32_again_and_nothing_wraps(two, convert):
    layer = two.other.layer
    layer.data = convert(layer.data)
    assert type(layer.data) is np.ndarray
    assert layer.data.dtype == np.int32
    assert "int32 array again" in two.message
    layer.paint((50, 70), 255)
    propose(two.other)
    assert layer.data[35, 35] == 256
    assert layer.data[10, 10] == 200
    assert (layer.data == 256).sum() == 100


def test_labels_mapped_from_a_file_are_copied_before_we_write(two, tmp_path):
    mapped = np.memmap(tmp_path / "mine.dat", np.int32, "w+", shape=SHAPE)
    two.other.layer.data = mapped
    propose(two.other)
    assert two.other.layer.data[35, 35]
    assert not mapped.any()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (np.ones((30, 40), np.int32), "another shape"),
        (np.ones((2, *SHAPE), np.int32), "another shape"),
        (np.full(SHAPE, 2**40), "cannot be used"),
    ],
    ids=["smaller", "a stack", "too large"],
)
def test_labels_that_fit_no_more_are_left_alone_and_the_others_go_on(two, data, sentence):
    autosave, lost = two.app.autosave, two.other.layer
    lost.data = data.copy()
    assert sentence in two.message
    assert two.layers.binding(two.other.image_id) is None
    two.one.layer.data[40:50, 40:50] = 7
    two.one.layer.refresh()
    assert autosave.flush(60)
    assert np.array_equal(lost.data, data)
    two.app.state.choose(two.one.image_id)
    two.mark("slice")
    assert two.verified().all()
    two.app.state.choose(two.other.image_id)
    assert not two.find("mark_verified").isEnabled()
    two.layers.make_binding(two.layers.image(two.other.image_id))
    assert two.binding.layer.data.shape == SHAPE


def test_labels_that_no_event_told_of_stop_nobody_elses_saving(two):
    with two.other.layer.events.data.blocker():
        two.other.layer.data = np.ones((30, 40), np.int32)
    two.one.layer.data[40:50, 40:50] = 7
    assert two.app.autosave.flush(60)
    assert "another shape" in two.other.unusable
    assert not two.one.unusable


def test_locked_labels_stay_as_they_are_and_locked(two):
    layer = two.other.layer
    before = layer.data.copy()
    layer.editable = False
    propose(two.other)
    assert np.array_equal(layer.data, before)
    assert not layer.editable
    assert "locked" in two.message
    two.app.state.choose(two.other.image_id)
    two.app.segment.segment()
    assert two.app.jobs.current is None
    layer.editable = True
    propose(two.other)
    assert layer.data[35, 35]


def test_negative_labels_are_refused_when_learned_from(two):
    two.app.state.choose(two.other.image_id)
    two.mark("slice")
    two.other.layer.data[50, 50] = -1
    two.click("fine_tune")
    assert "negative" in two.message
    assert two.app.jobs.current is None
    assert two.other.counts()[0] == 1
    propose(two.other)
    assert two.other.layer.data[50, 50] == -1


def test_the_largest_label_of_all_can_be_painted_and_lived_with(two):
    two.app.state.choose(two.other.image_id)
    layer = two.other.layer
    layer.paint((50, 50), HIGHEST)
    painted = layer.data == HIGHEST
    propose(two.other)
    assert np.array_equal(layer.data == HIGHEST, painted)
    assert 0 < layer.data[35, 35] < HIGHEST
    two.mark("slice")
    assert two.other.counts()[0] == 3
    assert two.other.corrections()[0].labels.max() == HIGHEST
    assert two.app.autosave.flush(60)
