"""The steps of a run on a large image, each on one block, row, or part of a level.

They pass nothing on but files, so they can run in other processes and on other machines.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.blocks import BlockLabels
from napari_resunet.engine.device import as_before, choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.large_plane import label_block
from napari_resunet.engine.object_size import estimate_scale
from napari_resunet.engine.predict import KeptTiles, Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.errors import Cancelled, FileError, OutOfMemoryError
from napari_resunet.events import CancelToken, Notice, Progress, drain, ignore
from napari_resunet.files import shown
from napari_resunet.network.model_file import Model
from napari_resunet.ome_zarr.image_labels import parts_of
from napari_resunet.session.api import OnEvent
from napari_resunet.session.large.block_files import PLAN, BlockFiles, damaged
from napari_resunet.session.large.outputs import Levels
from napari_resunet.session.large.plan import Asked, Block, Plan
from napari_resunet.types import DeviceChoice, Index

Row = tuple[int, int]
"""A plane, and a row of blocks in it."""

Shared = tuple[Block, tuple[int, ...]]
"""A block, and the later planes in which its objects may go on."""

Part = tuple[int, Index, slice, slice]
"""A level, a plane of it, and rows and columns."""


@dataclass(frozen=True)
class Job:
    """A run, as all processes that take part in it know it.

    Attributes
    ----------
    folder : Path
        Where blocks are saved.
    plan : Plan
        What is computed.
    levels : Levels
        Where labels are written.
    linked : bool
        Whether objects have one number in all slices of a volume or a film.
    """

    folder: Path
    plan: Plan
    levels: Levels
    linked: bool = False


class Worker:
    """A process that takes part in a run.

    Parameters
    ----------
    job : Job
        The run.
    model : callable
        Returns its model; called when the first block is labelled.
    token : CancelToken
        Checked between tiles.

    Raises
    ------
    FileError
        If the folder of the run is not there.
    """

    def __init__(self, job: Job, model: Callable[[], Model], token: CancelToken) -> None:
        self.job, self._model, self._token = job, model, token
        self._network = Lock()  # which uses all cores, or the whole graphics card
        if not (job.folder / PLAN).is_file():
            raise not_shared(job.folder)
        self.files = BlockFiles(job.folder)
        # Blocks side by side look up names in the same three rows.
        self.names = lru_cache(maxsize=3)(self.files.names)
        self.linked = lru_cache(maxsize=1)(self.files.linked)
        self._kept = KeptTiles(job.plan.index(0))

    @cached_property
    def _reader(self) -> ImageReader:
        return self.job.plan.asked.open()

    @cached_property
    def _predictor(self) -> Predictor:
        plan = self.job.plan
        return Predictor(self._model(), as_before(plan.device, plan.precision))

    def label(self, block: Block) -> Generator[Progress | Notice, None, None]:
        """Label a block, and save it.

        Raises
        ------
        Cancelled
            If the token requests it, or the folder is another run's by now.
        OutOfMemoryError
            If memory is short; what is saved is kept.
        """
        plan = self.job.plan
        with self._network:
            found = yield from self._found(block)
            self._check_maps()
        if self._token.cancelled or self.files.read_plan() != plan.as_json():
            raise Cancelled("The run is over.")
        self.files.save(block, found)

    def _found(self, block: Block) -> Generator[Progress | Notice, None, BlockLabels]:
        plan, reader, index = self.job.plan, self._reader, self.job.plan.index(block.plane)
        if self._kept.index != index:
            self._kept = KeptTiles(index)
        plane = PredictionRequest(reader, index, reader.window, plan.scale, plan.statistics)
        return label_block(
            self._predictor,
            plane,
            plan.grid,
            (block.row, block.column),
            plan.asked.decoding,
            self._token,
            self._kept,
        )

    def _check_maps(self) -> None:
        """Check that memory was not so short that neighbours see other maps."""
        plan, used = self.job.plan, self._predictor.plan
        if (used.tile, used.compute.kind) != (plan.tile, plan.device):
            self._kept = KeptTiles(plan.index(0))
            del self._predictor  # the next block is tried as planned
            raise OutOfMemoryError(
                "Memory is short: close other programs and run the same command again; "
                "the blocks that are done are kept."
            )


def not_shared(folder: Path) -> FileError:
    """Make the error for a process that does not see the folder of the run."""
    return FileError(
        f"A worker does not find {shown(folder)}: put image and labels where all computers "
        "of the cluster see them under the same name."
    )


def measured(
    asked: Asked,
    model: Model,
    device: DeviceChoice,
    scale: float | None,
    on_event: OnEvent = ignore,
) -> Plan:
    """Measure the intensities and, if it is not known, the object size."""
    reader, info = asked.open(), model.info
    statistics = reader.measure(info.normalization)
    predictor = Predictor(model, choose(device))
    if scale is None:
        # The middle of a stack, because to compare its planes all would have to be read.
        middle = tuple(n // 2 for n in reader.shape[:-2])
        on_event(Progress(0, 0, "estimating the object size"))
        scale = drain(estimate_scale(predictor, reader, [middle], statistics))
    return Plan(
        asked=asked,
        scale=scale,
        statistics=statistics,
        tile=predictor.plan.tile,
        device=predictor.plan.compute.kind,
        precision=predictor.plan.compute.precision,
        objects=info.task == "instances",
        stack=reader.shape[:-2],
        height=reader.height,
        width=reader.width,
    )


def merge_names(worker: Worker, row: Row) -> int:
    """List the objects that a row of blocks owns in their order; return how many."""
    files, grid = worker.files, worker.job.plan.grid
    plane, number = row
    names = [files.owned(Block(*row, column)) for column in range(grid.shape[1])]
    beside = range(max(0, number - 1), min(grid.shape[0], number + 2))
    around = [Block(plane, r, c) for r in beside for c in range(grid.shape[1])]
    if any(files.is_cut(block) for block in around):
        # Then a block may show an object that its owner does not know.
        for block in around:
            ids = files.ids(block)[1:]
            names.append(ids[grid.rows_of(ids) == number])
    merged = np.unique(np.concatenate(names))
    files.save_names(*row, merged)
    return len(merged)


def share_pixels(worker: Worker, task: Shared) -> None:
    """Count the pixels of a block's objects, and those that they share with later ones."""
    block, later = task
    here = _places(worker, block)
    objects, counts = np.unique(here[here >= 0], return_counts=True)
    worker.files.save_counts(block, block.plane, np.stack([objects, counts]))
    for plane in later:
        there = _places(worker, replace(block, plane=plane))
        both = (here >= 0) & (there >= 0)
        n = int(there.max(initial=0)) + 1
        codes, counts = np.unique(here[both] * n + there[both], return_counts=True)
        worker.files.save_counts(block, plane, np.stack([codes // n, codes % n, counts]))


def _places(worker: Worker, block: Block) -> npt.NDArray[np.int64]:
    """Return the position of the object at each pixel of a block in its plane, or -1."""
    first = worker.files.before(block.plane)[0] + 1
    labels = _numbered(worker, block)
    return np.where(labels > 0, labels.astype(np.int64) - first, -1)


def write_block(worker: Worker, block: Block) -> None:
    """Write the labels of a block, numbered over the whole image."""
    plan, levels = worker.job.plan, worker.job.levels
    window = plan.grid.window(block.row, block.column)
    labels: npt.NDArray[Any]
    if worker.job.linked:
        numbers = np.append(worker.linked(block.plane), 0)  # -1 is background
        places = _places(worker, block)
        if places.max(initial=-1) >= len(numbers) - 1:
            raise damaged(worker.files.folder)
        labels = numbers[places].astype(np.uint32)
    else:
        labels = _numbered(worker, block)
    levels.write(levels.base, (*plan.index(block.plane), *window), labels)


def _numbered(worker: Worker, block: Block) -> npt.NDArray[Any]:
    """Return the labels of a block, numbered over the planes of the image."""
    files, plan = worker.files, worker.job.plan
    window = plan.grid.window(block.row, block.column)
    labels = files.labels(block, tuple(s.stop - s.start for s in window))
    if not plan.objects:
        return labels
    numbers = _numbers(worker, block)
    if labels.max(initial=0) >= len(numbers):
        raise damaged(files.folder)
    numbered: npt.NDArray[np.uint32] = numbers[labels]
    return numbered


def _numbers(worker: Worker, block: Block) -> npt.NDArray[np.uint32]:
    """Look up the number of each label of a block in the lists of names."""
    files, plan = worker.files, worker.job.plan
    ids, before = files.ids(block), files.before(block.plane)
    if len(before) != plan.grid.shape[0]:
        raise damaged(files.folder)
    numbers = np.zeros(len(ids), np.uint32)
    rows = np.append(-1, plan.grid.rows_of(ids[1:]))
    for row in np.unique(rows[1:]):
        names = worker.names(block.plane, int(row))
        mine = ids[rows == row]
        ranks = np.searchsorted(names, mine)
        if not len(names) or (names[np.minimum(ranks, len(names) - 1)] != mine).any():
            raise _unlike(files.folder)
        numbers[rows == row] = ranks + before[row] + 1
    return numbers


def _unlike(folder: Path) -> FileError:
    """Make the error for a block with an object that its owner did not find."""
    return FileError(
        f"The blocks in {shown(folder)} do not fit together, because they are damaged or "
        "were computed on different kinds of processor: give --overwrite to start again."
    )


def resample(worker: Worker, part: Part) -> None:
    """Write a part of a level from another one."""
    worker.job.levels.resample(*part)


def parts_of_level(job: Job, level: int) -> list[Part]:
    """Split a level into parts that share no chunk."""
    # Taking every second pixel reads four times as many.
    parts = parts_of(job.levels.shapes[level], 2 * job.levels.chunk)
    return [(level, *part) for part in parts]
