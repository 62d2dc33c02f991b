import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_resunet.engine.predict import OVERLAP, tile_grid


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 6000), largest=st.sampled_from([96, 128, 160, 352, 704]))
def test_weights_add_up_to_one_and_tiles_fit(n, largest):
    tiles = tile_grid(n, largest)
    assert tiles.size % 32 == 0
    assert tiles.size <= max(largest, 32)
    total = np.zeros(max(n, tiles.size))
    for i, start in enumerate(tiles.starts):
        assert start >= 0
        total[start : start + tiles.size] += tiles.weights(i)
    np.testing.assert_allclose(total[:n], 1, atol=1e-5)
    if len(tiles.starts) > 1:
        assert tiles.starts[-1] + tiles.size == n
        assert max(np.diff(tiles.starts)) <= tiles.size - OVERLAP


def test_2048_pixels_cost_little_more_than_themselves():
    tiles = tile_grid(2048, 704)
    assert (len(tiles.starts) * tiles.size / 2048) ** 2 < 1.07
