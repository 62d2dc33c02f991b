"""The house rules as tests: import contracts, no torch at import, no GUI in the engine."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_python(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_imports_point_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_torch_and_torchvision_come_from_one_place():
    # Imported in another order they may crash napari's window (torch_import says how).
    direct = re.compile(r"^\s*(import|from) (torch|torchvision)\b", re.MULTILINE)
    sources = (ROOT / "src").rglob("*.py")
    names = [path.name for path in sources if direct.search(path.read_text("utf-8"))]
    assert names == ["torch_import.py"]


HEADLESS = """
import sys
GUI = ("napari", "qtpy", "superqt", "pyqtgraph", "magicgui", "PyQt5", "PyQt6", "PySide6")
class NoGui:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in GUI:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoGui())
import numpy as np
import napari_resunet as nru
from napari_resunet import cli, demo
from napari_resunet.session import workers
image = np.random.default_rng(0).random((60, 70))
labels = nru.segment(image, nru.load_model(), diameter=24.0)
example = nru.Example(image, labels, np.ones(image.shape, bool))
nru.fine_tune(nru.load_model(), [example], steps=1)
assert cli.main(["info"]) == 0
print(labels.shape)
"""


def test_the_engine_works_where_napari_and_qt_are_not_installed():
    assert "(60, 70)" in run_python(HEADLESS)


def test_the_package_is_typed():
    spec = find_spec("napari_resunet")
    assert spec is not None
    assert (Path(spec.origin).parent / "py.typed").is_file()
