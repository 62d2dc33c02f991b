"""A model and its file: the weights and their description in one ``.safetensors``.

Reading executes nothing: safetensors holds only numbers, and plain state_dicts go through
``torch.load(weights_only=True)``. Names, shapes, and types are checked before the numbers
are read, so a file cannot allocate more than the network needs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from napari_resunet._package import library_versions
from napari_resunet.errors import ArgumentError, ModelFileError, OutOfMemoryError
from napari_resunet.files import atomic_path
from napari_resunet.network.resnet_unet import EncoderWeights, ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import INSTANCE_MAPS, MAX_MAPS, Lineage, ModelInfo

FORMAT_VERSION = 1
HEADER_KEY = "napari_resunet"
DIGEST_KEY = "napari_resunet_sha256"
PLAIN_SUFFIXES = (".pt", ".pth")
MAX_FILE = 2**30
"""Bytes: a model has 73 MB, a checkpoint of a fine-tuning four times as many."""

STORED_NAMES = {"min_size_fraction": "smallest", "tta": "mirrored"}
"""Fields of `ModelInfo` that have another name in files."""

UNHASHED = (
    "was saved by an older napari-resunet and holds no checksum, so damage to it would not "
    "be seen: save the model again."
)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
ENCODER = "base_model."
ALIASES = {
    "layer0.0.": "base_model.conv1.",
    "layer0.1.": "base_model.bn1.",
    "layer1.1.": "base_model.layer1.",
    "layer2.": "base_model.layer2.",
    "layer3.": "base_model.layer3.",
    "layer4.": "base_model.layer4.",
}
"""Prefixes under which the reference's state_dict repeats tensors of the encoder."""

Weights = dict[str, torch.Tensor]
V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, and what its outputs mean.

    Attributes
    ----------
    network : ResNetUNet
        On the CPU, in float32 and evaluation mode.
    info : ModelInfo
        Everything except the weights.
    notice : str
        What the user should know about the file it was read from; usually empty.
    """

    network: ResNetUNet
    info: ModelInfo
    notice: str = ""

    @property
    def is_half(self) -> bool:
        """Whether half precision holds the weights without loss."""
        weights = self.network.state_dict().values()
        return all(torch.equal(w.half().to(w.dtype), w) for w in weights)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights and the description, whether or not there is a file."""
        weights = dict(without_aliases(self.network.state_dict()))
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        return digest_of(contiguous, json.dumps(asdict(self.info)))

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the model to a file, all or nothing.

        Parameters
        ----------
        path : str or Path
            Name of the file, usually ending in ``.safetensors``.
        half : bool
            Whether to store half precision, which halves the size.

        Raises
        ------
        ModelFileError
            If the name cannot be used, or a weight is NaN or infinite.
        ArgumentError
            If `half` is neither True nor False.
        FileError
            If the file cannot be written.
        OutOfMemoryError
            If there is not enough memory.
        """
        target = model_path(path)
        if not isinstance(half, bool | np.bool_):
            raise ArgumentError(f"half must be True or False, not {half!r:.50}.")
        if target.suffix.lower() in PLAIN_SUFFIXES:
            raise ModelFileError(
                f"'{target.name}' would not load again, for models are saved as "
                f"safetensors: save it as '{target.stem}.safetensors'."
            )
        weights = {
            name: _stored(tensor, half)
            for name, tensor in without_aliases(self.network.state_dict())
        }
        if not _are_numbers(weights):
            raise ModelFileError(
                f"'{target.name}' was not written, for the weights are not all numbers (or "
                "too large for half precision): train again, at a lower rate."
            )
        fields = {STORED_NAMES.get(k, k): v for k, v in asdict(self.info).items()}
        header = {"format_version": FORMAT_VERSION, **fields}
        write_tensors(target, weights, json.dumps(header))


def model_path(path: str | Path) -> Path:
    """Check the name of a model file, whether or not it exists.

    Raises
    ------
    ModelFileError
        If no file can have that name.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise ModelFileError(
            "The path of a model file must be a string or a Path that is not empty."
        )
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ModelFileError(
            f"The name of the model file, {text!a:.100}, holds characters that are no "
            "text: rename the file or its folder."
        ) from error
    if "\0" in text:
        raise ModelFileError(
            "The name of the model file holds a null character, which no file can have in "
            "its name: choose another name."
        )
    if any(len(part.encode()) > 255 for part in Path(path).parts):
        raise ModelFileError(
            f"No file can have the name {text[:50]!r}… of the model: choose a shorter one."
        )
    return Path(path)


