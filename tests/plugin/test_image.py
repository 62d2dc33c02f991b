"""The choice of image, of its channels, and its object size and where that comes from."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from harness import SHAPE, Headless
from napari.layers import Labels
from qtpy.QtWidgets import QLabel

from napari_resunet._package import STARTER
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.events import Progress
from napari_resunet.plugin.controllers.shared import snapshot_of
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.messages import version_from
from napari_resunet.session.store.models import list_versions
from napari_resunet.session.workers import Workers
from napari_resunet.types import Lineage, ObjectSize


def learned(dock, starter, size):
    """Add a version, the starter's weights, that learned from objects of this size."""
    number = dock.state.versions.next_number()
    lineage = Lineage(model_id=f"v{number}", steps=3)
    info = replace(starter.info, object_size=size, lineage=lineage)
    dock.state.versions.add(version_from(replace(starter, info=info), number))
    dock.state.changed.emit()


def text(dock):
    return dock.find("object_size_text").text()


def used(dock):
    """The object size at which the shown image was segmented."""
    (proposal,) = dock.state.chosen.proposals(())
    return pytest.approx(24 / proposal.scale)


@pytest.fixture
def images(dock, image_of_nuclei):
    """A dock with the same pixels three times; of one image the pixel size is known."""
    um = {"scale": (0.25, 0.25), "units": ("um", "um")}
    layers = [
        dock.viewer.add_image(image_of_nuclei, name="a"),
        dock.viewer.add_image(image_of_nuclei, name="b"),
        dock.viewer.add_image(image_of_nuclei, name="c", **um),
    ]
    dock.keys = [str(layer.unique_id) for layer in layers]
    dock.state.choose(dock.keys[-1])
    return dock


