"""Windows around pixels."""

import numpy as np
import pytest

from napari_resunet.windows import bounding_window


@pytest.mark.parametrize(("margin", "expected"), [(0, (3, 5, 4, 8)), (4, (0, 9, 0, 12))])
def test_bounding_window(margin, expected):
    mask = np.zeros((12, 14), bool)
    mask[3:5, 4:8] = True
    rows, columns = bounding_window(mask, margin)
    assert (rows.start, rows.stop, columns.start, columns.stop) == expected