def write_tensors(path: Path, tensors: Weights, header: str) -> None:
    """Write tensors, a description, and a hash of both, all or nothing.

    The tensors are on the CPU and do not share memory.

    Raises
    ------
    FileError
        If the file cannot be written.
    OutOfMemoryError
        If there is not enough memory.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {HEADER_KEY: header, DIGEST_KEY: digest_of(contiguous, header)}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata)
        except SafetensorError as error:  # also raised when the disk is full
            raise OSError(str(error)) from error
        except (MemoryError, RuntimeError) as error:
            raise _no_memory(path) from error


def digest_of(tensors: Weights, header: str) -> str:
    """Return the SHA-256 of contiguous tensors on the CPU and their description."""
    digest = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def without_aliases(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Skip the second names of the encoder's tensors."""
    for name, tensor in weights.items():
        if not name.startswith(tuple(ALIASES)):
            yield name, tensor


def with_aliases(weights: dict[str, V]) -> dict[str, V]:
    """Add the second names of the encoder's tensors if they are missing."""
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
    """Make an untrained model; `seed` determines its random weights.

    Raises
    ------
    WeightsUnavailableError
        If the ImageNet weights cannot be downloaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(ResNetUNet(info.n_maps, encoder_weights).eval(), info)


def with_new_maps(model: Model, info: ModelInfo, seed: int = 0) -> Model:
    """Make a model for another task from all of a model but its last layer."""
    lineage = Lineage(parent_id=model.info.lineage.model_id, versions=library_versions())
    start = new_model(replace(info, lineage=lineage), seed=seed)
    features = {
        name: tensor
        for name, tensor in copy.deepcopy(model.network.state_dict()).items()
        if not name.startswith("conv_last.")
    }
    start.network.load_state_dict(features, strict=False)
    return start


def read_model(path: Path, digest: str | None = None) -> Model:
    """Read a model file.

    Parameters
    ----------
    path : Path
        ``.safetensors`` of this package, or a plain state_dict of the reference network
        (``.pt``, ``.pth``).
    digest : str or None
        The hash of a file that does not contain its own, if known.

    Returns
    -------
    Model
        With a notice if there is no hash, because then damage cannot be detected.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign, or unsafe.
    OutOfMemoryError
        If there is not enough memory.
    """
    path = model_path(path)
    with _plain_errors(path):
        if not path.is_file():
            raise ModelFileError(f"There is no model file '{path}': choose another one.")
        _check_size(path)
        if path.suffix.lower() in PLAIN_SUFFIXES:
            return _read_plain(path)
        return _read_ours(path, digest)


def read_tensors(path: Path) -> tuple[Weights, str]:
    """Read the tensors and the description that `write_tensors` wrote.

    Raises
    ------
    ModelFileError
        If the file is damaged or foreign.
    OutOfMemoryError
        If there is not enough memory.
    """
    with _plain_errors(path), safe_open(path, framework="pt") as stream:
        _check_size(path)
        tensors = {name: stream.get_tensor(name) for name in list(stream.keys())}
        header = _header(path, stream.metadata())
        _check_hash(path, tensors, stream.metadata())
        return tensors, header


def _read_ours(path: Path, digest: str | None) -> Model:
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
        info = _read_info(path, _header(path, metadata))
        names = list(stream.keys())
        shapes = {name: tuple(stream.get_slice(name).get_shape()) for name in names}
        _check_shapes(path, shapes, info)
        weights = {name: stream.get_tensor(name) for name in names}
    notice = f"'{path.name}' {UNHASHED}"
    if _check_hash(path, weights, metadata, digest):
        notice = ""
    return _build(path, weights, info, notice)


def _read_plain(path: Path) -> Model:
    try:
        state = _load_plain(path)
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise ModelFileError(
            f"'{path.name}' is not a plain file of weights, or is damaged or unsafe; "
            "nothing in it was run. Choose another model file."
        ) from error
    info = _guessed_info(path, shapes)
    _check_shapes(path, shapes, info)
    return _build(path, state, info)


def _load_plain(path: Path) -> Weights:
    """Load a state_dict, mapping the contents of a zip archive instead of unpacking it."""
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
                raise ValueError("torch does not compress what it saves")
    with warnings.catch_warnings():
        # torch warns about pickles that it then refuses.
        warnings.simplefilter("ignore")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    return {str(name): tensor.detach() for name, tensor in state.items()}


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Convert errors of reading to ours."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(
            f"'{path}' cannot be read ({error.strerror or error}): choose another file."
        ) from error
    except (MemoryError, RuntimeError, SafetensorError, ValueError, TypeError) as error:
        short = isinstance(error, MemoryError) or "allocate" in str(error)
        raise (_no_memory(path) if short else _damaged(path)) from error


def _no_memory(path: Path) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"There is not enough memory for the model '{path.name}': close other programs and "
        "try again."
    )


def _check_size(path: Path) -> None:
    if path.stat().st_size > MAX_FILE:
        raise ModelFileError(
            f"'{path.name}' is larger than any model file of napari-resunet: choose "
            "another one."
        )


def _header(path: Path, metadata: Mapping[str, str] | None) -> str:
    if metadata is None or HEADER_KEY not in metadata:
        raise _foreign(path)
    return metadata[HEADER_KEY]


def _check_hash(
    path: Path, tensors: Weights, metadata: Mapping[str, str], known: str | None = None
) -> bool:
    """Return whether a hash confirms the tensors; raise if it contradicts them."""
    # A file of an older version has no hash; one whose name for it is damaged must not pass
    # for such a file.
    if DIGEST_KEY not in metadata and metadata.keys() != {HEADER_KEY}:
        raise _damaged(path)
    stored = metadata.get(DIGEST_KEY, known)
    if stored is not None and stored != digest_of(tensors, metadata[HEADER_KEY]):
        raise _damaged(path)
    return stored is not None


def _read_info(path: Path, header: str) -> ModelInfo:
    try:
        fields: dict[str, Any] = json.loads(header)
        version = fields.pop("format_version")
        if type(version) is not int:
            raise TypeError("a version is a whole number")
        for name, stored in STORED_NAMES.items():
            if stored in fields:
                fields[name] = fields.pop(stored)
        info = TypeAdapter(ModelInfo).validate_python(fields)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"The description inside '{path.name}' is damaged: save the model again."
        ) from error
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"'{path.name}' was saved by a newer napari-resunet: update the plugin."
        )
    if not _makes_sense(info):
        raise ModelFileError(
            f"The description inside '{path.name}' makes no sense: save the model again."
        )
    return info


def _makes_sense(info: ModelInfo) -> bool:
    limits = info.normalization
    n_maps = range(2, MAX_MAPS + 1) if info.task == "classes" else (len(INSTANCE_MAPS),)
    return (
        info.n_maps in n_maps
        and limits.low_percentile < limits.high_percentile
        and limits.clip_low < limits.clip_high
    )


def _guessed_info(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> ModelInfo:
    last = shapes.get("conv_last.bias", ())
    if len(last) != 1 or not 1 < last[0] <= MAX_MAPS:
        raise _foreign(path)
    if last[0] == len(INSTANCE_MAPS):
        return ModelInfo()
    names = ("background", *(f"class {i}" for i in range(1, last[0])))
    return ModelInfo(task="classes", class_names=names)


def _check_shapes(path: Path, shapes: dict[str, tuple[int, ...]], info: ModelInfo) -> None:
    """Refuse tensors other than the network's before their numbers are read."""
    with torch.device("meta"):
        needed = ResNetUNet(info.n_maps).state_dict()
    if with_aliases(shapes) != {name: tuple(t.shape) for name, t in needed.items()}:
        raise _foreign(path)


