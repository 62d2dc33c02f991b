"""A large image on a Dask cluster of this computer: ``python benchmarks/cluster.py``.

A scheduler and two workers run as processes of their own over an OME-Zarr, as in a lab.
Checked: the labels are equal, pixel for pixel and number for number, to those of the
undivided image, also when a worker is killed, and when the scheduler is killed and the run
goes on with another one. Measured: the time of one process and of two workers, seconds and
bytes for a block, and what Dask itself costs for a task.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import torch
import zarr
from distributed.comm.tcp import TCP

import napari_resunet as nru
from napari_resunet.engine import device, synthetic
from napari_resunet.errors import ClusterError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.session.api import load_model
from napari_resunet.session.large import cluster, outputs
from napari_resunet.session.large import run as large
from napari_resunet.session.large.cluster_choice import HERE, ClusterChoice
from napari_resunet.session.large.run import LargeRun, segment_large
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.types import ObjectSize

DIAMETER = ObjectSize(24.0)
N_EMPTY = 2000
Event = Progress | Notice


class Lab:
    """A scheduler and workers, each a process."""

    def __init__(self, folder: Path, name: str, n_workers: int = 2) -> None:
        self.file = folder / f"{name}.json"
        # As a job script does it; one thread each, so that two workers share two cores.
        self._environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        options = "--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"
        self.workers = [self._start("worker", *options) for _ in range(n_workers)]

    @property
    def choice(self) -> ClusterChoice:
        """How to reach it."""
        return ClusterChoice(scheduler_file=self.file)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words, "--scheduler-file", str(self.file)],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        """End all processes."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def lab(folder: Path, name: str) -> Iterator[Lab]:
    """Start a scheduler and two workers, and end them."""
    started = Lab(folder, name)
    try:
        yield started
    finally:
        started.close()


