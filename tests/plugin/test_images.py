"""Every kind of image layer: stacks, channels, RGB, pyramids, scaled and moved ones."""

import numpy as np
import pytest

from napari_resunet.plugin import image_layers


def test_a_stack_is_segmented_by_slice_or_as_a_whole(dock, image_of_nuclei):
    stack = np.stack([image_of_nuclei] * 3)
    dock.viewer.add_image(stack, name="movie", axis_labels=("t", "y", "x"))
    dock.viewer.dims.set_point(0, 1)
    dock.segment("slice")
    assert [plane.any() for plane in dock.labels.data] == [False, True, False]
    dock.segment("stack")
    assert all(plane.any() for plane in dock.labels.data)
    assert dock.labels.axis_labels == ("t", "y", "x")


def test_one_channel_of_several_feeds_the_network(dock, image_of_nuclei):
    noise = np.random.default_rng(0).integers(0, 255, image_of_nuclei.shape, dtype=np.uint8)
    channels = np.stack([noise, image_of_nuclei])
    dock.viewer.add_image(channels, name="two", axis_labels=("channel", "y", "x"))
    assert dock.find("channel_0").isVisibleTo(dock.view)
    dock.controller.choose_channels((1,))
    dock.controller.set_object_size(20)
    dock.segment()
    assert dock.labels.data.shape == (1, *image_of_nuclei.shape)
    assert dock.labels.data.max() > 10
    for channel in (0, 1):  # the one plane of labels shows on every channel
        assert round(dock.labels.world_to_data((channel, 5, 5))[0] - 1e-9) == 0


def test_rgb(dock, image_of_nuclei):
    dock.viewer.add_image(np.stack([image_of_nuclei] * 3, -1), name="rgb")
    dock.segment()
    assert dock.labels.data.shape == image_of_nuclei.shape
    assert dock.labels.data.any()


def test_a_pyramid_is_proposed_at_full_resolution(dock, image_of_nuclei):
    levels = [image_of_nuclei, image_of_nuclei[::2, ::2]]
    dock.viewer.add_image(levels, name="pyramid", multiscale=True)
    dock.segment()
    assert dock.labels.data.shape == image_of_nuclei.shape


@pytest.mark.parametrize("kind", ["rectangle", "ellipse"])
def test_shapes_mark_the_right_pixels_of_a_moved_image(dock, kind):
    image = dock.viewer.add_image(np.zeros((100, 120)), scale=(2, 2), translate=(50, 10))
    corners = np.array([[70, 30], [70, 90], [130, 90], [130, 30]])
    shapes = dock.viewer.add_shapes([corners], shape_type=kind)
    mask = dock.controller.layers.region(f"shapes:{shapes.unique_id}", image)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max()) == pytest.approx((10, 40), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((10, 40), abs=1)
    share = mask[10:40, 10:40].mean()
    assert share == pytest.approx(np.pi / 4 if kind == "ellipse" else 1, abs=0.06)


def test_the_visible_area_follows_the_camera(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    layer = viewer.add_image(np.zeros((400, 400)))
    qtbot.wait(200)
    viewer.camera.zoom = 20
    viewer.camera.center = (100, 300)
    qtbot.wait(300)
    rows, columns = image_layers.visible_window(layer)
    assert rows.start > 0
    assert columns.start > 0
    assert rows.start < 100 < rows.stop < 399
    assert columns.start < 300 < columns.stop


def test_reasons_stand_in_the_tooltips(dock, image_of_nuclei):
    assert dock.find("segment").toolTip() == "Open an image first."
    dock.viewer.add_image(np.stack([image_of_nuclei] * 3))
    assert dock.find("segment").isEnabled()
    assert "Segment first" in dock.find("fine_tune").toolTip()
    assert "Nothing is running" in dock.find("stop").toolTip()
    dock.viewer.dims.ndisplay = 3
    assert not dock.find("segment").isEnabled()
    assert "2D" in dock.find("segment").toolTip()
