"""Arguments of `fine_tune` and `Example`."""

from __future__ import annotations

from typing import Any

import numpy as np

from attacks import program
from attacks.arguments import (
    NOTHING_NUMERIC,
    Odd,
    Rng,
    called_in,
    drawn,
    may,
    must_of,
    no,
    ok,
    shown,
)
from attacks.verdict import Result, call, judge


def _example_table(rng: Rng, image: Any, labels: Any) -> dict[str, list[Odd]]:
    import torch

    from napari_resunet.types import Statistics

    checked = np.zeros(labels.shape, bool)
    checked[:, : labels.shape[1] // 2] = True
    number = checked.astype(np.uint8)
    window = (slice(0, 20), slice(0, 20))
    masks_ = [
        ok(checked),
        ok(number, checked),
        ok(number * 255, checked),
        ok(number.astype(np.int64), checked),
        may(checked.tolist(), checked),
        may(number.astype(float), checked),
        may(torch.from_numpy(checked), checked),
        may(None),
        may(number * 0 > 0),
        *no(
            checked[:-1],
            checked.T,
            checked[..., None],
            True,
            "x",
            5,
            [],
            number.astype(complex),
            number * np.nan,
            checked.astype("U5"),
        ),
    ]
    return {
        "image": [ok(image), may(image.tolist(), image), ok(image[..., None], image),
                  ok(image.astype(np.float32)), may(np.stack([image] * 4, axis=-1)),
                  may(np.stack([image] * 5, axis=-1)), may(torch.from_numpy(image), image),
                  *no(None, "x", image[:-1], image.astype(complex), image.astype("U3"),
                      image[0],
                      image.astype(object))],
        "labels": [ok(labels), ok(labels.astype(np.uint8), labels),
                   ok(labels.astype(np.int64), labels),
                   ok(labels.astype(np.uint64), labels), may(labels.astype(float), labels),
                   may(labels.tolist(), labels), may(np.where(labels == 1, 2**31 - 1,
                       labels)),
                   may(np.where(labels == 1, np.int64(2**40), labels), labels),
                   may(labels > 0),
                   may(labels * 0), may(torch.from_numpy(labels), labels),
                   # NaN in a mask is background, as `labels_from_mask` says.
                   may(np.where(labels == 0, np.nan, labels), labels),
                   *no(None, "x", labels[:-1], labels - 1, labels + 0.5,
                       labels.astype(complex), labels.astype("U5"))],
        "verified": masks_,
        "edited": masks_,
        "scale": [ok(1.0), may(None, None), ok(np.float32(1), 1.0), may("1", 1.0),
                  may(True, 1.0),
                  *no(0, -1, np.nan, np.inf, 1e-300, 1e300, *NOTHING_NUMERIC)],
        "statistics": [ok(Statistics((0.0,), (200.0,))), may(None), may(Statistics((5.0,),
            (5.0,))),
                       *no(Statistics((0.0, 0.0), (1.0, 1.0)), Statistics((), ()), "x", 5,
                           (0, 1),
                           Statistics((np.nan,), (np.inf,)), Statistics("a", "b"))],
        "held_out": [ok((window,)), may([window], (window,)), may(()),
                     *no("x", 5, (window[0],), ((slice(0.5, 20), slice(0, 20)),), ((1,
                         2),), [None],
                         ((slice(0, 9999), slice(0, 20)),))],
    }  # fmt: skip


def _tuning_table(rng: Rng) -> dict[str, list[Odd]]:
    numbers = np.array([1, 2])
    return {
        "steps": [ok(1), ok(2), ok(np.int64(2), 2), ok(numbers[0], 1), may(2.0, 2),
                  may("2", 2),
                  may(True, 1), may(np.array(2), 2),
                  *no(0, -1, 1.5, np.inf, np.nan, [2], {}, b"2", 1j, object(),
                      float("-inf"))],
        "seconds": [may(5), may(np.float32(1)), *no(-1, np.nan, "x", [1], 0, np.inf, 1j)],
        "seed": [ok(0), ok(7), ok(np.int64(7), 7), may(2**40), may(-1), may(True, 1),
                 may(None, 0),
                 *no(0.5, "x", np.nan, {}, 1j, b"1", object())],
        "device": [ok("cpu", "auto"), *no("CPU", "", None, ["cpu"], {}, 0)],
        "on_event": [ok(lambda event: None, lambda event: None), may(None), *no(5, "x",
            [])],
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
    odds = drawn(rng, table)
    what = shown(name, odds)

    def run(values: dict[str, Any]) -> Any:
        known = usual if on_call else usual | values
        rest = {"steps": 1} | (values if on_call else {})
        if rest.get("seconds") is not None and "steps" not in values:
            rest["steps"] = 1
        examples = rest.pop("examples", None) if "examples" in rest else [Example(**known)]
        return fine_tune(rest.pop("model", program.starter()), examples, **rest)

    called = called_in(what, room, lambda: run({n: odd.value for n, odd in odds.items()}))

    def same(model: Any) -> bool:
        right = call(lambda: run({n: odd.plain for n, odd in odds.items()}))
        if right.error is not None:
            return False
        return program.weights_hash(model) == program.weights_hash(right.value)

    return judge(what, called, program.errors(), same, must=must_of(odds))
