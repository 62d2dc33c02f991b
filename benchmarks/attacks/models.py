"""Damaged and hostile model files: refused, or loaded exactly as they were saved."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from attacks import program
from attacks.verdict import Result, call, judge

Rng = np.random.Generator


def attack(rng: Rng, room: Any) -> Result:
    """Load a damaged copy of a good file, or a hostile one."""
    from napari_resunet import load_model
    from napari_resunet.errors import ModelFileError

    good = good_file(room.base)
    what, path, must = KINDS[int(rng.integers(len(KINDS)))](rng, room.folder, good)
    right = _what_is_in(str(good))
    room.tell(what)
    called = call(lambda: load_model(path))
    room.watch.armed = False

    def same(model: Any) -> bool:
        weights, info = program.weights_hash(model), program.info_of(model)
        if what.startswith("description"):  # it may be another model that can be used
            return weights == right[0] and _is_usable(model)
        return weights == right[0] and (path.suffix != ".safetensors" or info == right[1])

    expected = program.errors() if must == "right" else ModelFileError
    result = judge(what, called, expected, same, must=must, names=[path.name])
    if result.verdict == "silent" and called.error is None:
        return Result("silent", what, _difference(called.value, right, room, good))
    return result


def good_file(base: Path) -> Path:
    """Save the starter once, as a user's own model is saved."""
    path = base / "good.safetensors"
    if not path.exists():
        program.starter().save(path, half=True)
    return path


@cache
def _what_is_in(path: str) -> tuple[str, str]:
    from napari_resunet import load_model

    model = load_model(path)
    return program.weights_hash(model), program.info_of(model)


def _is_usable(model: Any) -> bool:
    """Check that a model with an odd description segments, or says why it does not."""
    from napari_resunet import segment

    if re.search(r"\b(nan|inf)\b", program.info_of(model)):
        return False
    done = call(lambda: segment(program.sample()[:64, :70], model))
    return done.error is None or isinstance(done.error, program.errors())


def _difference(model: Any, right: tuple[str, str], room: Any, good: Path) -> str:
    from napari_resunet import load_model

    if program.weights_hash(model) != right[0]:
        there = load_model(good).network.state_dict()
        found = model.network.state_dict()
        worst = max(
            float((found[n].double() - t.double()).abs().max()) for n, t in there.items()
        )
        return f"loaded without a word; weights off by up to {worst:.3g}"
    return f"loaded without a word; its description differs: {program.info_of(model)[:150]}"


