import numpy as np
import pytest

from napari_resunet.engine.device import choose
from napari_resunet.engine.object_size import estimate_scale
from napari_resunet.engine.planes import Planes
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.targets import median_diameter
from napari_resunet.events import drain


def estimate(model, image):
    planes = Planes([image])
    measured = planes.measure(model.info.normalization)
    return drain(estimate_scale(Predictor(model, choose("cpu")), planes, (), measured))


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_objects_are_brought_to_the_working_diameter(starter, nuclei, factor):
    image, labels = (np.kron(a, np.ones((factor, factor), a.dtype)) for a in nuclei)
    scale = estimate(starter, image)
    assert scale * median_diameter(labels) == pytest.approx(starter.info.diameter, rel=0.3)


def test_an_empty_field_is_left_at_its_scale(starter):
    assert estimate(starter, np.zeros((100, 100))) == 1.0
