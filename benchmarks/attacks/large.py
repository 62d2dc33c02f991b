"""Images larger than memory: damaged, in the way of others, on a full disk, and killed.

Blocks and limits are made small, so that a crop of a sample counts as large. Whatever
happens, a run that says that it is done has the labels of the undivided image, the image
keeps its pixels, and labels of others stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from attacks import program
from attacks.expected import is_same
from attacks.program import Run
from attacks.verdict import Result

Rng = np.random.Generator
SMALL = {
    "napari_resunet.session.large.run": {"SIDE": 64},
    "napari_resunet.session.large.outputs": {"CHUNK": 32},
    "napari_resunet.ome_zarr.image_labels": {"SIDE": 32, "PIECE": 48},
    "napari_resunet.session.large.size": {"MAX_IN_MEMORY": 1000},
    "napari_resunet.slides.image": {"HARMLESS_BYTES": 0},
}
APERIO = "Aperio Image Library v12\n|AppMag = 40|MPP = 0.25"
DIAMETER = "24"
KILLED = 9


@dataclass(frozen=True)
class Case:
    """A large image, and a command that segments it.

    Attributes
    ----------
    folder : Path
        Where everything is.
    array : array
        The pixels of the finest level.
    axes : str
        Of the array.
    path : Path
        The image.
    places : list of Path
        The arrays in which the labels are to be.
    words : list of str
        The command.
    """

    folder: Path
    array: Any
    axes: str
    path: Path
    places: list[Path]
    words: list[str]

    @property
    def is_zarr(self) -> bool:
        """Whether the image is an OME-Zarr."""
        return self.path.suffix == ".zarr"

    def pixels(self) -> dict[str, bytes]:
        """Read the files of the image, without its labels."""
        if not self.is_zarr:
            return {self.path.name: self.path.read_bytes()}
        files = [p for level in "01" for p in (self.path / level).rglob("*") if p.is_file()]
        return {str(p): p.read_bytes() for p in files}


def attack(rng: Rng, room: Any) -> Result:
    """Segment a large image while something is wrong."""
    troubles = (
        nothing, damaged_chunk, missing_chunk, lying_shape, truncated, in_the_way,
        full_disk, full_disk, killed, killed, killed,
    )  # fmt: skip
    trouble = troubles[int(rng.integers(len(troubles)))]
    with _small():
        case = _case(rng, room.folder)
        if trouble in (damaged_chunk, missing_chunk, lying_shape) and not case.is_zarr:
            trouble = truncated
        what = f"{trouble.__name__}: {' '.join(case.words)}"
        room.tell(what)
        before = case.pixels()
        result = trouble(rng, case, what)
        room.watch.armed = False
        # A chunk that was missing may stay so; all else is as it was, or was mended.
        if trouble is not missing_chunk and case.pixels() != before:
            return Result("silent", what, "the image has other pixels")
    return result


@contextlib.contextmanager
def _small() -> Iterator[None]:
    """Make blocks and limits small."""
    import importlib

    before = []
    for name, values in SMALL.items():
        module = importlib.import_module(name)
        before += [(module, key, getattr(module, key)) for key in values]
        for key, value in values.items():
            setattr(module, key, value)
    try:
        yield
    finally:
        for module, key, value in before:
            setattr(module, key, value)


def _case(rng: Rng, folder: Path) -> Case:
    os.chdir(folder)
    image = program.crop(rng, int(rng.integers(90, 150)), int(rng.integers(90, 150)))[0]
    if rng.random() < 0.25:
        array, axes = np.stack([image] * 3, -1), "YXS"
        path = folder / "x.svs"
        with tifffile.TiffWriter(path) as writer:
            writer.write(
                array, tile=(48, 48), photometric="rgb", description=APERIO, metadata=None
            )
    else:
        array, axes, path = image, "YX", folder / "x.ome.zarr"
        _write_store(path, image, str(rng.choice(["0.4", "0.5"])))
    outputs = {
        "own": (["-o", "own.ome.zarr"], ["own.ome.zarr/0"]),
        "folder": (["-o", "out"], ["out/x_labels.ome.zarr/0"]),
    }
    if path.suffix == ".zarr":
        inside = ["--into-image", "cells"]
        outputs["into"] = (inside, ["x.ome.zarr/labels/cells/0"])
        outputs["both"] = (
            ["-o", "out", *inside], [*outputs["folder"][1], *outputs["into"][1]]
        )  # fmt: skip
    flags, places = outputs[str(rng.choice(list(outputs)))]
    words = ["segment", path.name, *flags, "--diameter", DIAMETER]
    return Case(folder, array, axes, path, [folder / p for p in places], words)


def _write_store(path: Path, image: Any, version: str) -> None:
    """Write an image of two levels with the metadata of our labels, which is no note."""
    from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
    from napari_resunet.ome_zarr.labels import NOTE

    shape = image.shape
    store = LabelPyramid(path, shape, "YX", max(-(-n // 2) for n in shape), version)
    store.create(image.dtype)
    store.write(0, (...,), image)
    store.resample(1, (), *(slice(0, n) for n in store.shapes[1]))
    store.finish({})
    about = path / ("zarr.json" if version == "0.5" else ".zattrs")
    document = json.loads(about.read_text())
    (document["attributes"] if version == "0.5" else document).pop(NOTE)
    about.write_text(json.dumps(document))


# Troubles ---------------------------------------------------------------------------


def nothing(rng: Rng, case: Case, what: str) -> Result:
    """Nothing is wrong; a second run replaces, skips, or refuses."""
    first = _judged(case, what, program.run(case.words), must="right")
    if first.verdict != "right":
        return first
    more = str(rng.choice(["--skip-existing", "--overwrite", "--measure=basic"]))
    if more == "--measure=basic" and "-o" not in case.words:
        more = "--overwrite"
    what = f"{what}, then {more}"
    own = case.words[3] == "own.ome.zarr" and more == "--skip-existing"
    must = "refuse" if own else "right"
    return _judged(case, what, program.run([*case.words, more]), must=must)


def damaged_chunk(rng: Rng, case: Case, what: str) -> Result:
    """Cut a chunk of the image short, or fill it with something else."""
    path = _chunk(rng, case)
    data = path.read_bytes()
    path.write_bytes(
        data[: int(rng.integers(len(data)))] if rng.random() < 0.5 else rng.bytes(len(data))
    )
    return _mended(case, what, path, data)


def missing_chunk(rng: Rng, case: Case, what: str) -> Result:
    """Take a chunk of the image away: a dark part, or a copy that is not whole."""
    path = _chunk(rng, case)
    data = path.read_bytes()
    path.unlink()
    done = program.run(case.words)
    if done.status:
        path.write_bytes(data)
        return _again(case, what, done)
    import zarr

    dark = zarr.open_array(case.path / "0", mode="r")[...]
    return _judged(case, what, done, array=dark)


def lying_shape(rng: Rng, case: Case, what: str) -> Result:
    """State another shape than the chunks have."""
    path = next(p for n in ("zarr.json", ".zarray") if (p := case.path / "0" / n).exists())
    data = path.read_bytes()
    document = json.loads(data)
    sizes = ([2**30, 2**30], [2**40, 3], [-1, 5], [0, 0], [3], "big", [10**5, 10**5])
    document["shape"] = sizes[int(rng.integers(len(sizes)))]
    path.write_text(json.dumps(document))
    return _mended(case, f"{what} {document['shape']}", path, data)


def truncated(rng: Rng, case: Case, what: str) -> Result:
    """Copy a slide, or a file of metadata, not to its end."""
    path = case.path
    if case.is_zarr:
        path = next(p for n in ("zarr.json", ".zattrs") if (p := case.path / n).exists())
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data)))])
    return _mended(case, what, path, data)


def in_the_way(rng: Rng, case: Case, what: str) -> Result:
    """Something of somebody else is where the labels or what is unfinished should go."""
    place = case.places[-1].parent
    hidden = place.parent if "labels/" not in str(place) else case.path
    name = place.name if hidden != case.path else "cells"
    places = [place, hidden / f".{name}.unfinished"]
    if hidden == case.path:
        places.append(case.path / "labels")
    where = places[int(rng.integers(len(places)))]
    where.parent.mkdir(parents=True, exist_ok=True)
    kind = str(rng.choice(["file", "folder", "link", "loop"]))
    if kind == "file":
        where.write_bytes(b"mine")
    elif kind == "folder":
        where.mkdir()
        (where / "zarr.json").write_bytes(b"mine")
    else:
        (case.folder / "elsewhere").mkdir()
        (case.folder / "elsewhere" / "zarr.json").write_bytes(b"mine")
        where.symlink_to(case.folder / "elsewhere" if kind == "link" else where)
    what = f"{what}: a {kind} at {where.relative_to(case.folder)}"
    words = [*case.words, *(["--overwrite"] if rng.random() < 0.5 else [])]
    done = program.run(words)
    mine = [case.folder / "elsewhere" / "zarr.json"] if kind == "link" else []
    if kind == "folder" and where == place and "--overwrite" not in words:
        mine.append(where / "zarr.json")
    if any(path.read_bytes() != b"mine" for path in mine):
        return Result("silent", what, "what was in the way was overwritten")
    return _judged(case, what, done)


def full_disk(rng: Rng, case: Case, what: str) -> Result:
    """No file may be larger than some bytes; then the disk has room again."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = int(10 ** rng.uniform(1.5, 4))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        done = program.run(case.words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    what = f"{what}, files of at most {most} bytes"
    first = _judged(case, what, done)
    if first.verdict != "sentence":
        return first
    return _judged(case, f"{what}, then with room", program.run(case.words), must="right")


