"""The choice of image: its object size."""

import numpy as np
import pytest


def test_the_object_size_is_shown_as_a_circle(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    circle = dock.app.image.circle.overlay.lines[0]
    shown = dock.find("object_size").value()
    assert np.ptp(circle, axis=0)[-2:] == pytest.approx([shown, shown], rel=0.02)
    dock.app.image.preview_object_size(31)
    circle = dock.app.image.circle.overlay.lines[0]
    assert np.ptp(circle, axis=0)[-2:] == pytest.approx([31, 31], rel=0.02)
    assert dock.viewer.layers.selection.active is dock.labels
