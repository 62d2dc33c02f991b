"""Where to compute and in which precision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from napari_resunet.errors import DeviceError, OutOfMemoryError
from napari_resunet.network.torch_import import functional, nn, torch
from napari_resunet.types import DeviceChoice

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A device and the precision that it has natively.

    Attributes
    ----------
    kind : {"cuda", "mps", "cpu"}
        The device.
    dtype : torch.dtype
        Of activations: bfloat16, float16 or float32.
    """

    kind: str
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """As torch wants it."""
        return torch.device(self.kind)

    @property
    def description(self) -> str:
        """One line for the user: the device's name and the precision."""
        name = torch.cuda.get_device_name() if self.kind == "cuda" else self.kind.upper()
        return f"{name}, {str(self.dtype).removeprefix('torch.')}"


def choose(choice: DeviceChoice = "auto") -> Compute:
    """Find the device.

    Parameters
    ----------
    choice : {"auto", "cuda", "mps", "cpu"}
        ``auto`` takes the first of CUDA, MPS and CPU that is there.

    Returns
    -------
    Compute

    Raises
    ------
    DeviceError
        If the chosen device is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if choice == "auto":
        kind = next(name for name, found in there.items() if found)
    elif there.get(choice):
        kind = choice
    else:
        raise DeviceError(
            f"This computer has no usable device '{choice}': choose 'auto' or 'cpu'."
        )
    return Compute(kind, _native_dtype(kind))


def _native_dtype(kind: str) -> torch.dtype:
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if kind == "mps":
        return torch.float16
    return _faster_on_cpu()


@cache
def _faster_on_cpu() -> torch.dtype:
    """Find the faster precision of this CPU, once for each process.

    AVX512-BF16 and AMX have bfloat16 natively; elsewhere it is emulated, and slower. AMX
    is several times as fast as float32, but AVX512-BF16 alone may be slower than float32
    (docs/architecture.md): only the clock tells.
    """
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not native:
        return torch.float32
    half, single = (_convolution_seconds(t) for t in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if half < single else torch.float32


def _convolution_seconds(dtype: torch.dtype) -> float:
    """Time a convolution like most of the network's, 2 ms; the best of five."""
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


def place(network: N, compute: Compute) -> N:
    """Move a network to its device, channels last, which convolutions like best."""
    return network.to(compute.device).to(memory_format=torch.channels_last)


@contextmanager
def autocast(compute: Compute) -> Iterator[None]:
    """Run a block in the device's native precision, weights staying float32."""
    enabled = compute.dtype is not torch.float32
    with torch.autocast(compute.kind, dtype=compute.dtype, enabled=enabled):
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an out-of-memory error of any device from other errors."""
    if isinstance(error, (torch.OutOfMemoryError, OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    told = ("out of memory", "allocate memory", "can't start new thread")
    return isinstance(error, (RuntimeError, OSError)) and any(t in words for t in told)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Say in a sentence that memory was short, whoever noticed it."""
    try:
        yield
    except (RuntimeError, OSError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise no_memory() from error


def no_memory() -> OutOfMemoryError:
    """Say that memory is short, and what to do about it."""
    return OutOfMemoryError(
        "There is not enough memory: close other programs or choose a smaller area."
    )


def failure(compute: Compute, error: BaseException) -> DeviceError:
    """Tell in a sentence that a device failed, and what to do about it."""
    way_out = "restart napari" if compute.kind == "cpu" else "choose the device 'cpu'"
    return DeviceError(
        f"The computation failed on {compute.kind.upper()} ({error}): {way_out} and try "
        "again. Labels and model are as they were."
    )


def free_cached_memory(compute: Compute) -> None:
    """Give the device's cached blocks back."""
    if compute.kind == "cuda":
        torch.cuda.empty_cache()
    elif compute.kind == "mps":
        torch.mps.empty_cache()
