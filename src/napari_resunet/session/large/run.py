"""Segments an image that is larger than memory into a new OME-Zarr, block by block."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet._package import library_versions
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import FileError
from napari_resunet.events import CancelToken, Notice, Progress, Resumed, ignore
from napari_resunet.files import cannot_write, check_folder, scene_name, shown
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.ome_zarr.labels import NOTE, own_attributes, sync_files
from napari_resunet.ome_zarr.metadata import INSTALL, is_ome_zarr, read_metadata
from napari_resunet.session.api import OnEvent
from napari_resunet.session.image_files import (
    check_image,
    file_stamp,
    suitable_level,
)
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.executor import Executor, OneProcess, needs_cluster
from napari_resunet.session.large.plan import Asked, Plan, plan_from
from napari_resunet.session.large.steps import (
    Job,
    Row,
    halve,
    merge_names,
    parts_of_level,
    write_block,
)
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.segment_files import SegmentOptions, read_with_notices
from napari_resunet.session.store.directory import SessionLock
from napari_resunet.session.store.schema import LOCK
from napari_resunet.session.store.tiff import make_folder
from napari_resunet.tiff_reader import PIXEL_AXES
from napari_resunet.types import Decoding, now

SIDE = 4096
"""Rows and columns of a block, a multiple of `CHUNK`."""

CHUNK = 1024
"""Rows and columns of a chunk of the labels."""

LABELS = "labels"
"""Folder of a run in which the labels are written."""


@dataclass(frozen=True)
class _Seen:
    """What the image says of itself; a whole file may have to be read to know it."""

    asked: Asked
    scale: float | None
    """Rescale factor; None if it is to be estimated."""
    stack_axes: str
    shape: tuple[int, ...]
    steps: Mapping[str, float]


@dataclass(frozen=True)
class LargeRun:
    """A run on a large image.

    Attributes
    ----------
    source : Path
        The image.
    target : Path
        The OME-Zarr for the labels.
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
    """

    source: Path
    target: Path
    model: Model
    options: SegmentOptions
    cluster: ClusterChoice = HERE
    decoding: Decoding = field(default_factory=Decoding)
    model_digest: str = ""

    @property
    def folder(self) -> Path:
        """Where the run keeps what it has found, until it is whole."""
        return self.target.with_name(f".{self.target.name}.unfinished")


def segment_large(
    run: LargeRun, on_event: OnEvent, token: CancelToken | None = None
) -> int:
    """Segment an image of any size into a new OME-Zarr.

    Blocks that an earlier run on the same image has found are kept. The labels get their
    name when all are there.

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
    _check_target(run)
    with _alone(run), _executor(run, on_event, token or CancelToken()) as executor:
        seen = _look(run, on_event)
        job = _job(run, seen, _plan(run, seen, BlockFiles(run.folder), executor, on_event))
        executor.start(job)
        _label_blocks(job, executor, on_event)
        n_objects = _write(run, job, seen.steps, executor, on_event)
        _take_name(run)
    shutil.rmtree(run.folder, ignore_errors=True)
    return n_objects