def killed(rng: Rng, case: Case, what: str) -> Result:
    """Kill the process, and give the command again, perhaps with other options."""
    if rng.random() < 0.4:
        first = _judged(case, what, program.run(case.words), must="right")
        if first.verdict != "right":
            return first
        case.words.append("--overwrite")
    n_steps = int(10 ** rng.uniform(0, 2.7))
    status = _killed_after(n_steps, case.words)
    what = f"{what}, killed at step {n_steps} ({status})"
    if "--overwrite" in case.words and not all(map(_is_whole, case.places)):
        aside = [p for p in case.places if not _is_whole(p)]
        what = f"{what}, {len(aside)} of the labels aside"
    if rng.random() < 0.3:
        other = [*case.words[:-1], "31"] if case.words[-1] == DIAMETER else None
        if other is not None:
            found = _judged(case, f"{what}, then --diameter 31", program.run(other), "31")
            if found.verdict != "sentence":
                return found
    own = case.places[0].parent.name == "own.ome.zarr" and _is_whole(case.places[0])
    more = ["--overwrite"] if own else []
    done = program.run([*case.words, *more])
    return _judged(case, f"{what}, then again", done, must="right")


def _killed_after(n_steps: int, words: list[str]) -> int:
    """Run a command in a child that ends itself at a step that changes files."""
    child = os.fork()
    if child == 0:
        left = [n_steps]
        for name in ("fsync", "rename", "replace", "unlink", "mkdir"):
            setattr(os, name, _counted(getattr(os, name), left))
        shutil.rmtree = _counted(shutil.rmtree, left)
        os._exit(program.run(words).status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _counted(function: Any, left: list[int]) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] <= 0:
            os._exit(KILLED)
        return function(*arguments, **options)

    return call


