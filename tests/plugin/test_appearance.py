"""Layers look as the user set them when a session is opened again."""

import json

import numpy as np
import pytest
from napari.layers import Image
from napari.utils.colormaps import AVAILABLE_COLORMAPS, Colormap

from napari_resunet.plugin.layers.appearance import image_style
from napari_resunet.session.store.schema import BACKUP

LOOK = ("contrast_limits", "gamma", "opacity", "visible")


@pytest.mark.parametrize("colormap", ["magma", "own"])
def test_layers_look_as_the_user_set_them(
    dock, make_window_dock, image_of_nuclei, colormap
):
    own = Colormap(
        [[0, 0, 0, 1], [0, 0.4, 1, 1], [1, 1, 1, 1]], "own", controls=[0, 0.2, 1]
    )
    dock.viewer.add_image(image_of_nuclei, name="other").visible = False
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    for layer in (dock.viewer.layers["other"], image):
        dock.app.layers.make_binding(layer).layer.paint((30, 30), 77)
    image.colormap = own if colormap == "own" else colormap
    image.contrast_limits, image.gamma, image.opacity = (3, 300), 0.7, 0.9
    labels = dock.viewer.layers["cells labels"]
    labels.opacity, labels.visible, labels.contour = 0.25, False, 0
    AVAILABLE_COLORMAPS.pop("own", None)  # as in another run of the program
    root, later = dock.end(), make_window_dock()
    later.open_session(root)
    found = later.viewer.layers["cells"]
    for name in LOOK:
        assert getattr(found, name) == getattr(image, name), name
    assert found.colormap.name == image.colormap.name
    assert np.allclose(found.colormap.colors, image.colormap.colors, atol=1e-3)
    assert np.allclose(found.colormap.controls, image.colormap.controls)
    assert not later.viewer.layers["other"].visible
    shown = later.viewer.layers["cells labels"]
    assert (shown.opacity, shown.visible, shown.contour) == (0.25, False, 0)
    others = later.viewer.layers["other labels"]
    assert others.visible
    assert others.contour > 0


@pytest.mark.parametrize("limits", [[9, 1], [-1e308, 1e308], [0, float("inf")]])
def test_sessions_without_looks_or_with_strange_ones_open(
    dock, make_window_dock, image_of_nuclei, limits
):
    for name in ("old", "strange"):
        image = dock.viewer.add_image(image_of_nuclei, name=name)
        dock.app.layers.make_binding(image).layer.paint((30, 30), 77)
    root, later = dock.end(), make_window_dock()
    path = root / "session.json"
    file = json.loads(path.read_text("utf-8"))
    images = {image["name"]: image for image in file["images"]}
    # Sessions of older programs know no contours, and those before them no looks.
    del images["old"]["look"]
    images["old"]["labels_look"] = {"opacity": 0.5, "visible": True}
    strange = {"colormap": "no such map", "contrast_limits": limits, "colors": [[7]]}
    images["strange"]["look"] |= strange
    images["strange"]["labels_look"]["contour"] = -3
    path.write_text(json.dumps(file), "utf-8")
    (root / BACKUP).unlink(missing_ok=True)  # otherwise, it would be read instead
    later.open_session(root)
    old = later.viewer.layers["old labels"]
    assert old.data[30, 30] == 77
    assert old.opacity == 0.5
    assert old.contour > 0
    assert later.viewer.layers["strange labels"].contour > 0
    assert later.viewer.layers["strange"].colormap.name == "gray"


def test_infinite_limits_are_not_kept():
    layer = Image(np.ones((8, 8), np.float32))
    with np.errstate(invalid="ignore"):
        layer.contrast_limits = (0, np.inf)
    kept = image_style(layer)
    assert type(kept).model_validate_json(kept.model_dump_json()) == kept
