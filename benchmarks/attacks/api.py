"""Arguments of the Python API: odd but right ones give the plain result, others a sentence."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from attacks import program
from attacks.expected import is_same
from attacks.verdict import Called, Result, call, judge

Rng = np.random.Generator


@dataclass(frozen=True)
class Odd:
    """An argument.

    Attributes
    ----------
    value : object
        What is given.
    plain : object
        What it means; given in its place, the result must be the same.
    must : {"right", "refuse", "either"}
        What has to come of it.
    """

    value: Any
    plain: Any = None
    must: str = "refuse"


def ok(value: Any, plain: Any = None) -> Odd:
    """An argument that must work."""
    return Odd(value, value if plain is None else plain, "right")


def may(value: Any, plain: Any = None) -> Odd:
    """An argument that works or is refused."""
    return Odd(value, value if plain is None else plain, "either")


def no(*values: Any) -> list[Odd]:
    """Arguments that must be refused."""
    return [Odd(value) for value in values]


class Fake:
    """Says that it is an array."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Path2(pathlib.PurePosixPath):
    """A path of another library."""


NOTHING_NUMERIC = ("x", "", [1], {}, (1.0,), 1j, b"1", object(), np.array([1.0, 2.0]), float)


def attack(rng: Rng, room: Any) -> Result:
    """Call one function with one or two odd arguments."""
    functions: tuple[tuple[float, Callable[..., Result]], ...] = (
        (4.0, segment), (3.0, fine_tune), (2.0, score), (1.0, load), (1.0, save),
        (0.5, signature),
    )  # fmt: skip
    weights = np.array([w for w, _ in functions])
    return functions[int(rng.choice(len(functions), p=weights / weights.sum()))][1](rng, room)


def _call(what: str, room: Any, function: Callable[[], Any]) -> Called:
    room.tell(what)
    called = call(function)
    room.watch.armed = False
    return called


def _drawn(rng: Rng, table: dict[str, list[Odd]]) -> dict[str, Odd]:
    n = min(len(table), int(rng.choice([1, 1, 1, 2])))
    names = rng.choice(list(table), n, replace=False)
    return {str(name): _one(rng, table[name]) for name in names}


def _one(rng: Rng, odds: list[Odd]) -> Odd:
    must = str(rng.choice(["right", "either", "refuse"], p=[0.4, 0.2, 0.4]))
    some = [odd for odd in odds if odd.must == must] or odds
    return some[int(rng.integers(len(some)))]


def _must(odds: dict[str, Odd]) -> str:
    musts = {odd.must for odd in odds.values()}
    return "refuse" if "refuse" in musts else "either" if "either" in musts else "right"


def _shown(name: str, odds: dict[str, Odd]) -> str:
    parts = (f"{key}={_text(odd.value)}" for key, odd in odds.items())
    return f"{name}({', '.join(parts)})"


