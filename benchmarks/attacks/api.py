"""Arguments of the Python API: odd but valid ones work, others raise one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from attacks import program
from attacks.arguments import (
    NOTHING_NUMERIC,
    Fake,
    Odd,
    Path2,
    Rng,
    called_in,
    drawn,
    may,
    must_of,
    no,
    ok,
    one_of,
    shown,
)
from attacks.expected import is_same
from attacks.tuning import fine_tune
from attacks.verdict import Result, call, judge


def attack(rng: Rng, room: Any) -> Result:
    """Call one function with one or two odd arguments."""
    functions: tuple[tuple[float, Callable[..., Result]], ...] = (
        (4.0, segment), (3.0, fine_tune), (2.0, score), (1.0, load), (1.0, save),
        (0.5, signature),
    )  # fmt: skip
    weights = np.array([w for w, _ in functions])
    return functions[int(rng.choice(len(functions), p=weights / weights.sum()))][1](
        rng, room
    )


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
        ok(image.astype(np.int64) - 2**40, image), may(image.astype(np.uint64) + 2**63,
                                                       image),
        may(torch.from_numpy(image), image),
        may(torch.from_numpy(floats).requires_grad_(), floats),
        may(unknown), may(masked, image), may(image.tobytes()), may(np.float32(3)),
        may(floats * 3e36), may(floats.astype(np.float64) * 1e305), may(image[:0]),
        may(image[:1, :1]), may(image[:, :1]), may(floats * np.nan), may(floats * np.inf),
        may(image.view(np.recarray)), may(memoryview(image), image),
        *no(None, "x", 5, [], {}, image.astype(complex), image.astype("U3"),
            image.astype(object),
            image[0], np.zeros((2,) * 7), [[1, 2], [3]], np.zeros((4, 4), "M8[s]"),
            Fake(dtype=np.dtype("u1"), shape=(64, 64)), Fake(dtype="nonsense", shape=(64,
                64)),
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
                 *no("XYZ", "Y", "YY", "ZYX", "YXYX" * 99, ["Y", "X"], True, {"Y": 0},
                     b"YX", 2,
                     "Y\x00", "é")],
        "channels": [ok([0], None), ok((0,), None), may(range(1), None),
                     may([np.int64(0)], None),
                     may(np.array([0]), None), may(0, None), may([False], None),
                     *no([1], [0.0], ["0"], {"a": 1}, [], [-1], [0] * 5, "0", [None], [[0]],
                         [2**70], 1.5)],
        "diameter": [ok(24.0), ok(34.5), ok(np.float32(24), 24.0), ok(12),
                     ok(np.int64(24), 24.0), ok("24", 24.0), ok("24 px", 24.0),
                     may(np.array(24.0), 24.0), may(3.0), may(1200.0), may(True, 1.0),
                     *no(0, -1.0, np.nan, np.inf, -np.inf, 1e-320, 1e300, False, "24 um",
                         "24 mm", *NOTHING_NUMERIC)],
        "pixel_size": [ok(0.5), may(None), may(np.float32(2)),
                       *no(0, -1.0, np.nan, np.inf, 1e300, "0.5", *NOTHING_NUMERIC)],
        "decoding": [may(None, decoding()), ok(decoding(0.4, 0.6)), may(decoding(0.0, 1.0)),
                     *(may(decoding(f, s)) for f, s in ((np.nan, 0.5), (-1, 2), (np.inf,
                         0))),
                     *no("x", 5, (0.5, 0.5), decoding, {"foreground": 0.5})],
        "device": [ok("cpu", "auto"), ok("auto"), *no("CPU", "gpu", "", None, ["cpu"], {},
                                                      0, "cuda:99")],
        "on_event": [may(None), ok(lambda event: None, lambda event: None),
                     *no(5, "x", [])],
    }  # fmt: skip


def _decoding() -> Any:
    from napari_resunet.types import Decoding

    return Decoding


def segment(rng: Rng, room: Any) -> Result:
    """`segment` with odd arguments."""
    from napari_resunet import segment

    usual = {"image": program.crop(rng)[0], "model": program.starter(), "diameter": 24.0}
    odds = drawn(rng, _segment_table(rng, room))
    given = usual | {name: odd.value for name, odd in odds.items()}
    plain = usual | {name: odd.plain for name, odd in odds.items()}
    what = shown("segment", odds)
    called = called_in(what, room, lambda: segment(**given))

    def same(labels: Any) -> bool:
        right = call(lambda: segment(**plain))
        if right.error is not None:
            return False
        return is_same(np.asarray(labels), np.asarray(right.value), exact=True)

    return judge(what, called, program.errors(), same, must=must_of(odds))


# score, load_model, Model.save ---------------------------------------------------------


def score(rng: Rng, room: Any) -> Result:
    """`score` with odd arrays."""
    from napari_resunet import score

    labels = program.crop(rng, 60, 64)[1]
    table = [ok(labels), ok(labels.astype(np.uint8), labels), ok(labels.astype(np.uint64),
        labels),
             may(labels.tolist(), labels), may(labels.astype(float), labels),
             may(labels > 0),
             may(np.arange(labels.size, dtype=np.int32).reshape(labels.shape)),
             may(np.arange(256 * 256).reshape(256, 256)), may(labels[None]),
             may(np.where(labels == 1, 2**31 - 1, labels)), may(labels[:0]),
             *no(labels[:-1], labels.T, None, "x", 5, [], {}, labels + 0.5,
                 labels.astype(complex),
                 labels.astype("U5"), labels * np.nan, -labels)]  # fmt: skip
    odds = {"true_labels": one_of(rng, table)}
    odd = odds["true_labels"]
    large = hasattr(odd.value, "shape") and odd.value.shape == (256, 256)
    other = odd.value if large or (odd.must != "refuse" and rng.random() < 0.7) else labels
    sizes = [[n for n in np.shape(x) if n != 1] for x in (other, odd.value)]
    if odd.must != "refuse" and sizes[0] != sizes[1]:
        odds = {"true_labels": Odd(odd.value)}  # sizes differ
    what = shown("score", odds)
    called = called_in(what, room, lambda: score(odd.value, other))
    plain = odd.plain if other is odd.value else other

    def same(result: Any) -> bool:
        right = score(np.asarray(odd.plain), np.asarray(plain))
        return repr(result) == repr(right)

    return judge(what, called, program.errors(), same, must=must_of(odds))


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
             *no(None, 5, 1.5, [], {}, [good], "", "x", "x" * 5000, "a\0b", "\udcff",
                 folder,
                 room.folder / "text.safetensors", room.folder / "pipe.safetensors", True,
                 "Starter", "/dev/zero", "/dev/null", ".", "..", object(),
                 b"\xff")]  # fmt: skip
    odds = {"name": one_of(rng, names)}
    what = shown("load_model", odds)
    called = called_in(what, room, lambda: load_model(odds["name"].value))
    error = called.error
    kind = program.errors() if isinstance(error, program.errors()) else ModelFileError
    right = program.weights_hash(load_model(good))
    return judge(what, called, kind, lambda model: program.weights_hash(model) == right,
                 must=must_of(odds))  # fmt: skip


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
                 folder / "file" / "a.safetensors", "/proc/a.safetensors",
                 str(folder) + "/a\0b",
                 folder / ("x" * 300 + ".safetensors"), "/dev/null/a.safetensors",
                 b"\xff", True,
                 object())]  # fmt: skip
    halves = [
        ok(True),
        ok(False),
        may(1, True),
        may("x", True),
        may(None, False),
        may(np.True_, True),
    ]
    odds = {"path": one_of(rng, paths)}
    if rng.random() < 0.3:
        odds["half"] = one_of(rng, halves)
    what = shown("save", odds)
    given = {name: odd.value for name, odd in odds.items()}
    called = called_in(what, room, lambda: program.starter().save(**given))
    path = odds["path"].value

    def same(_: Any) -> bool:
        return program.info_of(load_model(path)) == program.info_of(program.starter())

    return judge(what, called, program.errors(), lambda v: not call(lambda: same(v)).error,
                 must=must_of(odds))  # fmt: skip


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
    called = called_in(what, room, calls[what])
    if isinstance(called.error, TypeError):
        return Result("right", what)
    return judge(what, called, program.errors(), None)
