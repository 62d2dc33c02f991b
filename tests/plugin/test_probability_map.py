"""The probability map is shown over its image, and the user can take it away."""

import numpy as np


def test_the_map_is_shown_over_the_image_and_taken_away(dock, image_of_nuclei):
    place = {"scale": (2, 0.5), "translate": (30, 7)}
    image = dock.viewer.add_image(image_of_nuclei, name="cells", **place)
    assert not dock.find("show_map").isEnabled()
    dock.segment()
    active = dock.viewer.layers.selection.active
    assert not dock.find("map_legend").isVisibleTo(dock.view)
    dock.click("show_map")
    shown = dock.app.review.map.layer
    assert not dock.labels.visible
    assert dock.find("map_legend").isVisibleTo(dock.view)
    assert np.allclose(shown.extent.world, image.extent.world, atol=0.6)
    assert (shown.data.min() >= 0, shown.data.max() <= 1.001) == (True, True)
    places = [image.data_to_world(p) for p in np.argwhere(dock.labels.data > 0)[::200]]
    assert np.mean([shown.get_value(p, world=True) for p in places]) > 0.8
    assert dock.viewer.layers.selection.active is active
    assert [name for _, name in dock.app.layers.images()] == ["cells"]
    dock.click("show_map")
    assert dock.app.review.map.layer is None
    assert not dock.find("show_map").isChecked()
    assert dock.labels.visible
    assert not dock.find("map_legend").isVisibleTo(dock.view)


def test_labels_that_were_hidden_stay_hidden_after_the_map(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    dock.labels.visible = False
    dock.click("show_map")
    dock.click("show_map")
    assert not dock.labels.visible


def test_labels_under_a_map_are_saved_as_shown(dock, image_of_nuclei, make_window_dock):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    dock.click("show_map")
    assert "hidden" not in dock.message
    dock.app.tools.choose("add")
    assert "switch off the map" in dock.message
    root, later = dock.end(), make_window_dock()
    later.open_session(root)
    assert later.labels.visible


def test_the_map_follows_the_slices_and_a_removed_one_is_off(dock, image_of_nuclei):
    stack = np.stack([image_of_nuclei, image_of_nuclei[::-1]])
    dock.viewer.add_image(stack, name="movie", axis_labels=("t", "y", "x"))
    dock.segment("stack")
    dock.click("show_map")
    shown = dock.app.review.map
    seen = []
    for z in (0, 1):
        dock.viewer.dims.set_point(0, z)
        seen.append(shown.layer.data)
    assert not np.array_equal(*seen)
    dock.viewer.layers.remove(shown.layer)
    assert not dock.find("show_map").isChecked()
    assert shown.layer is None
    assert dock.labels.visible
