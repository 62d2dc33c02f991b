"""A scribble or a box becomes an object, with maps and without."""

import numpy as np
import pytest
from scipy import ndimage

from napari_resunet.corrections.grow import add_box, add_scribble
from napari_resunet.errors import CorrectionError

SHAPE = (120, 140)
SIZE = 24.0
TRUTH = {1: (40, 40), 2: (40, 62), 3: (85, 100)}


def disc(centre, radius=12):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def maps_of(strength=1.0):
    """Soft maps of three objects, two of which touch."""
    maps = np.zeros((3, *SHAPE), np.float32)
    for centre in TRUTH.values():
        distance = np.clip(
            1 - np.hypot(*np.indices(SHAPE) - np.array(centre)[:, None, None]) / 12, 0, 1
        )
        maps[1] = np.maximum(maps[1], distance)
        maps[0] = np.maximum(maps[0], ndimage.gaussian_filter(disc(centre) * 1.0, 1.5))
    return strength * maps


def reader(maps):
    return lambda window: None if maps is None else maps[(slice(None), *window)]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def added(labels, edit):
    after = labels.copy()
    after[edit.rows, edit.columns] = edit.after
    return after


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_a_scribble_grows_to_the_object_and_stops_at_its_neighbour(strength):
    labels = np.zeros(SHAPE, np.int32)
    path = np.array([(36, 36), (42, 42)], float)
    edit = add_scribble(labels, path, 5, SIZE, reader(maps_of(strength)), 9)
    grown = added(labels, edit) == 9
    assert iou(grown, disc(TRUTH[1])) > (0.8 if strength == 1 else 0.6)


def test_a_scribble_over_two_peaks_makes_them_one():
    labels = np.zeros(SHAPE, np.int32)
    path = np.array([(40, 38), (40, 64)], float)
    edit = add_scribble(labels, path, 5, SIZE, reader(maps_of()), 9)
    assert iou(added(labels, edit) == 9, disc(TRUTH[1]) | disc(TRUTH[2])) > 0.8


def test_other_objects_are_never_written_over():
    labels = np.where(disc(TRUTH[2]), 5, 0).astype(np.int32)
    path = np.array([(40, 30), (40, 70)], float)
    for maps in (maps_of(), None):
        after = added(labels, add_scribble(labels, path, 9, SIZE, reader(maps), 9))
        assert (after == 9).any()
        assert np.array_equal(after == 5, labels == 5)
        corners = np.array([(25, 25), (55, 75)], float)
        after = added(labels, add_box(labels, corners, SIZE, reader(maps), 9))
        assert (after == 9).any()
        assert np.array_equal(after == 5, labels == 5)


def test_a_faint_object_takes_no_rim_of_a_bright_neighbour():
    maps = maps_of(0.25)
    bright = maps_of()
    near = np.arange(SHAPE[1]) > 51
    maps[:, :, near] = bright[:, :, near]
    labels = np.where(disc(TRUTH[2], 10), 5, 0).astype(np.int32)
    path = np.array([(38, 40), (42, 40)], float)
    grown = added(labels, add_scribble(labels, path, 5, SIZE, reader(maps), 9)) == 9
    assert iou(grown, disc(TRUTH[1])) > 0.6
    assert not grown[:, 56:].any()


def test_without_maps_the_stroke_itself_is_added():
    labels = np.zeros(SHAPE, np.int32)
    path = np.array([(20, 20), (20, 60)], float)
    grown = added(labels, add_scribble(labels, path, 6, SIZE, reader(None), 9)) == 9
    assert grown.sum() == pytest.approx(6 * 46, rel=0.25)
    assert grown[18:23, 20:60].all()


def test_where_the_maps_see_nothing_the_stroke_itself_is_added():
    labels = np.zeros(SHAPE, np.int32)
    path = np.array([(100, 20), (100, 40)], float)
    grown = added(labels, add_scribble(labels, path, 6, SIZE, reader(maps_of()), 9)) == 9
    assert grown[98:103, 20:40].all()


def test_a_stroke_around_an_area_fills_it():
    labels = np.zeros(SHAPE, np.int32)
    angle = np.linspace(0, 2 * np.pi, 40)
    ring = np.stack([60 + 20 * np.sin(angle), 60 + 20 * np.cos(angle)], 1)
    grown = added(labels, add_scribble(labels, ring, 4, SIZE, reader(None), 9)) == 9
    assert iou(grown, disc((60, 60), 22)) > 0.9


def test_a_box_finds_the_object_in_it():
    labels = np.zeros(SHAPE, np.int32)
    corners = np.array([(98, 113), (72, 86)], float)  # drawn from any corner
    grown = added(labels, add_box(labels, corners, SIZE, reader(maps_of()), 9)) == 9
    assert iou(grown, disc(TRUTH[3])) > 0.9


