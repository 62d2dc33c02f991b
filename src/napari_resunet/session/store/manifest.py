"""Reads ``session.json``, and compares what it says with what the folder holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_resunet.errors import SessionError
from napari_resunet.session.store import schema
from napari_resunet.session.store.labels import find_contents
from napari_resunet.session.store.safety import inside, read_text, refuse_links, unsealed
from napari_resunet.session.store.schema import (
    BACKUP,
    CORRECTIONS,
    DESCRIPTION,
    HISTORY,
    KEY,
    MODELS,
    PLANES,
    TRAINING,
    Contents,
    ImageRecord,
    PlaneContents,
    SessionFile,
    plane_index,
)

Entry = tuple[str, int]
"""Name of a list in the description, and a position in it."""

ESSENTIAL = ("key", "shape", "dtype", "axes")
"""Fields without which an image cannot be shown."""

STYLES = ("look", "labels_look")
WORDS = {
    "scale": "pixel size",
    "translate": "position",
    "rotate": "rotation",
    "object_scale": "object size",
    "stack": "kind of its slices",
    "contents": "list of what must be there",
    "queue": "list of images",
    "look": "appearance",
    "labels_look": "appearance of the labels",
    "changed": "date",
    "created": "date",
}
MAX_ROUNDS = 60
"""Rounds of removing damaged fields: some are found only after others are removed."""

MAX_SENTENCES = 10
CHANGED = (
    "'session.json' was changed by another program or is damaged: look over names, "
    "pixel sizes and settings."
)
COPY_READ = "'session.json' was missing or damaged: its copy was read instead."


def read_safely(root: Path) -> tuple[SessionFile, list[str]]:
    """Read the description in a folder that may not be a session, or hold links.

    Raises
    ------
    SessionError
        If it cannot be read or is not safe; see also `read_file`.
    """
    try:
        if not root.is_dir():
            raise SessionError(f"There is no folder '{root}': choose another session.")
        found = read_file(root)
    except OSError as error:
        raise SessionError(
            f"The session '{root.name[:100]}' cannot be read ({error.strerror or error}): "
            "choose another one."
        ) from error
    refuse_links(root)
    return found


def read_file(root: Path) -> tuple[SessionFile, list[str]]:
    """Read the description of a session, or its copy if the description is damaged.

    Returns
    -------
    file : SessionFile
        Without damaged fields.
    damage : list of str
        What is damaged, in sentences.

    Raises
    ------
    SessionError
        If neither can be used.
    """
    try:
        found = parse(read_text(inside(root, DESCRIPTION)), root)
    except SessionError:
        copy = _intact_copy(root)
        if copy is None:
            raise
        return copy, [COPY_READ]
    if found[1] in ([], [CHANGED]):
        return found
    copy = _intact_copy(root)
    return found if copy is None else (copy, [COPY_READ])


def _intact_copy(root: Path) -> SessionFile | None:
    try:
        file, damage = parse(read_text(inside(root, BACKUP)), root)
    except SessionError:
        return None
    return None if damage else file


def parse(text: str, where: Path) -> tuple[SessionFile, list[str]]:
    """Parse ``session.json`` of this or of an older schema version; see `read_file`.

    Raises
    ------
    SessionError
        If the text is not a description of a session, or one of a newer program. The
        sentence names `where`.
    """
    try:
        fields, intact = unsealed(text)
        fields = _migrated(fields, where)
        if not isinstance(fields.get("images", []), list):
            raise ValueError("images are no list")
        if len(fields.get("images", [])) > schema.MAX_IMAGES:
            raise ValueError("too many images")
        file, damage = _without_damage(fields)
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise SessionError(
            f"'{where}' is not a session, or its description is damaged: choose another "
            "folder. Nothing was changed in it."
        ) from error
    return file, damage if damage or intact else [CHANGED]


def fitting_image(fields: dict[str, Any]) -> ImageRecord | None:
    """Make the record of an image, without the fields that a session cannot hold.

    Returns None if the session cannot hold the image at all, with its shape or dtype.
    """
    one = {"images": [fields]}
    try:
        return _without_damage(one)[0].images[0]
    except ValueError:
        return None


def _migrated(fields: dict[str, Any], where: Path) -> dict[str, Any]:
    version = fields["schema_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError("no number of a schema version")
    if version > schema.SCHEMA_VERSION:
        raise SessionError(
            f"The session '{where}' was written by a newer napari-resunet: update the "
            "plugin to open it."
        )
    for older in range(version, schema.SCHEMA_VERSION):
        fields = schema.MIGRATIONS[older](fields)
    return fields | {"schema_version": schema.SCHEMA_VERSION}


def _without_damage(fields: dict[str, Any]) -> tuple[SessionFile, list[str]]:
    damage: dict[str, None] = {}
    had_images = bool(fields.get("images"))
    for _ in range(MAX_ROUNDS):
        try:
            file = SessionFile.model_validate(fields)
            if had_images and not file.images:
                raise ValueError("no image is left")
            return file, shortened(list(damage))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        gone: set[Entry] = set()
        for one in found:
            place = (*one["loc"], *filter(None, [one.get("ctx", {}).get("field")]))
            damage[_leave_out(fields, place, gone)] = None
        for name in {name for name, _ in gone}:
            kept = [x for n, x in enumerate(fields[name]) if (name, n) not in gone]
            fields[name] = kept
    raise ValueError("too much is damaged")


def shortened(sentences: list[str]) -> list[str]:
    """Return the first few of many sentences, and one about the number of the others."""
    if len(sentences) <= MAX_SENTENCES + 1:
        return sentences
    left = len(sentences) - MAX_SENTENCES
    return [*sentences[:MAX_SENTENCES], f"The same is true of {left} other parts."]


def _leave_out(
    fields: dict[str, Any], place: tuple[int | str, ...], gone: set[Entry]
) -> str:
    """Remove a damaged field, or add its image to `gone`; say which."""
    if place[0] == "queue" and len(place) > 1 and isinstance(place[1], int):
        gone.add(("queue", place[1]))
        return f"Entry {place[1] + 1} of the list of images is damaged: add it again."
    if place[0] != "images" or len(place) < 2 or not isinstance(place[1], int):
        return _take(fields, place, "the session", "settings")
    image = fields["images"][place[1]]
    known = isinstance(image, dict)
    name = schema.plain_name(image.get("name")) if known else None
    called = f"'{name}'" if name and isinstance(name, str) else f"image {place[1] + 1}"
    if not known or len(place) < 3 or place[2] in ESSENTIAL:
        gone.add(("images", place[1]))
        return (
            f"The description of {called} is damaged: it is left out, and its labels "
            "stay in the folder."
        )
    return _take(image, place[2:], called, *STYLES)


def _take(
    fields: dict[str, Any], place: tuple[int | str, ...], of: str, *nested: str
) -> str:
    field = str(place[0])
    inner = fields.get(field)
    if field in nested and len(place) > 1 and isinstance(inner, dict):
        inner.pop(str(place[1]), None)
    else:
        fields.pop(field, None)
    words = WORDS.get(field, field.replace("_", " "))
    return f"The description of {of} is damaged: its {words} could not be read."


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
    """Remove a model version; its number stays taken."""

    def change(contents: Contents) -> Contents:
        versions = tuple(n for n in contents.versions if n != number)
        return contents.model_copy(update={"versions": versions})

    return change


def with_correction(name: str) -> Change:
    """Note a correction by its name, which includes its round."""

    def change(contents: Contents) -> Contents:
        place, _, number = name.rpartition("-r")
        rounds = {**contents.corrections, place: int(number)}
        return contents.model_copy(update={"corrections": rounds})

    return change


def with_history(lines: int) -> Change:
    """Note more lines of the history."""
    return lambda contents: contents.model_copy(
        update={"history": contents.history + lines}
    )


def with_training(interrupted: bool) -> Change:
    """Note whether there is a checkpoint of a fine-tuning."""
    return lambda contents: contents.model_copy(update={"training": interrupted})


def found_contents(root: Path) -> Contents:
    """List what there is in a session folder."""
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
    """List what is missing from a session, except labels, which reading them finds."""
    sentences = []
    for number in set(expected.versions) - set(found.versions):
        sentences.append(
            f"The weights of model version {number} are missing from 'models'."
        )
    lost = [p for p, n in expected.corrections.items() if found.corrections.get(p, 0) < n]
    if lost:
        sentences.append(
            f"Of {len(lost)} corrected regions, what the model learned from is missing "
            "from 'corrections': Fine-tune writes it again from the verified areas."
        )
    if found.history < expected.history:
        n = expected.history - found.history
        sentences.append(f"{n} entries of the history of scores are missing.")
    if expected.training and not found.training:
        sentences.append("A fine-tuning was interrupted, but its checkpoint is missing.")
    return sentences


def after_missing(expected: Contents | None, found: Contents) -> Contents:
    """Return the contents to expect after the user was informed about missing ones.

    Missing labels are still expected: they may be restored, and new labels must not
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
