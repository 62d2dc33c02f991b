"""Segments an image that is larger than memory into a new OME-Zarr, block by block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet._package import library_versions
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import FileError
from napari_resunet.events import CancelToken, Notice, Progress, Resumed, ignore
from napari_resunet.files import cannot_write, scene_name, shown
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.labels import NOTE, own_attributes
from napari_resunet.session.api import OnEvent
from napari_resunet.session.export import source_of
from napari_resunet.session.image_files import (
    check_image,
    file_stamp,
    suitable_level,
)
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.executor import Executor, OneProcess, needs_cluster
from napari_resunet.session.large.linking import link_planes
from napari_resunet.session.large.measure import check_flat
from napari_resunet.session.large.outputs import InImage, Labelled, Output, OwnStore
from napari_resunet.session.large.plan import Asked, Plan, plan_from
from napari_resunet.session.large.steps import (
    Job,
    Row,
    merge_names,
    parts_of_level,
    resample,
    write_block,
)
from napari_resunet.session.large.store_lock import only_writer
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.segment_files import (
    FILE,
    LEVEL,
    REQUEST,
    STACK,
    SegmentOptions,
    read_with_notices,
)
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import stack_of
from napari_resunet.session.store.tiff import make_folder
from napari_resunet.tiff_reader import PIXEL_AXES
from napari_resunet.types import Decoding, local_device, now

SIDE = 4096
"""Rows and columns of a block, a multiple of `CHUNK`."""

MAX_OBJECTS = 2**32 - 1
"""Labels have 32 bits."""

LABELS = "labels"
"""Folder of a run in which the labels are written."""


@dataclass(frozen=True)
class _Seen:
    """What the image says of itself; a whole file may have to be read to know it."""

    asked: Asked
    scale: float | None
    """Rescale factor; None if it is to be estimated."""
    labelled: Labelled
    stack_axes: tuple[str, ...]
    stack: Stack | None
    """What the slices are; None for one plane, and for classes."""

    @property
    def is_linked(self) -> bool:
        """Whether objects go through the slices."""
        return self.stack in ("volume", "film")


@dataclass(frozen=True)
class LargeRun:
    """A run on a large image.

    Attributes
    ----------
    source : Path
        The image.
    target : Path or None
        A new OME-Zarr for the labels; None if they are only to be in the image.
    model : Model
        The model that the options name.
    options : SegmentOptions
        How to segment; its output is not used.
    cluster : ClusterChoice
        Where the work is done.
    decoding : Decoding
        How maps become labels.
    model_digest : str
        What tells the model from others, if the options do not name its file.
    into_image : str or None
        Name of the labels that are to be among those of the image, an OME-Zarr.
    """

    source: Path
    target: Path | None
    model: Model
    options: SegmentOptions
    cluster: ClusterChoice = HERE
    decoding: Decoding = field(default_factory=Decoding)
    model_digest: str = ""
    into_image: str | None = None

    @property
    def outputs(self) -> list[Output]:
        """Where the labels go: at least one place."""
        own = [] if self.target is None else [OwnStore(self.source, self.target)]
        name = self.into_image
        return [*own, *([] if name is None else [InImage(self.source, name)])]

    @property
    def folder(self) -> Path:
        """Where the run keeps what it has found, until it is whole."""
        return self.outputs[0].unfinished


def segment_large(
    run: LargeRun, on_event: OnEvent, token: CancelToken | None = None
) -> int:
    """Segment an image of any size into an OME-Zarr: a new one, or its own.

    Blocks that an earlier run on the same image has found are kept. The labels get their
    place when all are there.

    Parameters
    ----------
    run : LargeRun
        What to do.
    on_event : callable
        Called with each Progress and Notice.
    token : CancelToken or None
        Checked between tiles.

    Returns
    -------
    int
        Number of objects; of classes, 0.

    Raises
    ------
    FileError
        If the image cannot be read, or the labels must not or cannot be written.
    ClusterError
        If there is no such cluster, or it goes away.
    ImageError
        If the image cannot be used as it is, or its pixel size is needed and not known.
    DeviceError, OutOfMemoryError
        If the device fails or has too little memory.
    Cancelled
        If the token requests it.
    """
    check_image(run.source)
    overwrite = run.options.overwrite
    for output in run.outputs:
        output.check(overwrite=overwrite)
    with _alone(run), _executor(run, on_event, token or CancelToken()) as executor:
        seen = _look(run, on_event)
        jobs = _jobs(run, seen, executor, on_event)
        executor.start(jobs[0])
        _label_blocks(jobs[0], executor, on_event)
        n_objects = _number(jobs[0], seen, executor, on_event)
        about = _about(run, seen, jobs[0].plan, n_objects)
        for output, job in zip(run.outputs, jobs, strict=True):
            if job is not jobs[0]:
                executor.start(job)
            _write(output, job, about, executor, on_event)
            output.take_place(job.levels.folder, overwrite=overwrite)
        for output in run.outputs:
            shutil.rmtree(output.unfinished, ignore_errors=True)
    return n_objects


@contextmanager
def _alone(run: LargeRun) -> Iterator[None]:
    """Let no other run write the same labels."""
    with ExitStack() as stack:
        for output in run.outputs:
            if output.unfinished.is_symlink():
                raise FileError(
                    f"{shown(output.unfinished)} is a link to another place, where labels "
                    "would be written: remove it."
                )
            stack.enter_context(only_writer(output.place, output.lock))
            make_folder(output.unfinished)
        yield


@contextmanager
def _executor(run: LargeRun, on_event: OnEvent, token: CancelToken) -> Iterator[Executor]:
    """Choose who does the work, until the end of the run."""
    model, options = run.model, run.options
    device = local_device(options.device)
    # Other processes read the model from its file, if it has one.
    if run.model_digest or not needs_cluster(run.cluster, device):
        yield OneProcess(model, device, token)
        return
    from napari_resunet.session.large.cluster import Cluster, connected

    shared = run.folder / f"{options.model_hash[:16]}.safetensors"
    with (
        connected(run.cluster, on_event) as client,
        closing(Cluster(client, model, shared, device, token)) as cluster,
    ):
        yield cluster


def finished(run: LargeRun) -> int | None:
    """Return the number of objects if the labels are there, as the run would write them.

    Raises
    ------
    FileError
        If the image cannot be read.
    ImageError
        If its pixel size is needed and not known.
    """
    there = [own_attributes(output.place) for output in run.outputs]
    if there[0] is None or None in there:
        return None
    note: dict[str, Any] = there[0][NOTE]
    seen = _look(run, ignore)
    plan, n_objects = note.get("run"), note.get("n_objects")
    same = isinstance(plan, dict) and plan.get("asked") == seen.asked.as_json()
    same = same and note.get(STACK) == seen.stack
    return n_objects if same and isinstance(n_objects, int) else None


def check_measurable(run: LargeRun) -> None:
    """Check, before long work, that the labels can be measured block by block.

    Raises
    ------
    FileError
        If they are classes, or objects with a depth. Those that `finished` lists, too.
    """
    if run.model.info.task != "instances":
        raise FileError(
            f"{shown(run.source)} is measured block by block, which is for objects, and "
            "the model finds classes: leave --measure out."
        )
    seen = _look(run, ignore)
    check_flat(run.source, seen.stack_axes, seen.stack)


def _plan(
    run: LargeRun, seen: _Seen, files: BlockFiles, executor: Executor, on_event: OnEvent
) -> Plan:
    """Take the plan of an earlier run on the same image, or make one."""
    earlier = files.read_plan()
    if earlier is not None:
        try:
            return plan_from(earlier, seen.asked)
        except FileError:
            if not run.options.overwrite:
                raise
    # Of blocks whose plan is not this one, or gone.
    shutil.rmtree(files.folder)
    make_folder(files.folder)
    plan = executor.measure(seen.asked, seen.scale, on_event)
    files.write_plan(plan.as_json())
    return plan


def _look(run: LargeRun, on_event: OnEvent) -> _Seen:
    """Look at the image."""
    model, options = run.model, run.options
    level, size = suitable_level(run.source, options.diameter, model.info.diameter)
    stored = read_with_notices(run.source, options.axes, level, on_event)
    scale = scale_from(size, model.info, stored.pixel_size)
    asked = Asked(
        source=os.path.abspath(run.source),
        stamp=file_stamp(run.source),
        level=level,
        axes=options.axes,
        channels=options.channels,
        diameter=None if scale is None else model.info.diameter / scale,
        model_sha256=run.model_digest or options.model_hash,
        side=SIDE,
        decoding=run.decoding,
    )
    reader = ImageReader([stored.array], stored.axes, options.channels)
    side = {} if stored.pixel_size is None else dict.fromkeys("YX", stored.pixel_size)
    steps = {**side, **stored.steps}
    axes = "".join(reader.stack_axes) + PIXEL_AXES
    labelled = Labelled(reader.shape, axes, steps, level)
    stack = stack_of(options.stack, reader.stack_axes, model.info.task)
    return _Seen(asked, scale, labelled, tuple(reader.stack_axes), stack)


def _jobs(run: LargeRun, seen: _Seen, executor: Executor, on_event: OnEvent) -> list[Job]:
    """Return the job for each output; they differ only in where the labels are written."""
    outputs = run.outputs
    levels = [o.levels(o.unfinished / LABELS, seen.labelled) for o in outputs]
    plan = _plan(run, seen, BlockFiles(run.folder), executor, on_event)
    return [Job(run.folder, plan, each, seen.is_linked) for each in levels]


def _label_blocks(job: Job, executor: Executor, on_event: OnEvent) -> None:
    files, blocks = BlockFiles(job.folder), job.plan.blocks()
    left = [block for block in blocks if not files.is_done(block)]
    if len(left) < len(blocks):
        n = len(blocks) - len(left)
        on_event(Notice(f"{n} of {len(blocks)} blocks are done since an earlier run."))
        on_event(Resumed(n, len(blocks), "reading the image"))
    executor.label(left, len(blocks), on_event)
    n_cut = sum(files.is_cut(block) for block in blocks)
    if n_cut:
        on_event(
            Notice(
                f"In {n_cut} of {len(blocks)} blocks, objects are so large that they are "
                "cut at its edge: check the labels there, or give a larger --diameter."
            )
        )


def _write(
    output: Output,
    job: Job,
    about: Mapping[str, Any],
    executor: Executor,
    on_event: OnEvent,
) -> None:
    """Write the labels at all levels, numbered over the image."""
    shutil.rmtree(job.levels.folder, ignore_errors=True)  # half-written by an earlier run
    try:
        # With room for new objects when parts are corrected.
        job.levels.create(np.uint16 if about["n_objects"] < 2**15 else np.uint32)
        _write_levels(job, executor, on_event)
        output.finish(job.levels, about)
    except OSError as error:
        raise cannot_write(output.place, error) from error


def _number(job: Job, seen: _Seen, executor: Executor, on_event: OnEvent) -> int:
    """Save how many objects come before those of each row; return how many there are."""
    files, n_rows = BlockFiles(job.folder), job.plan.grid.shape[0]
    rows: list[Row] = list(product(range(job.plan.n_planes), range(n_rows)))
    counts = dict(executor.map(merge_names, rows))
    ends = np.cumsum([counts[row] for row in rows], dtype=np.int64)
    if ends[-1] > MAX_OBJECTS:
        raise FileError(
            f"There are {ends[-1]:,} objects, and labels of 32 bits can number only "
            f"{MAX_OBJECTS:,}: cut the image into parts, or give a larger --diameter."
        )
    starts = np.append(0, ends[:-1]).reshape(-1, n_rows)
    for plane, before in enumerate(starts):
        files.save_before(plane, before)
    if seen.stack is None or not seen.is_linked:
        return int(ends[-1])
    on_event(Progress(0, 0, f"linking the slices of a {seen.stack}"))
    of_planes = ends.reshape(-1, n_rows)[:, -1]
    return link_planes(job, seen.stack_axes, seen.stack, executor, of_planes)


def _write_levels(job: Job, executor: Executor, on_event: OnEvent) -> None:
    blocks = job.plan.blocks()
    for n, _ in enumerate(executor.map(write_block, blocks), start=1):
        on_event(Progress(n, len(blocks), "writing the labels"))
    for level in range(len(job.levels.shapes)):
        if level != job.levels.base:
            for _ in executor.map(resample, parts_of_level(job, level)):
                pass


def _about(run: LargeRun, seen: _Seen, plan: Plan, n_objects: int) -> dict[str, Any]:
    """Describe how labels were made, as `segment_files` does."""
    return {
        "created": now(),
        "image": {
            "name": scene_name(run.source),
            "source": source_of(run.source),
            "shape": seen.labelled.shape,
            "axes": seen.labelled.axes,
        },
        "model": {"id": run.model.info.lineage.model_id, "sha256": plan.asked.model_sha256},
        "run": plan.as_json(),
        FILE: plan.asked.stamp,
        LEVEL: plan.asked.level,
        REQUEST: run.options.request,
        STACK: seen.stack,
        "n_objects": n_objects,
        "programs": library_versions(),
    }
