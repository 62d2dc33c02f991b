"""Take every picture of the README and the docs from the real dock.

Run ``make pictures``, or ``python docs/pictures.py`` if there is a display, or
``python docs/pictures.py SCENE...`` for some scenes only. Each scene opens a napari window
of 1280x720, does what a user would do, and writes PNG files into ``docs/pictures``. Widgets
are found by their object names, in `Dock` and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).resolve().parent / "pictures"
WIDTH, HEIGHT = 1280, 720
LARGEST = 290_000
"""Bytes of a picture: a larger one gets fewer colours."""

CORRECTED = 0.55
"""Fraction of the image's width that the simulated user corrects and verifies."""

GOOD, RIGHT = 0.8, 0.7
"""IoU with the truth below which an object is corrected, and below which it is wrong."""

SCENES: dict[str, tuple[str, ...]] = {
    "loop": (
        "loop",
        "tutorial-1-open",
        "tutorial-2-segment",
        "tutorial-3-correct",
        "tutorial-4-fine-tune",
        "tutorial-5-result",
        "versions-and-session",
    ),
    "size": ("object-size", "probability-map"),
    "stack": ("stack",),
    "channels": ("channels",),
    "classes": ("classes",),
    "many": ("many-images",),
}
"""The pictures that each scene takes: the only names that a page may use."""

Pixels = npt.NDArray[np.uint8]


class Dock:
    """A napari window with the dock, used the way a user would use it."""

    def __init__(self) -> None:
        import napari

        self.viewer = napari.Viewer()
        self.viewer.window.resize(WIDTH, HEIGHT)

    def open_sample(self, key: str) -> Any:
        """Open a sample image, then the dock; return the image layer."""
        layers = self.viewer.open_sample("napari-resunet", key)
        self.open()
        return layers[0]

    def open(self) -> None:
        """Open the dock."""
        _, self.widget = self.viewer.window.add_plugin_dock_widget("napari-resunet")
        self.settle()

    def find(self, name: str) -> Any:
        """Find a widget by its object name."""
        from qtpy.QtGui import QAction
        from qtpy.QtWidgets import QWidget

        found = self.widget.findChild(QWidget, name)
        if found is None:
            found = self.widget.findChild(QAction, name)
        if found is None:
            raise LookupError(
                f"The dock has no widget named {name!r}: adapt docs/pictures.py"
            )
        return found

    def click(self, name: str) -> None:
        """Click a button or a menu item, and fail if it is disabled."""
        button = self.find(name)
        if not button.isEnabled():
            raise RuntimeError(f"{name} is disabled: {button.toolTip()}")
        button.trigger() if hasattr(button, "trigger") else button.click()
        self.settle()

    def choose(self, name: str, text: str) -> None:
        """Choose the first item of a combo box that contains a text."""
        combo = self.find(name)
        titles = [combo.itemText(i) for i in range(combo.count())]
        combo.setCurrentIndex(next(i for i, title in enumerate(titles) if text in title))
        self.settle()

    def set(self, name: str, value: float) -> None:
        """Set a number or a slider."""
        self.find(name).setValue(value)
        self.settle()

    def labels(self, image: Any) -> Any:
        """Return the Labels layer of an image."""
        return self.viewer.layers[f"{image.name} labels"]

    def show(self, step: str) -> None:
        """Open a step, and close the page that is shown instead of the steps."""
        self.widget.view.show_page("steps")
        self.widget.view.steps.open(step)
        self.settle()

    def show_page(self, page: str) -> None:
        """Open a page instead of the steps."""
        self.widget.view.show_page(page)
        self.settle()

    def settle(self, seconds: float = 0.6) -> None:
        """Let Qt work for a moment."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)

    def wait(self) -> None:
        """Wait until no job has run for a second and a half."""
        app = self.widget.app
        idle = 0
        while idle < 3:
            self.settle(0.5)
            running = any(jobs.current is not None for jobs in (app.jobs, app.redraws))
            idle = 0 if running else idle + 1

    def segment(self, scope: str = "Slice") -> None:
        """Choose a scope and click Segment."""
        self.choose("scope", scope)
        self.click("segment")
        self.wait()

    def window(self) -> Pixels:
        """Take a picture of the whole window."""
        self.settle()
        return np.asarray(self.viewer.screenshot(canvas_only=False, flash=False))[..., :3]

    def canvas(self, marked: npt.NDArray[np.int32] | None = None) -> Pixels:
        """Take a picture of the image alone, as a square; outline objects in red."""
        self.settle()
        shot = np.array(self.viewer.screenshot(canvas_only=True, flash=False))[..., :3]
        rows, columns = shot.any(axis=(1, 2)), shot.any(axis=(0, 2))
        if marked is not None:
            shot[self._outlines(marked, shot.shape[:2])] = (255, 0, 0)
        shot = shot[np.ix_(rows, columns)]
        side = min(shot.shape[:2])
        top, left = ((n - side) // 2 for n in shot.shape[:2])
        return shot[top : top + side, left : left + side]

    def _outlines(
        self, labels: npt.NDArray[np.int32], shape: tuple[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Find the pixels of the canvas on the outlines of objects."""
        from skimage.segmentation import find_boundaries

        camera = getattr(self.viewer, "scene", self.viewer).camera  # napari 0.8: no scene
        places = [
            np.round((np.arange(n) + 0.5 - n / 2) / camera.zoom + centre).astype(int)
            for n, centre in zip(shape, camera.center[-2:], strict=True)
        ]
        shown = np.pad(labels, 1)  # what lies beyond the image is background
        places = [
            np.clip(p + 1, 0, n - 1) for p, n in zip(places, shown.shape, strict=True)
        ]
        return np.asarray(find_boundaries(shown[np.ix_(*places)], mode="thick"))


