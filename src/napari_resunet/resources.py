"""Where the files that come with the package lie."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parent


def sample_data_folder() -> Path:
    """Find the sample images: in the installed package, or on top of a source checkout."""
    inside = PACKAGE / "sample_data"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "sample_data"


def starter_path() -> Path:
    """Find the starter model."""
    return PACKAGE / "starter" / "starter.safetensors"
