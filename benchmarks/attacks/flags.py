"""Values of every flag of every command: valid ones work, others are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from attacks import masks, program
from attacks.program import Run
from attacks.verdict import Result

Rng = np.random.Generator
GOOD, BAD, EITHER = "right", "refuse", "either"
LONG = "x" * 300


@dataclass(frozen=True)
class Value:
    """The text of a flag's value, and whether it can be used."""

    text: str
    must: str = GOOD


def good(*texts: str) -> list[Value]:
    """List values that must work."""
    return [Value(text) for text in texts]


def bad(*texts: str) -> list[Value]:
    """List values that must be refused."""
    return [Value(text, BAD) for text in texts]


def either(*texts: str) -> list[Value]:
    """List values that work or are refused."""
    return [Value(text, EITHER) for text in texts]


NOT_NUMBERS = ("", "x", "1,5", "1e", "None", "[1]", "½", "1;2", " ", "0x10")
DIAMETERS = [
    *good("24", "34.3", "16 px", "12e0", "8px"),
    *either("9999", "0.6", "1200", "2_4"),
    *bad("0", "-1", "nan", "inf", "-inf", "1e400", "1e-320", "1e9", *NOT_NUMBERS),
    *bad("24um", "24 µm", "24 mm", "px"),  # the file does not state its pixel size
]
AXES = [
    *good("YX", "yx"),
    *either("", "XY"),
    *bad("Y", "YXS", "YY", "ZYX", "QX", "YXYX" * 9, "Y X", "ÿX", "--", "Y,X", LONG),
]
CHANNELS = [
    *good("0"),
    *bad("1", "-1", "0,0,0,0", "0,1", "99999999999999999999", "0.0", *NOT_NUMBERS),
]
MODELS = [
    *good("starter"),
    *bad(
        "",
        "Starter",
        "missing.safetensors",
        "text.safetensors",
        "text.pt",
        "folder",
        "image.tif",
        LONG,
        "/dev/null",
        "pipe.safetensors",
        "~",
        "starter.safetensors",
    ),
]
DEVICES = [*good("auto", "cpu"), *either("cuda", "mps"), *bad("", "CPU", "gpu", "cuda:9")]
OUTPUTS = [
    *good("out", "a/b/c", "ü ö", "."),
    *either(LONG, "out\nput", "%s", "link", ""),
    *bad("text.pt", "text.pt/x", "/dev/null", "/dev/null/x", "/proc/x"),
]
WORKERS = [*good("1", "2"), *bad("0", "-1", "1.5", "9999999", "nan", *NOT_NUMBERS)]
SCHEDULERS = [
    *good("tcp://127.0.0.1:9"),  # images in memory do not ask for it
    *bad("", "nonsense", "tcp://", "file:///etc/passwd", "tcp://a b:1", LONG),
]
NAMES = [*good("cells", "ü ö", "a.b"), *bad("", ".x", "../x", "a/c", "__x", "a\nc", LONG)]
SEGMENT = {
    "--workers": WORKERS,
    "--scheduler": SCHEDULERS,
    "--into-image": NAMES,
    "--diameter": DIAMETERS,
    "--axes": AXES,
    "--channels": CHANNELS,
    "--model": MODELS,
    "--device": DEVICES,
    "-o": OUTPUTS,
}

STEPS = [
    *good("1", "2"),
    *either("0"),
    *bad("-1", "1.5", "nan", "inf", "1e1", *NOT_NUMBERS),
]
BATCHES = [*good("1", "2"), *bad("0", "-1", "2.0", "1000000000000", *NOT_NUMBERS)]
PATCHES = [
    *good("32", "64", "96"),
    *bad("0", "31", "-32", "1000000000", "3200000000000", "64.0", *NOT_NUMBERS),
]
RATES = [
    *good("1e-3", "0.01", "8e-4"),
    *either("0", "1", "1e-30"),
    *bad("-1", "nan", "inf", "1e30", "1e400", *NOT_NUMBERS),
]
SEEDS = [
    *good("0", "7", "4294967295"),
    *either("18446744073709551615", "99999999999999999999", "-1"),
    *bad("0.5", "nan", *NOT_NUMBERS),
]
STARTS = [*good("starter"), *MODELS[1:]]
CLASSES = [*either("", ",", "object", "a,b", "ä µ,ö", LONG), *bad("a,a")]
SYNTHETICS = [*good("0", "1"), *bad("-1", "1.5", "100000000000", *NOT_NUMBERS)]
CHECKPOINTS = [
    *good("new.pt"),
    *either("", LONG, "pipe.safetensors/x", "new/x.pt"),
    *bad("text.pt", "empty.pt", "list.pt", "folder", "image.tif", "half.pt"),
]
MODEL_OUTPUTS = [*good("new.safetensors", "a/b.safetensors", "ä b.safetensors"),
                 *either("new.pt", "new", "%d.safetensors", "text.pt", "new.tif"),
                 *bad("folder", "text.pt/x.safetensors", "/dev/null/x.safetensors",
                      "", ".", "/proc/x.safetensors", LONG + ".safetensors")]  # fmt: skip
