"""Our Labels layer in other hands: converted, reshaped, locked, negative, huge labels."""

import dask.array as da
import numpy as np
import pytest

SHAPE = (60, 80)
HIGHEST = np.iinfo(np.int32).max


@pytest.fixture
def two(bench):
    """Two images with labels; a session that keeps them is open."""
    for name in ("one", "other"):
        image = bench.viewer.add_image(np.zeros(SHAPE, np.uint8), name=name)
        bench.layers.make_binding(image).layer.data[5:15, 5:15] = 200
    bench.one, bench.other = bench.layers.bindings().values()
    assert bench.controller.autosave.flush(10)
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
    autosave, lost = two.controller.autosave, two.other.layer
    lost.data = data.copy()
    assert sentence in two.message
    assert two.layers.binding(two.other.image_id) is None
    two.one.layer.data[40:50, 40:50] = 7
    two.one.layer.refresh()
    assert autosave.flush(10)
    assert np.array_equal(lost.data, data)
    two.controller.choose_image(two.one.image_id)
    two.mark("slice")
    assert two.verified().all()
    two.controller.choose_image(two.other.image_id)
    assert not two.find("mark_verified").isEnabled()
    two.layers.make_binding(two.layers.image(two.other.image_id))
    assert two.binding.layer.data.shape == SHAPE


def test_labels_that_no_event_told_of_stop_nobody_elses_saving(two):
    with two.other.layer.events.data.blocker():
        two.other.layer.data = np.ones((30, 40), np.int32)
    two.one.layer.data[40:50, 40:50] = 7
    assert two.controller.autosave.flush(10)
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
    two.controller.choose_image(two.other.image_id)
    two.controller.segment()
    assert two.work.job is None
    layer.editable = True
    propose(two.other)
    assert layer.data[35, 35]


def test_negative_labels_are_refused_when_learned_from(two):
    two.controller.choose_image(two.other.image_id)
    two.mark("slice")
    two.other.layer.data[50, 50] = -1
    two.click("fine_tune")
    assert "negative" in two.message
    assert two.work.job is None
    assert two.other.counts()[0] == 1
    propose(two.other)
    assert two.other.layer.data[50, 50] == -1


def test_the_largest_label_of_all_can_be_painted_and_lived_with(two):
    two.controller.choose_image(two.other.image_id)
    layer = two.other.layer
    layer.paint((50, 50), HIGHEST)
    painted = layer.data == HIGHEST
    propose(two.other)
    assert np.array_equal(layer.data == HIGHEST, painted)
    assert 0 < layer.data[35, 35] < HIGHEST
    two.mark("slice")
    assert two.other.counts()[0] == 3
    assert two.other.corrections()[0].labels.max() == HIGHEST
    assert two.controller.autosave.flush(10)
