"""A wheel built from the sdist, installed elsewhere: all files are there."""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROBE = """
import napari_resunet, pathlib
from npe2 import PluginManager
from napari_resunet._package import sample_data_folder, starter_path
manager = PluginManager()
manager.discover()
print(manager.get_manifest("napari-resunet").display_name)
print((sample_data_folder() / "nuclei.tif").is_file(), starter_path().is_file())
print(pathlib.Path(napari_resunet.__file__).parent)
"""


def run(*command, cwd=ROOT):
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_package_brings_its_files(tmp_path):
    # Without the network: the sdist, and the wheel from what is in it.
    build = [sys.executable, "-m", "build", "--no-isolation"]
    run(*build, "--outdir", str(tmp_path / "dist"), str(ROOT))
    venv.create(tmp_path / "env", with_pip=False)
    python = next((tmp_path / "env").glob("[bS]*/python*"))
    site = next((tmp_path / "env").rglob("site-packages"))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    run(*install, "--target", str(site), str(wheel))
    # Everything else comes from here, after the package under test.
    here = next(p for p in sys.path if p.endswith("site-packages"))
    (site / "others.pth").write_text(here)
    out = run(str(python), "-c", PROBE, cwd=tmp_path).splitlines()
    assert out[0] == "ResUNet Segmentation"
    assert out[1] == "True True"
    assert Path(out[2]).is_relative_to(tmp_path)


def test_the_editable_install_links_the_one_manifest():
    link = ROOT / "src" / "napari_resunet" / "napari.yaml"
    assert link.read_text() == (ROOT / "napari.yaml").read_text()
