"""Speed as ratios, measured in one run: ``python benchmarks/speed.py``.

The two computations of a ratio take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import napari_resunet as nru
from napari_resunet.engine import synthetic
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.device import Compute, autocast, choose, to_device
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.optimized import fast_copy, prepare_for_training
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    cut_patch,
    stack_patches,
    training_image,
)
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import drain
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.types import Decoding, Example


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def side_by_side(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Alternate two computations; return the median seconds of each."""
    one(), other()
    times = [(seconds(one), seconds(other)) for _ in range(repeats)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def matrix_peak(dtype: torch.dtype, n: int = 3072) -> float:
    """Measure the machine's matrix product in operations per second."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    a @ b
    return 2 * n**3 / min(seconds(lambda: a @ b) for _ in range(5))


def network_against_naive(repeats: int) -> None:
    """Compare the network on 512², as the plugin runs it, with a plain call."""
    compute = choose("cpu")
    naive = ResNetUNet(3).eval()
    images = torch.randn(1, 3, 512, 512)
    ours = _network(naive, compute, 512)
    with torch.inference_mode():
        slow, quick = side_by_side(lambda: naive(images), ours, repeats)
        with FlopCounterMode(display=False) as counter:
            naive(images)
    share = counter.get_total_flops() / quick / matrix_peak(compute.dtype)
    report("network 512², naive / ours", slow / quick, ">= 2.5")
    report(f"  share of the {compute.dtype} matrix-product peak", share, "reported")


def precision_against_other(repeats: int) -> None:
    """Compare the network in the chosen precision with the other one."""
    chosen = choose("cpu")
    wide = chosen.dtype is torch.float32
    other = Compute("cpu", torch.bfloat16 if wide else torch.float32)
    calls = [_network(ResNetUNet(3), compute, 256) for compute in (other, chosen)]
    slow, quick = side_by_side(*calls, repeats)
    report(f"network 256², {other.dtype} / {chosen.dtype}", slow / quick, ">= 1")


def _network(network: ResNetUNet, compute: Compute, side: int) -> Callable[[], object]:
    """Return a call of the network, as the plugin runs it, on a square image."""
    fast = fast_copy(network, compute)
    images = torch.randn(1, 3, side, side).to(compute.dtype)
    images = images.contiguous(memory_format=torch.channels_last)

    def call() -> object:
        with torch.inference_mode():
            return fast(images)

    return call


def segment_against_network(repeats: int) -> None:
    """Compare segment() of 2048² with the network alone on as many pixels."""
    model, compute = nru.load_model(), choose("cpu")
    tile, _ = synthetic.nuclei((512, 512), np.random.default_rng(0))
    image = np.tile(tile, (4, 4))
    ours = _network(model.network, compute, 512)

    def network() -> None:
        for _ in range(16):
            ours()

    whole, alone = side_by_side(
        lambda: nru.segment(image, model, diameter=24.0, device="cpu"), network, repeats
    )
    report("segment(2048²) / network alone", whole / alone, "<= 1.25")


def finetune_against_bare(steps: int) -> None:
    """Compare fine-tuning with the bare forward and backward of the same patches."""
    model, compute, config = (
        nru.load_model(),
        choose("cpu"),
        FineTuneConfig(steps=steps, n_evaluations=0),
    )
    example = Example(*synthetic.nuclei((400, 400), np.random.default_rng(0)), scale=1.0)
    image = training_image(example, model.info)
    rng = np.random.default_rng(0)
    network = to_device(ResNetUNet(3), compute).eval()
    cut = [
        cut_patch(PatchSource.of(image), (200, 200), config.patch, Geometry(), rng)
        for _ in range(config.batch)
    ]
    pixels, *truth = stack_patches(
        [
            p._replace(pixels=vary_intensity(p.pixels, model.info.normalization, rng))
            for p in cut
        ]
    )
    pixels = pixels.contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        for _ in range(steps):
            network.zero_grad()
            with autocast(compute):
                logits = network(pixels)
            loss_of("instances", logits, *truth).backward()

    def ours() -> None:
        small = Example(example.image, example.labels, scale=1.0)
        drain(fine_tune_steps(model, [small], config, compute))

    quick, whole = side_by_side(bare, ours, 3)
    report("fine-tuning pixels/s, ours / bare", quick / whole, ">= 0.85")


def backward_against_torchs(repeats: int) -> None:
    """Compare a training step of 4 x 128² with torch's own backward pass."""
    compute = Compute("cpu", torch.float32)
    plain, ours = to_device(ResNetUNet(3), compute), ResNetUNet(3)
    prepare_for_training(ours, compute)
    images = torch.randn(4, 3, 128, 128).contiguous(memory_format=torch.channels_last)
    slow, quick = side_by_side(
        lambda: plain(images).square().mean().backward(),
        lambda: ours(images).square().mean().backward(),
        repeats,
    )
    report("step 4 x 128², torch's backward / ours", slow / quick, "reported")


def slider() -> None:
    """Decode the cached maps of a 1024² view on one core."""
    model = nru.load_model()
    tile, _ = synthetic.nuclei((512, 512), np.random.default_rng(0))
    planes = ImageReader([np.tile(tile, (2, 2))])
    plane = PredictionRequest(
        planes, (), planes.window, 1.0, planes.measure(model.info.normalization)
    )
    maps = drain(Predictor(model, choose("cpu")).maps(plane))
    kept = PredictionMaps(maps, plane.axes, model.info)
    times = [seconds(lambda: decode_labels(kept, Decoding(split=0.45))) for _ in range(7)]
    report("slider on a 1024² view, seconds", statistics.median(times), "<= 0.2")


def report(what: str, value: float, target: str) -> None:
    """Print one line of the table."""
    print(f"{what:<44}{value:>8.3f}   {target}", flush=True)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    quick = parser.parse_args().quick
    print(f"{choose('cpu').description}, {torch.get_num_threads()} threads")
    precision_against_other(2 if quick else 7)
    network_against_naive(2 if quick else 7)
    segment_against_network(1 if quick else 3)
    backward_against_torchs(3 if quick else 9)
    finetune_against_bare(5 if quick else 100)
    slider()


if __name__ == "__main__":
    main()
