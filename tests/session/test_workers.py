"""What fine-tuning learns from: the verified areas of all images, each as it is."""

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.events import CancelToken
from napari_resunet.session.workers import (
    CorrectedImage,
    FineTuneRequest,
    ImageSnapshot,
    Workers,
)
from napari_resunet.types import Decoding


def corrected(name, pixels, axes, channels, scale):
    """The whole plane is verified, and one object of it is edited."""
    labels = np.zeros(pixels.shape[-2:], np.int32)
    labels[5:20, 5:20] = 1
    window = tuple(slice(0, n) for n in labels.shape)
    verified = np.ones(labels.shape, bool)
    correction = Correction(name, (), window, labels, verified, labels > 0)
    snapshot = ImageSnapshot(name, (pixels,), axes, channels)
    return CorrectedImage(snapshot, (correction,), scale, auto_scale=False)


def test_images_of_other_sizes_and_channels_are_learned_from_at_their_scales(
    random_model, monkeypatch
):
    taught = []

    def steps(model, examples, *args):
        taught.extend(examples)
        yield "it learns"

    monkeypatch.setattr("napari_resunet.engine.finetune.fine_tune_steps", steps)
    noise = np.random.default_rng(0).integers(0, 255, (2, 40, 50), np.uint8)
    images = (
        corrected("a", noise[0, :30, :30], "YX", None, 2.0),
        corrected("b", noise, "CYX", (1,), 0.5),
    )
    request = FineTuneRequest(random_model, "cpu", images, Decoding(), 1.0)
    workers = Workers()
    assert next(workers.fine_tune(request, CancelToken())) == "it learns"
    assert workers.corrections.n_images == 2
    assert [example.scale for example in taught] == [2.0, 0.5]
    assert [example.labels.shape for example in taught] == [(30, 30), (40, 50)]
    assert np.array_equal(np.squeeze(taught[1].image), noise[1])
