"""What is learned from: each corrected plane as it was last."""

import numpy as np

from napari_resunet.corrections.training_set import (
    COUNTED,
    Correction,
    CorrectionLog,
    as_example,
    count_areas,
)


def correction(image_id, value):
    labels = np.full((4, 4), value, np.int32)
    verified = np.ones((4, 4), bool)
    return Correction(
        image_id, (0,), (slice(0, 4), slice(0, 4)), labels, verified, ~verified
    )


def test_the_log_keeps_every_plane_as_it_was_last():
    log = CorrectionLog()
    for image_id, value in (("a", 1), ("b", 2), ("a", 3)):
        one = correction(image_id, value)
        log.record(one, as_example(one, np.zeros((4, 4)), scale=1.0))
    assert [e.labels[0, 0] for e in log.examples()] == [2, 3]
    assert len(log) == 2


def test_the_log_lists_what_is_learned_from_elsewhere():
    log = CorrectionLog()
    for image_id in ("a", "b"):
        one = correction(image_id, 1)
        log.record(one, as_example(one, np.zeros((4, 4)), scale=1.0))
    assert [c.image_id for c in log.other_than({("a", (0,))})] == ["b"]
    assert len(log.other_than({})) == 2


def test_objects_edits_and_areas_are_counted():
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 2:6], labels[2:6, 8:12], labels[14:18, 20:26] = 1, 2, 3
    verified, edited = np.zeros((2, 20, 30), bool)
    verified[:8, :14] = verified[12:, 18:] = True
    edited[3, 3] = edited[10, 10] = True
    whole = slice(0, 20), slice(0, 30)
    one = Correction("a", (), whole, labels, verified, edited)
    assert (one.n_objects, one.n_edited, one.n_areas) == (3, 1, 2)
    verified[8, 14:18] = verified[9:12, 17] = True  # a path between both, at its corners
    assert one.n_areas == 1


def test_areas_of_a_large_plane_are_counted_on_a_coarse_one():
    verified = np.zeros((4 * COUNTED, 5 * COUNTED), bool)
    verified[:100, :100] = verified[500:900, 700:900] = True
    assert count_areas(verified) == 2
    assert count_areas(np.zeros((3, 3), bool)) == 0
