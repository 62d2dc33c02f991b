from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_resunet.engine.image_reader import Axis, read_resampled

SCALES = [0.23, 0.5, 0.81, 1.0, 1.7, 3.0]


def resampled(image, scale, rows=None, columns=None):
    axes = Axis.scaled(image.shape[0], scale), Axis.scaled(image.shape[1], scale)
    rows = rows or (0, axes[0].n_network)
    columns = columns or (0, axes[1].n_network)
    return read_resampled(lambda r, c: image[r, c, None], axes, rows, columns)[..., 0]


@pytest.mark.parametrize("scale", SCALES)
def test_equals_torchs_antialiased_interpolation(scale, nuclei):
    image = nuclei[0].astype(np.float32)
    result = resampled(image, scale)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None, None], result.shape, mode="bilinear", antialias=True
    )
    np.testing.assert_allclose(result, expected[0, 0], atol=0.02)


@pytest.mark.parametrize("scale", SCALES)
def test_a_window_equals_the_same_part_of_the_whole(scale, nuclei):
    image = nuclei[0].astype(np.float32)
    whole = resampled(image, scale)
    part = resampled(image, scale, (11, 29), (5, 33))
    np.testing.assert_allclose(part, whole[11:29, 5:33], atol=1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_image_windows_of_neighbouring_blocks_join_without_gap(scale):
    axis = Axis.scaled(1000, scale)
    edges = [*range(0, axis.n_network, 50), axis.n_network]
    windows = [axis.image_window(a, b) for a, b in pairwise(edges)]
    pixels = np.concatenate([np.arange(w.start, w.stop) for w in windows])
    assert np.array_equal(pixels, np.arange(1000))
