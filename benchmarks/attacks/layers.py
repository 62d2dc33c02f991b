"""Layers of a viewer without a window: labels lie where their image lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from attacks import program
from attacks.verdict import Result, flaw, where

Rng = np.random.Generator
VALUE = 70_001
"""A label that does not fit into 16 bits."""


def attack(rng: Rng, room: Any) -> Result:
    """Add an odd image with labels, then do what a user or another plugin may do."""
    from napari.components import ViewerModel

    viewer, said = ViewerModel(), list[str]()
    what, image = _image(rng, viewer)
    room.tell(what)
    try:
        layers = _layers(viewer, said)
        return _judged(rng, what, layers, image, said)
    except program.errors() as error:
        found = flaw(str(error))
        return Result("poor" if found else "sentence", what, found)
    except Exception as error:  # noqa: BLE001 it may be anything
        return Result("traceback", what, where(error))


def _layers(viewer: Any, said: list[str]) -> Any:
    """Follow a viewer's layers as the dock does; record its messages."""
    from napari_resunet.plugin.layers.collection import Layers

    layers = Layers(viewer)
    layers.notice.connect(lambda sentence: said.append(sentence))
    return layers


def _image(rng: Rng, viewer: Any) -> tuple[str, Any]:
    n_stack = int(rng.choice([0, 0, 1, 2]))
    shape = (*(int(n) for n in rng.integers(1, 4, n_stack)), 48, 56)
    dtype = str(rng.choice(["u1", "u2", "f4", "i4", "bool", "f8"]))
    data: Any = (rng.random(shape) * 200).astype(dtype)
    kinds = ["plain", "plain", "rgb", "dask", "pyramid", "last axis of one"]
    kind = str(rng.choice(kinds))
    options: dict[str, Any] = {}
    if kind == "rgb":
        data = (rng.random((*shape, 3)) * 200).astype(np.uint8)
        options["rgb"] = True
    elif kind == "dask":
        import dask.array

        data = dask.array.from_array(data, chunks=32)
    elif kind == "pyramid":
        data = [data, data[..., ::2, ::2]]
        options["multiscale"] = True
    elif kind == "last axis of one":
        data = data[..., None]
    ndim = len(shape) + (kind == "last axis of one")
    transform = _transform(rng, ndim)
    image = viewer.add_image(data, name="cells", **options, **transform)
    return f"{kind} {dtype} {shape}, {', '.join(transform) or 'no transform'}", image


def _transform(rng: Rng, ndim: int) -> dict[str, Any]:
    makers: dict[str, Callable[[], Any]] = {
        "scale": lambda: rng.choice([0.1, 0.65, 2.0], ndim),
        "translate": lambda: rng.choice([-100.0, 0.0, 7.5], ndim),
        "rotate": lambda: float(rng.choice([30, 90, -45])) if ndim == 2 else _turn(ndim),
        "shear": lambda: rng.choice([0.0, 0.3], ndim * (ndim - 1) // 2),
        "affine": lambda: np.eye(ndim + 1) + np.triu(rng.normal(0, 0.1, (ndim + 1,) * 2)),
        "units": lambda: ["micrometer"] * ndim,
    }
    return {name: make() for name, make in makers.items() if rng.random() < 0.35}


def _turn(ndim: int) -> Any:
    matrix = np.eye(ndim)
    matrix[-2:, -2:] = [[0, -1], [1, 0]]
    return matrix


def _judged(rng: Rng, what: str, layers: Any, image: Any, said: list[str]) -> Result:
    from napari_resunet.plugin.layers.image_layers import layer_id_of

    binding = layers.make_binding(image)
    labels = binding.layer
    if off := _apart(rng, image, labels):
        return Result("silent", what, f"labels lie elsewhere: {off}")
    for name, value in _transform(rng, image.ndim).items():
        setattr(image, name, value)
        if off := _apart(rng, image, labels):
            return Result("silent", what, f"{name} set later, labels stay behind: {off}")
    middle = tuple(n // 2 for n in labels.data.shape)
    labels.data[middle] = VALUE
    labels.refresh()
    changed = _changed(rng, labels)
    kept = layers.binding(layer_id_of(image))
    what = f"{what}; {changed}"
    if said and (found := flaw(said[-1])):
        return Result("poor", what, found)
    if kept is None:
        return Result("sentence" if said else "silent", what, "let go without a word")
    return _still_whole(what, kept, middle, said)


def _still_whole(what: str, kept: Any, middle: tuple[int, ...], said: list[str]) -> Result:
    data = np.asarray(kept.layer.data)
    if data.ndim != len(middle) or data.dtype.itemsize < 4:
        detail = f"goes on with {data.dtype} {data.shape}"
        return Result("silent", what, f"{detail}; said: {said}")
    kept.counts()
    kept.corrections()
    return Result("right", what)


def _changed(rng: Rng, labels: Any) -> str:
    """Change the labels as other programs do."""
    data = labels.data
    kinds: dict[str, Callable[[], Any]] = {
        "nothing": lambda: data,
        "uint8": lambda: data.astype(np.uint8),
        "uint16": lambda: data.astype(np.uint16),
        "int64": lambda: data.astype(np.int64),
        "cut": lambda: data[..., :-3, :],
        "another dimension": lambda: data[None],
        "negative": lambda: -data,
        "read only": lambda: _read_only(data),
    }
    kind = str(rng.choice(list(kinds)))
    if kind != "nothing":
        labels.data = kinds[kind]()
    return kind


def _read_only(data: Any) -> Any:
    copy = data.copy()
    copy.setflags(write=False)
    return copy


def _apart(rng: Rng, image: Any, labels: Any) -> str:
    """Return the distance of some pixels of the labels from those of the image."""
    shape = labels.data.shape
    if len(shape) != image.ndim:
        return f"{len(shape)} dimensions, not {image.ndim}"
    for _ in range(3):
        place = rng.integers(0, shape)
        there = np.asarray(image.data_to_world(place))
        here = np.asarray(labels.data_to_world(place))
        if not np.allclose(there, here):
            return f"pixel {place} at {here.round(2)}, not {there.round(2)}"
    return ""
