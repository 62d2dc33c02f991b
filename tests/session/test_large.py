"""Segmenting an image that is larger than memory: block by block into an OME-Zarr."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from stores import make_store
from tests.engine.test_blocks import snake

from napari_resunet.engine import large_plane
from napari_resunet.engine.predict import Predictor
from napari_resunet.errors import FileError, OutOfMemoryError
from napari_resunet.events import Notice, Progress
from napari_resunet.network.model_file import new_model
from napari_resunet.session.api import segment
from napari_resunet.session.large import run as large
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.run import LargeRun, segment_large
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.types import ModelInfo, ObjectSize

SIZE = ObjectSize(30.0)


@pytest.fixture
def here(tmp_path, monkeypatch, image, small_blocks):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("big.tif", image)
    return tmp_path


@pytest.fixture
def run(here, starter):
    def start(source="big.tif", on_event=lambda event: None, **options):
        model = options.pop("model", starter)
        options = {"output": None, "device": "cpu", "diameter": SIZE} | options
        chosen = SegmentOptions(**options)
        job = LargeRun(here / source, here / "labels.ome.zarr", model, chosen)
        return segment_large(job, on_event)

    return start


def level(number=0, store="labels.ome.zarr"):
    return zarr.open_group(store, mode="r")[str(number)][...]


def stop_after(monkeypatch, n):
    """Kill the run while it saves a later block."""
    save, saved = BlockFiles.save, []

    def counted(files, block, found):
        if len(saved) == n:
            raise KeyboardInterrupt
        saved.append(block)
        save(files, block, found)

    monkeypatch.setattr(BlockFiles, "save", counted)
    return saved


def test_labels_are_those_of_the_whole_image(run, whole):
    events = []
    assert run(on_event=events.append) == whole.max() > 8
    np.testing.assert_array_equal(level(), whole)
    progress = [e for e in events if isinstance(e, Progress) and "block" in e.message]
    assert progress[-1].message == "block 6 of 6"
    assert progress[-1].done == progress[-1].total
    assert [e.done for e in progress] == sorted(e.done for e in progress)


def test_the_store_is_what_other_programs_open(run, whole, here):
    run()
    yaozarrs.validate_zarr_store(str(here / "labels.ome.zarr"))
    assert [level(i).shape for i in range(4)] == [
        (210, 260),
        (105, 130),
        (53, 65),
        (27, 33),
    ]
    np.testing.assert_array_equal(level(1), whole[::2, ::2])
    np.testing.assert_array_equal(level(3), whole[::8, ::8])
    assert not list(here.glob(".labels*"))  # nothing unfinished is left


def test_the_level_pixel_size_and_version_of_an_ome_zarr_are_kept(run, here, image):
    fine = np.kron(image, np.ones((2, 2), image.dtype))
    make_store(here / "big.ome.zarr", [fine, fine[::2, ::2]], version="0.4")
    run("big.ome.zarr", diameter=ObjectSize(60.0))
    about = json.loads((here / "labels.ome.zarr/.zattrs").read_text())
    assert level().shape == image.shape
    assert about["napari-resunet"]["run"]["asked"]["level"] == 1
    assert about["multiscales"][0]["version"] == "0.4"


def test_each_plane_of_a_stack_is_numbered_on(run, here, image, whole):
    tifffile.imwrite("big.tif", np.stack([image, image]), metadata={"axes": "ZYX"})
    n = run(stack="separate")
    found = level()
    assert n == 2 * whole.max()
    np.testing.assert_array_equal(found[0], whole)
    np.testing.assert_array_equal(found[1], np.where(whole, whole + whole.max(), 0))


def test_objects_of_a_volume_are_linked_as_in_memory(run, here, image, starter):
    stack = np.stack([image, image[::-1]])
    tifffile.imwrite("big.tif", stack, metadata={"axes": "ZYX"})
    n = run()
    expected = segment(stack, starter, "ZYX", diameter=SIZE, device="cpu")
    np.testing.assert_array_equal(level(), expected)
    assert n == expected.max()
    note = json.loads((here / "labels.ome.zarr/zarr.json").read_text())["attributes"]
    assert note["napari-resunet"]["stack"] == "volume"


def test_a_run_that_was_killed_goes_on_with_the_next_block(run, whole, monkeypatch, here):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not (here / "labels.ome.zarr").exists()
    saved, events = stop_after(monkeypatch, 99), []
    run(on_event=events.append)
    assert len(saved) == 2
    np.testing.assert_array_equal(level(), whole)
    said = [e.message for e in events if isinstance(e, Notice)]
    assert said == ["4 of 6 blocks are done since an earlier run."]


def test_a_link_where_blocks_would_be_kept_is_said(run, here):
    (here / "elsewhere").mkdir()
    (here / ".labels.ome.zarr.unfinished").symlink_to(here / "elsewhere")
    with pytest.raises(FileError, match="is a link to another place"):
        run()
    assert not list((here / "elsewhere").iterdir())


def test_blocks_whose_plan_is_gone_are_not_used(run, here, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run()
    (here / ".labels.ome.zarr.unfinished/plan.json").unlink()
    saved = stop_after(monkeypatch, 99)
    run()
    assert len(saved) == 6


def test_blocks_of_other_settings_are_not_mixed(run, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run()
    with pytest.raises(
        FileError, match="An earlier run that did not finish was on another"
    ):
        run(diameter=ObjectSize(40.0))
    saved = stop_after(monkeypatch, 99)
    run(diameter=ObjectSize(40.0), overwrite=True)
    assert len(saved) == 6


def test_an_image_that_changed_is_begun_again_only_if_told(run, here, monkeypatch, image):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            run()
    tifffile.imwrite("big.tif", np.vstack([image, image]))
    with pytest.raises(FileError, match="another image"):
        run()


def test_labels_that_are_there_are_replaced_only_if_told_and_if_ours(run, here):
    run()
    before = level()
    with pytest.raises(FileError, match="is there already: give --overwrite"):
        run()
    run(overwrite=True)
    np.testing.assert_array_equal(level(), before)
    zarr.create_group(here / "labels.ome.zarr", overwrite=True)
    with pytest.raises(FileError, match="was not written by this program"):
        run(overwrite=True)


@pytest.mark.parametrize("suffix", [".tif", ".ids"])
def test_a_damaged_block_is_said(run, here, monkeypatch, suffix):
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run()
    block = here / ".labels.ome.zarr.unfinished" / f"0-0-1{suffix}"
    block.write_bytes(block.read_bytes()[:-9])
    with pytest.raises(FileError, match="damaged"):
        run()
    assert not (here / "labels.ome.zarr").exists()


def test_objects_that_are_cut_are_said(run, here, monkeypatch):
    predicted = snake()
    tifffile.imwrite("big.tif", np.zeros(predicted.shape, np.uint8))

    def maps(predictor, request, *arguments, **options):
        yield from ()
        return predicted.read(request.part)

    monkeypatch.setattr(Predictor, "maps", maps)
    monkeypatch.setattr(large_plane, "MARGINS", (0.5,))
    monkeypatch.setattr(large, "SIDE", 64)
    events = []
    n = run(diameter=ObjectSize(24.0), on_event=events.append)
    said = [e.message for e in events if isinstance(e, Notice)]
    assert said == [
        "In 6 of 6 blocks, objects are so large that they are cut at its edge: check the "
        "labels there, or give a larger --diameter."
    ]
    assert n == level().max() >= 2
    assert ((level() > 0) == (predicted.maps[0] > 0)).all()


def test_classes_keep_their_values(run, image):
    names = ("background", "axon", "myelin")
    model = new_model(replace(ModelInfo(), task="classes", class_names=names))
    run(model=model)
    expected = segment(image, model, diameter=SIZE, device="cpu")
    np.testing.assert_array_equal(level(), expected)
    assert expected.any()


def test_tiles_that_had_to_shrink_do_not_make_other_labels(run, monkeypatch):
    maps = Predictor.maps

    def short(predictor, *arguments, **options):
        predictor.plan.tile = 128
        return (yield from maps(predictor, *arguments, **options))

    monkeypatch.setattr(Predictor, "maps", short)
    with pytest.raises(OutOfMemoryError, match="run the same command again"):
        run()


def test_two_runs_do_not_write_the_same_labels(run):
    def again(event):
        if isinstance(event, Progress) and event.message == "writing the labels":
            with pytest.raises(FileError, match="Another window or another run is writing"):
                run()
            refused.append(event)

    refused = []
    run(on_event=again)
    assert refused
