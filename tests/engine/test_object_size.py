from dataclasses import replace

import numpy as np
import pytest

from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.object_size import (
    MIN_FOUND,
    SMALL,
    estimate_scale,
    found_diameter,
    learned_size,
    min_size_fraction,
)
from napari_resunet.engine.patches import median_diameter, training_image
from napari_resunet.engine.predict import Predictor
from napari_resunet.events import drain
from napari_resunet.types import Example, ModelInfo, ObjectSize


def estimate(model, image):
    planes = ImageReader([image])
    measured = planes.measure(model.info.normalization)
    return drain(estimate_scale(Predictor(model, choose("cpu")), planes, [()], measured))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_objects_are_brought_to_the_working_diameter(starter, nuclei, factor):
    image, labels = (np.kron(a, np.ones((factor, factor), a.dtype)) for a in nuclei)
    scale = estimate(starter, image)
    assert scale * median_diameter(labels) == pytest.approx(starter.info.diameter, rel=0.3)


def test_an_empty_field_is_left_at_its_scale(starter):
    assert estimate(starter, np.zeros((100, 100))) == 1.0


def test_what_was_found_has_a_size_unless_it_is_little_or_classes(nuclei):
    labels, info = nuclei[1], ModelInfo()
    assert found_diameter(labels, info) == median_diameter(labels)
    assert found_diameter(np.where(labels < MIN_FOUND, labels, 0), info) is None
    assert found_diameter(np.minimum(labels, 1), ModelInfo(task="classes")) is None


def test_the_size_of_the_latest_objects_is_learned(nuclei):
    image, labels = nuclei
    info, size = ModelInfo(), median_diameter(labels)
    larger = Example(image, labels, scale=24 / (1.3 * size))
    empty = Example(image, np.zeros_like(labels))
    measured = Example(image, labels, pixel_size=0.25)
    assert learned_size([measured, larger], info).pixels == pytest.approx(1.3 * size)
    assert learned_size([larger, measured, empty], info) == ObjectSize(size, size / 4)
    assert learned_size([empty], info) is None
    assert learned_size([Example(image, labels, scale=100.0)], info) is None


def test_no_size_is_learned_from_images_of_clearly_different_sizes(nuclei):
    image, labels = nuclei
    small, large = (Example(image, labels, scale=s) for s in (1.2, 0.6))
    assert learned_size([small, large], ModelInfo()) is None
    # Of the same size in micrometres, at two magnifications.
    same = [replace(small, pixel_size=0.5), replace(large, pixel_size=0.25)]
    assert learned_size(same, ModelInfo()) == ObjectSize(40.0, 10.0)
    # The pixel size of one is not known, so pixels are compared.
    assert learned_size([small, same[1]], ModelInfo()) is None


def test_classes_are_as_large_as_the_user_said(nuclei):
    image, labels = nuclei
    info = ModelInfo(task="classes", class_names=("background", "nucleus"))
    found = [Example(image, np.minimum(labels, 1), scale=s) for s in (None, 0.5)]
    assert [learned_size([e], info).pixels for e in found] == [24.0, 48.0]


def squares(n):
    """n squares of 4 x 4 pixels in a row; the last is cut by the verified area."""
    labels = np.zeros((12, 6 * n + 6), np.int32)
    for i in range(n):
        labels[4:8, 6 * i + 4 : 6 * i + 8] = i + 1
    verified = np.ones(labels.shape, bool)
    verified[:, 6 * n] = False
    return Example(np.zeros(labels.shape), labels, verified, scale=3.0)


def test_what_is_smaller_than_any_corrected_object_is_dust():
    info = ModelInfo()
    image = training_image(squares(12), info)
    assert min_size_fraction([image], info) * info.reference_area == pytest.approx(
        SMALL * 16 * 3**2
    )


def test_few_corrected_objects_do_not_say_what_is_dust():
    info = ModelInfo()
    image = training_image(squares(8), info)
    assert min_size_fraction([image], info) == info.min_size_fraction
