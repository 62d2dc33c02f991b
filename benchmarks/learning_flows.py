"""A column of `learning.py`: our network with Cellpose's maps instead of ours.

Cell probability and the two components of the flow (Stringer et al. 2021,
https://doi.org/10.1038/s41592-020-01018-x), learned from the starter's features, and
Cellpose's own decoding at its own thresholds. It answers whether the plugin should learn
flows. Nothing is held out, as for the other programs.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from learning_columns import Column, Setting, from_starter
from learning_peers import Peer

from napari_resunet.engine.augment import complete_channels, vary_intensity
from napari_resunet.engine.device import autocast, choose
from napari_resunet.engine.object_size import min_size_fraction
from napari_resunet.engine.optim import (
    lr_factor,
    make_optimizer,
    optimizer_step,
    set_lr,
)
from napari_resunet.engine.optimized import prepare_for_training
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    Sampler,
    TrainingImage,
    cut_patch,
    training_image,
)
from napari_resunet.network.resnet_unet import STRIDE
from napari_resunet.network.torch_import import functional, torch
from napari_resunet.types import Example

FLOW_GAIN = 5.0
"""The network predicts the flow times this factor, as in Cellpose."""


@dataclass(frozen=True)
class FlowPatch:
    """Network input (3, S, S), flow (2, S, S: down, right), and the rest (S, S)."""

    pixels: torch.Tensor
    flow: torch.Tensor
    foreground: torch.Tensor
    weight: torch.Tensor


class Flows(Peer):
    """The plugin's network and configuration, with flows."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.info = setting.info
        self.compute = choose(setting.device)
        self.network = from_starter(setting).model.network
        # The maps differ from the starter's, so its last layer is of no use.
        torch.manual_seed(setting.seed)
        self.network.conv_last.reset_parameters()

    def learn(self, corrections: Sequence[Example]) -> None:
        """Learn from all regions, starting from the network of the previous round."""
        config = self.setting.config
        whole = [training_image(e, self.info, config.edited_weight) for e in corrections]
        self.info = replace(
            self.info, min_size_fraction=min_size_fraction(whole, self.info)
        )
        sampler = Sampler([_with_flow(image) for image in whole], config.edited_fraction)
        self.network.train().requires_grad_(True)
        prepare_for_training(self.network, self.compute)
        optimizer = make_optimizer(self.network, config.lr)
        rng = np.random.default_rng(config.seed)
        begin, step = time.monotonic(), 0
        while (share := self._share(step, begin)) < 1:
            set_lr(optimizer, config.lr * lr_factor(share))
            self._step(optimizer, [self._patch(sampler, rng) for _ in range(config.batch)])
            step += 1
        self.network.eval()
        self.learned = True

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Follow the flows of the whole image in one pass."""
        from cellpose.dynamics import compute_masks

        height, width = image.shape
        padded = np.pad(image, [(0, -n % STRIDE) for n in image.shape], "symmetric")
        pixels = complete_channels(torch.from_numpy(padded)[None])[None]
        with torch.inference_mode(), autocast(self.compute):
            maps = self.network(pixels.to(self.compute.device))[0].float().cpu().numpy()
        maps = maps[:, :height, :width]
        dust = int(self.info.min_size_fraction * self.info.reference_area)
        return compute_masks(maps[1:], maps[0], min_size=dust).astype(np.int32)

    def _share(self, step: int, begin: float) -> float:
        config = self.setting.config
        if config.steps is not None:
            return step / config.steps
        return (time.monotonic() - begin) / config.seconds

    def _step(self, optimizer: torch.optim.Optimizer, batch: list[FlowPatch]) -> None:
        pixels, flow, foreground, weight = (
            torch.stack([getattr(p, name) for p in batch]).to(self.compute.device)
            for name in ("pixels", "flow", "foreground", "weight")
        )
        optimizer.zero_grad(set_to_none=True)
        with autocast(self.compute):
            maps = self.network(pixels.contiguous(memory_format=torch.channels_last))
        maps = maps.float()
        entropy = functional.binary_cross_entropy_with_logits(
            maps[:, 0], foreground, reduction="none"
        )
        error = (maps[:, 1:] - FLOW_GAIN * flow).square().mean(1) / 2
        loss = ((entropy + error) * weight).sum() / weight.sum().clamp_min(1.0)
        optimizer_step(self.network, optimizer, loss)

    def _patch(self, sampler: Sampler, rng: np.random.Generator) -> FlowPatch:
        image, centre = sampler.sample(rng)
        config = self.setting.config
        straight = Geometry(zoom=config.zoom, rotate=False)
        patch = cut_patch(PatchSource.of(image), centre, config.patch, straight, rng)
        truth = torch.stack([(patch.labels > 0).float(), patch.weight])
        planes = torch.cat([patch.pixels, truth])
        quarter_turns, mirror = int(rng.integers(4)), rng.random() < 0.5
        planes = torch.rot90(planes, quarter_turns, dims=(-2, -1))
        if mirror:
            planes = planes.flip(-1)
        (down, right), foreground, weight = planes[-4:-2], planes[-2], planes[-1]
        # The flow rotates with the image.
        for _ in range(quarter_turns):
            down, right = -right, down
        flow = torch.stack([down, -right if mirror else right])
        pixels = vary_intensity(
            planes[:-4], self.info.normalization, rng, strength=config.intensity
        )
        return FlowPatch(pixels, flow * foreground, foreground, weight)


def _with_flow(image: TrainingImage) -> TrainingImage:
    """Append the flow to the grey pixels, so that patches are cut from both alike."""
    from cellpose.dynamics import masks_to_flows

    flow = masks_to_flows(np.maximum(image.labels, 0))
    grey = image.pixels.mean(0, keepdims=True)
    return replace(image, pixels=np.concatenate([grey, flow.astype(np.float16)]))


FLOWS: dict[str, Callable[[Setting], Column]] = (
    {"flows": Flows} if importlib.util.find_spec("cellpose") else {}
)