def save(picture: Pixels, name: str) -> None:
    """Write a picture with a palette, which takes a third of the space."""
    from PIL import Image

    if name not in {n for names in SCENES.values() for n in names}:
        raise ValueError(f"{name} is not in SCENES")
    path = FOLDER / f"{name}.png"
    for colours in (256, 128, 64):
        small = Image.fromarray(picture).quantize(
            colours, kmeans=1, dither=Image.Dither.NONE
        )
        small.save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            break
    print(f"{path.name}: {path.stat().st_size // 1000} KB", flush=True)


def side_by_side(panels: list[tuple[str, Pixels]], width: int = WIDTH) -> Pixels:
    """Put pictures in a row, each under its caption."""
    from PIL import Image, ImageDraw, ImageFont

    gap, caption = 8, 34
    side = (width - gap * (len(panels) - 1)) // len(panels)
    sheet = Image.new("RGB", (width, side + caption), "white")
    font = ImageFont.load_default(size=17)
    for i, (text, pixels) in enumerate(panels):
        left = i * (side + gap)
        sheet.paste(Image.fromarray(pixels).resize((side, side)), (left, caption))
        ImageDraw.Draw(sheet).text((left, 6), text, "black", font)
    return np.asarray(sheet)


def sample(name: str) -> npt.NDArray[Any]:
    """Read a file of ``sample_data``."""
    import tifffile

    return np.asarray(tifffile.imread(FOLDER.parents[1] / "sample_data" / f"{name}.tif"))


def correct(labels: Any, truth: npt.NDArray[np.int32], columns: slice) -> None:
    """Correct the objects of some columns, each in one undo step."""
    region = np.zeros(truth.shape, bool)
    region[:, columns] = True
    first = int(labels.data.max()) + 1
    for value in np.unique(labels.data[region]):
        here = labels.data == value
        if value and _iou(here, truth) < GOOD:
            labels.data_setitem(np.nonzero(here), 0)
    for value in np.unique(truth[region]):
        there = truth == value
        if value and _iou(there, labels.data) < GOOD:
            labels.data_setitem(np.nonzero(there), first + int(value))


def _iou(pixels: npt.NDArray[np.bool_], others: npt.NDArray[np.int32]) -> float:
    """Compute the IoU of an object with the one that it overlaps most; 0 without one."""
    values, counts = np.unique(others[pixels], return_counts=True)
    best = values[counts.argmax()]
    partner = others == best
    return float((partner & pixels).sum() / (partner | pixels).sum()) if best else 0.0


def wrong(truth: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]) -> Any:
    """Return the true objects that the labels miss or get wrong; the rest is 0."""
    values = [v for v in np.unique(truth) if v and _iou(truth == v, labels) < RIGHT]
    return np.where(np.isin(truth, values), truth, 0)


def loop(minutes: float) -> None:
    """Segment, correct, fine-tune, and look at the result."""
    truth = sample("cells_phase_labels").astype(np.int32)
    edge = round(CORRECTED * truth.shape[1])
    panels = []

    def panel(title: str) -> None:
        missed = wrong(truth, labels.data)
        n_wrong = len(np.unique(missed)) - 1
        panels.append((f"{title}: {n_wrong} wrong (red)", dock.canvas(missed)))
        print(panels[-1][0])

    dock = Dock()
    image = dock.open_sample("cells")
    save(dock.window(), "tutorial-1-open")
    dock.segment()
    labels = dock.labels(image)
    save(dock.window(), "tutorial-2-segment")
    panel("1. Segment")
    correct(labels, truth, np.s_[:edge])
    corners = [[0, 0], [0, edge], [truth.shape[0], edge], [truth.shape[0], 0]]
    area = dock.viewer.add_shapes(
        [corners], shape_type="polygon", name="left half", face_color="transparent"
    )
    dock.choose("verified_area", area.name)
    area.visible = False
    dock.viewer.layers.selection.active = labels
    dock.click("mark_verified")
    dock.show("correct")
    save(dock.window(), "tutorial-3-correct")
    panel("2. Correct, verify the left half")
    dock.show("learn")
    dock.set("minutes", minutes)
    dock.click("fine_tune")
    dock.settle(minutes * 60 * 0.7)
    save(dock.window(), "tutorial-4-fine-tune")
    dock.wait()
    save(dock.window(), "tutorial-5-result")
    print(dock.find("result_text").text())
    panel("3. Fine-tune")
    save(side_by_side(panels), "loop")
    dock.show_page("versions")
    save(dock.window(), "versions-and-session")
    dock.viewer.close()


