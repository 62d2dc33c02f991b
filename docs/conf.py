"""Sphinx configuration: ``make docs`` builds the pages, and every warning is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import napari_resunet

HERE = Path(__file__).parent
GENERATED = HERE / "_generated"

project = "napari-resunet"
author = "The napari-resunet developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated"]
html_theme = "furo"
html_title = "napari-resunet"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings give the types
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = False

COMMANDS = ("segment", "train", "evaluate", "serve", "demo", "info")


def _write_help() -> None:
    """Write what ``napari-resunet COMMAND --help`` prints."""
    for command in COMMANDS:
        call = [sys.executable, "-m", "napari_resunet.cli", command, "--help"]
        help_text = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        (GENERATED / f"{command}.txt").write_text(help_text, encoding="utf-8")


def _write_python() -> None:
    """Write one autodoc directive for each public name."""
    lines: list[str] = []
    for name in napari_resunet.__all__:
        is_class = isinstance(getattr(napari_resunet, name), type)
        lines += [f".. auto{'class' if is_class else 'function'}:: napari_resunet.{name}"]
        lines += ["   :members:", ""] if is_class else [""]
    (GENERATED / "python.rst").write_text("\n".join(lines), encoding="utf-8")


def _generate(app: Any) -> None:
    GENERATED.mkdir(exist_ok=True)
    _write_help()
    _write_python()


def setup(app: Any) -> None:
    """Generate what the pages include."""
    app.connect("builder-inited", _generate)