def test_the_object_size_is_shown_as_a_circle(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    circle = dock.app.image.circle.overlay.lines[0]
    shown = dock.find("object_size").value()
    assert np.ptp(circle, axis=0)[-2:] == pytest.approx([shown, shown], rel=0.02)
    dock.app.image.preview_object_size(31)
    circle = dock.app.image.circle.overlay.lines[0]
    assert np.ptp(circle, axis=0)[-2:] == pytest.approx([31, 31], rel=0.02)
    assert dock.viewer.layers.selection.active is dock.labels


def test_images_are_segmented_at_the_size_that_the_version_learned(images, starter):
    learned(images, starter, ObjectSize(30.0, 10.0))
    shown = {}
    for key in images.keys:
        images.state.choose(key)
        images.segment()
        shown[key] = text(images)
        assert used(images) == images.find("object_size").value()
    a, b, c = (shown[key] for key in images.keys)
    assert a == b == "30 px, as version 1 learned"
    assert c == "40 px (10 µm), as version 1 learned"


def test_a_size_that_the_user_set_stays(images, starter):
    first, second, _ = images.keys
    images.state.choose(first)
    images.find("object_size").setValue(20.0)
    for size in (30.0, 42.0):
        learned(images, starter, ObjectSize(size))
        images.segment()
        assert used(images) == 20
        assert text(images) == "20 px, set by you"
    images.state.choose(second)
    assert images.find("object_size").value() == 42
    images.state.choose(first)
    images.find("object_size_auto").click()
    assert images.message == "Objects of 42 px again: click Segment."
    images.segment()
    assert used(images) == 42
    # Without "auto", what is in use stays, whatever comes.
    images.find("object_size_auto").click()
    learned(images, starter, ObjectSize(50.0))
    assert text(images) == "42 px, set by you"


def test_each_version_brings_its_own_size_and_says_so(images, starter):
    images.segment()
    estimated = images.find("object_size").value()
    assert text(images).endswith("µm), estimated")
    learned(images, starter, ObjectSize(30.0))
    learned(images, starter, ObjectSize(42.0))
    images.segment()
    images.click("go_back")
    images.wait()
    assert images.message.startswith("Gone back to '1: loaded from a file', for objects of")
    assert used(images) == 30
    images.click("go_back")
    images.wait()
    assert images.state.versions.current.key == STARTER
    assert f"for objects of {estimated:.0f} px." in images.message
    assert used(images) == pytest.approx(estimated, rel=0.01)
    images.app.versions.choose("v2")
    assert "is in use now, for objects of 42 px: click Segment." in images.message
    learned(images, starter, ObjectSize(42.0))
    images.app.versions.choose("v2")
    assert "is in use now: click Segment." in images.message


def test_a_clearly_other_size_is_suggested_and_one_click_uses_it(images, starter):
    use = images.find("use_object_size")
    learned(images, starter, ObjectSize(36.0))
    images.segment()
    (found,) = images.state.chosen.proposals(())
    assert 12 < found.diameter < 25
    assert not use.isHidden()
    assert use.text() == f"Use {found.diameter:.0f} px"
    use.click()
    assert "click Segment again" in images.message
    images.segment()
    assert used(images) == round(found.diameter)
    assert text(images).endswith("set by you")
    assert images.find("object_size_text").isVisibleTo(images.view.image)
    # Of nearly the same size, nothing is said.
    images.state.choose(images.keys[0])
    learned(images, starter, ObjectSize(20.0))
    images.segment()
    assert images.find("object_size_text").isVisibleTo(images.view.image)


def test_nothing_is_suggested_by_a_model_that_learned_no_size(images):
    images.segment()
    (found,) = images.state.chosen.proposals(())
    images.state.chosen.scale = 24 / (2 * found.diameter)  # a poor estimate
    images.state.changed.emit()
    assert images.find("object_size_text").isVisibleTo(images.view.image)


def test_the_size_comes_back_with_the_session_before_the_model_is_loaded(
    images, starter, make_dock
):
    learned(images, starter, ObjectSize(30.0, 7.5))
    images.segment()
    root = images.end()
    (record,) = list_versions(root).values()
    assert record.object_size == ObjectSize(30.0, 7.5)
    again = make_dock()
    again.open_session(root)
    assert again.state.model is None
    assert text(again) == "30 px (7.5 µm), as version 1 learned"
    assert "Learned from objects of 30 px (7.5 µm)" in again.find("version").toolTip()
    again.segment()
    assert used(again) == 30


def test_fine_tuning_learns_the_size_of_what_was_corrected(
    images, nuclei, sure_fine_tuning
):
    images.segment()
    images.labels.data = np.ascontiguousarray(nuclei[1][:120, :130])
    images.fine_tune()
    (example,) = images.app.workers.corrections.examples()
    assert example.pixel_size == pytest.approx(0.25)


# Which image ------------------------------------------------------------------------


def title(dock):
    """The whole title of Segment, which the narrow button may cut."""
    return dock.find("segment").accessibleName()


def name_of(dock):
    return dict(dock.layers.images())[dock.state.image_key]


def test_segment_works_on_the_image_that_was_opened_last(dock, image_of_nuclei):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    assert name_of(dock) == "cells"
    second = dock.viewer.add_image(image_of_nuclei[::-1].copy(), name="histology")
    assert name_of(dock) == "histology"
    assert title(dock) == 'Segment "histology"'
    dock.segment()
    assert dock.labels.name == "histology labels"
    assert dock.labels.data.any()
    assert dock.labels is not dock.viewer.layers["cells labels"]
    assert dock.viewer.layers.selection.active is dock.labels
    assert name_of(dock) == second.name


def test_the_dock_follows_the_selected_layer(bench):
    cells, other = (bench.viewer.add_image(np.zeros((20, 30)), name=n) for n in "ab")
    labels = bench.layers.make_binding(cells).layer
    assert name_of(bench) == "a"  # its labels were selected
    for layer, expected in ((other, "b"), (labels, "a"), (other, "b"), (cells, "a")):
        bench.viewer.layers.selection.active = layer
        assert name_of(bench) == expected
    bench.viewer.add_points(np.zeros((1, 2)))
    bench.viewer.add_labels(np.zeros((20, 30), int), name="mine")
    assert name_of(bench) == "a"
    other.name = "a long name of a histology & of a second & third"
    bench.viewer.layers.selection.active = other
    bench.widget.resize(340, 700)
    bench.widget.show()
    button = bench.find("segment")
    assert other.name in button.toolTip()
    assert "…" in button.text()
    assert button.sizeHint().width() < 150


def test_a_choice_in_the_dock_stays(bench):
    cells, other = (bench.viewer.add_image(np.zeros((20, 30)), name=n) for n in "ab")
    binding = bench.layers.make_binding(cells)
    combo = bench.find("image")
    combo.setCurrentIndex(1)
    assert name_of(bench) == "b"
    assert bench.viewer.layers.selection.active is other
    cells.name = "renamed"
    other.scale = (2, 2)
    bench.viewer.add_points(np.zeros((1, 2)))
    assert name_of(bench) == "b"
    combo.setCurrentIndex(0)
    assert bench.viewer.layers.selection.active is binding.layer
    assert name_of(bench) == "renamed"


def test_our_overlays_and_compared_layers_do_not_count(bench):
    bench.viewer.add_image(np.zeros((20, 30)), name="a")
    bench.viewer.add_image(np.zeros((20, 30)), name="b")
    ours = {"metadata": {image_layers.OURS: "comparison"}}
    bench.viewer.add_labels(np.zeros((20, 30), int), **ours)
    bench.viewer.add_image(np.zeros((20, 30)), **ours)
    assert name_of(bench) == "b"
    assert bench.find("image").count() == 2


def test_a_pinned_image_stays_until_it_is_removed(bench):
    first = bench.viewer.add_image(np.zeros((20, 30)), name="a")
    pin = bench.find("pin_image")
    assert "Stay with this image" in pin.toolTip()
    pin.click()
    second = bench.viewer.add_image(np.zeros((20, 30)), name="b")
    assert name_of(bench) == "a"
    assert title(bench) == 'Segment "a"'
    bench.find("image").setCurrentIndex(1)
    assert name_of(bench) == "b"
    bench.viewer.layers.selection.active = first
    assert name_of(bench) == "b"
    pin.click()
    assert name_of(bench) == "a"  # it follows again
    pin.click()
    bench.viewer.layers.remove(first)
    assert name_of(bench) == second.name
    assert not pin.isChecked()


def test_a_job_goes_on_for_the_image_that_it_began_with():
    bench = Headless(Workers())
    begun = []

    def segment(request, token):
        begun.append(request.image.image_id)
        yield Progress(0, 1, "")

    bench.workers.segment = segment
    bench.app.segment.segment()
    key = bench.state.image_key
    bench.step()
    other = bench.viewer.add_image(np.zeros(SHAPE), name="other")
    assert bench.state.image_key == image_layers.layer_id_of(other)
    bench.app.image.set_object_size(12)  # of the other image
    assert bench.app.jobs.current.image_key == key == begun[0]
    bench.app.shut_down()


# Channels and slices ----------------------------------------------------------------


def planes(image, n=2):
    """Noise, and the image as its last channel."""
    noise = np.random.default_rng(0).integers(0, 255, (n - 1, *image.shape), np.uint8)
    return np.concatenate([noise, image[None]])


def ome(path, pixels):
    names = [f"stain {i}" for i in range(len(pixels))]
    known = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(path, pixels, ome=True, metadata=known, photometric="minisblack")
    return names


def imagej(path, pixels):
    names = [f"stain {i}" for i in range(len(pixels))]
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX", "Labels": names})
    return names


def imagej_without_names(path, pixels):
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    return [f"Channel {i + 1}" for i in range(len(pixels))]


def plain(path, pixels):
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None)