def size(minutes: float) -> None:
    """Show what a wrong object size does, and the probability map."""
    dock = Dock()
    image = dock.open_sample("nuclei")
    dock.segment()
    right = dock.find("object_size").value()
    panels = []
    for factor, word in ((0.4, "too small"), (1.0, "right"), (2.5, "too large")):
        dock.set("object_size", right * factor)
        dock.wait()
        dock.segment()
        dock.set("object_size", 1.01 * right * factor)  # shows the circle again
        panels.append((f"Object size {right * factor:.0f} px: {word}", dock.canvas()))
    save(side_by_side(panels), "object-size")
    dock.set("object_size", right)
    dock.wait()
    dock.segment()
    dock.click("show_map")
    image.visible = dock.labels(image).visible = False
    dock.wait()
    dock.show("correct")
    save(dock.window(), "probability-map")
    dock.viewer.close()


def stack(minutes: float) -> None:
    """Segment a whole time series."""
    dock = Dock()
    dock.open_sample("timeseries")
    dock.segment("Stack")
    dock.show("correct")
    save(dock.window(), "stack")
    dock.viewer.close()


def channels(minutes: float) -> None:
    """Choose the channel that shows the nuclei."""
    from scipy.ndimage import gaussian_filter

    dock = Dock()
    nuclei = sample("nuclei")
    cytoplasm = gaussian_filter(nuclei.astype(np.float32), 8).astype(nuclei.dtype)
    two = np.stack([cytoplasm, nuclei])
    dock.viewer.add_image(two, name="cells", axis_labels=("c", "y", "x"))
    dock.viewer.dims.set_current_step(0, 1)
    dock.open()
    dock.segment()
    dock.show("segment")
    save(dock.window(), "channels")
    dock.viewer.close()


def classes(minutes: float) -> None:
    """Paint a class, fine-tune, and segment the rest."""
    from qtpy.QtWidgets import QInputDialog

    dock = Dock()
    image = dock.open_sample("histology")
    truth = (sample("histology_labels") > 0).astype(np.int32)
    QInputDialog.getText = staticmethod(lambda *args, **kwargs: ("nucleus", True))
    dock.click("new_classes")
    dock.wait()
    labels = dock.labels(image)
    edge = truth.shape[1] // 2
    painted = np.nonzero(np.where(np.arange(truth.shape[1]) < edge, truth, 0))
    labels.data_setitem(painted, 1)
    corners = [[0, 0], [0, edge], [truth.shape[0], edge], [truth.shape[0], 0]]
    area = dock.viewer.add_shapes([corners], shape_type="polygon", name="left half")
    area.visible = False
    dock.choose("verified_area", area.name)
    dock.viewer.layers.selection.active = labels
    dock.click("mark_verified")
    dock.set("minutes", minutes)
    dock.click("fine_tune")
    dock.wait()
    dock.segment()
    dock.show("learn")
    save(dock.window(), "classes")
    dock.viewer.close()


def many(minutes: float) -> None:
    """Propose labels for a folder of images, one of which is damaged."""
    import tifffile

    folder = Path("plate")
    folder.mkdir()
    for number in range(8):
        rolled = np.roll(sample("nuclei"), 90 * number, axis=(0, 1))
        tifffile.imwrite(folder / f"field{number + 1}.tif", rolled[40 * (number % 3) :])
    whole = (folder / "field8.tif").read_bytes()
    (folder / "field8.tif").write_bytes(whole[: len(whole) // 2])
    dock = Dock()
    dock.open()
    dock.click("show_images")
    dock.widget.view.queue.paths_chosen.emit([folder.resolve()], "", False)
    dock.wait()
    dock.click("propose_all")
    dock.wait()
    dock.click("done_next")
    dock.wait()
    save(dock.window(), "many-images")
    dock.viewer.close()


RUN: dict[str, Callable[[float], None]] = {
    "loop": loop, "size": size, "stack": stack, "channels": channels, "classes": classes,
    "many": many,
}  # fmt: skip


def main() -> int:
    """Run each scene in its own process."""
    parser = argparse.ArgumentParser(description="Take the pictures of the docs.")
    parser.add_argument("scenes", nargs="*", default=list(SCENES), metavar="SCENE")
    parser.add_argument("--minutes", type=float, default=1.5, help="to fine-tune for")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    if arguments.here:
        RUN[arguments.scenes[0]](arguments.minutes)
        return 0
    with tempfile.TemporaryDirectory() as home:
        # A short relative path, because the dock shows it.
        new = {
            "NAPARI_RESUNET_SESSIONS": "Documents/napari-resunet",
            "NAPARI_CONFIG": "settings.yaml",
        }
        for scene in arguments.scenes:
            command = [sys.executable, str(Path(__file__).resolve()), scene, "--here"]
            command += ["--minutes", str(arguments.minutes)]
            subprocess.run(command, check=True, cwd=home, env=os.environ | new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
