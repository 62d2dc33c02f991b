"""What is not in view is neither verified nor segmented."""

import numpy as np
import pytest

from napari_resunet.errors import CorrectionError
from napari_resunet.plugin.controllers.shared import snapshot_of
from napari_resunet.plugin.layers.geometry import to_world
from napari_resunet.plugin.layers.targets import targets_of

SQUARE = np.array([(10, 10), (10, 30), (30, 30), (30, 10)])
OTHER = SQUARE + 40


def on_slice(z, square):
    return np.column_stack([np.full(4, z), square])


@pytest.fixture
def stack(bench):
    bench.image = bench.viewer.add_image(np.zeros((5, 100, 120)), name="stack")
    bench.layers.make_binding(bench.image)
    bench.viewer.dims.set_point(0, 0)
    return bench


def mark_shapes(bench, shapes):
    bench.mark(f"shapes:{shapes.unique_id}")


def test_only_the_shapes_of_the_shown_slice_are_marked(stack):
    shapes = stack.viewer.add_shapes([on_slice(0, SQUARE), on_slice(3, OTHER)])
    mark_shapes(stack, shapes)
    assert stack.verified((0,))[20, 20]
    assert not stack.verified((0,))[60, 60]
    stack.viewer.dims.set_point(0, 3)
    mark_shapes(stack, shapes)
    assert not stack.verified((3,))[20, 20]
    assert stack.verified((3,))[60, 60]


def test_the_slice_of_a_shape_is_one_of_the_world(stack):
    stack.image.scale = (2, 1, 1)
    shapes = stack.viewer.add_shapes([on_slice(1, SQUARE)], scale=(4, 1, 1))
    stack.viewer.dims.set_point(0, 4)  # slice 2 of the image, 1 of the shapes
    mark_shapes(stack, shapes)
    assert stack.verified((2,)).sum() == pytest.approx(400, abs=45)


def test_a_flat_shape_is_on_every_slice(stack):
    shapes = stack.viewer.add_shapes([SQUARE], ndim=2)
    for z in (0, 4):
        stack.viewer.dims.set_point(0, z)
        mark_shapes(stack, shapes)
        assert stack.verified((z,))[20, 20]


@pytest.mark.parametrize(
    ("kind", "corners", "sentence"),
    [
        ("path", on_slice(0, SQUARE), "enclose nothing"),
        ("line", on_slice(0, SQUARE)[:2], "enclose nothing"),
        ("rectangle", on_slice(2, SQUARE), "No shape of 'roi'"),
        ("rectangle", on_slice(0, SQUARE + 500), "outside the image"),
    ],
)
def test_what_encloses_nothing_here_marks_nothing(stack, kind, corners, sentence):
    shapes = stack.viewer.add_shapes([corners], shape_type=kind, name="roi")
    mark_shapes(stack, shapes)
    assert sentence in stack.message
    assert not stack.binding.review.verified_planes()


def test_a_removed_shapes_layer_marks_nothing(stack):
    with pytest.raises(CorrectionError, match="removed"):
        stack.layers.region("shapes:gone", stack.image)


def test_the_shapes_of_a_turned_image(bench):
    image = bench.viewer.add_image(np.zeros((100, 120)), rotate=90)
    bench.layers.make_binding(image)
    shapes = bench.viewer.add_shapes([[image.data_to_world(p) for p in SQUARE]])
    mark_shapes(bench, shapes)
    assert bench.verified()[12:29, 12:29].all()
    assert bench.verified().sum() == pytest.approx(400, abs=45)