def _build(path: Path, weights: Weights, info: ModelInfo, notice: str = "") -> Model:
    network = ResNetUNet(info.n_maps)
    needed = network.state_dict()
    if not all(_is_of_kind(weight, needed[name]) for name, weight in weights.items()):
        raise _foreign(path)
    if not _are_numbers(weights):
        raise ModelFileError(
            f"The weights in '{path.name}' are not all numbers: the training that made "
            "them went wrong. Choose another model file."
        )
    network.load_state_dict(with_aliases(weights), strict=True)
    return Model(network.eval(), info, notice)


def _is_of_kind(weight: torch.Tensor, needed: torch.Tensor) -> bool:
    kinds = FLOATS if needed.is_floating_point() else (needed.dtype,)
    return (
        weight.dtype in kinds
        and weight.layout == torch.strided
        and weight.device.type == "cpu"
        # An expanded tensor takes few bytes in the file but much memory here.
        and weight.untyped_storage().nbytes() >= weight.numel() * weight.element_size()
    )


def _are_numbers(weights: Weights) -> bool:
    """Return whether all weights are finite and no variance is negative."""
    return all(
        bool(torch.isfinite(tensor).all())
        and not (name.endswith("running_var") and bool((tensor < 0).any()))
        for name, tensor in weights.items()
    )


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(
        f"'{path.name}' is damaged or not a model file: download or save it again."
    )


def _foreign(path: Path) -> ModelFileError:
    return ModelFileError(
        f"'{path.name}' does not hold a ResNetUNet model: choose a file that "
        "napari-resunet saved, or a state_dict of the reference ResNetUNet."
    )
