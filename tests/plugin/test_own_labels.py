"""Labels that the user has already: copied, corrected, learned from, never altered."""

import numpy as np
import pytest

from napari_resunet.plugin.controllers.own_labels import fits, lies_over
from napari_resunet.types import ModelInfo

SHAPE = (60, 80)


def cells(dtype=np.int32):
    labels = np.zeros(SHAPE, dtype)
    labels[5:15, 5:15] = 1
    labels[30:40, 30:50] = 2
    return labels


def use(bench):
    bench.click("use_labels")
    bench.wait()


@pytest.fixture
def own(bench):
    bench.image = bench.viewer.add_image(np.zeros(SHAPE), name="im", scale=(0.5, 0.5))
    return bench


def offered(bench):
    combo = bench.find("own_labels")
    shown = combo.isVisibleTo(bench.view.segment)
    return [combo.itemText(i) for i in range(combo.count())] if shown else []


def test_the_labels_of_the_user_become_those_of_the_image(own):
    mine = own.viewer.add_labels(cells(), name="from Cellpose", scale=(0.5, 0.5))
    before = mine.data.copy()
    assert not own.find("mark_verified").isEnabled()
    use(own)
    layer = own.binding.layer
    assert layer.name == "im labels"
    assert np.array_equal(layer.data, before)
    assert np.array_equal(layer.scale, (0.5, 0.5))
    assert "'from Cellpose' was copied (2 labels)" in own.message
    layer.paint((50, 70), 9)
    assert np.array_equal(mine.data, before)
    assert not mine.visible
    assert own.find("mark_verified").isEnabled()
    assert own.find("tool_merge").isEnabled()
    own.until(lambda: "3 objects · 1 edit" in own.find("verified_text").text())
    assert "Nothing is verified" in own.find("verified_text").text()


def test_they_are_the_users_corrections(own):
    own.viewer.add_labels(cells())
    use(own)
    window = slice(0, SHAPE[0]), slice(0, SHAPE[1])
    everywhere = np.ones(SHAPE, np.int32)
    own.binding.apply((), window, window, everywhere, "instances")
    assert np.array_equal(own.binding.layer.data[cells() > 0], cells()[cells() > 0])
    own.mark("slice")
    correction = own.binding.corrections()[0]
    assert correction.verified.all()
    assert correction.edited[cells() > 0].all()


def test_they_are_kept_in_the_session(own):
    own.viewer.add_labels(cells())
    use(own)
    autosave = own.app.autosave
    assert autosave.flush(60)
    assert autosave.folder.file.images[0].name == "im"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, bool])
def test_labels_of_any_integers(own, dtype):
    own.viewer.add_labels(cells(dtype))
    use(own)
    assert own.binding.layer.data.dtype == np.int32
    assert np.unique(own.binding.layer.data).tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [1, 255])
def test_a_binary_mask_is_split_into_its_pieces_slice_by_slice(bench, value):
    bench.viewer.add_image(np.zeros((3, *SHAPE)))
    mask = np.zeros((3, *SHAPE), np.uint8)
    mask[0, 50:60, 5:15] = mask[1, :10, 5:15] = mask[1, 30:40, 30:50] = value
    bench.viewer.add_labels(mask)
    use(bench)
    labels = bench.binding.layer.data
    assert np.array_equal(labels > 0, mask > 0)
    assert [len(np.unique(plane)) - 1 for plane in labels] == [1, 2, 0]
    assert len(np.unique(labels)) == 4
    assert "binary: its 3 connected pieces" in bench.message


def test_an_object_keeps_its_number_from_slice_to_slice(bench):
    bench.viewer.add_image(np.zeros((3, *SHAPE)))
    stack = np.stack([cells(), np.where(cells() == 2, 2**31 - 1, 0), cells() * 0])
    stack[1, 50:55, 5:10] = 2**31 - 1  # in this slice it comes in two pieces
    bench.viewer.add_labels(stack)
    use(bench)
    labels = bench.binding.layer.data
    assert np.array_equal(labels > 0, stack > 0)
    assert labels[1, 35, 35] == labels[1, 52, 7] == labels.max() < 100
    assert [
        index for index, p in bench.binding.review.planes.items() if p.edited.any()
    ] == [
        (0,),
        (1,),
    ]


