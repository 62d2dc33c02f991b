"""Where to compute: on a device of this computer, or on another computer."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from napari_resunet.engine import finetune
from napari_resunet.engine.device import choose
from napari_resunet.engine.finetune import FineTuneStep
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.predict import MapPredictor, Predictor
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.network.model_file import Model
from napari_resunet.remote import predict as remote
from napari_resunet.types import Decoding, Device, Example, OtherImage, RemoteServer


def predictor_on(model: Model, device: Device) -> MapPredictor:
    """Make what predicts maps.

    Raises
    ------
    DeviceError
        If this computer does not have the device.
    """
    if isinstance(device, RemoteServer):
        return remote.RemotePredictor(model, device)
    return Predictor(model, choose(device))


def fine_tune_on(
    model: Model,
    examples: Sequence[Example],
    config: FineTuneConfig,
    device: Device,
    token: CancelToken | None = None,
    decoding: Decoding | None = None,
    others: Sequence[OtherImage] = (),
) -> Generator[FineTuneStep | Progress | Notice, None, FineTuneResult]:
    """Fine-tune a copy of a model; see `engine.finetune.fine_tune_steps`."""
    if isinstance(device, RemoteServer):
        return remote.fine_tune_steps(
            model, examples, config, device, token, decoding, others
        )
    compute = choose(device)
    return finetune.fine_tune_steps(
        model, examples, config, compute, token, decoding, others=others
    )