TRAIN = {
    "--steps": STEPS,
    "--batch": BATCHES,
    "--patch": PATCHES,
    "--rate": RATES,
    "--seed": SEEDS,
    "--start": STARTS,
    "--classes": CLASSES,
    "--synthetic": SYNTHETICS,
    "--checkpoint": CHECKPOINTS,
    "--device": DEVICES,
    "-o": MODEL_OUTPUTS,
}
SECONDS = [*bad("-1", "nan", "inf", "-inf", "1e400", *NOT_NUMBERS)]
LINES = (
    [],
    ["segmnt"],
    ["--version"],
    ["segment"],
    ["train", "pairs"],
    ["evaluate"],
    ["info", "more"],
    ["info", "--verbose"],
    ["--verbose", "info"],
    ["info"],
    ["segment", "image.tif"],
    ["evaluate", "pairs", "--by", "x"],
    ["--", "info"],
    ["segment", "-o", "out"],
    ["demo", "--steps", "1"],
    ["-h"],
    ["train", "--help"],
)


def attack(rng: Rng, room: Any) -> Result:
    """Run one command with one to three odd values."""
    kinds = (segment, segment, train, train, evaluate, demo, line, collision)
    os.chdir(room.folder)
    return kinds[int(rng.integers(len(kinds)))](rng, room)


def _draw(rng: Rng, table: dict[str, list[Value]]) -> tuple[dict[str, str], str]:
    """Choose some flags and values; return the expected outcome."""
    n_flags = min(len(table), int(rng.choice([1, 1, 2, 3])))
    names = rng.choice(list(table), n_flags, replace=False)
    chosen = {str(name): _value(rng, table[name]) for name in names}
    musts = {value.must for value in chosen.values()}
    must = BAD if BAD in musts else EITHER if EITHER in musts else GOOD
    return {name: value.text for name, value in chosen.items()}, must


def _value(rng: Rng, values: list[Value]) -> Value:
    """Choose a good value as often as a bad one."""
    must = str(rng.choice([GOOD, EITHER, BAD], p=[0.4, 0.2, 0.4]))
    some = [value for value in values if value.must == must] or values
    return some[int(rng.integers(len(some)))]


def _argv(flags: dict[str, str], rng: Rng) -> list[str]:
    words: list[str] = []
    for name, text in flags.items():
        glued = name != "-o" and (text.startswith("-") or rng.random() < 0.3)
        words += [f"{name}={text}"] if glued else [name, text]
    return words


def _files(rng: Rng, folder: Path) -> Any:
    """Write what the values name."""
    image, labels = program.crop(rng)
    tifffile.imwrite(folder / "image.tif", image)
    for name in ("text.safetensors", "text.pt"):
        (folder / name).write_text("no model\n")
    (folder / "empty.pt").touch()
    (folder / "folder").mkdir()
    (folder / "target").mkdir()
    (folder / "link").symlink_to("target")
    os.mkfifo(folder / "pipe.safetensors")
    masks.write_pair(folder / "pairs", "a", image, labels.astype(np.uint16))
    return image


def segment(rng: Rng, room: Any) -> Result:
    """`napari-resunet segment`."""
    image = _files(rng, room.folder)
    flags, must = _draw(rng, SEGMENT)
    usual = {"-o": "out", "--diameter": "24"}
    words = ["segment", "image.tif", *_argv(usual | flags, rng)]
    what = f"{_shown(words)}"
    done = _run(what, words, rng, room)
    failed = program.judge_failure(what, done, must=must)
    if failed is not None or must == BAD:
        return failed or Result("silent", what, f"accepted: {done.out[:100]}")
    target = Path(flags.get("-o", "out"))
    written = [p for p in target.glob("image*.tif") if p.name != "image.tif"]
    if len(written) != 1:
        return Result("silent", what, f"{len(written)} files of labels")
    labels = tifffile.imread(written[0])
    axes = flags.get("--axes") or "YX"
    diameter = flags.get("--diameter", "24")
    right = np.squeeze(program.labels_of(image, axes, diameter=diameter))
    agree = labels.shape == right.shape and ((labels > 0) == (right > 0)).mean() > 0.97
    return Result("right" if agree else "silent", what, "" if agree else "other labels")


def _is_one_value(flags: dict[str, str]) -> bool:
    """Return whether the deepest maps of a batch have one pixel, too few for BatchNorm."""
    return (flags["--batch"], flags["--patch"]) == ("1", "32")