def _text(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"<{type(value).__name__} {value.dtype} {value.shape}>"
    try:
        return f"{type(value).__name__} {str(value)[:60]!r}"
    except Exception:
        return type(value).__name__


# segment -------------------------------------------------------------------------------


def _images(rng: Rng, room: Any) -> list[Odd]:
    import dask.array
    import torch

    image = program.crop(rng)[0]
    mapped = np.memmap(room.folder / "map", np.uint8, "w+", shape=image.shape)
    mapped[:] = image
    masked = np.ma.masked_array(image, image > 250)
    delayed = dask.array.from_array(image, chunks=(17, 23))
    unknown = delayed[delayed.max(axis=1).compute() > 0]
    floats = image.astype(np.float32)
    return [
        ok(image), ok(image.tolist(), image), ok(image[::-1], image[::-1].copy()),
        ok(mapped, image), ok(delayed, image), ok(np.asfortranarray(image), image),
        ok(image.astype(">u2"), image.astype(np.uint16)), ok(floats), ok(image > 99),
        ok(np.stack([image] * 3, axis=-1)), ok(image.astype(np.float16)),
        ok(image.astype(np.int64) - 2**40, image), may(image.astype(np.uint64) + 2**63, image),
        may(torch.from_numpy(image), image), may(torch.from_numpy(floats).requires_grad_(), floats),
        may(unknown), may(masked, image), may(image.tobytes()), may(np.float32(3)),
        may(floats * 3e36), may(floats.astype(np.float64) * 1e305), may(image[:0]),
        may(image[:1, :1]), may(image[:, :1]), may(floats * np.nan), may(floats * np.inf),
        may(image.view(np.recarray)), may(memoryview(image), image),
        *no(None, "x", 5, [], {}, image.astype(complex), image.astype("U3"), image.astype(object),
            image[0], np.zeros((2,) * 7), [[1, 2], [3]], np.zeros((4, 4), "M8[s]"),
            Fake(dtype=np.dtype("u1"), shape=(64, 64)), Fake(dtype="nonsense", shape=(64, 64)),
            Fake(dtype=np.dtype("u1")), np.zeros((4, 4), [("a", "u1")]), np.array(None)),
    ]  # fmt: skip


def _segment_table(rng: Rng, room: Any) -> dict[str, list[Odd]]:
    from napari_resunet.network.model_file import Model

    model = program.starter()
    decoding = _decoding()
    return {
        "image": _images(rng, room),
        "model": [ok(model), *no(None, "starter", 5, model.network, Model)],
        "axes": [ok("YX"), ok("yx", "YX"), may(None, "YX"), may(np.str_("YX"), "YX"),
                 *no("XYZ", "Y", "YY", "ZYX", "YXYX" * 99, ["Y", "X"], True, {"Y": 0}, b"YX", 2,
                     "Y\x00", "é")],
        "channels": [ok([0], None), ok((0,), None), may(range(1), None), may([np.int64(0)], None),
                     may(np.array([0]), None), may(0, None), may([False], None),
                     *no([1], [0.0], ["0"], {"a": 1}, [], [-1], [0] * 5, "0", [None], [[0]],
                         [2**70], 1.5)],
        "scale": [ok(1.0), ok(0.7), ok(np.float32(1), 1.0), ok(2), ok(np.int64(1), 1.0),
                  may(np.array(1.0), 1.0), may(40.0), may(0.02), may("1", 1.0), may(True, 1.0),
                  *no(0, -1.0, np.nan, np.inf, -np.inf, 1e-320, 1e300, False, *NOTHING_NUMERIC)],
        "decoding": [may(None, decoding()), ok(decoding(0.4, 0.6)), may(decoding(0.0, 1.0)),
                     *(may(decoding(f, s)) for f, s in ((np.nan, 0.5), (-1, 2), (np.inf, 0))),
                     *no("x", 5, (0.5, 0.5), decoding, {"foreground": 0.5})],
        "device": [ok("cpu", "auto"), ok("auto"), *no("CPU", "gpu", "", None, ["cpu"], {}, 0, "cuda:99")],
        "on_event": [may(None), ok(lambda event: None, lambda event: None),
                     *no(5, "x", [])],
    }  # fmt: skip


def _decoding() -> Any:
    from napari_resunet.engine.instances import Decoding

    return Decoding


def segment(rng: Rng, room: Any) -> Result:
    """`segment` with odd arguments."""
    from napari_resunet import segment

    usual = {"image": program.crop(rng)[0], "model": program.starter(), "scale": 1.0}
    odds = _drawn(rng, _segment_table(rng, room))
    given = usual | {name: odd.value for name, odd in odds.items()}
    plain = usual | {name: odd.plain for name, odd in odds.items()}
    what = _shown("segment", odds)
    called = _call(what, room, lambda: segment(**given))

    def same(labels: Any) -> bool:
        right = call(lambda: segment(**plain))
        if right.error is not None:
            return False
        return is_same(np.asarray(labels), np.asarray(right.value), exact=True)

    return judge(what, called, program.errors(), same, must=_must(odds))


# fine_tune -----------------------------------------------------------------------------


def _example_table(rng: Rng, image: Any, labels: Any) -> dict[str, list[Odd]]:
    import torch

    from napari_resunet.types import Statistics

    checked = np.zeros(labels.shape, bool)
    checked[:, : labels.shape[1] // 2] = True
    number = checked.astype(np.uint8)
    window = (slice(0, 20), slice(0, 20))
    masks_ = [ok(checked), ok(number, checked), ok(number * 255, checked),
              ok(number.astype(np.int64), checked), may(checked.tolist(), checked),
              may(number.astype(float), checked), may(torch.from_numpy(checked), checked),
              may(None), may(number * 0 > 0),
              *no(checked[:-1], checked.T, checked[..., None], True, "x", 5, [], number.astype(complex),
                  number * np.nan, checked.astype("U5"))]
    return {
        "image": [ok(image), may(image.tolist(), image), ok(image[..., None], image),
                  ok(image.astype(np.float32)), may(np.stack([image] * 4, axis=-1)),
                  may(np.stack([image] * 5, axis=-1)), may(torch.from_numpy(image), image),
                  *no(None, "x", image[:-1], image.astype(complex), image.astype("U3"), image[0],
                      image.astype(object))],
        "labels": [ok(labels), ok(labels.astype(np.uint8), labels), ok(labels.astype(np.int64), labels),
                   ok(labels.astype(np.uint64), labels), may(labels.astype(float), labels),
                   may(labels.tolist(), labels), may(np.where(labels == 1, 2**31 - 1, labels)),
                   may(np.where(labels == 1, 2**40, labels), labels), may(labels > 0),
                   may(labels * 0), may(torch.from_numpy(labels), labels),
                   *no(None, "x", labels[:-1], labels - 1, labels + 0.5, labels.astype(complex),
                       labels.astype("U5"), np.where(labels == 0, np.nan, labels))],
        "checked": masks_,
        "touched": masks_,
        "scale": [ok(1.0), may(None, None), ok(np.float32(1), 1.0), may("1", 1.0), may(True, 1.0),
                  *no(0, -1, np.nan, np.inf, 1e-300, 1e300, *NOTHING_NUMERIC)],
        "statistics": [ok(Statistics((0.0,), (200.0,))), may(None), may(Statistics((5.0,), (5.0,))),
                       *no(Statistics((0.0, 0.0), (1.0, 1.0)), Statistics((), ()), "x", 5, (0, 1),
                           Statistics((np.nan,), (np.inf,)), Statistics("a", "b"))],
        "held_out": [ok((window,)), may([window], (window,)), may(()),
                     *no("x", 5, (window[0],), ((slice(0.5, 20), slice(0, 20)),), ((1, 2),), [None],
                         ((slice(0, 9999), slice(0, 20)),))],
    }  # fmt: skip


def _tuning_table(rng: Rng) -> dict[str, list[Odd]]:
    numbers = np.array([1, 2])
    return {
        "steps": [ok(1), ok(2), ok(np.int64(2), 2), ok(numbers[0], 1), may(2.0, 2), may("2", 2),
                  may(True, 1), may(np.array(2), 2),
                  *no(0, -1, 1.5, np.inf, np.nan, [2], {}, b"2", 1j, object(), float("-inf"))],
        "seconds": [may(5), may(np.float32(1)), *no(-1, np.nan, "x", [1], 0, np.inf, 1j)],
        "seed": [ok(0), ok(7), ok(np.int64(7), 7), may(2**40), may(-1), may(True, 1), may(None, 0),
                 *no(0.5, "x", np.nan, {}, 1j, b"1", object())],
        "device": [ok("cpu", "auto"), *no("CPU", "", None, ["cpu"], {}, 0)],
        "on_event": [ok(lambda event: None, lambda event: None), may(None), *no(5, "x", [])],
        "model": [*no(None, "starter", 5, program.starter().network)],
        "examples": [*no(None, "x", [], 5, [None], [np.zeros((9, 9))], {}, [[]], "ab")],
    }  # fmt: skip


def fine_tune(rng: Rng, room: Any) -> Result:
    """`fine_tune` and `Example` with odd arguments."""
    from napari_resunet import Example, fine_tune

    image, labels = program.crop(rng, 72, 80)
    table = _example_table(rng, image, labels)
    name, usual = "Example", {"image": image, "labels": labels, "scale": 1.0}
    if on_call := rng.random() < 0.4:
        name, table = "fine_tune", _tuning_table(rng)
    odds = _drawn(rng, table)
    what = _shown(name, odds)

    def run(values: dict[str, Any]) -> Any:
        known = usual if on_call else usual | values
        rest = {"steps": 1} | (values if on_call else {})
        if rest.get("seconds") is not None and "steps" not in values:
            rest["steps"] = 1
        examples = rest.pop("examples", None) if "examples" in rest else [Example(**known)]
        return fine_tune(rest.pop("model", program.starter()), examples, **rest)

    called = _call(what, room, lambda: run({n: odd.value for n, odd in odds.items()}))

    def same(model: Any) -> bool:
        right = call(lambda: run({n: odd.plain for n, odd in odds.items()}))
        if right.error is not None:
            return False
        return program.weights_hash(model) == program.weights_hash(right.value)

    return judge(what, called, program.errors(), same, must=_must(odds))


# score, load_model, Model.save ---------------------------------------------------------


def score(rng: Rng, room: Any) -> Result:
    """`score` with odd arrays."""
    from napari_resunet import score

    labels = program.crop(rng, 60, 64)[1]
    table = [ok(labels), ok(labels.astype(np.uint8), labels), ok(labels.astype(np.uint64), labels),
             may(labels.tolist(), labels), may(labels.astype(float), labels), may(labels > 0),
             may(np.arange(labels.size, dtype=np.int32).reshape(labels.shape)),
             may(np.arange(256 * 256).reshape(256, 256)), may(labels[None]),
             may(np.where(labels == 1, 2**31 - 1, labels)), may(labels[:0]),
             *no(labels[:-1], labels.T, None, "x", 5, [], {}, labels + 0.5, labels.astype(complex),
                 labels.astype("U5"), labels * np.nan, -labels)]  # fmt: skip
    odds = {"true_labels": _one(rng, table)}
    odd = odds["true_labels"]
    large = hasattr(odd.value, "shape") and odd.value.shape == (256, 256)
    other = odd.value if large or (odd.must != "refuse" and rng.random() < 0.7) else labels
    if getattr(other, "shape", None) != getattr(odd.value, "shape", labels.shape):
        odds = {"true_labels": Odd(odd.value)}  # sizes differ
    what = _shown("score", odds)
    called = _call(what, room, lambda: score(odd.value, other))
    plain = odd.plain if other is odd.value else other

    def same(result: Any) -> bool:
        right = score(np.asarray(odd.plain), np.asarray(plain))
        return repr(result) == repr(right)

    return judge(what, called, program.errors(), same, must=_must(odds))


def load(rng: Rng, room: Any) -> Result:
    """`load_model` with odd names."""
    from napari_resunet import load_model
    from napari_resunet.errors import ModelFileError

    good = room.base / "good.safetensors"
    if not good.exists():
        program.starter().save(good, half=True)
    folder = room.folder / "folder.safetensors"
    folder.mkdir()
    (room.folder / "text.safetensors").write_text("x")
    (room.folder / "link.safetensors").symlink_to(good)
    os.mkfifo(room.folder / "pipe.safetensors")
    names = [ok(good), ok(str(good)), may(Path2(good)), may(os.fsencode(good)),
             ok(room.folder / "link.safetensors"), may(np.str_(good)),
             *no(None, 5, 1.5, [], {}, [good], "", "x", "x" * 5000, "a\0b", "\udcff", folder,
                 room.folder / "text.safetensors", room.folder / "pipe.safetensors", True,
                 "Starter", "/dev/zero", "/dev/null", ".", "..", object(), b"\xff")]  # fmt: skip
    odds = {"name": _one(rng, names)}
    what = _shown("load_model", odds)
    called = _call(what, room, lambda: load_model(odds["name"].value))
    error = called.error
    kind = program.errors() if isinstance(error, program.errors()) else ModelFileError
    right = program.weights_hash(load_model(good))
    return judge(what, called, kind, lambda model: program.weights_hash(model) == right,
                 must=_must(odds))  # fmt: skip


def save(rng: Rng, room: Any) -> Result:
    """`Model.save` to odd places."""
    from napari_resunet import load_model

    folder = room.folder
    (folder / "folder.safetensors").mkdir()
    (folder / "file").touch()
    (folder / "link.safetensors").symlink_to("file")
    paths = [ok(folder / "a.safetensors"), ok(str(folder / "b" / "c.safetensors")),
             may(folder / "x.pt"), may(folder / "noname"), may(folder / "link.safetensors"),
             may(Path2(folder / "a.safetensors")), may(folder / "a\nb.safetensors"),
             may(str(folder) + "/\udcff.safetensors"), may(folder / "file"),
             *no(None, 5, [], {}, "", folder, folder / "folder.safetensors",
                 folder / "file" / "a.safetensors", "/proc/a.safetensors", str(folder) + "/a\0b",
                 folder / ("x" * 300 + ".safetensors"), "/dev/null/a.safetensors", b"\xff", True,
                 object())]  # fmt: skip
    halves = [ok(True), ok(False), may(1, True), may("x", True), may(None, False), may(np.True_, True)]
    odds = {"path": _one(rng, paths)}
    if rng.random() < 0.3:
        odds["half"] = _one(rng, halves)
    what = _shown("save", odds)
    given = {name: odd.value for name, odd in odds.items()}
    called = _call(what, room, lambda: program.starter().save(**given))
    path = odds["path"].value

    def same(_: Any) -> bool:
        return program.info_of(load_model(path)) == program.info_of(program.starter())

    return judge(what, called, program.errors(), lambda v: not call(lambda: same(v)).error,
                 must=_must(odds))  # fmt: skip


def signature(rng: Rng, room: Any) -> Result:
    """Wrong numbers and names of arguments: Python's own TypeError is right."""
    import napari_resunet as package

    calls: dict[str, Callable[[], Any]] = {
        "segment()": lambda: package.segment(),
        "segment(channel=…)": lambda: package.segment(1, 2, channel=0),
        "fine_tune(model)": lambda: package.fine_tune(program.starter()),
        "load_model(a, b)": lambda: package.load_model("a", "b"),
        "score(a)": lambda: package.score(np.zeros((3, 3), int)),
        "Example()": lambda: package.Example(),
        "Example(a=1)": lambda: package.Example(a=1),
        "Model()": lambda: package.Model(),
    }
    what = str(rng.choice(list(calls)))
    called = _call(what, room, calls[what])
    if isinstance(called.error, TypeError):
        return Result("right", what)
    return judge(what, called, program.errors(), None)
