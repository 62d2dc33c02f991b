"""Outlines run along the edges of pixels, and give the same pixels back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_resunet.engine.polygons import fill, shapes_of
from napari_resunet.errors import FileError

PLANES = arrays(np.int32, array_shapes(min_dims=2, max_dims=2, max_side=8),
                elements=st.integers(-1, 3))  # fmt: skip


def rings_of(shape):
    return [ring for polygon in shape.polygons for ring in polygon]


def drawn(shapes, size):
    labels = np.zeros(size, np.int32)
    for shape in shapes:
        found = fill(rings_of(shape), size)
        labels[found.window][found.mask] = shape.label
    return labels


def area(ring):
    x, y = np.asarray(ring).T
    return (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2


@settings(max_examples=60, deadline=None)
@given(PLANES)
def test_any_labels_come_back_equal(labels):
    shapes = list(shapes_of(labels))
    assert [s.label for s in shapes] == [n for n in np.unique(labels) if n > 0]
    np.testing.assert_array_equal(drawn(shapes, labels.shape), np.maximum(labels, 0))


@settings(max_examples=60, deadline=None)
@given(PLANES)
def test_rings_are_what_other_programs_accept(labels):
    for shape in shapes_of(labels):
        n_pixels = 0
        for outer, *holes in shape.polygons:
            assert area(outer) > 0
            assert all(area(hole) < 0 for hole in holes)
            n_pixels += sum(map(area, (outer, *holes)))
            for ring in (outer, *holes):  # never through one corner twice
                assert len({*map(tuple, ring.tolist())}) == len(ring)
        assert n_pixels == np.count_nonzero(labels == shape.label)


def test_pieces_that_touch_at_a_corner_are_apart_and_a_hole_is_a_hole():
    labels = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]])
    (shape,) = shapes_of(labels)
    (ring, hole), (corner,) = shape.polygons
    assert {*map(tuple, hole.tolist())} == {(1, 1), (2, 1), (2, 2), (1, 2)}
    assert len(ring) == len(corner) == 4


def test_pixels_belong_to_an_outline_if_their_centres_are_inside():
    triangle = np.array([[0.4, 0.4], [6.0, 0.4], [0.4, 6.0]])
    found = fill([triangle], (5, 3))
    mask = np.zeros((5, 3), bool)
    mask[found.window] = found.mask
    rows, columns = np.indices(mask.shape) + 0.5
    np.testing.assert_array_equal(mask, rows + columns < 6.4)


def test_what_is_outside_of_the_plane_costs_nothing():
    square = np.array([[-1e8, -1e8], [1e8, -1e8], [1e8, 1e8], [-1e8, 1e8]])
    found = fill([square], (4, 6))
    assert found.mask.shape == (4, 6)
    assert found.mask.all()
    assert not fill([square + 2e8 + 10], (4, 6)).mask.size


def test_endless_outlines_are_refused_before_they_are_filled():
    zigzag = np.tile([[0.0, 0.0], [1.0, 1000.0]], (1000, 1))
    with pytest.raises(FileError, match="far longer than those of objects"):
        fill([zigzag], (1000, 1000), most=10**6)