def opened(dock, path):
    (image,) = dock.viewer.open(path, plugin="napari")
    return image


def ticks(dock, slot=0):
    """The channels that an input sees, and all that are offered."""
    actions = dock.find(f"channel_{slot}").menu().actions()
    return [a.text() for a in actions if a.isChecked()], [a.text() for a in actions]


def tick(dock, name, slot=0):
    actions = dock.find(f"channel_{slot}").menu().actions()
    next(a for a in actions if a.text() == name).trigger()


@pytest.mark.parametrize("write", [ome, imagej, imagej_without_names])
@pytest.mark.parametrize("n", [2, 4])
def test_channels_that_the_file_states_are_recognized(
    dock, tmp_path, image_of_nuclei, write, n
):
    path = tmp_path / "cells.ome.tif" if write is ome else tmp_path / "cells.tif"
    names = write(path, planes(image_of_nuclei, n))
    image = opened(dock, path)
    assert image_layers.n_channels(image) == n
    assert not dock.find("axis_channels").isVisibleTo(dock.view)
    dock.viewer.dims.set_point(0, 0)
    assert ticks(dock) == ([names[0]], names)
    dock.viewer.dims.set_point(0, n - 1)
    assert ticks(dock)[0] == [names[-1]]
    dock.app.image.set_object_size(20)
    dock.segment("stack")
    assert dock.labels.data.shape == image_of_nuclei.shape
    assert dock.labels.data.max() > 10