# Outcomes ---------------------------------------------------------------------------


def _chunk(rng: Rng, case: Case) -> Path:
    files = sorted(p for p in (case.path / "0").rglob("*") if p.is_file())
    chunks = [p for p in files if p.name.isdigit()]
    return chunks[int(rng.integers(len(chunks)))]


def _mended(case: Case, what: str, path: Path, data: bytes) -> Result:
    """Run on a damaged image, which is refused; then on the image as it was."""
    done = program.run(case.words)
    path.write_bytes(data)
    return _again(case, what, done)


def _again(case: Case, what: str, done: Run) -> Result:
    """Judge a refusal; the image is mended meanwhile, and another image for the program."""
    first = _judged(case, what, done, must="refuse")
    if first.verdict != "sentence":
        return first
    done = program.run([*case.words, "--overwrite"])
    return _judged(case, f"{what}, then mended", done, must="right")


def _is_whole(place: Path) -> bool:
    return (place.parent / "zarr.json").exists() or (place.parent / ".zattrs").exists()


def _judged(
    case: Case,
    what: str,
    done: Run,
    diameter: str = DIAMETER,
    *,
    must: str = "either",
    array: Any = None,
) -> Result:
    """Compare the labels with those of the undivided image."""
    import zarr

    failed = program.judge_failure(what, done, must=must)
    if failed is not None:
        return failed
    if must == "refuse":
        return Result("silent", what, f"accepted: {done.out[:100]!r}")
    pixels = case.array if array is None else array
    right = program.labels_of(pixels, case.axes, diameter=float(diameter))
    for place in case.places:
        found = np.asarray(zarr.open_array(place, mode="r")[...])
        if not is_same(found, right, exact=True):
            return Result("silent", what, f"other labels in {place.parent.name}")
    left = [p.name for p in case.folder.rglob(".*.unfinished")]
    return Result("silent" if left else "right", what, f"left: {left}" if left else "")
