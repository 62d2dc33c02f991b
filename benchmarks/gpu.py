"""Speed on a graphics card, as a table: ``python benchmarks/gpu.py``.

Needs the repository only, and about eight minutes. Every result that is timed is also
compared with the CPU's in float32, in the same run; the exit status is 1 if one differs.
``--device cpu --small`` shows in about a minute that the script works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import tifffile
import torch
from torch.utils.flop_counter import FlopCounterMode

import napari_resunet as nru
from napari_resunet.engine import finetune, predict, synthetic
from napari_resunet.engine.device import Compute, choose
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import mean_ap
from napari_resunet.engine.optimized import fast_copy
from napari_resunet.engine.predict import Blender, Predictor
from napari_resunet.engine.prepare import PredictionRequest, TileReader
from napari_resunet.events import drain
from napari_resunet.files import read_image
from napari_resunet.session import devices, segmenter
from napari_resunet.types import Decoding, Example

FLOAT = Compute("cpu", torch.float32)
TILE = 512
"""Side of the synthetic image that larger ones repeat."""

STAGES = ("load", "model", "statistics", "normalize", "network", "blend", "decode")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    peak: int = 8192
    batches: tuple[int, ...] = (1, 4, 16, 64)
    tile: int = 256
    sides: tuple[int, ...] = (512, 2048, 8192)
    largest_checked: int = 2048
    steps: tuple[tuple[int, int, int], ...] = ((4, 128, 100), (16, 256, 40))
    repeats: int = 5


SMALL = Plan(512, (1, 2), 64, (64, 160), 160, ((1, 64, 6),), 2)


@dataclass
class Run:
    """One run: what is measured, where, and whether the results were right."""

    plan: Plan
    compute: Compute
    peak: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def wait(self) -> None:
        """Wait until the device has done everything."""
        if self.compute.kind == "cuda":
            torch.cuda.synchronize()
        elif self.compute.kind == "mps":
            torch.mps.synchronize()

    def seconds(self, work: Callable[[], object]) -> float:
        """Time one call until the device is done with it."""
        self.wait()
        begin = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - begin

    def typical(self, work: Callable[[], object]) -> float:
        """Return the median time after one call that does not count."""
        work()
        return statistics.median(self.seconds(work) for _ in range(self.plan.repeats))

    def check(self, what: str, value: float, bound: float, *, least: bool = False) -> None:
        """Print whether a result is right."""
        right = value >= bound if least else value <= bound
        if not right:
            self.wrong.append(what)
        sign = "≥" if least else "≤"
        row(f"check: {what}", f"{value:.4f}", f"{sign} {bound} {'' if right else 'WRONG'}")

    @contextmanager
    def peak_memory(self) -> Iterator[Callable[[], float]]:
        """Yield a function that tells the peak memory since the beginning, in GB."""
        if self.compute.kind == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            yield lambda: torch.cuda.max_memory_reserved() / 1e9
        else:
            yield lambda: psutil.Process().memory_info().rss / 1e9


def row(what: str, measured: str, aim: str = "") -> None:
    """Print a row of the table."""
    print(f"| {what} | {measured} | {aim} |", flush=True)


def nuclei(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Make an image and its labels; a large one repeats a small one."""
    small = min(side, TILE)
    image, labels = synthetic.nuclei((small, small), np.random.default_rng(0))
    n = -(-side // small)
    numbers = np.arange(n * n, dtype=np.int32).reshape(n, n) * labels.max()
    moved = np.kron(numbers, np.ones_like(labels))
    whole = np.tile(labels, (n, n))
    return np.tile(image, (n, n)), np.where(whole > 0, whole + moved, 0)


def matrix_peak(run: Run) -> None:
    """Measure the largest rate of matrix products in the device's precision."""
    n = run.plan.peak
    a, b = (torch.randn(n, n, device=run.compute.device) for _ in range(2))
    a, b = a.to(run.compute.dtype), b.to(run.compute.dtype)
    a @ b
    run.peak = 2 * n**3 / min(run.seconds(lambda: a @ b) for _ in range(10))
    what = f"{run.compute.precision} matrix product of {n}²"
    row(what, f"{run.peak / 1e12:.2f} TFLOP/s", "the peak below")


def network_alone(run: Run) -> None:
    """Time the network as the plugin runs it, on tiles that are on the device."""
    model, side = nru.load_model(), run.plan.tile
    fast = fast_copy(model.network, run.compute)
    one = _on_device(torch.randn(1, 3, side, side), run.compute)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            fast(one)
        for n in run.plan.batches:
            images = one.repeat(n, 1, 1, 1).contiguous(memory_format=torch.channels_last)
            took = run.typical(lambda images=images: fast(images))
            share = n * counter.get_total_flops() / took / run.peak
            aim = "share ≥ 0.5" if n == 16 else ""
            what = f"network alone, {n} × {side}²"
            row(what, f"{1e3 * took:.2f} ms, {share:.2f} of the peak", aim)


def _on_device(images: torch.Tensor, compute: Compute) -> torch.Tensor:
    on_device = images.to(compute.device, compute.dtype)
    return on_device.contiguous(memory_format=torch.channels_last)


@contextmanager
def on(compute: Compute) -> Iterator[None]:
    """Let the API compute there, in that precision."""
    with patch.object(devices, "choose", lambda choice="auto": compute):
        yield


def segment(image: np.ndarray, model: Any, compute: Compute) -> np.ndarray:
    """Segment at the size told, as a user does."""
    with on(compute):
        return nru.segment(image, model, diameter=24.0)


def end_to_end(run: Run) -> None:
    """Time `segment()` of whole files, and tell where the time goes."""
    model = nru.load_model()
    for side in run.plan.sides:
        image, truth = nuclei(side)
        with tempfile.TemporaryDirectory() as folder, run.peak_memory() as peak:
            path = Path(folder) / "image.tif"
            tifffile.imwrite(path, image)
            labels: list[np.ndarray] = []

            def work(path: Path = path, labels: list[np.ndarray] = labels) -> None:
                labels[:] = [segment(read_image(path), model, run.compute)]

            took = run.typical(work) if side < 4096 else run.seconds(work)
            what, aim = f"`segment()` of {side}²", "≤ 0.5 s" if side == 2048 else ""
            row(what, f"{took:.3f} s", aim)
            row(f"peak memory of it ({_memory(run)})", f"{peak():.2f} GB")
            stages = stage_seconds(run, work)
        total = sum(stages.values())
        parts = ", ".join(f"{name} {stages[name]:.3f} s" for name in (*STAGES, "other"))
        row("where the time goes, one stage after the other", parts)
        aim = "≤ 0.6" if side == 2048 else ""
        row("share of decoding", f"{stages['decode'] / total:.2f}", aim)
        if side <= run.plan.largest_checked:
            compare_labels(run, side, labels[0], segment(image, model, FLOAT), truth)


def _memory(run: Run) -> str:
    return "of the card" if run.compute.kind == "cuda" else "of the process"


def compare_labels(
    run: Run, side: int, ours: np.ndarray, cpus: np.ndarray, truth: np.ndarray
) -> None:
    """Check that the labels are as good as the CPU's, and nearly the same."""
    alike = mean_ap(cpus, ours, thresholds=(0.5,))
    run.check(f"AP@0.5 at {side}² against the CPU's labels", alike, 0.99, least=True)
    if side == run.plan.largest_checked:  # in a small one, an object is more than that
        scores = [mean_ap(truth, labels, thresholds=(0.5,)) for labels in (ours, cpus)]
        what = f"AP@0.5 at {side}², beside {scores[1]:.3f} of the CPU"
        run.check(what, abs(scores[0] - scores[1]), 0.002)


def stage_seconds(run: Run, work: Callable[[], object]) -> dict[str, float]:
    """Time the stages of a call; the device waits after each, so nothing overlaps."""
    stages: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            results: list[Any] = []
            stages[name] += run.seconds(lambda: results.append(function(*args, **named)))
            return results[0]

        return call

    places: list[tuple[Any, str, str]] = [
        (sys.modules[__name__], "read_image", "load"),
        (predict, "fast_copy", "model"),
        (ImageReader, "measure", "statistics"),
        (TileReader, "read", "normalize"),
        (Predictor, "_run", "network"),
        (Blender, "add", "blend"),
        (Blender, "finish", "blend"),
        (segmenter, "decode_labels", "decode"),
    ]
    with ExitStack() as stack:
        for owner, name, stage in places:
            new = timed(stage, getattr(owner, name))
            stack.enter_context(patch.object(owner, name, new))
        whole = run.seconds(work)
    stages["other"] = whole - sum(stages.values())
    return stages


def maps_beside_cpu(run: Run) -> None:
    """Check the maps of what is resampled, in colour, against the CPU's."""
    side, model = run.plan.sides[0], nru.load_model()
    grey = nuclei(side)[0]
    reader = ImageReader([np.stack([grey, grey // 2, 255 - grey], -1)], "YXS")
    measured = reader.measure(model.info.normalization)
    plane = PredictionRequest(reader, (), reader.window, 0.7, measured)
    # In float32, so that only the code differs.
    exact = Compute(run.compute.kind, torch.float32)
    for compute, bound in ((exact, 1e-3), (run.compute, 1e-2)):
        ours, cpus = (
            drain(Predictor(model, c).maps(plane)).astype(np.float32)
            for c in (compute, FLOAT)
        )
        mean = float(np.abs(ours - cpus).mean())
        run.check(f"mean difference of the maps in {compute.precision}", mean, bound)


def learning(run: Run) -> None:
    """Time steps of fine-tuning, patches included, and compare the first loss."""
    side = 400 if run.plan.tile == Plan.tile else 96
    image, labels = synthetic.nuclei((side, side), np.random.default_rng(0))
    for batch, patch_side, n in run.plan.steps:
        config = FineTuneConfig(steps=n, batch=batch, patch=patch_side, n_evaluations=0)

        def events(compute: Compute, config: FineTuneConfig = config) -> Iterator[Any]:
            example = Example(image, labels, scale=1.0)
            return fine_tune_steps(nru.load_model(), [example], config, compute)

        with run.peak_memory() as peak:
            times = [time.perf_counter() for _ in islice(events(run.compute), n - 1)]
            memory = peak()
        # The first ones make everything ready.
        took = (times[-1] - times[n // 3]) / (len(times) - 1 - n // 3)
        n_operations, patches = _parts_of_a_step(run, islice(events(run.compute), n // 2))
        what = f"fine-tuning, {batch} × {patch_side}²"
        aim = "≤ 10 ms" if (batch, patch_side) == (4, 128) else ""
        row(what, f"{1e3 * took:.1f} ms a step, {1 / took:.1f} steps a second", aim)
        row("its share of the peak", f"{n_operations / took / run.peak:.2f}")
        row("share of cutting and varying patches, waiting for them", f"{patches:.2f}")
        row(f"peak memory of it ({_memory(run)})", f"{memory:.2f} GB")
        first, exact = (next(iter(events(c))).loss for c in (run.compute, FLOAT))
        what = f"first loss, {batch} × {patch_side}², beside the CPU"
        run.check(what, abs(first - exact) / exact, 0.03)


def _parts_of_a_step(run: Run, events: Iterator[Any]) -> tuple[int, float]:
    """Count the operations of a step, and tell which share of its time patches take."""
    seconds: dict[str, list[float]] = {"patch": [], "step": []}
    counter = FlopCounterMode(display=False)
    cut, step = finetune._Run._patch, finetune.train_step

    def timed_cut(*args: Any) -> Any:
        result: list[Any] = []
        seconds["patch"].append(run.seconds(lambda: result.append(cut(*args))))
        return result[0]

    def timed_step(*args: Any) -> Any:
        result: list[Any] = []
        with nullcontext() if counter.get_total_flops() else counter:
            seconds["step"].append(run.seconds(lambda: result.append(step(*args))))
        return result[0]

    with (
        patch.object(finetune._Run, "_patch", timed_cut),
        patch.object(finetune, "train_step", timed_step),
    ):
        n_steps = sum(1 for _ in events)
    each = [sum(s[-len(s) // 2 :]) / len(s[-len(s) // 2 :]) for s in seconds.values()]
    patches = each[0] * len(seconds["patch"]) / n_steps
    return counter.get_total_flops(), patches / (patches + each[1])


def clicks(run: Run) -> None:
    """Time the first and the second click of a new process."""
    command = [sys.executable, __file__, "--device", run.compute.kind, "--click"]
    command += ["--side", str(run.plan.sides[0])]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for what, seconds in json.loads(output.splitlines()[-1]).items():
        row(what, f"{seconds:.2f} s")


def click(device: Any, side: int) -> None:
    """Segment twice, as the plugin does, and print the seconds of each part."""
    begin = time.perf_counter()
    image, _ = nuclei(side)
    reader = ImageReader([image])
    marks = {"image": time.perf_counter()}
    model = nru.load_model()
    marks["new process: reading the model"] = time.perf_counter()
    ours = segmenter.Segmenter(model, device)
    marks["moving it to the device"] = time.perf_counter()
    for name in ("first", "second"):
        target = segmenter.Target((), reader.window)
        for _ in ours.propose(reader, [target], scale=1.0, decoding=Decoding()):
            pass
        marks[f"from the {name} click to labels, {side}²"] = time.perf_counter()
    ends = [begin, *marks.values()]
    seconds = {name: b - a for name, (a, b) in zip(marks, pairwise(ends), strict=True)}
    del seconds["image"]
    print(json.dumps(seconds))


PARTS = (matrix_peak, network_alone, clicks, learning, maps_beside_cpu, end_to_end)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto")
    parser.add_argument("--small", action="store_true", help="a minute, on any computer")
    parser.add_argument("--click", action="store_true", help="two clicks only, as JSON")
    parser.add_argument("--side", type=int, default=512, help="of the image of --click")
    args = parser.parse_args()
    if args.click:
        click(args.device, args.side)
        return 0
    run = Run(SMALL if args.small else Plan(), choose(args.device))
    print(f"{run.compute.description}, torch {torch.__version__}\n")
    row("what", "measured", "aim")
    print("|---|---|---|")
    for part in PARTS:
        try:
            part(run)
        except Exception:  # noqa: BLE001 the card may be lent for one run only
            traceback.print_exc()
            run.wrong.append(part.__name__)
            row(part.__name__, "failed")
    print(f"\nWrong or failed: {', '.join(run.wrong) or 'nothing'}")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