def test_a_file_may_be_named_from_where_napari_was_started(
    dock, tmp_path, monkeypatch, image_of_nuclei
):
    imagej(tmp_path / "cells.tif", planes(image_of_nuclei))
    monkeypatch.chdir(tmp_path)
    assert image_layers.n_channels(opened(dock, "cells.tif")) == 2


def test_slices_that_the_file_states_are_recognized(dock, tmp_path, image_of_nuclei):
    path = tmp_path / "cells.tif"
    known = {"axes": "ZYX"}
    tifffile.imwrite(path, planes(image_of_nuclei, 3), imagej=True, metadata=known)
    image = opened(dock, path)
    assert image_layers.stack_shape(image) == (3,)
    assert not dock.find("axis_channels").isVisibleTo(dock.view)


@pytest.mark.parametrize("n", [2, 4])
def test_a_file_that_does_not_say_is_asked_about(dock, tmp_path, image_of_nuclei, n):
    plain(tmp_path / "cells.tif", planes(image_of_nuclei, n))
    image = opened(dock, tmp_path / "cells.tif")
    question = dock.find("axis_channels")
    assert question.isVisibleTo(dock.view)
    assert any(x.text() == f"{n} planes are" for x in dock.view.findChildren(QLabel))
    dock.app.segment.choose_scope("stack")
    dock.click("segment")
    assert f"'{n} planes are', whether these are channels or slices" in dock.message
    assert dock.binding is None
    question.click()
    assert image_layers.n_channels(image) == n
    assert not question.isVisibleTo(dock.view)
    assert ticks(dock)[1] == [f"Channel {i + 1}" for i in range(n)]
    dock.find("axis_again").click()
    assert image_layers.stack_shape(image) == (n,)
    assert dock.find("axis_slices").isChecked()
    dock.app.image.set_object_size(20)
    dock.segment("stack")
    assert dock.labels.data.shape == (n, *image_of_nuclei.shape)


def test_five_planes_or_a_colour_picture_are_not_asked_about(bench):
    for data in (np.zeros((5, 20, 30)), np.zeros((20, 30, 3), np.uint8), np.zeros((9, 9))):
        bench.viewer.add_image(data)
        assert not bench.find("axis_channels").isVisibleTo(bench.view)


def test_a_late_answer_loses_no_labels(dock, image_of_nuclei):
    image = dock.viewer.add_image(planes(image_of_nuclei, 3), name="cells")
    dock.viewer.dims.set_point(0, 2)
    dock.app.image.set_object_size(20)
    dock.segment("slice")
    dock.labels.paint((2, 30, 30), 77)
    dock.mark("slice")
    before = dock.labels.data[2].copy()
    dock.find("axis_channels").click()
    assert dock.labels.data.shape == image_of_nuclei.shape
    assert np.array_equal(dock.labels.data, before)
    assert dock.verified(()).all()
    assert [x.name for x in dock.viewer.layers if isinstance(x, Labels)] == ["cells labels"]
    dock.find("axis_again").click()
    assert np.array_equal(dock.labels.data[2], before)
    assert dock.verified((2,)).all()
    dock.layers.binding(dock.state.image_key).plane((0,))[:5] = 3
    dock.find("axis_channels").click()  # labels of two slices do not fit on one
    assert dock.binding is None
    assert np.array_equal(dock.viewer.layers["cells labels"].data[2], before)
    assert "stay as they are" in dock.message
    assert image_layers.n_channels(image) == 3


def test_a_late_answer_leaves_one_image_in_the_session(dock, make_dock, image_of_nuclei):
    image = dock.viewer.add_image(planes(image_of_nuclei, 3), name="cells")
    dock.viewer.dims.set_point(0, 2)
    dock.layers.make_binding(image).layer.paint((2, 30, 30), 77)
    assert dock.app.autosave.flush(60)
    dock.find("axis_channels").click()
    root, later = dock.end(), make_dock()
    later.open_session(root)
    assert [x.name for x in later.viewer.layers] == ["cells", "cells labels"]
    assert later.labels.data.shape == image_of_nuclei.shape
    assert later.labels.data[30, 30] == 77
    assert "is open" in later.message