def _header(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _with_header(header: dict[str, Any] | bytes, rest: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def _written(folder: Path, data: bytes | bytearray, name: str = "m.safetensors") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


Made = tuple[str, Path, str]


def whole(rng: Rng, folder: Path, good: Path) -> Made:
    """Leave a good file as it is, or write its header in another way."""
    data = good.read_bytes()
    name = str(rng.choice(["m.safetensors", "ä b.safetensors", "a.b.safetensors"]))
    if rng.random() < 0.5:
        return "a good file", _written(folder, data, name), "right"
    header, rest = _header(data)
    spaced = json.dumps(dict(reversed(header.items())), indent=1).encode()
    return "another order", _written(folder, _with_header(spaced, rest), name), "either"


def flips(rng: Rng, folder: Path, good: Path) -> Made:
    """Flip one to eight bits: anywhere, or in the header."""
    data = bytearray(good.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    in_header = rng.random() < 0.5
    end = 8 + length if in_header else len(data)
    places = [int(rng.integers(end)) for _ in range(int(rng.choice([1, 1, 1, 8])))]
    for place in places:
        data[place] ^= 1 << int(rng.integers(8))
    what = f"bits flipped at {places}{' in the header' if in_header else ''}"
    return what, _written(folder, data), "either"


def blocks(rng: Rng, folder: Path, good: Path) -> Made:
    """Write a block of zeros or of noise, as a failing drive leaves it."""
    data = bytearray(good.read_bytes())
    size = int(rng.choice([512, 4096, 65536]))
    begin = int(rng.integers(len(data) // 512 - 200)) * 512
    noise = rng.random() < 0.3
    data[begin : begin + size] = rng.bytes(size) if noise else bytes(size)
    what = f"{size} bytes of {'noise' if noise else 'zeros'} at {begin}"
    return what, _written(folder, data), "either"


def cut(rng: Rng, folder: Path, good: Path) -> Made:
    """Truncate a file, or append to it."""
    data = good.read_bytes()
    ends = [0, 3, 8, 100, len(data) - 1, len(data) // 2, int(rng.integers(len(data)))]
    end = ends[int(rng.integers(len(ends)))]
    if rng.random() < 0.2:
        return "bytes behind the end", _written(folder, data + b"more"), "either"
    return f"cut at {end}", _written(folder, data[:end]), "refuse"


def swapped(rng: Rng, folder: Path, good: Path) -> Made:
    """Swap two tensors of the same shape: the same numbers in another order."""
    header, rest = _header(good.read_bytes())
    names = [n for n in header if n != "__metadata__"]
    for _ in range(99):
        a, b = (str(n) for n in rng.choice(names, 2, replace=False))
        if all(header[a][k] == header[b][k] for k in ("dtype", "shape")):
            header[a], header[b] = header[b], header[a]
            break
    return f"{a} and {b} swapped", _written(folder, _with_header(header, rest)), "either"


def header_lies(rng: Rng, folder: Path, good: Path) -> Made:
    """Impossible shapes, dtypes, offsets, and names."""
    header, rest = _header(good.read_bytes())
    names = [n for n in header if n != "__metadata__"]
    name = str(rng.choice(names))
    kinds: dict[str, Callable[[], Any]] = {
        "shape": lambda: header[name].update(shape=[2**31, 2**31]),
        "negative": lambda: header[name].update(shape=[-1, 4]),
        "dtype": lambda: header[name].update(
            dtype=str(rng.choice(["F64", "I8", "BOOL", "X"]))
        ),
        "offsets": lambda: header[name].update(data_offsets=[0, 2**60]),
        "missing": lambda: header.pop(name),
        "extra": lambda: header.update({"extra": {**header[name], "data_offsets": [0, 0]}}),
        "no metadata": lambda: header.pop("__metadata__"),
        "many": lambda: header.update({f"x{k}": header[name] for k in range(50_000)}),
    }
    kind = str(rng.choice(list(kinds)))
    kinds[kind]()
    path = _written(folder, _with_header(header, rest))
    return f"header: {kind} of {name}", path, "refuse"


def raw_header(rng: Rng, folder: Path, good: Path) -> Made:
    """Headers that are not JSON, or are nested too deeply or too long."""
    rest = _header(good.read_bytes())[1]
    kinds = {
        "empty": b"", "null": b"null", "list": b"[1]", "deep": b"[" * 100_000,
        "noise": rng.bytes(1000), "not UTF-8": b'{"\xff": 1}', "spaces": b" " * 10**6,
    }  # fmt: skip
    kind = str(rng.choice([*kinds, "length"]))
    data = _with_header(kinds.get(kind, b"{}"), rest[:4096])
    if kind == "length":
        data = struct.pack("<Q", int(rng.choice([2**40, 2**62]))) + data[8:]
    return f"header: {kind}", _written(folder, data), "refuse"


ODD = (
    float("nan"),
    float("inf"),
    -1,
    0,
    1e400,
    "x",
    None,
    [],
    {},
    2**70,
    True,
    "x" * 10**6,
)


def description(rng: Rng, folder: Path, good: Path) -> Made:
    """Write impossible values into the description."""
    header, rest = _header(good.read_bytes())
    place = header["__metadata__"]
    key = next(k for k, v in place.items() if v.startswith("{") and "tile" in v)
    fields = json.loads(place[key])
    parent, name = fields, str(rng.choice(list(fields)))
    if isinstance(fields[name], dict) and fields[name] and rng.random() < 0.8:
        parent = fields[name]
        name = str(rng.choice(list(parent)))
    odd = ODD[int(rng.integers(len(ODD)))]
    if name == "class_names" and rng.random() < 0.5:
        odd = ["a"] * int(rng.choice([1, 2, 5, 10**6]))
    if type(odd) is type(parent[name]) and odd == parent[name]:
        odd = "x"
    parent[name] = odd
    place[key] = json.dumps(fields)
    what = f"description: {name} = {str(odd)[:30]}"
    return what, _written(folder, _with_header(header, rest)), "either"


class Evil:
    """Runs a program when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        """Tell pickle what to call."""
        return os.mkdir, (str(self.target),)


def pickled(rng: Rng, folder: Path, good: Path) -> Made:
    """Pickles that run a program, in all wrappers that torch knows."""
    import torch

    evil = Evil(folder / "executed")
    kind = str(rng.choice(["zip", "legacy", "raw", "in a state_dict", "safetensors"]))
    suffix = "safetensors" if kind == "safetensors" else str(rng.choice(["pt", "pth"]))
    path = folder / f"m.{suffix}"
    if kind in ("raw", "safetensors"):
        path.write_bytes(pickle.dumps(evil))
    elif kind == "in a state_dict":
        torch.save(dict(program.starter().network.state_dict()) | {"x": evil}, path)
    else:
        torch.save({"x": evil}, path, _use_new_zipfile_serialization=kind == "zip")
    return f"pickle, {kind}", path, "refuse"


def plain_state(rng: Rng, folder: Path, good: Path) -> Made:
    """State dicts: whole, with lies, with tensors that are larger than their bytes."""
    import torch

    state = dict(program.starter().network.state_dict())
    state = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    name = str(rng.choice(list(state)))
    kinds: dict[str, Any] = {
        "whole": None,
        "expanded": torch.zeros(1).expand(10**11),
        "expanded like": torch.zeros(()).expand(state[name].shape),
        "other shape": torch.zeros(3, 3),
        "text": "x",
        "complex": state[name].to(torch.complex64),
        "infinite": torch.full(state[name].shape, torch.inf),
        "meta": torch.empty(state[name].shape, device="meta"),
        "sparse": torch.zeros(4, 4).to_sparse(),
        "huge class": torch.zeros(1).expand(10**9),
    }
    kind = str(rng.choice(list(kinds)))
    if kind == "huge class":
        state["conv_last.bias"] = kinds[kind]
    elif kind != "whole":
        state[name] = kinds[kind]
    path = folder / "m.pt"
    torch.save(state, path)
    # The encoder is stored under two names, so the other copy may be intact.
    must = {"whole": "right", "huge class": "refuse"}.get(kind, "either")
    return f"state_dict: {kind} {name}", path, must


def damaged_zip(rng: Rng, folder: Path, good: Path) -> Made:
    """Write a ``.pt`` with flipped bits, cut, or with huge records."""
    import torch

    state = {n: t.half() for n, t in program.starter().network.state_dict().items()}
    stream = io.BytesIO()
    torch.save(state, stream)
    data = bytearray(stream.getvalue())
    kind = str(rng.choice(["cut", "flips", "bomb", "empty", "other zip"]))
    path = folder / "m.pt"
    if kind == "cut":
        del data[int(rng.integers(len(data))) :]
    elif kind == "flips":
        head = 20_000 if rng.random() < 0.5 else len(data)
        for _ in range(4):
            data[int(rng.integers(head))] ^= 1 << int(rng.integers(8))
    elif kind == "empty":
        data = bytearray()
    path.write_bytes(data)
    if kind in ("bomb", "other zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr("m/data.pkl", bytes(3 * 10**8) if kind == "bomb" else b"x")
            made.writestr("m/version", b"3\n")
    return f".pt, {kind}", path, "either" if kind == "flips" else "refuse"


KINDS: tuple[Callable[[Rng, Path, Path], Made], ...] = (
    whole, flips, flips, flips, blocks, blocks, cut, swapped, header_lies, raw_header,
    description, description, pickled, plain_state, damaged_zip,
)  # fmt: skip
