"""Who runs the steps of a run: this process, or the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Protocol, TypeVar

from napari_resunet.engine.device import n_gpus
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.network.model_file import Model
from napari_resunet.session.api import OnEvent
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.plan import Asked, Block, Plan
from napari_resunet.session.large.steps import Job, Worker, measured
from napari_resunet.types import DeviceChoice

T = TypeVar("T")
R = TypeVar("R")

PARTS = 1000
"""Units of progress in a block."""


def needs_cluster(choice: ClusterChoice, device: DeviceChoice) -> bool:
    """Return whether one process is not what was chosen, or leaves GPUs idle."""
    if choice != HERE:
        return True
    gpus = device in ("auto", "cuda") and n_gpus() > 1
    return gpus and find_spec("distributed") is not None


class Executor(Protocol):
    """Runs the steps of a run; each method returns when its step is done everywhere."""

    def measure(self, asked: Asked, scale: float | None, on_event: OnEvent) -> Plan:
        """Measure what the plan needs."""

    def start(self, job: Job) -> None:
        """Tell what the run is, before any of its steps."""

    def label(self, blocks: Sequence[Block], n_blocks: int, on_event: OnEvent) -> None:
        """Label the last of all blocks."""

    def map(
        self, step: Callable[[Worker, T], R], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R]]:
        """Yield each task with its result, in the order in which they are done."""


class OneProcess:
    """Runs the steps here, one after the other.

    Parameters
    ----------
    model : Model
        The model of the run.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    token : CancelToken
        Checked between tiles.
    """

    def __init__(self, model: Model, device: DeviceChoice, token: CancelToken) -> None:
        self._model, self._device, self._token = model, device, token

    def measure(self, asked: Asked, scale: float | None, on_event: OnEvent) -> Plan:
        """See `Executor`."""
        return measured(asked, self._model, self._device, scale, on_event)

    def start(self, job: Job) -> None:
        """See `Executor`."""
        self._worker = Worker(job, lambda: self._model, self._token)

    def label(self, blocks: Sequence[Block], n_blocks: int, on_event: OnEvent) -> None:
        """See `Executor`."""
        for n, block in enumerate(blocks, start=n_blocks - len(blocks)):
            drain(self._worker.label(block), _counted(on_event, n, n_blocks))

    def map(
        self, step: Callable[[Worker, T], R], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R]]:
        """See `Executor`."""
        for task in tasks:
            yield task, step(self._worker, task)


def _counted(on_event: OnEvent, n: int, n_blocks: int) -> OnEvent:
    """Count the tiles of a block as part of all blocks."""

    def report(event: Progress | Notice) -> None:
        if isinstance(event, Progress):
            part = PARTS * event.done // max(event.total, 1)
            text = f"block {n + 1} of {n_blocks}"
            event = Progress(PARTS * n + part, PARTS * n_blocks, text)
        on_event(event)

    return report
