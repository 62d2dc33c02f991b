"""What is learned from: each corrected plane as it was last."""

import numpy as np

from napari_resunet.corrections.training_set import Correction, CorrectionLog, as_example


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
