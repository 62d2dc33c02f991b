import numpy as np
import pytest

from napari_resunet.corrections import outline
from napari_resunet.corrections.outline import outlines


def test_a_box_at_the_corner_is_outlined_along_its_edges():
    region = np.zeros((40, 50), bool)
    region[:10, 20:] = True
    (line,) = outlines(region)
    assert np.array_equal(line[0], line[-1])
    assert line.min(0) == pytest.approx((-0.5, 19.5), abs=0.6)
    assert line.max(0) == pytest.approx((9.5, 49.5), abs=0.6)
    assert len(line) < 12


def test_holes_and_islands_have_their_own_outlines():
    region = np.zeros((40, 50), bool)
    region[5:30, 5:30] = True
    region[10:20, 10:20] = False
    region[33:38, 33:38] = True
    assert len(outlines(region)) == 3
    assert outlines(np.zeros((9, 9), bool)) == []


def test_a_large_plane_is_outlined_nearly_as_well(monkeypatch):
    region = np.zeros((400, 500), bool)
    region[100:201, 51:300] = True
    monkeypatch.setattr(outline, "FINEST", 128)
    (line,) = outlines(region)
    assert line.min(0) == pytest.approx((99.5, 50.5), abs=4)
    assert line.max(0) == pytest.approx((200.5, 299.5), abs=4)