def test_several_channels_in_one_input_are_combined(dock, image_of_nuclei):
    left, right = image_of_nuclei.copy(), image_of_nuclei.astype(np.uint16) * 100
    left[:, 65:], right[:, :65] = left.min(), right.min()
    data = np.stack([left, right])
    dock.viewer.add_image(data, name="two", axis_labels=("c", "y", "x"))
    dock.app.image.set_object_size(20)
    dock.segment()
    dock.viewer.dims.set_point(0, 0)
    halves = [dock.labels.data[:, :60].any(), dock.labels.data[:, 70:].any()]
    tick(dock, "Channel 1")
    tick(dock, "Channel 2")
    assert (
        dock.find("channel_0").toolTip().startswith("The model sees: Channel 1, Channel 2")
    )
    assert "channels were changed" in dock.message
    dock.segment()
    both = dock.labels.data
    assert both[:, :60].any()
    assert both[:, 70:].any()
    assert not all(halves)


def test_layers_split_by_channel_are_combined_and_come_back(
    dock, make_dock, image_of_nuclei
):
    left, right = image_of_nuclei.copy(), image_of_nuclei.copy()
    left[:, 65:], right[:, :65] = left.min(), right.min()
    both = np.stack([left, right])
    dock.viewer.add_image(both, channel_axis=0, name=["DAPI", "GFP"])
    dock.viewer.layers.selection.active = dock.viewer.layers["DAPI"]
    assert ticks(dock) == (["DAPI"], ["DAPI", "GFP"])
    tick(dock, "GFP")
    dock.app.image.set_object_size(20)
    dock.segment()
    labels = dock.labels.data.copy()
    assert labels.shape == image_of_nuclei.shape
    assert labels[:, :60].any()
    assert labels[:, 70:].any()
    dock.mark("slice")
    seen = snapshot_of(dock.state, dock.layers, dock.layers.image(dock.state.image_key))
    root, later = dock.end(), make_dock()
    later.open_session(root)
    assert sorted(x.name for x in later.viewer.layers if isinstance(x, Labels)) == [
        "DAPI labels"
    ]
    assert name_of(later) == "DAPI"
    assert ticks(later) == (["DAPI", "GFP"], ["DAPI", "GFP"])
    image = later.layers.image(later.state.image_key)
    again = snapshot_of(later.state, later.layers, image)
    whole = slice(0, 120), slice(0, 130)
    pixels = [
        ImageReader(x.levels, x.axes, x.channels).read((), *whole) for x in (seen, again)
    ]
    assert np.array_equal(*pixels)
    later.segment()
    assert np.array_equal(later.labels.data, labels)
    assert later.app.autosave.flush(60)
    file = later.app.autosave.folder.file
    assert [x.partners for x in file.images] == [(file.images[1].key,), ()]


def test_what_is_learned_from_combined_layers_is_what_the_network_saw(
    dock, make_dock, image_of_nuclei, sure_fine_tuning
):
    both = np.stack([image_of_nuclei, image_of_nuclei[::-1]])
    dock.viewer.add_image(both, channel_axis=0, name=["DAPI", "GFP"])
    tick(dock, "DAPI")
    tick(dock, "DAPI", slot=1)
    dock.app.image.set_object_size(20)
    dock.segment()
    dock.fine_tune()
    (learned,) = dock.app.workers.corrections.examples()
    image = dock.layers.image(dock.state.image_key)
    seen = snapshot_of(dock.state, dock.layers, image)
    reader = ImageReader(seen.levels, seen.axes, seen.channels)
    assert reader.channels == ((0, 1), 1)
    assert np.array_equal(learned.image, reader.read((), *reader.window))
    root, later = dock.end(), make_dock()
    later.open_session(root)
    (restored,) = later.app.workers.corrections.examples()
    assert np.array_equal(restored.image, learned.image)
    assert restored.statistics == learned.statistics
    later.fine_tune()
    (again,) = later.app.workers.corrections.examples()
    assert np.array_equal(again.image, learned.image)
    assert again.statistics == learned.statistics


