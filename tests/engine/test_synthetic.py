import numpy as np
import pytest
from scipy import ndimage

from napari_resunet.engine.patches import median_diameter
from napari_resunet.engine.synthetic import domain_randomization

SHAPE = (160, 200)


@pytest.mark.parametrize("seed", range(8))
def test_each_object_is_one_visible_piece_of_usual_size(seed):
    image, labels = domain_randomization(SHAPE, np.random.default_rng(seed))
    assert image.shape[:2] == labels.shape == SHAPE
    assert image.dtype == np.uint8
    assert image.std() > 2
    assert 8 < median_diameter(labels) < 90
    for label in np.unique(labels[labels > 0]):
        assert ndimage.label(labels == label)[1] == 1


def test_a_seed_gives_one_image_and_another_seed_another():
    first, again, other = (
        domain_randomization(SHAPE, np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
