"""Real masks with new looks: training patches whose pixels are drawn again.

The masks say what objects look like in outline, and everything else is random: contrast,
texture, halo, gradient, and blur inside, outside, and along the border (SynthSeg, Billot et
al. 2023, https://arxiv.org/abs/2107.09559). Some are drawn over the real image, others
alone; in some, nuclei become whole cells (`cell_shapes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_resunet.engine.cell_shapes import (
    crowded,
    grown,
    merged,
    noise,
    pieces,
    sampled,
    warped,
)
from napari_resunet.engine.patches import TrainingPatch, inner_distance
from napari_resunet.network.torch_import import torch
from napari_resunet.types import FloatArray, LabelArray, Normalization

Generator = np.random.Generator

WHOLE_CELLS = 0.5
"""Fraction of the looks in which objects are whole cells."""

BLENDED = 0.35
"""Fraction of the looks that are drawn over the real image."""

CROWDED, WARPED = 0.4, 0.6
"""Fractions of the others with more objects, and with warped outlines."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What a look is drawn from.

    Attributes
    ----------
    labels : int32 array, shape (S, S)
        Objects numbered from 1.
    inside : float32 array, shape (S, S)
        1 in objects, 0 outside.
    depth : float32 array, shape (S, S)
        Normalized inner distance.
    border, seam : float32 array, shape (S, S)
        About 1 along all outlines, and where two objects meet; 0 elsewhere.
    nuclei : float32 array, shape (S, S)
        1 in the nuclei of cells, 0 elsewhere; zeros if there are none to be seen.
    """

    labels: LabelArray
    inside: FloatArray
    depth: FloatArray
    border: FloatArray
    seam: FloatArray
    nuclei: FloatArray

    @property
    def side(self) -> int:
        """Side of the patch."""
        return self.labels.shape[0]


def draw_growth(rng: Generator) -> float:
    """Draw how many times as wide the objects of a look are as their masks.

    It is 1 in half of the looks. The patch should be cut at a scale as much smaller.
    """
    return float(rng.uniform(1.15, 2.1)) if rng.random() < WHOLE_CELLS else 1.0


def new_look(
    patch: TrainingPatch, growth: float, normalization: Normalization, rng: Generator
) -> TrainingPatch:
    """Draw a patch again.

    Parameters
    ----------
    patch : TrainingPatch
        Objects at network resolution, on the CPU, pixels (1 or 3, S, S).
    growth : float
        From `draw_growth`.
    normalization : Normalization
        Of the model.
    rng : numpy Generator
        Random number generator.

    Returns
    -------
    TrainingPatch
        Pixels (1 or 3, S, S), normalized like those of training images. Labels and
        distance are those of the objects that were drawn. No truth is unknown if nothing
        of the real image is seen.
    """
    blend = rng.random() < BLENDED
    masks = pieces(patch.labels.numpy())
    if not blend:
        masks = _moved(masks, rng)
    labels = merged(grown(masks, growth, rng), rng) if growth > 1 else masks
    scene = _scene(labels, masks, growth > 1, rng)
    style = STYLES[str(rng.choice(list(STYLES), p=SHARES))]
    pixels = _normalized(_photographed(style(scene, rng), rng), normalization, rng)
    weight = patch.weight
    if blend:
        pixels = torch.lerp(patch.pixels.float(), pixels, float(rng.uniform(0.4, 0.85)))
    else:
        weight = torch.ones_like(weight)
    return TrainingPatch(
        pixels=pixels,
        labels=torch.from_numpy(labels.astype(np.int64)),
        distance=torch.from_numpy(scene.depth),
        weight=weight,
    )


def _moved(masks: LabelArray, rng: Generator) -> LabelArray:
    if rng.random() < CROWDED:
        masks = crowded(masks, rng)
    return warped(masks, rng) if rng.random() < WARPED else masks


def _scene(labels: LabelArray, masks: LabelArray, cells: bool, rng: Generator) -> Scene:
    inside = (labels > 0).astype(np.float32)
    depth = inner_distance(labels)
    outlines, seam = _outlines(labels)
    nuclei = masks > 0 if cells else depth > rng.uniform(0.35, 0.7)
    shown = rng.random() < (0.8 if cells else 0.4)
    return Scene(
        labels=labels,
        inside=inside,
        depth=depth,
        border=_line(outlines, rng.uniform(0.3, 1.5)),
        seam=_line(seam, rng.uniform(0.6, 1.2)),
        nuclei=_blurred((nuclei & shown).astype(np.float32), rng.uniform(0.5, 1.5)),
    )


def _outlines(labels: LabelArray) -> tuple[FloatArray, FloatArray]:
    """Mark lines of two pixels along all outlines, and where two objects meet."""
    outline, seam = (np.zeros(labels.shape, np.float32) for _ in range(2))
    for axis in (0, 1):
        rows = np.moveaxis(labels, axis, 0)
        one, other = rows[1:], rows[:-1]
        differ = one != other
        meet = differ & (one > 0) & (other > 0)
        for line, marked in ((outline, differ), (seam, meet)):
            along = np.moveaxis(line, axis, 0)
            along[1:] += marked
            along[:-1] += marked
    return np.minimum(outline, 1), np.minimum(seam, 1)


def _zones(scene: Scene, rng: Generator) -> FloatArray:
    """Give each zone a random brightness and texture: around, border, body, nuclei."""
    ground, near, rim, body, core = rng.uniform(0, 1, 5).tolist()
    # What cannot be seen cannot be learned.
    body = body if abs(body - ground) > 0.2 else (ground + 0.5) % 1.0
    width = rng.uniform(1, 5)
    close = _near(scene, width) * (rng.random() < 0.5)
    around = ground + (near - ground) * close + _pattern(scene.side, rng)
    within = body + _of_each(scene, rng, 0.25) + _texture(scene, rng, 0.2)
    within = within + (core - body) * scene.nuclei + _shading(scene, rng)
    picture = around + (within - around) * _soft(scene, rng)
    strength = rng.uniform(0.3, 1.0)
    return _with_border(picture, scene, strength * (rim - body), rng)


def _phase(scene: Scene, rng: Generator) -> FloatArray:
    """Draw phase contrast: dark bodies in bright halos, which fade into the middle."""
    thick = _thickness(scene, rng)
    halo = _blurred(thick, rng.uniform(2.5, 8))
    sign = _sign(rng, 0.8)
    picture = sign * (thick - rng.uniform(0.7, 1.3) * halo)
    outer, inner = rng.uniform(-0.1, 0.8), rng.uniform(-0.5, 0.2)
    ripple = np.clip(1 + rng.uniform(0, 0.6) * noise(scene.side, rng, 4), 0, None)
    lines = scene.border * ripple * (outer + (inner - outer) * scene.inside)
    fine = _texture(scene, rng, 0.25) + lines
    ground = rng.uniform(0.0, 0.4) * _pattern(scene.side, rng) + _debris(scene, rng)
    return picture + fine + ground


def _relief(scene: Scene, rng: Generator) -> FloatArray:
    """Draw differential interference contrast or a defocused bright field."""
    thick = _blurred(_thickness(scene, rng), rng.uniform(0.7, 1.8))
    rows, columns = np.gradient(thick)
    turn = rng.uniform(0, 2 * np.pi)
    shadow = math.cos(turn) * rows + math.sin(turn) * columns
    ring = thick - _blurred(thick, rng.uniform(1, 3))
    share = rng.random()
    return (
        4 * share * shadow
        + 3 * (1 - share) * _sign(rng) * ring
        + rng.uniform(-0.3, 0.3) * thick
        + _texture(scene, rng, 0.15)
        + rng.uniform(0, 0.4) * _pattern(scene.side, rng)
        + _debris(scene, rng)
    )


def _fluorescence(scene: Scene, rng: Generator) -> FloatArray:
    """Draw a stained cytoplasm, membrane, or both, with haze, on a dark background."""
    cytoplasm = float(rng.beta(0.8, 0.5))
    body = scene.depth ** rng.uniform(0.2, 1.0) * (1 + 2 * _texture(scene, rng, 0.3))
    body = body * (1 + rng.uniform(-0.9, 1.5) * scene.nuclei)
    body = body * (1 + _of_each(scene, rng, 0.7)) + rng.uniform(0, 0.3) * scene.inside
    ripple = 1 + rng.uniform(0, 0.4) * noise(scene.side, rng, 4)
    light = cytoplasm * body + (1.1 - cytoplasm) * scene.border * ripple
    light = np.clip(light * (1 - rng.uniform(0.2, 0.7) * scene.seam * cytoplasm), 0, None)
    haze = rng.uniform(0, 0.6) * _blurred(light, rng.uniform(4, 10))
    ground = 0.05 + rng.uniform(0, 0.06) * (1 + _pattern(scene.side, rng) * 4)
    light = np.clip(light + haze + ground, 0.01, None)
    shot = np.sqrt(light) * rng.standard_normal(light.shape, np.float32)
    return light + shot * 10 ** rng.uniform(-1.4, -0.7)


def _stained(scene: Scene, rng: Generator) -> FloatArray:
    """Draw two dyes in transmitted light: one in the bodies, one in the tissue, in RGB."""
    strong = rng.uniform(0.1, 1.3, (3, 1, 1)).astype(np.float32)
    weak = rng.uniform(0.0, 0.7, (3, 1, 1)).astype(np.float32)
    body = rng.uniform(0.3, 1.0) + _of_each(scene, rng, 0.3) + _texture(scene, rng, 0.25)
    body = body + rng.uniform(-0.4, 1.0) * scene.nuclei + _shading(scene, rng)
    body = body * _soft(scene, rng) + rng.uniform(-0.4, 0.6) * scene.border
    tissue = rng.uniform(0.2, 0.6) + 2.5 * _pattern(scene.side, rng)
    tissue = tissue * (1 - rng.uniform(0, 0.8) * scene.inside)
    light: FloatArray = np.exp(-strong * np.clip(body, 0, 2) - weak * np.clip(tissue, 0, 2))
    return light


STYLES: dict[str, Callable[[Scene, Generator], FloatArray]] = {
    "zones": _zones,
    "phase": _phase,
    "relief": _relief,
    "fluorescence": _fluorescence,
    "stained": _stained,
}
SHARES = (0.3, 0.25, 0.15, 0.15, 0.15)
"""How often each style is drawn."""


def _thickness(scene: Scene, rng: Generator) -> FloatArray:
    """Draw how much each pixel bends the light."""
    flat = scene.depth ** rng.uniform(0.15, 0.8) * (1 + _of_each(scene, rng, 0.5))
    grains = rng.uniform(0, 0.35) * noise(scene.side, rng, rng.uniform(0.4, 1.3))
    spots = rng.uniform(0, 1) * _spots(scene.side, rng, rng.uniform(0.6, 1.2), 2)
    nuclei = rng.uniform(-0.4, 0.5) * scene.nuclei
    thick: FloatArray = flat + scene.inside * (grains + spots + nuclei)
    return thick * (1 - rng.uniform(0.2, 0.8) * scene.seam)


def _sign(rng: Generator, negative: float = 0.5) -> float:
    return -1.0 if rng.random() < negative else 1.0


def _of_each(scene: Scene, rng: Generator, most: float) -> FloatArray:
    """Give each object its own difference of brightness."""
    n = int(scene.labels.max(initial=0)) + 1
    spread = rng.uniform(0, most)
    return rng.uniform(-spread, spread, n).astype(np.float32)[scene.labels]


def _texture(scene: Scene, rng: Generator, most: float) -> FloatArray:
    """Draw a texture in the objects, fine or coarse, mostly weak."""
    strength = most * rng.random() ** 2
    texture: FloatArray = noise(scene.side, rng, 2.0 ** rng.uniform(-0.7, 2.3))
    return scene.inside * texture * strength


def _shading(scene: Scene, rng: Generator) -> FloatArray:
    """Draw a gradient from the edge to the middle of each object."""
    return rng.uniform(-0.4, 0.4) * scene.depth ** rng.uniform(0.5, 2)


def _soft(scene: Scene, rng: Generator) -> FloatArray:
    return _blurred(scene.inside, rng.uniform(0.3, 1.2))


def _near(scene: Scene, width: float) -> FloatArray:
    """Return about 1 close to objects, falling outwards."""
    return np.minimum(1, 2 * _blurred(scene.inside, width)) * (1 - scene.inside)


def _with_border(
    picture: FloatArray, scene: Scene, rim: float, rng: Generator
) -> FloatArray:
    """Add lines along outlines, in some pictures, and always where objects meet."""
    lines = rim * (rng.random() < 0.6) * scene.border
    return picture + lines + _sign(rng) * rng.uniform(0.1, 0.4) * scene.seam


def _pattern(side: int, rng: Generator) -> FloatArray:
    """Draw a background like tissue, of deviation 0.02 to 0.15: blotches, fibres, mesh."""
    strength = 0.02 + 0.13 * rng.random() ** 2
    kind, length = rng.random(), rng.uniform(2, 8)
    if kind < 0.4:
        return strength * noise(side, rng, 2.0 ** rng.uniform(-0.7, 3.6))
    if kind < 0.7:
        return strength * _fibres(side, rng, length)
    mesh: FloatArray = np.exp(-((noise(side, rng, length) / 0.3) ** 2)) - 0.25
    return 3 * strength * mesh


def _fibres(side: int, rng: Generator, length: float) -> FloatArray:
    """Draw noise that is stretched along a direction, which changes slowly."""
    turn = rng.uniform(0, np.pi) + 0.1 * noise(side, rng, side / 3)
    rows, columns = np.indices((side, side), np.float32)
    along = np.cos(turn) * rows + np.sin(turn) * columns
    across = np.cos(turn) * columns - np.sin(turn) * rows
    places = (np.stack([along / 5, across]) * (3 / length)).astype(np.float32)
    return sampled(noise(side, rng, 1.5), places, "bilinear")


def _debris(scene: Scene, rng: Generator) -> FloatArray:
    """Draw a few spots and rings that are no objects, outside of objects."""
    size, strength = rng.uniform(1, 3), rng.uniform(-0.6, 0.9) * (rng.random() < 0.5)
    spots = _spots(scene.side, rng, size, rng.uniform(2.4, 3.2))
    return _blurred(strength * (1 - scene.inside) * spots, rng.uniform(0.5, 1.2))


def _spots(side: int, rng: Generator, size: float, rare: float) -> FloatArray:
    """Draw spots of 1 where noise of this size is over so many deviations; 0 elsewhere."""
    return (noise(side, rng, size) > rare).astype(np.float32)


def _photographed(picture: FloatArray, rng: Generator) -> FloatArray:
    """Add uneven light, blur, and noise, in units of the picture's deviation."""
    size = picture.shape[-1]
    picture = picture if picture.ndim == 3 else picture[None]
    deviation = max(1e-3, float(picture.std()))
    light = rng.uniform(0, 0.6) * rng.random() * noise(size, rng, size / 3)
    sigma = 1.4 * rng.random() ** 2
    sharp = ndimage.gaussian_filter(picture, (0, sigma, sigma))
    grain = rng.uniform(0, 0.3) * rng.random() * noise(size, rng, rng.uniform(0, 0.8))
    seen: FloatArray = sharp + deviation * (light + grain)
    return seen