@contextmanager
def _alone(run: LargeRun) -> Iterator[None]:
    """Let no other run write the same labels."""
    make_folder(run.folder)
    lock = SessionLock(run.folder)
    if not lock.acquire():
        raise FileError(
            f"Another run is writing {shown(run.target)}: wait until it is done, or give "
            "another name with -o."
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _executor(run: LargeRun, on_event: OnEvent, token: CancelToken) -> Iterator[Executor]:
    """Choose who does the work, until the end of the run."""
    model, options = run.model, run.options
    # Other processes read the model from its file, if it has one.
    if run.model_digest or not needs_cluster(run.cluster, options.device):
        yield OneProcess(model, options.device, token)
        return
    from napari_resunet.session.large.cluster import Cluster, connected

    shared = run.folder / f"{options.model_hash[:16]}.safetensors"
    with (
        connected(run.cluster, on_event) as client,
        closing(Cluster(client, model, shared, options.device, token)) as cluster,
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
    attributes = own_attributes(run.target)
    if attributes is None:
        return None
    note: dict[str, Any] = attributes[NOTE]
    asked = _look(run, ignore).asked
    plan, n_objects = note.get("run"), note.get("n_objects")
    same = isinstance(plan, dict) and plan.get("asked") == asked.as_json()
    return n_objects if same and isinstance(n_objects, int) else None


def _check_target(run: LargeRun) -> None:
    try:
        import yaozarrs  # noqa: F401
        import zarr  # noqa: F401
    except ImportError as error:
        raise FileError(INSTALL) from error
    check_folder(run.target.parent)
    if not run.target.exists():
        return
    if not run.options.overwrite:
        raise FileError(f"{shown(run.target)} is there already: give --overwrite.")
    if own_attributes(run.target) is None:
        raise FileError(
            f"{shown(run.target)} was not written by this program, so it is not replaced: "
            "give another name with -o."
        )


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
            _empty(files.folder)
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
    return _Seen(asked, scale, "".join(reader.stack_axes), reader.shape, steps)


def _empty(folder: Path) -> None:
    """Remove what an earlier run left, except the lock, which is ours now."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _job(run: LargeRun, seen: _Seen, plan: Plan) -> Job:
    pyramid = LabelPyramid(
        folder=run.folder / LABELS,
        shape=seen.shape,
        axes=seen.stack_axes + PIXEL_AXES,
        chunk=CHUNK,
        version=_version(run.source),
    )
    return Job(run.folder, plan, pyramid)


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
    run: LargeRun,
    job: Job,
    steps: Mapping[str, float],
    executor: Executor,
    on_event: OnEvent,
) -> int:
    """Write the labels at all levels, numbered over the image; return how many."""
    n_objects = _number(job, executor)
    shutil.rmtree(job.pyramid.folder, ignore_errors=True)  # half-written by an earlier run
    try:
        # With room for new objects when parts are corrected.
        job.pyramid.create(np.uint16 if n_objects < 2**15 else np.uint32)
        _write_levels(job, executor, on_event)
        job.pyramid.finish(steps, _about(run, job.plan, n_objects))
        sync_files(job.pyramid.folder)
    except OSError as error:
        raise cannot_write(run.target, error) from error
    return n_objects


def _number(job: Job, executor: Executor) -> int:
    """Save how many objects come before those of each row; return how many there are."""
    files, n_rows = BlockFiles(job.folder), job.plan.grid.shape[0]
    rows: list[Row] = list(product(range(job.plan.n_planes), range(n_rows)))
    counts = dict(executor.map(merge_names, rows))
    ends = np.cumsum([counts[row] for row in rows])
    starts = np.append(0, ends[:-1]).reshape(-1, n_rows)
    for plane, before in enumerate(starts):
        files.save_before(plane, before)
    return int(ends[-1])


def _write_levels(job: Job, executor: Executor, on_event: OnEvent) -> None:
    blocks = job.plan.blocks()
    for n, _ in enumerate(executor.map(write_block, blocks), start=1):
        on_event(Progress(n, len(blocks), "writing the labels"))
    for level in range(1, len(job.pyramid.shapes)):
        for _ in executor.map(halve, parts_of_level(job, level)):
            pass


def _version(source: Path) -> str:
    """Return the NGFF version of the image, so that who reads it reads its labels."""
    return read_metadata(source).version if is_ome_zarr(source) else "0.5"


def _about(run: LargeRun, plan: Plan, n_objects: int) -> dict[str, Any]:
    return {
        "created": now(),
        "image": scene_name(run.source),
        "model": {"id": run.model.info.lineage.model_id, "sha256": plan.asked.model_sha256},
        "run": plan.as_json(),
        "n_objects": n_objects,
        "programs": library_versions(),
    }


def _take_name(run: LargeRun) -> None:
    """Give the labels their name."""
    new, aside = run.folder / LABELS, run.folder / "replaced"
    try:
        if run.target.exists():
            run.target.rename(aside)
        new.rename(run.target)
    except OSError as error:
        if aside.exists() and not run.target.exists():
            aside.rename(run.target)
        raise cannot_write(run.target, error) from error
