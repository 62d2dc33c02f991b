"""Linking the slices of a large image: the numbers are those of linking in memory."""

import os

import numpy as np
import pytest
from scipy.ndimage import label

from napari_resunet.engine.blocks import BlockLabels
from napari_resunet.events import CancelToken, drain
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.executor import OneProcess
from napari_resunet.session.large.linking import link_planes
from napari_resunet.session.large.plan import Asked, Plan
from napari_resunet.session.large.steps import Job, merge_names, write_block
from napari_resunet.session.stacks import number_stack
from napari_resunet.types import Statistics

SIDE = 32


def drawn(*stack):
    """Discs that come, drift, divide, and are missing in a slice now and then."""
    rng = np.random.default_rng(sum(stack))
    rows, columns = np.mgrid[:40, :56]
    centres = rng.uniform(0, (40, 56), (14, 2))
    planes = np.zeros((*stack, 40, 56), np.int32)
    for index in np.ndindex(stack):
        shown = np.zeros((40, 56), bool)
        for row, column in centres + rng.normal(0, 1.2, centres.shape) + sum(index):
            if rng.random() < 0.8:
                radius = rng.uniform(2, 5)
                shown |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        planes[index] = label(shown)[0]
    return planes


def saved(folder, labels):
    """Save labels as the blocks of a run."""
    asked = Asked("/x", {}, 0, None, None, 24.0, "", SIDE)
    known = Statistics((0.0,), (1.0,))
    stack, (height, width) = labels.shape[:-2], labels.shape[-2:]
    plan = Plan(asked, 1.0, known, 64, "cpu", "float32", True, stack, height, width)
    files = BlockFiles(folder)
    files.write_plan(plan.as_json())
    for block in plan.blocks():
        plane = labels[plan.index(block.plane)]
        names = np.unique(plane, return_index=True)[1][1:] + 1  # of labels 1, 2, …
        window = plan.grid.window(block.row, block.column)
        here = np.zeros_like(plane, bool)
        here[window] = True
        inside, local = np.unique(plane[window], return_inverse=True)
        ids = np.append(0, names)[inside]
        owned = np.sort(names[here.ravel()[names - 1]])
        if ids[0]:  # there is no background
            ids, local = np.append(0, ids), local + 1
        local = local.reshape(plane[window].shape).astype(np.int32)
        files.save(block, BlockLabels(local, ids, owned))
    pyramid = LabelPyramid(folder / "labels", labels.shape, "TZYX"[-labels.ndim :], SIDE)
    pyramid.create(np.uint32)
    return Job(folder, plan, pyramid, linked=True)


@pytest.mark.parametrize(
    ("axes", "stack"), [("Z", "volume"), ("TZ", "film"), ("ZT", "volume")]
)
def test_numbers_are_those_of_linking_in_memory(tmp_path, monkeypatch, axes, stack):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # of hundreds of files
    labels = drawn(*[3] * len(axes))
    job = saved(tmp_path, labels)
    executor = OneProcess(model=None, device="cpu", token=CancelToken())
    executor.start(job)
    n_rows = job.plan.grid.shape[0]
    rows = [(plane, row) for plane in range(job.plan.n_planes) for row in range(n_rows)]
    ends = np.cumsum([n for _, n in executor.map(merge_names, rows)]).reshape(-1, n_rows)
    for plane, before in enumerate(np.append(0, ends.flat[:-1]).reshape(ends.shape)):
        BlockFiles(job.folder).save_before(plane, before)
    n = link_planes(job, tuple(axes), stack, executor, ends[:, -1])
    for _ in executor.map(write_block, job.plan.blocks()):
        pass
    expected = drain(number_stack(labels, tuple(axes), stack))
    np.testing.assert_array_equal(job.levels._open(0)[...], expected)
    assert n == expected.max()
    assert any(all((part == i).any() for part in expected) for i in range(1, n + 1))
