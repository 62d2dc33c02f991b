"""Everything that the attacks use of napari-resunet and its command line."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from attacks.verdict import Result, as_users_see_warnings, flaw, where

SAMPLES = Path(__file__).parents[2] / "sample_data"


@dataclass(frozen=True)
class Run:
    """A command that ended: its status, its words, what it raised."""

    status: int
    out: str
    err: str
    raised: str = ""

    @property
    def lines(self) -> list[str]:
        """The error output without progress bars."""
        shown = (line.rpartition("\r")[2].strip() for line in self.err.split("\n"))
        return [line for line in shown if line]


def run(argv: Sequence[str]) -> Run:
    """Run a command in this process."""
    from napari_resunet.cli import main

    out, err = io.StringIO(), io.StringIO()
    _forget_logging()
    status, raised = 0, ""
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        as_users_see_warnings()
        try:
            status = main([str(a) for a in argv])
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                err.write(end.code)
        except BaseException as error:  # noqa: BLE001 it may be anything
            status, raised = 1, where(error)
    return Run(status, out.getvalue(), err.getvalue(), raised)


def _forget_logging() -> None:
    """Undo the previous command's logging setup, which uses that command's stream."""
    logging.getLogger().handlers.clear()
    logging.getLogger("napari_resunet").setLevel(logging.NOTSET)


def run_outside(argv: Sequence[str], timeout: float = 60.0) -> Run:
    """Run a command as a separate program."""
    command = [sys.executable, "-m", "napari_resunet.cli", *map(str, argv)]
    done = subprocess.run(
        command, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
    )
    out, err = (t.decode("utf-8", "replace") for t in (done.stdout, done.stderr))
    raised = err.strip().rpartition("\n")[2] if "Traceback (most" in err else ""
    return Run(done.returncode, out, err, raised or _signal(done.returncode))


def _signal(status: int) -> str:
    return f"died of signal {-status}" if status < 0 else ""


def judge_failure(
    what: str, done: Run, names: Sequence[str] = (), *, must: str = "either"
) -> Result | None:
    """Judge a command that failed or printed something unclear; None if it went well.

    Parameters
    ----------
    what : str
        The input, in words.
    done : Run
        The outcome.
    names : sequence of str
        One of these must be in its last line.
    must : {"right", "refuse", "either"}
        "right": failing is wrong.
    """
    if done.raised:
        return Result("traceback", what, done.raised)
    if not done.status:
        odd = [line for line in done.lines if flaw(line) and "Warning" in line]
        return Result("poor", what, f"printed {odd[0][:200]}") if odd else None
    if done.status == 2 and done.err.startswith("usage:"):
        return _judge_usage(what, done, must)
    flaws = [found for line in done.lines[:-1] if (found := flaw(line))]
    flaws += [found] if (found := flaw(done.lines[-1] if done.lines else "", names)) else []
    if flaws or len(done.lines) > 3:
        return Result("poor", what, flaws[0] if flaws else f"{len(done.lines)} lines")
    if must == "right":
        return Result("poor", what, f"refused, though valid: {done.lines[-1]}")
    return Result("sentence", what)


def _judge_usage(what: str, done: Run, must: str) -> Result:
    """Judge argparse's own refusal: some lines of usage, then one of error."""
    last = done.lines[-1].partition(": error: ")[2]
    if found := flaw(last + "."):
        return Result("poor", what, found)
    if must == "right":
        return Result("poor", what, f"refused, though valid: {last}")
    return Result("sentence", what)


@cache
def starter() -> Any:
    """Load the starter once."""
    from napari_resunet import load_model

    return load_model()


def labels_of(array: Any, axes: str | None = None, **options: Any) -> npt.NDArray[Any]:
    """Segment with the starter."""
    from napari_resunet import segment

    return np.asarray(segment(array, starter(), axes, **options))


def errors() -> Any:
    """Name the base of all errors that carry sentences."""
    from napari_resunet.errors import ResunetError

    return ResunetError


def weights_hash(model: Any) -> str:
    """Hash all tensors of a model, with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + str(tensor.dtype).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def info_of(model: Any) -> str:
    """Describe everything that a model says about itself."""
    return repr(asdict(model.info))


@cache
def sample(name: str = "nuclei") -> npt.NDArray[Any]:
    """Read a sample image, or its labels by NAME_labels."""
    return tifffile.imread(SAMPLES / f"{name}.tif")


def crop(
    rng: np.random.Generator, height: int = 0, width: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Cut a small image with its labels out of a sample; numbers from 1."""
    from skimage.segmentation import relabel_sequential

    height = height or int(rng.integers(56, 90))
    width = width or int(rng.integers(56, 90))
    image, labels = sample(), sample("nuclei_labels")
    row = int(rng.integers(image.shape[0] - height))
    column = int(rng.integers(image.shape[1] - width))
    window = slice(row, row + height), slice(column, column + width)
    found = relabel_sequential(labels[window].astype(np.int32))[0]
    return image[window].copy(), np.asarray(found, np.int32)


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