def test_a_box_leaves_the_neighbour_that_reaches_into_it():
    labels = np.zeros(SHAPE, np.int32)
    corners = np.array([(26, 26), (54, 56)], float)
    grown = added(labels, add_box(labels, corners, SIZE, reader(maps_of()), 9)) == 9
    assert iou(grown, disc(TRUTH[1])) > 0.8


@pytest.mark.parametrize("maps", [None, np.zeros((3, *SHAPE), np.float32)])
def test_a_box_without_evidence_gives_the_ellipse_in_it(maps):
    labels = np.zeros(SHAPE, np.int32)
    corners = np.array([(10, 10), (29, 49)], float)
    grown = added(labels, add_box(labels, corners, SIZE, reader(maps), 9)) == 9
    rows, columns = np.nonzero(grown)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 10, 49)
    assert grown.sum() == pytest.approx(np.pi * 10 * 20, rel=0.06)


@pytest.mark.parametrize("maps", [None, maps_of()], ids=["no maps", "maps"])
def test_outside_nothing_is_added_and_over_the_edge_something_is(maps):
    labels = np.zeros(SHAPE, np.int32)
    for place in ((-20.0, -30.0), (500.0, 500.0)):
        path = np.array([place, (place[0] + 6, place[1] + 8)])
        for add in (
            lambda: add_scribble(labels, path, 4, SIZE, reader(maps), 9),  # noqa: B023
            lambda: add_box(labels, path, SIZE, reader(maps), 9),  # noqa: B023
        ):
            with pytest.raises(CorrectionError, match="on the image"):
                add()
    path = np.array([(-2.0, -2.0), (4.0, 6.0)])
    assert len(add_scribble(labels, path, 4, SIZE, reader(maps), 9))
    assert len(add_box(labels, path, SIZE, reader(maps), 9))


CROWD = [(30 + 15 * row, 30 + 16 * column) for row in range(4) for column in range(5)]


def crowded(radius=9):
    """Soft maps of cells that touch: the distance never falls to zero between them."""
    rows, columns = np.indices(SHAPE)
    maps = np.zeros((3, *SHAPE), np.float32)
    for row, column in CROWD:
        away = np.hypot(rows - row, columns - column)
        maps[0] = np.maximum(maps[0], (away < radius).astype(np.float32))
        maps[1] = np.maximum(maps[1], np.clip(0.85 - 0.4 * away / radius, 0, 1))
    maps[1] *= maps[0] > 0
    return maps


def holds_one_piece(grown):
    return ndimage.label(grown)[1] == 1


def test_in_a_crowd_one_cell_is_added_and_not_its_neighbours():
    labels = np.zeros(SHAPE, np.int32)
    row, column = CROWD[7]
    for path in ([(row, column)], [(row - 2, column - 3), (row + 2, column + 3)]):
        edit = add_scribble(labels, np.array(path, float), 5, SIZE, reader(crowded()), 9)
        grown = added(labels, edit) == 9
        assert iou(grown, disc(CROWD[7], 8)) > 0.7
        others = [grown[place] for place in CROWD if place != CROWD[7]]
        assert not any(others)
        assert holds_one_piece(grown)


def test_a_click_away_from_the_middle_gives_the_same_cell():
    labels = np.zeros(SHAPE, np.int32)
    row, column = CROWD[7]
    path = np.array([(row + 4, column + 4)], float)
    grown = added(labels, add_scribble(labels, path, 5, SIZE, reader(crowded()), 9)) == 9
    assert iou(grown, disc(CROWD[7], 8)) > 0.6


@pytest.mark.parametrize("maps", [None, crowded()], ids=["no maps", "maps"])
def test_over_an_object_nothing_is_added_and_it_is_said_why(maps):
    labels = np.where(disc((60, 70), 12), 4, 0).astype(np.int32)
    path = np.array([(60, 64), (60, 84)], float)
    with pytest.raises(CorrectionError, match="Object 4 is there already"):
        add_scribble(labels, path, 5, SIZE, reader(maps), 9)


def test_slivers_between_objects_are_refused():
    labels = np.ones(SHAPE, np.int32)
    labels[:, 70:] = 2
    labels[:, 68:70] = 0
    path = np.array([(40, 68), (80, 69)], float)
    for maps in (None, crowded()):
        with pytest.raises(CorrectionError, match="sliver"):
            add_scribble(labels, path, 6, SIZE, reader(maps), 9)
    with pytest.raises(CorrectionError, match="sliver"):
        add_box(labels, np.array([(40, 50), (80, 90)], float), SIZE, reader(None), 9)


@pytest.mark.parametrize("maps", [None, maps_of()], ids=["no maps", "maps"])
def test_across_an_object_the_piece_under_most_of_the_scribble_is_added(maps):
    labels = np.zeros(SHAPE, np.int32)
    labels[:, 52:56] = 3
    path = np.array([(40, 32), (40, 60)], float)
    after = added(labels, add_scribble(labels, path, 6, SIZE, reader(maps), 9))
    assert holds_one_piece(after == 9)
    assert not (after[:, 56:] == 9).any()
    assert np.array_equal(after == 3, labels == 3)
