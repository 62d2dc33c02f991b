"""The verified area: seen, added to, taken back; and what the dock counts."""

import numpy as np
import pytest
from harness import Dock

from napari_resunet._package import STARTER
from napari_resunet.network.model_file import new_model
from napari_resunet.types import ModelInfo

SHAPE = (80, 100)


class Desk(Dock):
    """The dock with an image of large pixels and two objects."""

    def open(self, shape=SHAPE):
        image = self.viewer.add_image(
            np.zeros(shape, np.uint8), name="cells", scale=[2] * len(shape)
        )
        self.viewer.dims.set_point(0, 0)
        labels = self.layers.make_binding(image).layer
        labels.data[..., 10:20, 10:20] = 1
        labels.data[..., 40:50, 60:70] = 2
        return self

    @property
    def counts(self):
        return self.find("verified_text").text()

    @property
    def outline(self):
        return self.app.review.outline.lines

    def mark_box(self, top, left, bottom, right):
        self.draw_box(top, left, bottom, right)
        self.click("mark_verified")

    def draw_box(self, top, left, bottom, right):
        if "area" in self.viewer.layers:
            self.viewer.layers.remove("area")
        corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
        shapes = self.viewer.add_shapes(
            [corners - 0.5], shape_type="polygon", name="area", scale=(2, 2)
        )
        self.app.review.choose_area(f"shapes:{shapes.unique_id}")


@pytest.fixture
def desk(make_bench):
    return make_bench(Desk).open()


def box_of(lines):
    places = np.concatenate(lines)
    return (*places.min(0), *places.max(0))


def test_the_outline_follows_marking_and_unmarking(desk):
    assert not desk.outline
    desk.mark_box(5, 5, 30, 40)
    assert box_of(desk.outline) == pytest.approx((4.5, 4.5, 29.5, 39.5), abs=1.5)
    desk.mark_box(30, 5, 60, 40)
    assert box_of(desk.outline) == pytest.approx((4.5, 4.5, 59.5, 39.5), abs=1.5)
    desk.draw_box(0, 0, 30, 100)
    desk.click("unmark")
    assert box_of(desk.outline) == pytest.approx((29.5, 4.5, 59.5, 39.5), abs=1.5)
    assert not desk.verified()[:30].any()
    desk.app.review.choose_area("slice")
    desk.click("unmark")
    assert not desk.outline
    assert not desk.verified().any()


def test_each_slice_has_its_own_outline(make_bench):
    desk = make_bench(Desk).open((3, *SHAPE))
    desk.mark_box(5, 5, 30, 40)
    desk.viewer.dims.set_point(0, 2)
    assert not desk.outline
    desk.mark_box(50, 5, 60, 40)
    assert box_of(desk.outline)[0] == pytest.approx(49.5, abs=1.5)
    desk.viewer.dims.set_point(0, 0)
    assert box_of(desk.outline)[0] == pytest.approx(4.5, abs=1.5)


def test_the_outline_goes_with_the_labels(desk):
    desk.mark_box(5, 5, 30, 40)
    desk.viewer.layers.remove(desk.binding.layer)
    assert not desk.outline
    desk.app.review.mark_verified()
    assert desk.outline


def test_what_the_user_changed_is_still_theirs_after_unmarking(desk):
    whole = (slice(0, 80), slice(0, 100))
    desk.app.review.choose_area("slice")
    desk.click("mark_verified")
    desk.click("unmark")
    mine = desk.binding.layer.data.copy()
    desk.binding.apply((), whole, whole, np.zeros(SHAPE, np.int32), "instances")
    assert np.array_equal(desk.binding.layer.data, mine)


def test_objects_verified_objects_and_edits_are_counted(desk):
    desk.mark_box(5, 5, 30, 40)
    assert desk.counts == "2 objects · 0 edits\nVerified: 1 object in 875 pixels"
    layer = desk.binding.layer
    layer.paint((70, 80), 9)
    layer.fill((15, 15), 4)
    desk.until(lambda: desk.counts.startswith("3 objects · 2 edits"))
    desk.app.review.choose_area("slice")
    desk.click("unmark")
    assert "Nothing is verified yet" in desk.counts


def test_counts_of_a_stack_say_that_they_are_of_this_slice(make_bench):
    desk = make_bench(Desk).open((3, *SHAPE))
    desk.mark_box(5, 5, 30, 40)
    here, everywhere = desk.counts.split("\n")
    assert here == "2 objects in this slice · 0 edits"
    assert everywhere.endswith("all slices together")


def test_classes_are_counted_by_their_pixels(desk):
    info = ModelInfo(task="classes", class_names=("background", "axon", "myelin"))
    desk.state.versions.loaded(STARTER, new_model(info))
    desk.mark("slice")
    assert desk.counts == (
        "myelin 1%, axon 1% of the pixels · 0 edits\nVerified: 8,000 pixels"
    )


def test_an_undone_stroke_is_no_edit(desk):
    layer = desk.binding.layer
    layer.paint((70, 80), 9)
    desk.until(lambda: "1 edit" in desk.counts)
    layer.undo()
    desk.until(lambda: "0 edits" in desk.counts)
