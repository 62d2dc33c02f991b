"""The one place that imports torch and torchvision.

Other modules take them from here, because importing them has two traps, and memory must be
set up before the first tensor.

* On Linux with Mesa's LLVM drivers, torchvision imports triton, whose library exports
  thousands of LLVM symbols. Once an OpenGL window exists, they clash with Mesa's and the
  process dies. Loading triton first, with its symbols bound to itself
  (``RTLD_DEEPBIND``), avoids that.
* On Windows, torch can fail to load ``c10.dll`` if it is imported after Qt
  (pytorch#166628). Adding torch's library folder to the search path first helps in most
  cases; otherwise the user gets an error message.
* By default glibc returns the memory of every large tensor to the system and requests it
  again, which takes a quarter of the time of a tile (``benchmarks/speed.py``).
* By default libgomp's threads spin for long while they wait for each other. Where other
  programs compute, this keeps the cores from the very threads that they wait for
  (``benchmarks/busy.py``).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path

from napari_resunet.errors import TorchUnavailableError

# From malloc.h. glibc itself raises the second threshold to at most 32 MiB.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def _load_triton_bound_to_itself() -> None:
    """Import triton with ``RTLD_DEEPBIND`` if that flag exists (on Linux)."""
    if not hasattr(os, "RTLD_DEEPBIND") or "triton" in sys.modules:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        # torch also runs without triton.
        with suppress(Exception):
            importlib.import_module("triton._C.libtriton")
    finally:
        sys.setdlopenflags(flags)


def _add_torch_libraries_to_search_path() -> None:
    """Let Windows find torch's own libraries before those of Qt."""
    spec = importlib.util.find_spec("torch")
    if sys.platform == "win32" and spec is not None and spec.origin is not None:
        os.add_dll_directory(str(Path(spec.origin).parent / "lib"))


def _keep_freed_memory() -> None:
    """Let glibc (on Linux) reuse up to half a gigabyte of freed memory."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, 2**25)
        set_option(M_TRIM_THRESHOLD, 2**29)


def _wait_briefly() -> None:
    """Let libgomp's threads (on Linux) sleep soon, unless the user has decided."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


_load_triton_bound_to_itself()
_keep_freed_memory()
_wait_briefly()
try:
    _add_torch_libraries_to_search_path()
    import torch
    import torchvision
    from torch import nn
    from torch.nn import functional
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms
except (ImportError, OSError, RuntimeError) as error:
    raise TorchUnavailableError(
        "PyTorch cannot be loaded. Restart napari and try again; if that does not "
        "help, reinstall it with 'pip install --force-reinstall torch torchvision'. "
        f"({error})"
    ) from error

__all__ = ["InterpolationMode", "functional", "nn", "torch", "torchvision", "transforms"]
