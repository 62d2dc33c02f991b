"""Random intensities: another stain, camera or exposure of the same objects."""

import numpy as np
import pytest

from napari_resunet.engine.augment import vary_intensity
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Normalization

CONTRACT = Normalization()


def varied(pixels, seed, **options):
    normalised = (torch.from_numpy(pixels) - CONTRACT.mean) / CONTRACT.std
    result = vary_intensity(normalised, CONTRACT, np.random.default_rng(seed), **options)
    return (result * CONTRACT.std + CONTRACT.mean).numpy()


@pytest.fixture
def bright_square():
    pixels = np.zeros((1, 32, 32), np.float32)
    pixels[:, 8:24, 8:24] = 1
    return pixels


@pytest.mark.parametrize("seed", range(4))
def test_one_channel_may_become_a_colour_on_black(bright_square, seed):
    red, green, blue = varied(bright_square, seed, strength=0.0, tint=1.0)
    colour = np.array([channel[16, 16] for channel in (red, green, blue)])
    assert colour.max() == pytest.approx(1, abs=1e-5)
    assert colour.min() < 0.99
    assert np.allclose([red[0, 0], green[0, 0], blue[0, 0]], 0, atol=1e-5)


def test_without_tint_one_channel_stays_grey(bright_square):
    red, green, blue = varied(bright_square, 0)
    assert np.array_equal(red, green)
    assert np.array_equal(red, blue)


def test_colours_are_mixed_but_grey_keeps_its_edges(bright_square):
    rgb = np.repeat(bright_square, 3, axis=0)
    rgb[0] *= 0.5
    contrasts = []
    for seed in range(40):
        result = varied(rgb, seed, strength=0.5)
        contrasts.append(result[:, 16, 16] - result[:, 2, 2])
    # Red is half as strong as the others, unless the colours were mixed.
    ratios = np.array([red / green for red, green, _ in contrasts])
    assert np.median(ratios) == pytest.approx(0.5, abs=0.1)
    assert (ratios > 0.9).any()
