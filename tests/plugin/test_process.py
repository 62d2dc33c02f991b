"""What is imported when, and what a window outlives: in one process of its own.

To start a process and import napari and torch takes seconds, so one goes through all.
"""

import os
import subprocess
import sys

STAGES = {
    "what controllers know of the views needs no Qt and no torch": """
import sys
def assert_without(*names):
    assert not set(names) & set(sys.modules), set(names) & set(sys.modules)
import napari_resunet.plugin.views.protocol
assert_without("qtpy", "superqt", "napari", "torch")
""",
    "without a window nothing imports torch": """
import napari_resunet
assert_without("torch")
import napari_resunet.session.find_images
assert_without("torch")
import napari_resunet.session.workers
assert_without("torch")
import napari_resunet.cli
assert_without("torch", "napari", "qtpy")
""",
    "the widgets import neither pyqtgraph nor torch nor napari": """
from qtpy.QtWidgets import QApplication
application = QApplication([])
from napari_resunet.plugin.views.dock import Dock
dock = Dock()
dock.show()
dock.fine_tune.plot.start()
application.processEvents()
assert_without("pyqtgraph", "torch", "napari")
dock.close()
""",
    "the plugin imports no torch": """
import napari_resunet.plugin.file_formats
assert_without("torch")
import napari_resunet.plugin.sample_data
assert_without("torch")
import napari_resunet.plugin.widget
assert_without("torch")
""",
    "the dock opens without torch": """
import numpy as np, napari
viewer = napari.Viewer(show=True)
viewer.window.resize(900, 500)
_, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
assert_without("torch")
""",
    "torch imported after a window leaves it alive": """
from napari_resunet.network.torch_import import torch, torchvision
assert torchvision.__version__
""",
    "a layer of the user may go": """
canvas = viewer.window._qt_viewer.canvas._scene_canvas
frames = []
def count(event):
    frames.append(event)
def paint():
    for _ in range(2):  # the first frame may have been on its way already
        before = len(frames)
        canvas.native.update()
        while len(frames) == before:
            QApplication.processEvents()
canvas.events.draw.connect(count)
viewer.add_image(np.random.rand(80, 100))
paint()
mine = viewer.add_shapes([[(1, 1), (1, 9), (9, 9)]], shape_type="path")
paint()
viewer.layers.remove(mine)
paint()
""",
    # Lines that came and went beside labels ended in a segmentation fault (napari#8471).
    "rounds of layers that come and go leave the window alive": """
from napari_resunet.plugin.layers.image_layers import is_overlay
app = widget.app
whole = slice(0, 80), slice(0, 100)
labels = np.zeros((80, 100), np.int32)
labels[10:30, 10:40] = 1
for n in range(4):
    image = viewer.add_image(np.random.rand(80, 100), name="cells")
    binding = app.layers.make_binding(image)
    binding.apply((), whole, whole, labels, "instances")
    app.image.preview_object_size(10 + n)
    app.review.choose_area("slice")
    app.review.mark_verified()
    paint()
    assert app.review.outline.lines and len(app.overlays.layer.data)
    viewer.layers.remove(binding.layer)
    viewer.layers.remove(image)
    paint()
    names = [layer.name for layer in viewer.layers if is_overlay(layer)]
    assert names == ["guide lines"], names
viewer.close()
""",
}


def test_a_process_lives_through_all_stages(tmp_path):
    told = (f"{code}\nprint({stage!r}, flush=True)\n" for stage, code in STAGES.items())
    done = subprocess.run(
        [sys.executable, "-c", "".join(told)], capture_output=True, text=True, timeout=150,
        env={**os.environ, "NAPARI_RESUNET_SESSIONS": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == list(STAGES), done.stderr[-3000:]
