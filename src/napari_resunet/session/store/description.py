"""Reads ``session.json``: one damaged field costs that field, and is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_resunet.errors import SessionError
from napari_resunet.session.store import schema
from napari_resunet.session.store.layout import BACKUP, DESCRIPTION
from napari_resunet.session.store.safety import inside, read_text
from napari_resunet.session.store.schema import ImageRecord, SessionFile
from napari_resunet.session.store.sealed import unsealed

ESSENTIAL = ("key", "shape", "dtype", "axes")
"""Fields without which an image cannot be shown."""

LOOKS = ("look", "labels_look")
WORDS = {
    "scale": "pixel size",
    "translate": "position",
    "rotate": "rotation",
    "object_scale": "object size",
    "contents": "list of what must be there",
    "look": "appearance",
    "labels_look": "appearance of the labels",
    "changed": "date",
    "created": "date",
}
MOST_ROUNDS = 60
"""Fields that do not fit each other come up one after the other."""

MOST_TOLD = 10
CHANGED = (
    "'session.json' was changed by another program or is damaged: look over names, "
    "pixel sizes and settings."
)


COPY_READ = "'session.json' was missing or damaged: its copy was read instead."


def read_file(root: Path) -> tuple[SessionFile, list[str]]:
    """Read the description of a session, or its copy where that one is damaged.

    Returns
    -------
    file : SessionFile
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
    """Read ``session.json``, of this or an older schema version.

    Parameters
    ----------
    text : str
        Its content.
    where : Path
        For the sentence if it cannot be used.

    Returns
    -------
    file : SessionFile
        Without the fields that are damaged.
    damage : list of str
        What is damaged, in sentences.

    Raises
    ------
    SessionError
        If it is no description of a session, or one of a newer program.
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
    """Make the record of an image without the fields that a session cannot hold.

    Returns
    -------
    ImageRecord or None
        None where the image itself cannot be kept: its shape or dtype.
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
    for _ in range(MOST_ROUNDS):
        try:
            file = SessionFile.model_validate(fields)
            if had_images and not file.images:
                raise ValueError("no image is left")
            return file, shortened(list(damage))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
        gone: set[int] = set()
        for one in found:
            place = (*one["loc"], *filter(None, [one.get("ctx", {}).get("field")]))
            damage[_leave_out(fields, place, gone)] = None
        fields["images"] = [i for n, i in enumerate(fields["images"]) if n not in gone]
    raise ValueError("too much is damaged")


def shortened(sentences: list[str]) -> list[str]:
    """Tell the first few of many sentences, and how many more there are."""
    if len(sentences) <= MOST_TOLD + 1:
        return sentences
    left = len(sentences) - MOST_TOLD
    return [*sentences[:MOST_TOLD], f"The same is true of {left} other parts."]


def _leave_out(fields: dict[str, Any], place: tuple[int | str, ...], gone: set[int]) -> str:
    """Take a damaged field out, or note that its image goes; say which."""
    if place[0] != "images" or len(place) < 2 or not isinstance(place[1], int):
        return _take(fields, place, "the session", "settings")
    image = fields["images"][place[1]]
    known = isinstance(image, dict)
    name = schema.plain_name(image.get("name")) if known else None
    called = f"'{name}'" if name and isinstance(name, str) else f"image {place[1] + 1}"
    if not known or len(place) < 3 or place[2] in ESSENTIAL:
        gone.add(place[1])
        return (
            f"The description of {called} is damaged: it is left out, and its labels "
            "stay in the folder."
        )
    return _take(image, place[2:], called, *LOOKS)


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
