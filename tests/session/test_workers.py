"""What fine-tuning learns from: the verified areas of all images, each as it is."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.engine.changes import Changes, Elsewhere, ImageChanges
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.session.large.workers import segment_whole
from napari_resunet.session.workers import (
    CorrectedImage,
    FineTuneRequest,
    ImageSnapshot,
    ResumeRequest,
    Workers,
)
from napari_resunet.types import Decoding, OtherImage, RemoteServer


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

    def steps(model, examples, *args, **named):
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


def test_other_images_are_read_here_and_their_keys_come_back(random_model, monkeypatch):
    def steps(model, examples, *args, others):
        images = tuple(ImageChanges(other.name, Changes(same=1)) for other in others)
        return FineTuneResult(model, "better", None, None, "", 1, 1, 1,
                              elsewhere=Elsewhere(images))  # fmt: skip
        yield

    def read(info, scale, token):
        yield Progress(0, 0, "reading")
        return [("its key", OtherImage("b", np.zeros((9, 9)), scale))]

    monkeypatch.setattr("napari_resunet.engine.finetune.fine_tune_steps", steps)
    images = (corrected("a", np.zeros((30, 30), np.uint8), "YX", None, 2.0),)
    request = FineTuneRequest(random_model, "cpu", images, Decoding(), 1.0, read)
    result = drain(Workers().fine_tune(request, CancelToken()))
    (found,) = result.elsewhere.images
    assert (found.name, found.key) == ("b", "its key")


def test_what_no_server_does_is_done_here_and_said(random_model):
    server, workers = RemoteServer("http://gpu:8787", "a key"), Workers()
    resume = ResumeRequest(random_model, server, Path(), None)
    assert next(workers.resume(resume, CancelToken())) == Notice(
        "An interrupted fine-tuning is resumed on this computer, not on the server."
    )
    whole = SimpleNamespace(model=random_model, device=server)
    assert next(segment_whole(workers, whole, CancelToken())) == Notice(
        "An image larger than memory is segmented on this computer, not on the server."
    )