def train(rng: Rng, room: Any) -> Result:
    """`napari-resunet train`."""
    from napari_resunet import load_model

    _files(rng, room.folder)
    _checkpoints(room.folder)
    flags, must = _draw(rng, TRAIN)
    usual = {"--steps": "1", "--batch": "2", "--patch": "32", "-o": "new.safetensors"}
    if must == GOOD and _is_one_value(usual | flags):
        must = BAD
    words = ["train", "pairs", *_argv(usual | flags, rng)]
    if rng.random() < 0.2:
        words.append("--half")
    what = _shown(words)
    done = _run(what, words, rng, room)
    failed = program.judge_failure(what, done, must=must)
    if failed is not None or must == BAD:
        return failed or Result("silent", what, f"accepted: {done.out[:100]}")
    try:
        load_model((usual | flags)["-o"])
    except Exception as error:  # noqa: BLE001 it may be anything
        return Result("silent", what, f"exit status 0, but the model is bad: {error}")
    return Result("right", what)


def _checkpoints(folder: Path) -> None:
    import torch

    torch.save([1, 2], folder / "list.pt")
    torch.save({"step": 1, "network": {}}, folder / "half.pt")
    data = (folder / "half.pt").read_bytes()
    (folder / "half.pt").write_bytes(data[: len(data) // 2])


def evaluate(rng: Rng, room: Any) -> Result:
    """`napari-resunet evaluate`."""
    _files(rng, room.folder)
    folders = [*good("pairs"), *bad("image.tif", "missing", "folder", "", LONG, "/dev/null",
                                    "pairs/images")]  # fmt: skip
    flags, must = _draw(rng, {"--model": MODELS, "--device": DEVICES, "FOLDER": folders})
    folder = flags.pop("FOLDER", "pairs")
    words = ["evaluate", folder, "--tell-size", *_argv(flags, rng)]
    if rng.random() < 0.3:
        words += ["--by", "group"]
    what = _shown(words)
    done = _run(what, words, rng, room)
    failed = program.judge_failure(what, done, must=must)
    if failed is not None:
        return failed
    if must == BAD or "\nall " not in "\n" + done.out:
        return Result("silent", what, f"accepted: {done.out[:100]}")
    return Result("right", what)


def demo(rng: Rng, room: Any) -> Result:
    """`napari-resunet demo`, with impossible seconds, or an impossible place."""
    flags, _ = _draw(rng, {"--seconds": SECONDS})
    if rng.random() < 0.1:
        (room.folder / "file").touch()
        flags = {"-o": "file/demo.png", "--seconds": "0.1"}
    words = ["demo", *_argv(flags, rng)]
    what = _shown(words)
    done = _run(what, words, rng, room)
    failed = program.judge_failure(what, done, must=BAD)
    return failed or Result("silent", what, f"accepted: {done.out[:100]}")


def line(rng: Rng, room: Any) -> Result:
    """Lines that are cut short, or ask for help."""
    _files(rng, room.folder)
    words = LINES[int(rng.integers(len(LINES)))]
    what = _shown(words)
    done = _run(what, words, rng, room)
    failed = program.judge_failure(what, done)
    helped = done.out.strip() or done.err.strip()
    return failed or Result("right" if helped else "silent", what, "" if helped else "mute")


def collision(rng: Rng, room: Any) -> Result:
    """Images of equal names, and labels of the user's own in the way."""
    folder = room.folder
    paths = [folder / "a" / "x.tif", folder / "b" / "x.tif"]
    if rng.random() < 0.3:
        paths[1] = folder / "a" / "x.tiff"
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, program.crop(rng)[0])
    mine = folder / "a" / "x_labels.tif"
    before = program.crop(rng)[1].astype(np.uint16)
    tifffile.imwrite(mine, before)
    beside = rng.random() < 0.5
    output = folder / "a" if beside else folder / "out"
    words = ["segment", *map(str, paths), "-o", str(output), "--diameter", "24"]
    what = f"equal names{', own labels in the way' if beside else ''}"
    done = _run(what, words, rng, room)
    after = tifffile.imread(mine)
    if not np.array_equal(after, before):
        return Result("silent", what, "the user's own labels were overwritten")
    failed = program.judge_failure(what, done, must=EITHER if beside else GOOD)
    n = len(list(output.glob("*labels*.tif"))) - beside
    if failed is not None or n == len(paths):
        return failed or Result("right", what)
    return Result("silent", what, f"{n} files of labels of {len(paths)} images")


def _run(what: str, words: Sequence[str], rng: Rng, room: Any) -> Run:
    if rng.random() < 0.02 and room.programs:
        return program.run_outside(words)
    room.tell(what)
    done = program.run(words)
    room.watch.armed = False
    return done


def _shown(words: Sequence[str]) -> str:
    plain = (w if w and w.isascii() and w.isprintable() else repr(w) for w in words)
    return " ".join(plain)[:200]