def _normalized(
    picture: FloatArray, normalization: Normalization, rng: Generator
) -> torch.Tensor:
    """Bring a picture into the model's range, as a part of an image of larger range."""
    low, high = np.percentile(
        picture[:, ::2, ::2], [normalization.low_percentile, normalization.high_percentile]
    )
    spread = max(1e-3, high - low)
    low, high = low - spread * rng.uniform(0, 0.4), high + spread * rng.uniform(0, 0.6)
    unit = np.clip(
        (picture - low) / (high - low), normalization.clip_low, normalization.clip_high
    )
    return torch.from_numpy(
        ((unit - normalization.mean) / normalization.std).astype(np.float32)
    )


def _line(mask: FloatArray, sigma: float) -> FloatArray:
    """Blur lines of two pixels, keeping their height at about 1."""
    line: FloatArray = np.minimum(1, _blurred(mask, sigma) * max(1.0, 1.25 * sigma))
    return line


def _blurred(picture: FloatArray, sigma: float) -> FloatArray:
    blurred: FloatArray
    if sigma < 2:
        blurred = ndimage.gaussian_filter(picture, sigma)
        return blurred
    # Two means over squares are nearly a Gaussian; their time does not grow with sigma.
    width = round(np.sqrt(6 * sigma**2 + 1))
    blurred = ndimage.uniform_filter(ndimage.uniform_filter(picture, width), width)
    return blurred
