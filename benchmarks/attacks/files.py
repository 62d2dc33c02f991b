"""Image files: TIFFs of all kinds, PNG and JPEG, foreign bytes, damage, odd names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attacks import files_damaged, files_other, files_tiff, program
from attacks.expected import Expected, is_same
from attacks.program import Run
from attacks.verdict import Result
from napari_resunet.files import read_image

MAKERS: list[tuple[float, Any]] = [
    (5.0, files_tiff), (2.0, files_other), (3.0, files_damaged)
]  # fmt: skip


def attack(rng: np.random.Generator, room: Any) -> Result:
    """Segment one or several files on the command line."""
    weights = np.array([weight for weight, _ in MAKERS])
    maker = MAKERS[int(rng.choice(len(MAKERS), p=weights / weights.sum()))][1]
    what, path, expected = maker.make(rng, room.folder)
    outside = rng.random() < 0.02 and room.programs
    options = ["--diameter", f"{rng.choice([18, 24, 30])}"] if rng.random() < 0.8 else []
    output = room.folder / "labels"
    argv = ["segment", path, "-o", output, *options]
    what = f"{what}: {path.name[:60]!r}"
    if outside:
        done = program.run_outside(argv)
    else:
        room.tell(what)
        done = program.run(argv)
        room.watch.armed = False
    diameter = float(options[1]) if options else None
    return judge_file(what, done, path, output, expected, diameter, exact=not outside)


def judge_file(
    what: str,
    done: Run,
    path: Path,
    output: Path,
    expected: Expected,
    diameter: float | None,
    *,
    exact: bool,
) -> Result:
    """Compare the written labels with those of the file's content."""
    names = _names_of(path)
    failed = program.judge_failure(what, done, names, must=expected.must)
    if failed is not None:
        return failed
    if expected.must == "refuse":
        return Result("silent", what, f"accepted: {done.out[:100]!r}")
    written = sorted(output.glob("*.tif"))
    if expected.each and len(written) == len(expected.arrays):
        # Each image of the file has labels of its own.
        found = [_compared_file(w, what, done, expected, diameter, exact) for w in written]
        return next((result for result in found if result.verdict != "right"), found[0])
    if len(written) != 1:
        return Result("silent", what, f"exit status 0 and {len(written)} files of labels")
    return _compared_file(written[0], what, done, expected, diameter, exact)


def _compared_file(
    path: Path,
    what: str,
    done: Run,
    expected: Expected,
    diameter: float | None,
    exact: bool,
) -> Result:
    labels = np.squeeze(read_image(path))
    return _compared(what, labels, done, expected, diameter, exact)


def _compared(
    what: str,
    labels: Any,
    done: Run,
    expected: Expected,
    diameter: float | None,
    exact: bool,
) -> Result:
    seen = f"labels of shape {labels.shape}"
    if expected.shapes:
        if any(
            tuple(n for n in shape if n > 1) == labels.shape for shape in expected.shapes
        ):
            return Result("right", what)
        return Result("silent", what, f"{seen}, not one of {expected.shapes}")
    for array, axes in expected.arrays:
        try:
            right = np.squeeze(program.labels_of(array, axes, diameter=diameter))
        except program.errors():  # this reading of the file cannot be segmented
            continue
        if is_same(labels, right, exact):
            if expected.reported and not done.lines:
                return Result("silent", what, f"{seen}; no word of what was left out")
            return Result("right", what)
    if any("cut short" in line for line in done.lines):
        return Result("sentence", what)
    return Result("silent", what, f"{seen}, not those of what the file says")


def _names_of(path: Path) -> list[str]:
    """List the names of a file in a sentence: control characters may be escaped."""
    plain = "".join(c if c.isprintable() else "\n" for c in path.name)
    longest = max(plain.split("\n"), key=len)
    return [longest[:40], repr(path.name)[1:20]]
