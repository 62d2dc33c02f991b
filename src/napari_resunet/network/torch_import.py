"""The one place that imports torch and torchvision.

Everything else takes them from here, because the first import has two traps, and because
memory must be set up before the first tensor.

* On Linux with Mesa's LLVM drivers, torchvision imports triton, whose library
  exports thousands of LLVM symbols that clash with Mesa's once an OpenGL window
  exists: the process dies. Loading triton first, with its symbols bound to
  itself (``RTLD_DEEPBIND``), avoids that.
* On Windows, torch imported after Qt can fail to load ``c10.dll``
  (pytorch#166628). Adding torch's own library folder to the search path first
  helps; where it does not, the user gets a sentence.
* glibc gives the memory of every large tensor back to the system and asks for it again:
  a quarter of the time of a tile (``benchmarks/speed.py``).
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

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``malloc.h``. glibc itself raises the second to at most 32 MiB."""


def _load_triton_bound_to_itself() -> None:
    """Import triton with ``RTLD_DEEPBIND`` where that flag exists (Linux)."""
    if not hasattr(os, "RTLD_DEEPBIND") or "triton" in sys.modules:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        # A broken triton is torch's business: it runs without one.
        with suppress(Exception):
            importlib.import_module("triton._C.libtriton")
    finally:
        sys.setdlopenflags(flags)


def _add_torch_libraries_to_search_path() -> None:
    """Let Windows find torch's own libraries before those that Qt brought."""
    spec = importlib.util.find_spec("torch")
    if sys.platform == "win32" and spec is not None and spec.origin is not None:
        os.add_dll_directory(str(Path(spec.origin).parent / "lib"))


def _keep_freed_memory() -> None:
    """Let glibc (Linux) reuse up to half a gigabyte; elsewhere there is no such call."""
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, 2**25)
        set_option(M_TRIM_THRESHOLD, 2**29)


_load_triton_bound_to_itself()
_keep_freed_memory()
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
