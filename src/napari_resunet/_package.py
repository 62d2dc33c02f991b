"""Files in the package, and the versions of the libraries in use."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = Path(__file__).parent

STARTER = "starter"
"""The name by which the bundled model is loaded."""

STARTER_DIGEST = "c416ac6cf8113a94798aac6a592c33fa016fb68e52c4470e37c81defedc78e8a"
"""SHA-256 of the bundled model, whose file is older than the hashes in model files."""


def sample_data_folder() -> Path:
    """Return the folder of the sample images, in a source checkout too."""
    inside = PACKAGE / "sample_data"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "sample_data"


def starter_path() -> Path:
    """Return the file of the bundled model."""
    return PACKAGE / "starter" / "starter.safetensors"


NAMES = ("napari-resunet", "torch", "torchvision", "numpy")


def library_versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    versions = {"python": platform.python_version()}
    for name in NAMES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return versions
