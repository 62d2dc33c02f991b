"""Odd, damaged and hostile inputs: a fixed, quick part of ``benchmarks/attack.py``."""

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs pipes and limits")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
QUICK = {"files": range(14), "masks": range(4), "flags": range(10), "api": range(8),
         "models": range(6), "sessions": range(8), "hostile": range(5),
         "layers": range(4)}  # fmt: skip
"""Seeds of each kind."""


@pytest.fixture(scope="module")
def worker():
    """A process that may hang or die, in place of this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        patch.setenv("OMP_NUM_THREADS", "1")
        from attacks.worker import Worker

        worker = Worker(limit=60, programs=False)
        yield worker
        worker.stop()


@pytest.mark.parametrize("kind", QUICK)
def test_the_right_result_or_one_sentence(worker, kind):
    results = {seed: worker.attack(kind, seed) for seed in QUICK[kind]}
    wrong = {
        f"{kind}:{seed}": result
        for seed, result in results.items()
        if result.verdict not in ("right", "sentence")
    }
    assert not wrong, "\n".join(map(str, wrong.items()))
    assert "right" in {result.verdict for result in results.values()}


def test_the_attack_sees_what_is_wrong(worker):
    from attacks.verdict import call, flaw, judge

    assert flaw("division by zero")
    assert flaw("ZeroDivisionError: the image is empty.")
    assert not flaw("'a.tif' is not a TIFF, PNG or JPEG image.")
    crash, three = call(lambda: 1 / 0), call(lambda: 3)
    assert judge("x", crash, KeyError, None).verdict == "traceback"
    assert judge("x", three, KeyError, lambda value: value == 4).verdict == "silent"
    assert judge("x", three, KeyError, None, must="refuse").verdict == "silent"