class Bench:
    """One image, segmented in several ways."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.model = folder, load_model()
        pieces = [synthetic.nuclei((256, 256), np.random.default_rng(n))[0] for n in (0, 1)]
        rows, columns = (-(-n // 512) for n in shape)
        image = np.tile(np.block([pieces, pieces[::-1]]), (rows, columns))
        image = image[: shape[0], : shape[1]]
        self.source = folder / "big.ome.zarr"
        store = LabelPyramid(self.source, image.shape, "YX", outputs.CHUNK)
        store.create(image.dtype)
        store.write(0, (slice(None), slice(None)), image)
        for level in range(1, len(store.shapes)):
            store.resample(level, (), *(slice(0, n) for n in store.shapes[level]))
        store.finish({})
        self._image = image
        self._expected: dict[str, np.ndarray] = {}

    def expected(self, precision: str) -> np.ndarray:
        """Segment the undivided image, in a precision that a run chose."""
        if precision not in self._expected:
            faster = device._faster_on_cpu
            device._faster_on_cpu = partial(getattr, torch, precision)
            self._expected[precision] = nru.segment(
                self._image, self.model, diameter=DIAMETER, device="cpu"
            )
            device._faster_on_cpu = faster
        return self._expected[precision]

    def run(
        self, choice: ClusterChoice, on_event: Callable[[Event], None] = lambda event: None
    ) -> float:
        """Segment the store, and return the seconds."""
        options = SegmentOptions(None, diameter=DIAMETER, device="cpu", overwrite=True)
        target = self.folder / "labels.ome.zarr"
        begin = time.perf_counter()
        segment_large(LargeRun(self.source, target, self.model, options, choice), on_event)
        return time.perf_counter() - begin

    def check(self, how: str) -> None:
        """Compare all levels with the undivided image."""
        group = zarr.open_group(self.folder / "labels.ome.zarr", mode="r")
        n_levels = len(list(group.array_keys()))
        precision = group.attrs.asdict()["napari-resunet"]["run"]["precision"]
        expected = self.expected(precision)
        n_wrong = sum(
            int((group[str(i)][...] != expected[:: 2**i, :: 2**i]).sum())
            for i in range(n_levels)
        )
        print(f"{how}, {precision}: {n_wrong} pixels of {n_levels} levels differ")
        assert not n_wrong

    def done(self) -> dict[str, int]:
        """Return the blocks that are done, and when they were written."""
        found = self.folder.glob(".labels*/*.owned")
        return {path.name: path.stat().st_mtime_ns for path in found}


class Blocks:
    """Watches a run, and does something once, when some of its blocks are done."""

    def __init__(self, bench: Bench, n: int, action: Callable[[], None]) -> None:
        self.bench, self.n, self.action = bench, n, action
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        self.notices: list[str] = []
        self.when = 0.0

    def __call__(self, event: Event) -> None:
        """Look at what is done."""
        if isinstance(event, Notice):
            self.notices.append(event.message)
            return
        if event.message.endswith("blocks"):
            self.after = self.bench.done()
            if event.done >= self.n and not self.before:
                self.before, self.when = self.after, time.perf_counter()
                self.action()

    @property
    def n_again(self) -> int:
        """How many of the blocks that were done then were computed again."""
        return sum(self.after[name] != when for name, when in self.before.items())


def times(bench: Bench) -> None:
    """Compare two workers with one process; the start of workers is left out."""
    watch = Stopwatch(bench)
    total = bench.run(HERE, watch)
    bench.check("one process")
    one = watch.labelling
    n_blocks = sum(name.endswith(".owned") for name in watch.kept)
    print(
        f"  {total:.1f} s; labelling {n_blocks} blocks {one[0]:.1f} s, CPU {one[1]:.1f} s"
    )
    sizes(bench, watch.kept)
    with lab(bench.folder, "times") as two:
        bench.run(two.choice)  # now the workers have imported torch
        watch = Stopwatch(bench, (*two.workers, two.scheduler))
        total = bench.run(two.choice, watch)
    bench.check("two workers")
    both = watch.labelling
    print(f"  {total:.1f} s; labelling {both[0]:.1f} s, CPU {both[1]:.1f} s")
    ratios = both[0] / one[0], both[1] / one[1]
    print(f"  two workers / one process: time {ratios[0]:.2f}, CPU time {ratios[1]:.2f}")


class Stopwatch:
    """Notes when labelling began and ended, and the files that it left.

    The CPU time is that of all processes, so that it tells more on a busy computer.
    """

    def __init__(
        self, bench: Bench, others: Sequence[subprocess.Popen[bytes]] = ()
    ) -> None:
        self.bench = bench
        self.processes = [
            psutil.Process(p) for p in (os.getpid(), *(o.pid for o in others))
        ]
        self.when: list[tuple[float, float]] = []
        self.kept: dict[str, int] = {}

    @property
    def labelling(self) -> tuple[float, float]:
        """Seconds, and CPU seconds, from the first to the last progress of blocks."""
        (begin, used), (end, used_then) = self.when[0], self.when[-1]
        return end - begin, used_then - used

    def __call__(self, event: Event) -> None:
        """Look at the clock, and at the files once they are complete."""
        if isinstance(event, Progress) and "block" in event.message:
            used = sum(sum(p.cpu_times()[:2]) for p in self.processes)
            self.when.append((time.perf_counter(), used))
        elif event.message == "writing the labels" and not self.kept:
            files = self.bench.folder.glob(".labels*/[0-9]*")
            self.kept = {p.name: p.stat().st_size for p in files if p.is_file()}


def kill_a_worker(bench: Bench) -> None:
    """Kill one of two workers when two blocks are done."""
    with lab(bench.folder, "worker") as two:
        victim = two.workers[0]
        watch = Blocks(bench, 2, lambda: os.kill(victim.pid, signal.SIGKILL))
        seconds = bench.run(two.choice, watch)
        assert victim.wait() == -signal.SIGKILL
    bench.check("a worker killed")
    print(f"  {seconds:.1f} s; {watch.n_again} of {len(watch.before)} blocks done again")


def kill_the_scheduler(bench: Bench) -> None:
    """Kill the scheduler when two blocks are done, and go on with another."""
    with lab(bench.folder, "scheduler") as two:
        watch = Blocks(bench, 2, two.scheduler.kill)
        try:
            bench.run(two.choice, watch)
        except ClusterError as error:
            seconds = time.perf_counter() - watch.when
            print(f"the scheduler killed; {seconds:.1f} s later: {error}")
    before = bench.done()
    with lab(bench.folder, "again") as two:
        watch = Blocks(bench, 1, lambda: None)
        bench.run(two.choice, watch)
    bench.check("gone on with another scheduler")
    print("  " + " ".join(watch.notices))
    again = sum(watch.after[name] != when for name, when in before.items())
    print(f"  {again} of {len(before)} blocks done again")


class Sent:
    """Counts what goes over sockets, from all processes that are threads here."""

    def __init__(self) -> None:
        self.n_messages = self.n_bytes = 0
        self._write = TCP.write

    async def write(self, comm: TCP, *given: object, **named: object) -> int:
        """Write a message, and count it."""
        n = await self._write(comm, *given, **named)
        self.n_messages += 1
        self.n_bytes += n
        return n


def nothing(task: tuple[int, int, int]) -> int:
    """Do what a block does, without the block."""
    return task[2]


def overhead(folder: Path) -> None:
    """Run steps that do nothing: what is left is Dask."""
    import distributed

    tasks = [(0, n // 100, n % 100) for n in range(N_EMPTY)]
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as threads,
        distributed.Client(threads, set_as_default=False) as client,
    ):
        sent = Sent()
        TCP.write = lambda *given, **named: sent.write(*given, **named)
        runner = cluster.Cluster(client, load_model(), folder / "m", "cpu", CancelToken())
        begin = time.perf_counter()
        assert sum(1 for _ in runner._each(nothing, tasks)) == N_EMPTY
        seconds = time.perf_counter() - begin
        TCP.write = sent._write
    print(
        f"Dask for a task that does nothing, of {N_EMPTY}, two workers as threads: "
        f"{1000 * seconds / N_EMPTY:.2f} ms, {sent.n_bytes / N_EMPTY:.0f} bytes in "
        f"{sent.n_messages / N_EMPTY:.1f} messages"
    )


def sizes(bench: Bench, kept: dict[str, int]) -> None:
    """Print the bytes of the image, the labels, and what is kept of the blocks."""
    found = zarr.open_group(bench.folder / "labels.ome.zarr", mode="r")["0"][...]
    pixels, n_objects = found.size, found.max()
    image, labels = (_bytes(bench.folder / f"{n}.ome.zarr") for n in ("big", "labels"))
    maps = sum(size for name, size in kept.items() if name.endswith(".tif"))
    names = sum(size for name, size in kept.items() if not name.endswith(".tif"))
    print(
        f"  bytes a pixel: image {image / pixels:.2f}, labels {labels / pixels:.2f}, "
        f"blocks until the end {maps / pixels:.2f}; for an object {names / n_objects:.0f}; "
        f"{n_objects} objects"
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1536)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--side", type=int, default=512, help="of a block")
    arguments = parser.parse_args()
    large.SIDE, outputs.CHUNK = arguments.side, arguments.side // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        overhead(folder)
        bench = Bench(folder, (arguments.rows, arguments.columns))
        times(bench)
        kill_a_worker(bench)
        kill_the_scheduler(bench)


if __name__ == "__main__":
    main()
