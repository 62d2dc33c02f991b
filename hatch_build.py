"""Add the top-level napari.yaml and sample_data to the installed package.

napari looks for the manifest inside the package's folder. Wheels include both; an editable
install gets a link to the manifest, or a copy if links are not permitted.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "napari_resunet"


class ResourceHook(BuildHookInterface):
    """Brings the top-level resources into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Include both in a wheel; link the manifest for an editable install."""
        root = Path(self.root)
        if version != "editable":
            for name in ("napari.yaml", "sample_data"):
                build_data["force_include"][str(root / name)] = f"{PACKAGE}/{name}"
            return
        target = root / "src" / PACKAGE / "napari.yaml"
        target.unlink(missing_ok=True)
        try:
            target.symlink_to(os.path.relpath(root / "napari.yaml", target.parent))
        except OSError:
            shutil.copyfile(root / "napari.yaml", target)