def test_a_combined_layer_that_is_removed_is_noticed(bench):
    bench.viewer.add_image(np.zeros((2, 20, 30)), channel_axis=0, name=["DAPI", "GFP"])
    bench.viewer.layers.selection.active = bench.viewer.layers["DAPI"]
    tick(bench, "GFP")
    assert bench.state.chosen.partners
    bench.viewer.layers["GFP"].scale = (2, 2)
    assert "combined" in bench.message
    assert bench.state.chosen.channels is None
    image = bench.layers.image(bench.state.image_key)
    assert snapshot_of(bench.state, bench.layers, image).partners == ()


def test_other_pixels_of_a_combined_layer_are_measured_again(bench):
    bench.viewer.add_image(np.zeros((2, 20, 30)), channel_axis=0, name=["DAPI", "GFP"])
    bench.viewer.layers.selection.active = bench.viewer.layers["DAPI"]
    tick(bench, "GFP")
    changed = []
    bench.layers.data_changed.connect(changed.append)
    bench.viewer.layers["GFP"].data = np.ones((20, 30))
    assert bench.state.image_key in changed


def test_the_names_of_channels_and_the_answer_come_back(
    dock, make_dock, tmp_path, image_of_nuclei
):
    ome(tmp_path / "cells.ome.tif", planes(image_of_nuclei))
    opened(dock, tmp_path / "cells.ome.tif")
    dock.app.image.choose_channels(((0, 1),))
    dock.layers.make_binding(dock.layers.image(dock.state.image_key)).layer.paint((9, 9), 7)
    asked = dock.viewer.add_image(planes(image_of_nuclei, 3), name="asked")
    dock.find("axis_channels").click()
    dock.layers.make_binding(asked).layer.paint((9, 9), 5)
    root, later = dock.end(), make_dock()
    later.open_session(root)
    assert name_of(later) == "asked"
    assert image_layers.n_channels(later.viewer.layers["asked"]) == 3
    assert later.labels.data[9, 9] == 5
    later.find("image").setCurrentIndex(0)
    assert ticks(later) == (["stain 0", "stain 1"],) * 2
    assert later.labels.data[9, 9] == 7


def test_labels_of_an_older_session_stay_on_the_slices_that_they_were_made_on(
    dock, make_dock, tmp_path, image_of_nuclei
):
    image = dock.viewer.add_image(planes(image_of_nuclei), name="cells")
    dock.layers.make_binding(image).layer.paint((1, 9, 9), 7)
    root, later = dock.end(), make_dock()
    ome(tmp_path / "cells.ome.tif", planes(image_of_nuclei))
    opened(later, tmp_path / "cells.ome.tif")  # where the file says that it has channels
    later.open_session(root)
    assert later.labels.data.shape == (2, *image_of_nuclei.shape)
    assert later.labels.data[1, 9, 9] == 7


def test_the_section_of_the_image_is_low_and_keeps_its_height(dock, image_of_nuclei):
    section = dock.view.image
    section.setFixedWidth(340)
    heights = set()
    for kind in ({}, {"channel_axis": 0}, {"axis_labels": ("c", "y", "x")}):
        dock.viewer.add_image(planes(image_of_nuclei, 4), **kind)
        heights.add(section.sizeHint().height())
    assert len(heights) == 1
    assert heights.pop() <= 200


def test_in_a_real_window_the_dock_follows_and_an_answer_keeps_the_labels(
    window_dock, tmp_path, image_of_nuclei
):
    dock = window_dock
    cells = dock.viewer.add_image(image_of_nuclei, name="cells")
    labels = dock.layers.make_binding(dock.layers.image(dock.state.image_key)).layer
    plain(tmp_path / "planes.tif", planes(image_of_nuclei, 3))
    opened(dock, tmp_path / "planes.tif")
    assert title(dock) == 'Segment "planes"'
    dock.viewer.dims.set_point(0, 2)
    dock.app.image.set_object_size(20)
    dock.segment("slice")
    before = dock.labels.data[2].copy()
    assert before.any()
    dock.find("axis_channels").click()
    assert np.array_equal(dock.labels.data, before)
    dock.viewer.layers.selection.active = labels
    assert title(dock) == 'Segment "cells"'
    dock.click("pin_image")
    dock.viewer.layers.selection.active = dock.viewer.layers["planes"]
    assert title(dock) == 'Segment "cells"'
    dock.viewer.layers.remove(cells.name)
    assert title(dock) == 'Segment "planes"'
