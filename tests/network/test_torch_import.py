"""Torch can be imported late, by a program that has a window already."""

import subprocess
import sys


def test_torch_imported_after_a_viewer_does_not_kill_the_process():
    code = """
import napari
viewer = napari.Viewer()
from napari_resunet.network.torch_import import torch, torchvision
print("alive", torchvision.__version__ != "")
viewer.close()
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert "alive True" in out.stdout, out.stderr
