"""A model and its file: weights and what they mean, in one ``.safetensors``.

Reading executes nothing: safetensors holds numbers only, and plain state_dicts go
through ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_resunet.errors import ModelFileError
from napari_resunet.files import atomic_path
from napari_resunet.network.resnet_unet import STRIDE, EncoderWeights, ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.programs import library_versions as library_versions
from napari_resunet.types import INSTANCE_MAPS, Lineage, ModelInfo

FORMAT_VERSION = 1
HEADER_KEY = "napari_resunet"
PLAIN_SUFFIXES = (".pt", ".pth")
ENCODER = "base_model."
ALIASES = {
    "layer0.0.": "base_model.conv1.",
    "layer0.1.": "base_model.bn1.",
    "layer1.1.": "base_model.layer1.",
    "layer2.": "base_model.layer2.",
    "layer3.": "base_model.layer3.",
    "layer4.": "base_model.layer4.",
}
"""Under which other name the reference's state_dict repeats the encoder's tensors."""

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Model:
    """A network, on the CPU in float32 and evaluation mode, and what it means."""

    network: ResNetUNet
    info: ModelInfo

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the model to a file, all or nothing.

        Parameters
        ----------
        path : str or Path
            Ends in ``.safetensors``.
        half : bool
            Store in half precision (half the size).

        Raises
        ------
        FileError
            If the file cannot be written.
        """
        weights = {
            name: _stored(tensor, half)
            for name, tensor in without_aliases(self.network.state_dict())
        }
        header = {"format_version": FORMAT_VERSION, **asdict(self.info)}
        write_tensors(Path(path), weights, json.dumps(header))


def write_tensors(path: Path, tensors: Weights, header: str) -> None:
    """Write tensors and a description, all or nothing.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    tensors : dict of str to Tensor
        On the CPU; none shares its memory with another.
    header : str
        The description.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, {HEADER_KEY: header})
        except SafetensorError as error:  # a full disk comes as this, too
            raise OSError(str(error)) from error


def without_aliases(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Leave out the names by which the encoder's tensors are there a second time."""
    for name, tensor in weights.items():
        if not name.startswith(tuple(ALIASES)):
            yield name, tensor


def with_aliases(weights: Weights) -> Weights:
    """Add the second names of the encoder's tensors where they are missing."""
    second = {
        alias + name.removeprefix(first): tensor
        for alias, first in ALIASES.items()
        for name, tensor in weights.items()
        if name.startswith(first)
    }
    return second | weights


def _stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    return tensor.half() if half and tensor.is_floating_point() else tensor


def new_model(
    info: ModelInfo, encoder_weights: EncoderWeights = None, seed: int = 0
) -> Model:
    """Make an untrained model.

    Parameters
    ----------
    info : ModelInfo
        What it is to mean.
    encoder_weights : {"imagenet", None}
        Start of the encoder.
    seed : int
        Of the random weights.

    Returns
    -------
    Model

    Raises
    ------
    WeightsUnavailableError
        If the ImageNet weights cannot be downloaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(ResNetUNet(info.n_maps, encoder_weights).eval(), info)


def with_new_maps(model: Model, info: ModelInfo, seed: int = 0) -> Model:
    """Start a model for another task from all of a model but its last layer.

    Parameters
    ----------
    model : Model
        Whose features are taken.
    info : ModelInfo
        Task and names of the new maps.
    seed : int
        Of the random last layer.

    Returns
    -------
    Model
    """
    lineage = Lineage(parent_id=model.info.lineage.model_id, versions=library_versions())
    start = new_model(replace(info, lineage=lineage), seed=seed)
    kept = {
        name: tensor
        for name, tensor in copy.deepcopy(model.network.state_dict()).items()
        if not name.startswith("conv_last.")
    }
    start.network.load_state_dict(kept, strict=False)
    return start


def read_model(path: Path) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : Path
        ``.safetensors`` of ours, or a plain state_dict of the reference network
        (``.pt``, ``.pth``).

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign or unsafe.
    """
    if not path.is_file():
        raise ModelFileError(f"There is no model file '{path}': choose another one.")
    if path.suffix.lower() in PLAIN_SUFFIXES:
        weights = _read_plain(path)
        return _build(path, weights, _guessed_info(path, weights))
    weights, header = read_tensors(path)
    return _build(path, weights, _read_info(path, header))


def _read_plain(path: Path) -> Weights:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or hostile pickle may raise
        raise ModelFileError(
            f"'{path.name}' is not a plain file of weights, or is damaged or unsafe; "
            "nothing in it was run. Choose another model file."
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(v, torch.Tensor) for v in state.values()
    ):
        raise _foreign(path)
    return dict(state)


def read_tensors(path: Path) -> tuple[Weights, str]:
    """Read what `write_tensors` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tensors : dict of str to Tensor
    header : str

    Raises
    ------
    ModelFileError
        If it is damaged or not ours.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {}).get(HEADER_KEY)
            if header is None:
                raise _foreign(path)
            return {name: stream.get_tensor(name) for name in list(stream.keys())}, header
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        raise ModelFileError(
            f"'{path.name}' is damaged or not a model file: download or save it again."
        ) from error


def _read_info(path: Path, header: str) -> ModelInfo:
    try:
        fields: dict[str, Any] = json.loads(header)
        newer = int(fields.pop("format_version")) > FORMAT_VERSION
        if newer:
            raise ModelFileError(
                f"'{path.name}' was saved by a newer napari-resunet: update the plugin."
            )
        info = TypeAdapter(ModelInfo).validate_python(fields)
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ModelFileError(
            f"The description inside '{path.name}' is damaged: save the model again."
        ) from error
    if info.tile % STRIDE or info.tile < 96 or info.diameter <= 0 or not info.class_names:
        raise ModelFileError(
            f"The description inside '{path.name}' makes no sense: save the model again."
        )
    return info


def _guessed_info(path: Path, weights: Weights) -> ModelInfo:
    last = weights.get("conv_last.bias")
    if last is None or last.ndim != 1:
        raise _foreign(path)
    n = len(last)
    if n == len(INSTANCE_MAPS):
        return ModelInfo()
    names = ("background", *(f"class {i}" for i in range(1, n)))
    return ModelInfo(task="classes", class_names=names)


def _build(path: Path, weights: Weights, info: ModelInfo) -> Model:
    network = ResNetUNet(info.n_maps)
    try:
        complete = {k: _restored(v) for k, v in with_aliases(weights).items()}
        network.load_state_dict(complete, strict=True)
    except (RuntimeError, AttributeError) as error:
        raise _foreign(path) from error
    if not all(torch.isfinite(v).all() for v in network.state_dict().values()):
        raise ModelFileError(
            f"The weights in '{path.name}' are not all numbers: the training that made "
            "them went wrong. Choose another model file."
        )
    return Model(network.eval(), info)


def _restored(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _foreign(path: Path) -> ModelFileError:
    return ModelFileError(
        f"'{path.name}' does not hold a ResNetUNet model: choose a file that "
        "napari-resunet saved, or a state_dict of the reference ResNetUNet."
    )
