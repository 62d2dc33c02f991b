import numpy as np
import pytest

from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.object_size import SMALL, estimate_scale, min_size_fraction
from napari_resunet.engine.patches import median_diameter, training_image
from napari_resunet.engine.predict import Predictor
from napari_resunet.events import drain
from napari_resunet.types import Example, ModelInfo


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