def test_one_plane_of_labels_for_an_image_of_channels(bench):
    image = bench.viewer.add_image(np.zeros((4, *SHAPE)), axis_labels=("c", "y", "x"))
    mine = bench.viewer.add_labels(cells())
    assert fits(mine, image)
    use(bench)
    assert np.array_equal(bench.binding.layer.data, cells())


def test_a_pyramid_of_labels_is_taken_at_full_resolution(own):
    own.viewer.add_labels([cells(), cells()[::2, ::2]], multiscale=True)
    use(own)
    assert np.array_equal(own.binding.layer.data, cells())


def test_classes_stay_classes(own, random_model):
    from dataclasses import replace

    from napari_resunet.plugin.messages import version_from

    info = ModelInfo(task="classes", class_names=("background", "axon"))
    own.app.state.versions.add(version_from(replace(random_model, info=info), 1))
    one = np.where(cells() > 0, 1, 0)
    own.viewer.add_labels(one, name="classes")
    use(own)
    assert np.array_equal(own.binding.layer.data, one)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.where(cells() == 1, -3, cells()), "negative"),
        (np.zeros(SHAPE, np.int32), "holds no labels"),
    ],
)
def test_what_cannot_be_labels_is_refused(own, labels, sentence):
    mine = own.viewer.add_labels(labels)
    use(own)
    assert sentence in own.message
    assert mine.visible
    assert own.binding is None or own.binding.is_empty


def test_only_what_fits_is_offered_and_what_is_selected_comes_first(own):
    assert offered(own) == []
    own.viewer.add_labels(np.zeros((10, 80), int), name="smaller")
    assert offered(own) == []
    apart = own.viewer.add_labels(cells(), name="apart")
    over = own.viewer.add_labels(cells(), name="over", scale=(0.5, 0.5))
    assert offered(own) == ["over", "apart (lies elsewhere)"]
    assert lies_over(over, own.image)
    for layer in (apart, over):
        own.viewer.layers.selection.active = layer
        assert own.find("own_labels").currentText().startswith(layer.name)
    own.find("own_labels").setCurrentIndex(1)
    own.app.state.changed.emit()
    assert own.find("own_labels").currentText() == "apart (lies elsewhere)"
    own.viewer.layers.remove(apart)
    assert offered(own) == ["over"]
    own.viewer.layers.remove(own.image)
    assert offered(own) == []


@pytest.fixture
def asked(own, monkeypatch):
    """The dock, which notes what it asks; the user's answer is `own.answer`."""
    own.questions, own.answer = [], True

    def ask(sentence):
        own.questions.append(sentence)
        return own.answer

    monkeypatch.setattr(own.view.segment, "ask_replace", ask)
    return own


def test_labels_that_the_image_got_meanwhile_are_replaced_only_if_the_user_says_so(asked):
    asked.answer = False
    asked.viewer.add_labels(cells())
    asked.click("use_labels")
    asked.layers.make_binding(asked.image).layer.data[50, 70] = 5
    asked.wait()
    assert asked.binding.layer.data.sum() == 5
    assert len(asked.questions) == 1


def test_labels_that_were_corrected_elsewhere_come_home(asked):
    asked.viewer.add_labels(cells(), name="first")
    use(asked)
    asked.mark("slice")
    home = cells()
    home[30:40, 40:50] = 3  # in Fiji, the second object was split
    asked.viewer.layers.selection.active = asked.viewer.add_labels(home, name="from Fiji")
    use(asked)
    assert "Those of 'from Fiji' take their place" in asked.questions[0]
    assert np.array_equal(asked.binding.layer.data, home)
    review = asked.binding.review.plane(())
    assert not review.verified[home == 3].any()
    assert review.verified[home != 3].all()
    asked.binding.layer.undo()
    assert np.array_equal(asked.binding.layer.data, cells())


def test_an_image_that_is_removed_meanwhile(own):
    own.viewer.add_labels(cells())
    own.click("use_labels")
    own.viewer.layers.remove(own.image)
    own.wait()
    assert "removed" in own.message
