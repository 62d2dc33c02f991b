"""Runs the steps of a run on the workers of a Dask cluster.

What travels through Dask is which block comes next, and counts: workers read the image and
write labels themselves. They read the model, too, from the folder of the run, where also a
worker finds it that joins late; so neither the scheduler nor the messages hold weights.
This is the only module that imports Dask.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, TypeVar

from napari_resunet._package import library_versions
from napari_resunet.engine.device import n_gpus
from napari_resunet.errors import Cancelled, ClusterError, FileError
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.files import plain, shown
from napari_resunet.network.model_file import Model, read_model
from napari_resunet.ome_zarr.metadata import read_json
from napari_resunet.session.api import OnEvent
from napari_resunet.session.large.cluster_choice import ClusterChoice
from napari_resunet.session.large.plan import Asked, Block, Plan
from napari_resunet.session.large.steps import Job, Worker, measured, not_shared
from napari_resunet.types import DeviceChoice, new_id

try:
    import dask
    import distributed
    from distributed.scheduler import KilledWorker
except ImportError as error:
    raise ClusterError(
        'Dask is not installed: run pip install "napari-resunet[cluster]", or leave out '
        "the flags for a cluster."
    ) from error

RETRIES = 2
"""How often a block is tried again after an error; after a worker's death it always is."""

ANSWER = 20
"""Seconds in which a scheduler answers."""

LOOK = 0.2
"""Seconds between looks for a request to cancel."""

Future = distributed.Future[Any]
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def connected(choice: ClusterChoice, on_event: OnEvent) -> Iterator[distributed.Client]:
    """Connect to the chosen cluster, or start one on this computer.

    Raises
    ------
    ClusterError
        If there is no such scheduler.
    """
    _be_quiet()
    if choice.scheduler is not None or choice.scheduler_file is not None:
        with _client(address_of(choice)) as client:
            if not client.scheduler_info()["workers"]:
                on_event(Notice("The scheduler has no workers yet: waiting for them."))
            yield client
    else:
        with _on_this_computer(choice.workers) as cluster, _client(cluster) as client:
            yield client


def _be_quiet() -> None:
    """Leave it to our sentences what Dask would log about lost connections."""
    if not logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def address_of(choice: ClusterChoice) -> str:
    """Return the address of the scheduler, which its file states as soon as it runs."""
    path = choice.scheduler_file
    if path is None:
        return choice.scheduler or ""
    for _ in range(1 + int(ANSWER / LOOK)):
        with suppress(FileError):  # not there yet, or half-written
            address = read_json(path).get("address")
            if isinstance(address, str):
                return address
        time.sleep(LOOK)
    raise ClusterError(
        f"{shown(path)} does not say where a scheduler is: start one with dask scheduler "
        f"--scheduler-file {shown(path)}, and run the same command again."
    )


@contextmanager
def _client(where: Any) -> Iterator[distributed.Client]:
    try:
        client = distributed.Client(where, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {plain(where)}: start one with dask scheduler, "
            "and run the same command again."
        ) from error
    try:
        yield client
    finally:
        with suppress(OSError):
            client.close()