@pytest.mark.parametrize("kind", ["rectangle", "ellipse"])
def test_shapes_mark_the_right_pixels_of_a_moved_image(bench, kind):
    image = bench.viewer.add_image(np.zeros((100, 120)), scale=(2, 2), translate=(50, 10))
    corners = np.array([[70, 30], [70, 90], [130, 90], [130, 30]])
    shapes = bench.viewer.add_shapes([corners], shape_type=kind)
    mask = bench.layers.region(f"shapes:{shapes.unique_id}", image)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((10, 40), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((10, 40), abs=1)
    share = mask[10:40, 10:40].mean()
    assert share == pytest.approx(np.pi / 4 if kind == "ellipse" else 1, abs=0.06)


def look_at(bench, y, x, zoom):
    bench.viewer.scene.camera.center = (0, y, x)
    bench.viewer.scene.camera.zoom = zoom


@pytest.mark.parametrize("act", ["mark_verified", "unmark", "segment"])
def test_with_the_image_out_of_view_nothing_happens(stack, act):
    look_at(stack, 5000, 5000, 1)
    stack.app.review.choose_area("visible")
    stack.app.segment.choose_scope("visible")
    stack.click(act)
    assert "out of view" in stack.message
    assert stack.app.jobs.current is None
    assert not stack.binding.review.verified_planes()


@pytest.mark.parametrize("levels", [1, 3])
def test_what_i_see_is_the_part_on_the_canvas(bench, levels):
    data = [np.zeros((1024 // 2**i, 1024 // 2**i)) for i in range(levels)]
    bench.viewer.add_image(data if levels > 1 else data[0], multiscale=levels > 1)
    bench.layers.make_binding(bench.viewer.layers[0])
    bench.viewer.canvas.size = (200, 400)
    look_at(bench, 500, 600, 2)
    bench.mark("visible")
    rows, columns = np.nonzero(bench.verified())
    assert (rows.min(), rows.max()) == (450, 550)
    assert (columns.min(), columns.max()) == (500, 700)
    assert bench.verified().sum() == 101 * 201


def test_of_a_turned_image_the_corners_beside_the_canvas_stay_unchecked(bench):
    image = bench.viewer.add_image(np.zeros((400, 400)), rotate=45)
    bench.layers.make_binding(image)
    bench.viewer.canvas.size = (200, 200)
    look_at(bench, *np.asarray(image.data_to_world((200, 200))), 1)
    bench.mark("visible")
    off = to_world(image, np.argwhere(bench.verified())) - to_world(image, [(200, 200)])
    assert np.abs(off).max() <= 101
    assert bench.verified().sum() == pytest.approx(200 * 200, rel=0.02)


@pytest.mark.parametrize("scope", ["slice", "visible"])
def test_beyond_the_end_of_a_shorter_stack_nothing_is_segmented(stack, scope):
    stack.viewer.add_labels(np.zeros((9, 100, 120), int), name="longer")
    stack.viewer.dims.set_point(0, 7)
    stack.app.segment.choose_scope(scope)
    assert not stack.find("segment").isEnabled()
    assert "no slice" in stack.find("mark_verified").toolTip()
    stack.app.segment.segment()
    stack.mark("slice")
    assert "no slice" in stack.message
    assert not stack.binding.review.planes
    stack.app.segment.choose_scope("stack")
    assert stack.find("segment").isEnabled()
    assert len(targets_of(stack.image, stack.viewer, "stack")) == 5
    stack.viewer.dims.set_point(0, 4)
    assert stack.find("mark_verified").isEnabled()


def test_several_slices_shown_as_one_are_refused(stack):
    stack.image.projection_mode = "max"
    assert stack.find("segment").isEnabled()  # one slice is as thick as it is
    stack.viewer.dims.thickness = (3, 0, 0)
    assert not stack.find("segment").isEnabled()
    assert "projection mode" in stack.find("segment").toolTip()
    stack.image.projection_mode = "none"
    assert stack.find("segment").isEnabled()


def test_the_channel_shown_is_segmented_until_the_user_chooses(bench):
    image = bench.viewer.add_image(np.zeros((6, 40, 50)), axis_labels=("c", "y", "x"))
    begun = []
    bench.app.workers.segment = lambda request, token: begun.append(request.image.channels)
    bench.app.jobs.start = lambda job: job.steps(None)
    for shown in (3, 5):
        bench.viewer.dims.set_point(0, shown)
        assert f"sees: Channel {shown + 1} " in bench.find("channel_0").toolTip()
        bench.app.segment.segment()
    bench.viewer.dims.set_point(0, 0)
    assert snapshot_of(bench.state, bench.layers, image).channels == (
        5,
    )  # what is learned from is the same
    bench.app.image.choose_channels((1, 2))
    bench.app.segment.segment()
    assert begun == [(3,), (5,), (1, 2)]
    image.axis_labels = ("z", "y", "x")
    assert snapshot_of(bench.state, bench.layers, image).channels is None
