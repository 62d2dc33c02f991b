"""What must be in a session folder: noted after it was written, taken back before it goes.

So a kill at any moment leaves nothing noted that is not there, and what is gone all the
same was deleted or damaged from outside: that is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from napari_resunet.session.store.layout import (
    CORRECTIONS,
    HISTORY,
    MODELS,
    PLANES,
    TRAINING,
    plane_index,
)
from napari_resunet.session.store.planes import find_contents
from napari_resunet.session.store.safety import inside
from napari_resunet.session.store.schema import KEY, Contents, PlaneContents

Change = Callable[[Contents], Contents]
_VERSION = re.compile(r"v(\d{3,6})\.(json|safetensors)")
_CORRECTION = re.compile(r"([a-z0-9]{1,32}-.+)-r(\d{1,6})")


def with_plane(key: str, name: str, plane: PlaneContents) -> Change:
    """Note the files of a plane."""

    def change(contents: Contents) -> Contents:
        planes = {**contents.planes.get(key, {}), name: plane}
        return contents.model_copy(update={"planes": {**contents.planes, key: planes}})

    return change


def with_version(number: int) -> Change:
    """Note a model version."""

    def change(contents: Contents) -> Contents:
        versions = tuple(sorted({*contents.versions, number}))
        last = max(contents.last_version, number)
        return contents.model_copy(update={"versions": versions, "last_version": last})

    return change


def without_version(number: int) -> Change:
    """Take a model version back; its number stays taken."""

    def change(contents: Contents) -> Contents:
        versions = tuple(n for n in contents.versions if n != number)
        return contents.model_copy(update={"versions": versions})

    return change


def with_correction(name: str) -> Change:
    """Note a correction by its name, round included."""

    def change(contents: Contents) -> Contents:
        place, _, number = name.rpartition("-r")
        rounds = {**contents.corrections, place: int(number)}
        return contents.model_copy(update={"corrections": rounds})

    return change


def with_history(lines: int) -> Change:
    """Note so many more lines of the history."""
    return lambda contents: contents.model_copy(
        update={"history": contents.history + lines}
    )


def with_training(interrupted: bool) -> Change:
    """Note whether there is a checkpoint."""
    return lambda contents: contents.model_copy(update={"training": interrupted})


def found_contents(root: Path) -> Contents:
    """Look what there is in a session folder."""
    models = [m for m in map(_VERSION.fullmatch, _names(root, MODELS)) if m]
    weights = {int(m[1]) for m in models if m[2] == "safetensors"}
    history = inside(root, HISTORY)
    return Contents(
        planes=_planes(root),
        versions=tuple(sorted(n for n in weights if _version_file(root, n).is_file())),
        last_version=max((int(m[1]) for m in models), default=0),
        corrections=_corrections(root),
        history=_count_lines(history) if history.is_file() else 0,
        training=inside(root, TRAINING, "checkpoint.json").is_file(),
    )


def what_is_missing(expected: Contents, found: Contents) -> list[str]:
    """Tell what of a session is gone, but for labels, which tell it when they are read."""
    told = []
    for number in set(expected.versions) - set(found.versions):
        told.append(f"The weights of model version {number} are missing from 'models'.")
    lost = [p for p, n in expected.corrections.items() if found.corrections.get(p, 0) < n]
    if lost:
        told.append(
            f"Of {len(lost)} corrected regions, what the model learned from is missing "
            "from 'corrections': Fine-tune writes it again from the checked areas."
        )
    if found.history < expected.history:
        n = expected.history - found.history
        told.append(f"{n} entries of the history of scores are missing.")
    if expected.training and not found.training:
        told.append("A fine-tuning was interrupted, but its checkpoint is missing.")
    return told


def after_missing(expected: Contents | None, found: Contents) -> Contents:
    """Note what is there, once what is missing was told.

    Missing labels stay noted: a copy of them may come back, and new labels must not
    take their number.
    """
    if expected is None:
        return found
    planes = {
        key: {**found.planes.get(key, {}), **expected.planes.get(key, {})}
        for key in {*found.planes, *expected.planes}
    }
    last = max(expected.last_version, found.last_version)
    return found.model_copy(update={"planes": planes, "last_version": last})


def _names(root: Path, *folder: str) -> list[str]:
    path = inside(root, *folder)
    return [p.name for p in path.iterdir()] if path.is_dir() else []


def _version_file(root: Path, number: int) -> Path:
    return inside(root, MODELS, f"v{number:03d}.safetensors")


def _planes(root: Path) -> dict[str, dict[str, PlaneContents]]:
    keys = [key for key in _names(root, PLANES) if re.fullmatch(KEY, key)]
    return {key: dict(_planes_of(root, key)) for key in keys}


def _planes_of(root: Path, key: str) -> Iterator[tuple[str, PlaneContents]]:
    for name in _names(root, PLANES, key):
        if plane_index(name) is not None:
            found = find_contents(inside(root, PLANES, key, name))
            if found is not None:
                yield name, found


def _corrections(root: Path) -> dict[str, int]:
    rounds: dict[str, int] = {}
    for name in _names(root, CORRECTIONS):
        match = _CORRECTION.fullmatch(name)
        if match and inside(root, CORRECTIONS, name, "record.json").is_file():
            rounds[match[1]] = max(rounds.get(match[1], 0), int(match[2]))
    return rounds


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(2**20), b""))
