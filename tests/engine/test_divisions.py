"""Cells that divide: their daughters get new numbers, and their parent is found."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_resunet.engine.divisions import parents_of
from napari_resunet.engine.linking import link_slices
from napari_resunet.engine.metrics import links_kept
from napari_resunet.events import drain

FILM = Path(__file__).parents[2] / "sample_data" / "timeseries_labels.tif"


def disc(frame, row, column, radius, number):
    rows, columns = np.indices(frame.shape)
    frame[np.hypot(rows - row, columns - column) < radius] = number


def division(apart=6.0, radius=7.0):
    """A cell in frames 0 to 2 and its daughters in 3 to 5; a neighbour in all of them."""
    labels = np.zeros((6, 60, 80), np.int32)
    for time, frame in enumerate(labels):
        disc(frame, 30, 65, 9, 3)
        if time < 3:
            disc(frame, 30, 30, 10, 1)
        else:
            disc(frame, 30, 30 - apart, radius, 1)
            disc(frame, 30, 30 + apart, radius, 2)
    return labels


def linked(labels, divide=True):
    return drain(link_slices(labels, divide=divide))


def test_daughters_get_numbers_of_their_own_and_keep_them():
    labels = linked(division())
    assert [len(np.unique(frame)) - 1 for frame in labels] == [2, 2, 2, 3, 3, 3]
    parent, left, right = labels[2, 30, 30], labels[3, 30, 24], labels[3, 30, 36]
    assert len({parent, left, right}) == 3
    assert not (labels[3:] == parent).any()
    assert (labels[3:, 30, 24] == left).all()
    assert (labels[3:, 30, 36] == right).all()
    assert (labels[:, 30, 65] == labels[0, 30, 65]).all()
    assert parents_of(labels) == {left: parent, right: parent}


def test_slices_of_a_volume_do_not_divide():
    labels = linked(division(), divide=False)
    assert len(np.unique(labels)) == 4


@pytest.mark.parametrize(
    ("name", "radii"),
    [("a bud is no daughter", (9, 3)), ("one that stays as large did not divide", (10, 9))],
)
def test_a_cell_that_goes_on_keeps_its_number(name, radii):
    labels = np.zeros((2, 60, 80), np.int32)
    disc(labels[0], 30, 30, 10, 1)
    disc(labels[1], 30, 42, radii[1], 2)
    disc(labels[1], 30, 30, radii[0], 1)
    found = linked(labels)
    assert found[1, 30, 30] == found[0, 30, 30]
    assert not parents_of(found)


def test_a_cell_that_vanishes_beside_new_ones_far_away_is_no_parent():
    assert not parents_of(linked(division(apart=16.0)))


def test_one_that_is_missing_in_a_frame_did_not_divide():
    labels = division()
    labels[5] = labels[2]  # it is back
    labels[3:5] = np.where(labels[3:5] == 3, 3, 0)
    assert not parents_of(labels)


def test_parents_of_volumes_are_found_too():
    labels = division()
    volumes = np.stack([labels, labels], 1)
    assert len(parents_of(linked(volumes))) == 2


def test_a_film_without_divisions_is_linked_as_before():
    truth = tifffile.imread(FILM).astype(np.int32)
    labels = linked(truth)
    assert links_kept(truth, labels) == (325, 325)
    assert not parents_of(labels)
    assert np.array_equal(labels, linked(truth, divide=False))
