"""Which versions of the libraries a result depends on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

NAMES = ("napari-resunet", "torch", "torchvision", "numpy")


def library_versions() -> dict[str, str]:
    """List the versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in NAMES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions
