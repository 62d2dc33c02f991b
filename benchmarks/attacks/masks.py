"""Masks of all kinds, folders for training, manifests.

An odd folder must give the same numbers (``evaluate``) and weights (``train``,
``fine_tune``) as the same folder in plain form. So training and scoring use the same
labels, and these are what the mask shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from scipy import ndimage

from attacks import program
from attacks.files_other import FOREIGN
from attacks.verdict import Result

Rng = np.random.Generator
Labels = npt.NDArray[Any]
TRAIN = (
    "--steps",
    "1",
    "--batch",
    "2",
    "--patch",
    "32",
    "--rate",
    "0.01",
    "--device",
    "cpu",
)


@dataclass(frozen=True)
class Mask:
    """A mask as a tool wrote it, the labels that it shows, and whether it must be read."""

    what: str
    array: Labels
    labels: Labels
    must: str = "either"
    suffix: str = ".tif"


def attack(rng: Rng, room: Any) -> Result:
    """Train and evaluate with an odd folder and with the plain one."""
    odd, plain = room.folder / "odd", room.folder / "plain"
    maker = FOLDERS if rng.random() < 0.4 else MASKS
    what, must = maker[int(rng.integers(len(maker)))](rng, odd, plain)
    must, _, named = must.partition(":")
    if rng.random() < 0.4:
        return _trained(f"train: {what}", must, named, odd, plain, room)
    return _evaluated(f"evaluate: {what}", must, named, odd, plain, room)


def _evaluated(
    what: str, must: str, named: str, odd: Path, plain: Path, room: Any
) -> Result:
    room.tell(what)
    done = program.run(["evaluate", odd, "--tell-size", "--device", "cpu"])
    room.watch.armed = False
    failed = program.judge_failure(what, done, must=must)
    if failed is not None:
        return failed
    if must == "refuse":
        return Result("silent", what, f"accepted: {_numbers(done.out)}")
    if named not in done.out + done.err:
        return Result("silent", what, f"no word of '{named}', which was left out")
    right = program.run(["evaluate", plain, "--tell-size", "--device", "cpu"])
    if _numbers(done.out) != _numbers(right.out):
        detail = f"scores {_numbers(done.out)}, not {_numbers(right.out)}"
        return Result("silent", what, detail)
    return Result("right", what)


def _numbers(table: str) -> list[str]:
    """Read the row of all images: their number, and the scores."""
    rows = [line.split() for line in table.splitlines() if line.startswith("all ")]
    return rows[0][1:] if rows else []


def _trained(what: str, must: str, named: str, odd: Path, plain: Path, room: Any) -> Result:
    from napari_resunet import load_model

    target = room.folder / "odd.safetensors"
    room.tell(what)
    done = program.run(["train", odd, "-o", target, *TRAIN])
    room.watch.armed = False
    failed = program.judge_failure(what, done, must=must)
    # Status 1 and a model: a bad file was skipped, and it must be named.
    skipped = bool(named) and failed is not None and target.exists()
    if failed is not None and not (skipped and failed.verdict == "sentence"):
        if done.status and target.exists():
            return Result("silent", what, "failed, and wrote a model all the same")
        return failed
    if must == "refuse" or named not in done.out + done.err:
        return Result("silent", what, "trained on it" if must == "refuse" else
                      f"no word of '{named}', which was left out")  # fmt: skip
    right = room.folder / "plain.safetensors"
    program.run(["train", plain, "-o", right, *TRAIN])
    hashes = [program.weights_hash(load_model(path)) for path in (target, right)]
    if hashes[0] != hashes[1]:
        return Result("silent", what, "trained on other labels than the mask shows")
    return Result("right", what)


def write_pair(
    folder: Path, name: str, image: Labels, mask: Labels, suffix: str = ".tif"
) -> None:
    """Write an image and its mask."""
    for kind, array, ending in (("images", image, ".tif"), ("masks", mask, suffix)):
        path = folder / kind / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, array)


def write(path: Path, array: Labels) -> None:
    """Write an array as TIFF or PNG."""
    if path.suffix == ".tif":
        colour = array.ndim == 3 and array.shape[-1] in (3, 4)
        tifffile.imwrite(path, array, photometric="rgb" if colour else "minisblack")
        return
    from PIL import Image

    Image.fromarray(array).save(path)


# Kinds of masks ------------------------------------------------------------------------


def _one_kind(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    image, labels = program.crop(rng, 72, 80)
    mask = KINDS[int(rng.integers(len(KINDS)))](rng, labels)
    write_pair(odd, "a", image, mask.array, mask.suffix)
    write_pair(plain, "a", image, mask.labels.astype(np.uint16))
    return mask.what, mask.must


def apart(labels: Labels) -> Labels:
    """Split what is not background into its connected pieces."""
    return np.asarray(ndimage.label(labels > 0)[0])


def binary(rng: Rng, labels: Labels) -> Mask:
    """Two values: each piece is an object."""
    value = int(rng.choice([1, 2, 128, 255]))
    dtype = str(rng.choice(["u1", "u2", "i4", "f4", "u1.png"]))
    array = ((labels > 0) * value).astype(dtype[:2])
    suffix = ".png" if dtype.endswith("png") else ".tif"
    return Mask(f"0 and {value}, {dtype}", array, apart(labels), "right", suffix)


def one_bit(rng: Rng, labels: Labels) -> Mask:
    """One bit a pixel."""
    suffix = str(rng.choice([".tif", ".png"]))
    return Mask(f"bool {suffix}", labels > 0, apart(labels), "right", suffix)


def whole(rng: Rng, labels: Labels) -> Mask:
    """Labels in any integer type."""
    dtype = str(rng.choice(["u1", "u2", "u4", "i2", "i4", "i8", "u8"]))
    if labels.max() <= 1:
        labels = apart(labels)
    return Mask(f"labels {dtype}", labels.astype(dtype), labels, "right")


def floats(rng: Rng, labels: Labels) -> Mask:
    """Whole numbers stored as floats."""
    array = labels.astype(str(rng.choice(["f2", "f4", "f8"])))
    return Mask(f"labels {array.dtype}", array, _as_read(labels), "right")


def fractions(rng: Rng, labels: Labels) -> Mask:
    """Probabilities are not labels."""
    array = ndimage.gaussian_filter((labels > 0).astype(np.float32), 2)
    array *= float(rng.choice([1, 255]))
    return Mask("probabilities", array, labels, "refuse")


def half(rng: Rng, labels: Labels) -> Mask:
    """0.5 is not a label."""
    array = (labels > 0).astype(np.float32) * float(rng.choice([0.5, 0.9, 1.5]))
    return Mask("fractions", array, labels, "refuse")


def not_numbers(rng: Rng, labels: Labels) -> Mask:
    """NaN is background or refused; infinity is refused."""
    array = np.where(labels == 0, np.nan, labels).astype(np.float32)
    if rng.random() < 0.4:
        array[labels == 0] = float(rng.choice([np.inf, -np.inf]))
        return Mask("infinities", array, labels, "refuse")
    return Mask("NaN for background", array, _as_read(labels))


def negative(rng: Rng, labels: Labels) -> Mask:
    """Negative numbers: refused, or background."""
    array = labels.astype(str(rng.choice(["i2", "i4", "f4"])))
    array[labels == 0] = -1
    return Mask("-1 for background", array, _as_read(labels))


def huge(rng: Rng, labels: Labels) -> Mask:
    """Very large numbers."""
    dtype, most = (("i4", 2**31 - 1), ("u4", 2**32 - 1), ("i8", 2**40), ("u8", 2**63))[
        int(rng.integers(4))
    ]
    array = labels.astype(dtype)
    spread = rng.random() < 0.5
    if spread:
        array = np.where(labels > 0, most - labels.astype(np.uint64), 0).astype(dtype)
    elif labels.max() > 1:
        array[labels == labels.max()] = most
    return Mask(f"labels up to {most}, {dtype}", array, _as_read(labels))


def same_colours(rng: Rng, labels: Labels) -> Mask:
    """Grey saved as RGB or RGBA."""
    grey = np.where(labels > 0, 255, 0).astype(np.uint8)
    n = int(rng.choice([3, 4]))
    array = np.stack([grey] * 3 + [np.full_like(grey, 255)] * (n - 3), axis=-1)
    suffix = str(rng.choice([".tif", ".png"]))
    return Mask(f"grey as {n} samples {suffix}", array, apart(labels), suffix=suffix)


def colours(rng: Rng, labels: Labels) -> Mask:
    """Each object in a colour: a picture, not labels."""
    table = rng.integers(0, 256, (int(labels.max()) + 1, 3), np.uint8)
    table[0] = 0
    table[1:, 0] |= 128
    table[1:, 1] &= 127
    return Mask("a colour picture", table[labels], labels, "refuse",
                str(rng.choice([".tif", ".png"])))  # fmt: skip


def indexed(rng: Rng, labels: Labels) -> Mask:
    """Save labels as 8-bit PNG."""
    return Mask(
        "labels u1 .png", labels.astype(np.uint8), _as_read(labels), "right", ".png"
    )


def stack(rng: Rng, labels: Labels) -> Mask:
    """Make a mask of several planes, or of one."""
    n = int(rng.choice([1, 2]))
    array = np.stack([labels.astype(np.uint16)] * n)
    if n == 2:
        array[1] = 0
        return Mask("two planes", array, labels, "refuse")
    return Mask("(1, Y, X)", array, _as_read(labels))


def other_size(rng: Rng, labels: Labels) -> Mask:
    """Turn or cut a mask."""
    array = [labels.T, labels[:-1], labels[::2, ::2], labels[:0]][int(rng.integers(3))]
    return Mask(f"mask of {array.shape}", array.astype(np.uint16), labels, "refuse")


def _as_read(labels: Labels) -> Labels:
    """Split a mask of one object, which is read as binary, into its pieces."""
    return apart(labels) if labels.max() <= 1 else labels


KINDS: tuple[Callable[[Rng, Labels], Mask], ...] = (
    binary, binary, one_bit, whole, floats, fractions, half, not_numbers, negative, huge,
    huge, same_colours, colours, indexed, stack, other_size,
)  # fmt: skip
MASKS = (_one_kind,)

# Kinds of folders ----------------------------------------------------------------------


def _good(rng: Rng, odd: Path, plain: Path, n: int = 2) -> None:
    for k in range(n):
        image, labels = program.crop(rng, 72, 80)
        for folder in (odd, plain):
            write_pair(folder, f"{k}", image, _as_read(labels).astype(np.uint16))


def without_partner(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Images without masks and masks without images are left out, and named."""
    _good(rng, odd, plain)
    kind = str(rng.choice(["images", "masks"]))
    write(odd / kind / "alone.tif", program.crop(rng)[0])
    return f"{kind} without partner", "either:alone"


def litter(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Add hidden files of operating systems, which are not images."""
    _good(rng, odd, plain)
    for kind in ("images", "masks"):
        (odd / kind / "._0.tif").write_bytes(FOREIGN["AppleDouble"])
        (odd / kind / ".DS_Store").write_bytes(b"x")
        (odd / kind / "Thumbs.db").write_bytes(b"x")
    return "._ files", "right"


def one_bad(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """One bad file among good ones is named; the others may be used."""
    _good(rng, odd, plain)
    write_pair(odd, "bad", *(program.crop(rng)[0] for _ in range(2)))
    kind = str(rng.choice(["images", "masks"]))
    name = str(rng.choice(["python", "ELF", "JSON"]))
    (odd / kind / "bad.tif").write_bytes(FOREIGN[name])
    return f"a bad file in {kind}", "either:bad"


def pipes(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Put a pipe in place of an image."""
    import os

    _good(rng, odd, plain)
    write_pair(odd, "pipe", *(program.crop(rng)[0] for _ in range(2)))
    path = odd / str(rng.choice(["images", "masks"])) / "pipe.tif"
    path.unlink()
    os.mkfifo(path)
    return "a pipe", "either:pipe"


def no_folder(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Nothing to train from."""
    kind = int(rng.integers(4))
    if kind == 1:
        odd.mkdir()
    elif kind == 2:
        odd.touch()
    elif kind == 3:
        (odd / "images").mkdir(parents=True)
        (odd / "masks").touch()
    names = ("a missing folder", "an empty folder", "a file", "masks is a file")
    return names[kind], "refuse"


def manifest(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Broken manifests: read as far as possible, or refused."""
    _good(rng, odd, plain)
    kinds = {
        "no UTF-8": b"dataset,split,idx,group\n,,0,\xff\xfe\n",
        "binary": rng.bytes(300),
        "a huge field": b"dataset,split,idx,group\n,,0," + b"x" * 200_000,
        "no columns": b"a,b\n1,2\n",
        "empty": b"",
        "NUL": b"dataset,split,idx,group\n,,0,\0\n",
        "rows too short": b"dataset,split,idx,group\n,\n",
    }
    kind = str(rng.choice(list(kinds)))
    (odd / "manifest.csv").write_bytes(kinds[kind])
    return f"manifest: {kind}", "either"


def colour_images(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """RGBA learns and is scored like RGB; (Y, X, 1) like (Y, X)."""
    image, labels = program.crop(rng, 72, 80)
    labels = _as_read(labels).astype(np.uint16)
    if rng.random() < 0.5:
        colour = np.stack([image, image // 2, 255 - image], axis=-1)
        write_pair(plain, "a", colour, labels)
        alpha = np.full_like(image, int(rng.choice([0, 128, 255])))[..., None]
        write_pair(odd, "a", np.concatenate([colour, alpha], axis=-1), labels)
        return "an RGBA image", "right"
    write_pair(plain, "a", image, labels)
    write_pair(odd, "a", image, labels)
    tifffile.imwrite(odd / "images" / "a.tif", image[..., None])
    return "a (Y, X, 1) image", "right"


def nothing_annotated(rng: Rng, odd: Path, plain: Path) -> tuple[str, str]:
    """Write a mask without any object."""
    image = program.crop(rng, 72, 80)[0]
    for folder in (odd, plain):
        write_pair(folder, "a", image, np.zeros((72, 80), np.uint16))
    return "an empty mask", "either"


FOLDERS: tuple[Callable[[Rng, Path, Path], tuple[str, str]], ...] = (
    without_partner, litter, one_bad, pipes, no_folder, manifest, manifest, colour_images,
    colour_images, nothing_annotated,
)  # fmt: skip
