"""Links the objects of the slices of a large image, as `session.stacks` does in memory.

Blocks count how many pixels each object has, and how many it shares with those of later
planes. Sums of these counts are all that linking needs; then blocks are numbered by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.linking import GAP, Numbers, Overlap, link_tables
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.executor import Executor
from napari_resunet.session.large.plan import Block, Plan
from napari_resunet.session.large.steps import Job, Shared, share_pixels
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import AXIS_OF, OUTER_TO_INNER

Planes = npt.NDArray[np.intp]
"""Numbers of planes by position, time, and slice: shape (P, T, Z)."""


@dataclass(frozen=True)
class _Tables:
    """What the blocks of all planes counted.

    Attributes
    ----------
    files : BlockFiles
        Where it is.
    plan : Plan
        The run.
    n_objects : sequence of int
        Of each plane.
    """

    files: BlockFiles
    plan: Plan
    n_objects: Sequence[int]

    def areas(self, plane: int) -> Numbers:
        """Return the pixels of each object of a plane."""
        found = np.zeros(self.n_objects[plane], np.int64)
        for block in self._blocks(plane):
            objects, counts = self.files.counts(block, plane, 2)
            np.add.at(found, objects, counts)
        return found

    def overlap(self, plane: int, later: int) -> Overlap:
        """Return which objects of two planes overlap, and by how many pixels."""
        tables = [self.files.counts(b, later, 3) for b in self._blocks(plane)]
        rows, columns, counts = np.concatenate(tables, axis=1)
        return _summed(rows, columns, counts, max(1, self.n_objects[later]))

    def _blocks(self, plane: int) -> Iterator[Block]:
        rows, columns = self.plan.grid.shape
        return (Block(plane, *place) for place in product(range(rows), range(columns)))


def _summed(rows: Numbers, columns: Numbers, counts: Numbers, n: int) -> Overlap:
    """Sum the counts of each pair of an object with one of `n` others."""
    codes, places = np.unique(rows * n + columns, return_inverse=True)
    sums = np.zeros(len(codes), np.int64)
    np.add.at(sums, places, counts)
    return codes // n, codes % n, sums


def link_planes(
    job: Job, axes: Sequence[str], stack: Stack, executor: Executor, ends: Numbers
) -> int:
    """Save the number of each object of each plane, linked through the stack.

    Parameters
    ----------
    job : Job
        The run, whose blocks are labelled and whose names are merged.
    axes : sequence of str
        One letter of "PTZ" for each axis of the stack.
    stack : {"volume", "film"}
        What the slices are: see `stacks.number_stack`, whose numbers these are.
    executor : Executor
        Counts pixels.
    ends : int array
        How many objects the planes have up to each one.

    Returns
    -------
    int
        How many objects there are.
    """
    files, planes = BlockFiles(job.folder), _planes(job.plan, axes, stack)
    for _ in executor.map(share_pixels, _tasks(job.plan, planes, stack)):
        pass
    tables = _Tables(files, job.plan, np.diff(ends, prepend=0).tolist())
    n_objects = 0
    for position in planes:
        numbers, n_here = _linked(tables, position, stack)
        for plane, linked in numbers.items():
            files.save_linked(plane, linked + n_objects)
        n_objects += n_here
    return n_objects


def _planes(plan: Plan, axes: Sequence[str], stack: Stack) -> Planes:
    """Arrange the planes: of a volume, each time is a position of its own."""
    letters = [AXIS_OF[stack]] if len(axes) == 1 else list(axes)
    order = [letters.index(axis) for axis in OUTER_TO_INNER if axis in letters]
    lengths = dict(zip(letters, plan.stack, strict=True))
    numbered = np.arange(plan.n_planes).reshape(plan.stack).transpose(order)
    found = numbered.reshape([lengths.get(axis, 1) for axis in OUTER_TO_INNER])
    return found.reshape(-1, 1, found.shape[2]) if stack == "volume" else found


def _tasks(plan: Plan, planes: Planes, stack: Stack) -> list[Shared]:
    """List all blocks, each with the later planes that its objects may go on in."""
    later: dict[int, list[int]] = {plane: [] for plane in range(plan.n_planes)}
    for axis, step in product((1, 2), range(1, GAP + 2)):
        before = planes.take(range(max(0, planes.shape[axis] - step)), axis)
        after = planes.take(range(step, step + before.shape[axis]), axis)
        for plane, other in zip(before.flat, after.flat, strict=True):
            later[int(plane)].append(int(other))
    return [(block, tuple(later[block.plane])) for block in plan.blocks()]


def _linked(
    tables: _Tables, planes: Planes, stack: Stack
) -> tuple[dict[int, Numbers], int]:
    """Link the planes of a position, shape (T, Z); return the numbers, and how many."""
    volumes = [_through_slices(tables, slices) for slices in planes]
    if stack == "volume":
        return volumes[0]
    sizes, overlap = _of_volumes(tables, planes, volumes)
    numbers, n_objects = link_tables(sizes, overlap, divide=True)
    linked = {
        plane: of_time[inside - 1]
        for of_time, (slices, _) in zip(numbers, volumes, strict=True)
        for plane, inside in slices.items()
    }
    return linked, n_objects


def _through_slices(
    tables: _Tables, planes: npt.NDArray[np.intp]
) -> tuple[dict[int, Numbers], int]:
    """Link the planes of a volume."""
    order = planes.tolist()
    numbers, n_objects = link_tables(
        map(tables.areas, order), lambda i, k: tables.overlap(order[i], order[k])
    )
    return dict(zip(order, numbers, strict=True)), n_objects


def _of_volumes(
    tables: _Tables, planes: Planes, volumes: Sequence[tuple[dict[int, Numbers], int]]
) -> tuple[Iterator[Numbers], Callable[[int, int], Overlap]]:
    """Return the areas and overlaps of volumes whose planes are linked."""

    def size(slices: dict[int, Numbers], n_objects: int) -> Numbers:
        found = np.zeros(n_objects, np.int64)
        for plane, numbers in slices.items():
            np.add.at(found, numbers - 1, tables.areas(plane))
        return found

    def overlap(i: int, k: int) -> Overlap:
        (first, _), (second, n_second) = volumes[i], volumes[k]
        parts = []
        for plane, later in zip(planes[i].tolist(), planes[k].tolist(), strict=True):
            rows, columns, counts = tables.overlap(plane, later)
            parts.append([first[plane][rows] - 1, second[later][columns] - 1, counts])
        rows, columns, counts = np.concatenate(parts, axis=1)
        return _summed(rows, columns, counts, max(1, n_second))

    return (size(*volume) for volume in volumes), overlap