@contextmanager
def _on_this_computer(n_workers: int | None) -> Iterator[Any]:
    """Start processes here."""
    workers = workers_here(n_workers)
    threads = max(1, (os.cpu_count() or 1) // len(workers))
    scheduler = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set(
            {"distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": threads}}
        ),
        distributed.SpecCluster(
            workers=dict(enumerate(workers)),
            scheduler={"cls": distributed.Scheduler, "options": scheduler},
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def workers_here(n_workers: int | None) -> list[dict[str, Any]]:
    """Describe processes as Dask knows them: as many as told, or one for each GPU."""
    gpus = _gpus()
    n = n_workers or len(gpus) or 1
    seen = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(n)]
    options = {"nthreads": 1, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    return [{"cls": distributed.Nanny, "options": options | {"env": env}} for env in seen]


def _gpus() -> list[str]:
    """List the GPUs of this process by the names that CUDA gives them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible and n_gpus() else [str(i) for i in range(n_gpus())]


class JobPlugin(distributed.WorkerPlugin):
    """What each worker knows of a run; Dask gives it to those that join late, too.

    Parameters
    ----------
    job : Job
        The run.
    model : Path
        Its model.
    """

    def __init__(self, job: Job, model: Path) -> None:
        self._job, self._model, self._version = job, model, _version()

    def setup(self, worker: distributed.Worker) -> None:
        """Take part; what is wrong is said by the first step."""
        del worker
        self._token, self._lock = CancelToken(), Lock()

    def teardown(self, worker: distributed.Worker) -> None:
        """Leave a block for which nobody waits any more."""
        del worker
        self._token.cancel()

    def run(self, step: Callable[[Worker, T], R], task: T) -> R:
        """Run a step in this process."""
        with self._lock:
            worker = self._worker
        return step(worker, task)

    @cached_property
    def _worker(self) -> Worker:
        if self._version != _version():
            raise ClusterError(
                f"A worker has version {_version()} of napari-resunet and this computer "
                f"{self._version}: install the same on all computers."
            )
        return Worker(self._job, partial(read_model, self._model), self._token)


def _version() -> str:
    return library_versions()["napari-resunet"]


class Cluster:
    """Runs the steps on the workers of a cluster; see `Executor`.

    Parameters
    ----------
    client : distributed.Client
        The connection to the scheduler.
    model : Model
        The model of the run.
    shared : Path
        The file in which workers find it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where workers compute.
    token : CancelToken
        Checked all the time.
    """

    def __init__(
        self,
        client: distributed.Client,
        model: Model,
        shared: Path,
        device: DeviceChoice,
        token: CancelToken,
    ) -> None:
        self._client, self._model, self._shared = client, model, shared
        self._device, self._token = device, token
        self._name = f"napari-resunet-{new_id()}"

    def measure(self, asked: Asked, scale: float | None, on_event: OnEvent) -> Plan:
        """See `Executor`; done by a worker, because it has the device that counts."""
        self._share_model()
        on_event(Progress(0, 0, "measuring the image"))
        work = partial(_measured, model=self._shared, device=self._device, scale=scale)
        ((_, plan),) = self._each(work, [asked])
        return plan

    def start(self, job: Job) -> None:
        """See `Executor`."""
        self._share_model()
        try:
            self._client.register_plugin(JobPlugin(job, self._shared), name=self._name)
        except ImportError as error:
            raise _not_installed(error) from error
        except OSError as error:
            raise _gone() from error

    def label(self, blocks: Sequence[Block], n_blocks: int, on_event: OnEvent) -> None:
        """See `Executor`."""
        first = n_blocks - len(blocks)
        on_event(Progress(first, n_blocks, f"{first} of {n_blocks} blocks"))
        for n, (_, notices) in enumerate(self.map(_label, blocks), start=first + 1):
            for notice in notices:
                on_event(Notice(notice))
            on_event(Progress(n, n_blocks, f"{n} of {n_blocks} blocks"))

    def map(
        self, step: Callable[[Worker, T], R], tasks: Sequence[T]
    ) -> Iterator[tuple[T, R]]:
        """See `Executor`."""
        return self._each(partial(_run, self._name, step), tasks)

    def close(self) -> None:
        """Tell the workers that the run is over."""
        if self._client.status == "running":
            with suppress(OSError, ValueError):  # gone meanwhile, or never started
                self._client.unregister_worker_plugin(self._name)

    def _share_model(self) -> None:
        if not self._shared.exists():
            self._model.save(self._shared)

    def _each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[tuple[T, R]]:
        """Yield each task with its result; cancel the others if nobody waits for them."""
        futures = self._client.map(work, tasks, pure=False, retries=RETRIES)
        waiting = dict(zip((future.key for future in futures), tasks, strict=True))
        arrived: SimpleQueue[Future] = SimpleQueue()
        for future in futures:
            future.add_done_callback(arrived.put)
        try:
            while waiting:
                future = self._next(arrived)
                yield waiting.pop(future.key), self._result(future)
                # Else a worker's death would cost what it has done, too.
                future.release()
        finally:
            if waiting and self._client.status == "running":
                with suppress(OSError):
                    self._client.cancel(futures, force=True)

    def _next(
        self, arrived: SimpleQueue[distributed.Future[Any]]
    ) -> distributed.Future[Any]:
        while True:
            if self._token.cancelled:
                raise Cancelled("The run was cancelled.")
            with suppress(Empty):
                return arrived.get(timeout=LOOK)
            if self._client.status != "running":
                raise _gone()

    def _result(self, future: Future) -> Any:
        try:
            return future.result()
        except KilledWorker as error:
            raise ClusterError(
                "Several workers died at the same block, perhaps because they had too "
                "little memory: give them more, and run the same command again; the blocks "
                "that are done are kept."
            ) from error
        except ImportError as error:
            raise _not_installed(error) from error
        except CancelledError as error:
            raise _gone() from error


def _not_installed(error: ImportError) -> ClusterError:
    return ClusterError(
        f"A worker cannot import what it needs ({plain(error)}): install the same "
        "napari-resunet on all computers of the cluster."
    )


def _gone() -> ClusterError:
    return ClusterError(
        "The Dask scheduler is gone: start it and its workers again, and run the same "
        "command again; the blocks that are done are kept."
    )


def _run(name: str, step: Callable[[Worker, T], R], task: T) -> R:
    """Run a step on a worker."""
    plugin = distributed.get_worker().plugins[name]
    assert isinstance(plugin, JobPlugin)
    return plugin.run(step, task)


def _measured(asked: Asked, model: Path, device: DeviceChoice, scale: float | None) -> Plan:
    """Measure on a worker."""
    if not model.is_file():
        raise not_shared(model.parent)
    return measured(asked, read_model(model), device, scale)


def _label(worker: Worker, block: Block) -> list[str]:
    """Label a block on a worker, unless one that died had just done it."""
    notices: list[str] = []

    def keep(event: Progress | Notice) -> None:
        if isinstance(event, Notice):
            notices.append(event.message)

    if not worker.files.is_done(block):
        drain(worker.label(block), keep)
    return notices
