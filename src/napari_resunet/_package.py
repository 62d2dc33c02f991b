"""Files that come with the package, and the versions of the libraries in use."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent

STARTER_DIGEST = "c416ac6cf8113a94798aac6a592c33fa016fb68e52c4470e37c81defedc78e8a"
"""Hash of the starter's weights and description, which it does not hold itself: it is older
than the hashes in model files."""


def sample_data_folder() -> Path:
    """Find the sample images: in the installed package, or on top of a source checkout."""
    inside = PACKAGE / "sample_data"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "sample_data"


def starter_path() -> Path:
    """Find the starter model."""
    return PACKAGE / "starter" / "starter.safetensors"


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
