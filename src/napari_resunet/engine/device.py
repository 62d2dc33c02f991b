"""The device to compute on, and its precision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import DeviceError, OutOfMemoryError
from napari_resunet.network.torch_import import functional, nn, torch
from napari_resunet.types import DeviceChoice

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A device and its native precision.

    Attributes
    ----------
    kind : {"cuda", "mps", "cpu"}
        The device.
    dtype : torch.dtype
        Type of activations: bfloat16, float16, or float32.
    """

    kind: DeviceChoice
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """The device as a torch object."""
        return torch.device(self.kind)

    @property
    def pixel_device(self) -> torch.device:
        """Where tiles and patches are made, and maps are blended.

        MPS cannot resize without aliasing; its memory is the computer's anyway.
        """
        return torch.device("cuda" if self.kind == "cuda" else "cpu")

    @property
    def description(self) -> str:
        """The device's name and the precision, for the user."""
        name = torch.cuda.get_device_name() if self.kind == "cuda" else self.kind.upper()
        return f"{name}, {self.precision}"

    @property
    def precision(self) -> str:
        """The name of the precision."""
        return str(self.dtype).removeprefix("torch.")


def choose(choice: DeviceChoice = "auto") -> Compute:
    """Choose a device; ``auto`` takes the first available of CUDA, MPS, and CPU.

    Raises
    ------
    DeviceError
        If the chosen device is not available.
    """
    available: dict[DeviceChoice, bool] = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if choice == "auto":
        kind = next(name for name, found in available.items() if found)
    elif available.get(choice):
        kind = choice
    else:
        raise DeviceError(
            f"This computer has no usable device '{choice}': choose 'auto' or 'cpu'."
        )
    return Compute(kind, _native_dtype(kind))


def as_before(kind: DeviceChoice, precision: str) -> Compute:
    """Return a device and precision that were used before, for others round differently.

    Raises
    ------
    DeviceError
        If this computer has no such device.
    """
    try:
        choose(kind)
    except DeviceError as error:
        raise DeviceError(
            f"Other blocks were computed on {kind.upper()}, which this computer does not "
            "have: go on where it is, or give --overwrite to start again."
        ) from error
    return Compute(kind, getattr(torch, precision))


def n_gpus() -> int:
    """Return how many CUDA devices this process sees."""
    return torch.cuda.device_count()


def _native_dtype(kind: str) -> torch.dtype:
    if kind == "cuda":
        # Older cards only emulate bfloat16.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if kind == "mps":
        return torch.float16
    return _faster_on_cpu()


@cache
def _faster_on_cpu() -> torch.dtype:
    """Find the faster precision of this CPU, once per process.

    AVX512-BF16 and AMX have native bfloat16; elsewhere it is emulated and slower. AMX is
    several times as fast as float32, but AVX512-BF16 alone may be slower
    (docs/architecture.md), so both are timed.
    """
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not native:
        return torch.float32
    half, single = (_convolution_seconds(t) for t in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if half < single else torch.float32


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Time a convolution typical of the network (2 ms): the best of five runs."""
    shapes = ((1, 64, 64, 64), (64, 64, 3, 3))
    images, kernels = (
        torch.ones(shape, dtype=dtype).to(memory_format=torch.channels_last)
        for shape in shapes
    )
    seconds = []
    with torch.inference_mode():
        for _ in range(5):
            begin = time.perf_counter()
            functional.conv2d(images, kernels, padding=1)
            seconds.append(time.perf_counter() - begin)
    return min(seconds)


def to_device(network: N, compute: Compute) -> N:
    """Move a network to its device, channels last, which is fastest for convolutions."""
    return network.to(compute.device).to(memory_format=torch.channels_last)


def upload(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array of numbers to a device as float32; a card computes meanwhile."""
    host = torch.empty(array.shape, dtype=torch.float32, pin_memory=device.type == "cuda")
    np.copyto(host.numpy(), array, casting="unsafe")
    return host.to(device, non_blocking=True)


class Download:
    """Tensors on their way from a device to the computer; a card computes meanwhile."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        if tensors[0].is_cuda:
            self._host = tuple(_pinned_copy(tensor) for tensor in tensors)
            self._copied = torch.cuda.Event()
            self._copied.record()
        else:
            self._host = tuple(tensor.cpu() for tensor in tensors)

    def wait(self) -> tuple[torch.Tensor, ...]:
        """Return the tensors once they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host


def _pinned_copy(tensor: torch.Tensor) -> torch.Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def free_memory(compute: Compute) -> int:
    """Return how many bytes a graphics card has free; 0 for the CPU."""
    if compute.kind == "cuda":
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return int(torch.cuda.mem_get_info()[0]) + cached
    if compute.kind == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return 0


@contextmanager
def autocast(compute: Compute) -> Iterator[None]:
    """Run a block in the device's native precision; weights stay float32."""
    enabled = compute.dtype is not torch.float32
    with torch.autocast(compute.kind, dtype=compute.dtype, enabled=enabled):
        yield


def for_training(compute: Compute) -> Compute:
    """Return the precision to learn in: small gradients are 0 in float16."""
    wide = compute.dtype is torch.float16
    return replace(compute, dtype=torch.float32) if wide else compute


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether it is an out-of-memory error of any device."""
    if isinstance(error, (torch.OutOfMemoryError, OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    reasons = ("out of memory", "allocate memory", "can't start new thread")
    return isinstance(error, (RuntimeError, OSError)) and any(r in words for r in reasons)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Convert the out-of-memory errors of any library to ours."""
    try:
        yield
    except (RuntimeError, OSError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise no_memory() from error


def no_memory() -> OutOfMemoryError:
    """Make the error for too little memory."""
    return OutOfMemoryError(
        "There is not enough memory: close other programs or choose a smaller area."
    )


def device_error(compute: Compute, error: BaseException) -> DeviceError:
    """Make the error for a device that failed."""
    way_out = "restart napari" if compute.kind == "cpu" else "choose the device 'cpu'"
    return DeviceError(
        f"The computation failed on {compute.kind.upper()} ({error}): {way_out} and try "
        "again. Labels and model are as they were."
    )


def free_cached_memory(compute: Compute) -> None:
    """Return cached memory blocks to the device."""
    if compute.kind == "cuda":
        torch.cuda.empty_cache()
    elif compute.kind == "mps":
        torch.mps.empty_cache()
