"""Compares labels that an earlier run left with what would be written now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from napari_resunet.errors import FileError, ResunetError
from napari_resunet.files import content_hash
from napari_resunet.ome_zarr.labels import labels_path, read_label_note
from napari_resunet.session.export import (
    GEOJSON,
    files_of,
    may_be_edited,
    note_of_image,
    note_path,
    read_note,
)
from napari_resunet.session.image_files import file_stamp, read_image_file
from napari_resunet.session.large.place import is_in_store, note_of_store, store_beside
from napari_resunet.session.save_into import is_changed, may_be_corrected
from napari_resunet.session.segment_files import (
    FILE,
    MEASURED,
    REQUEST,
    SegmentOptions,
    into_image,
    level_in,
)

Note = dict[str, Any]


class Existing(Enum):
    """What there is of an image's labels; the values are ends of sentences."""

    NOTHING = ""
    SAME = "labels are there already"
    EDITED = "somebody changed the labels"
    OTHER_MODEL = "the labels are of another model"
    OTHER_REQUEST = (
        "the labels were made with other --axes, --channels, --diameter, or --stack"
    )
    FORMAT_MISSING = "not all formats of --also are there"
    NOT_MEASURED = "the outlines for QuPath have other measurements, or none"
    IMAGE_CHANGED = "changed since the labels were made"


def without_existing(
    targets: Mapping[Path, Path | None], options: SegmentOptions
) -> tuple[dict[Path, Path | None], list[str]]:
    """Find the images that still have to be segmented.

    Parameters
    ----------
    targets : mapping of Path to Path or None
        The labels of each image, from `output_paths`; None if they only go into the image.
    options : SegmentOptions
        How they would be segmented now. With ``overwrite``, labels that somebody changed
        are not kept.

    Returns
    -------
    dict of Path to Path or None
        The labels of each image that is left.
    list of str
        A sentence for each reason to keep labels, or not, with the number of images.
    """
    found = {path: compare(path, labels, options) for path, labels in targets.items()}
    kept = {Existing.SAME} if options.overwrite else {Existing.SAME, Existing.EDITED}
    counts = Counter(found.values())
    sentences = [
        f"{'Skipping' if reason in kept else 'Segmenting again'} {counts[reason]} of "
        f"{len(found)} images: {reason.value}."
        for reason in Existing
        if counts[reason] and reason.value
    ]
    left = {path: targets[path] for path, reason in found.items() if reason not in kept}
    return left, sentences


def compare(image: Path, labels: Path | None, options: SegmentOptions) -> Existing:
    """Compare the labels of an image with what would be written now.

    The pixels of the image are read only if its file has another time than it had.

    Parameters
    ----------
    image : Path
        The image file.
    labels : Path or None
        Where its labels are, or would be; None if they only go into the image.
    options : SegmentOptions
        How it would be segmented now.

    Returns
    -------
    Existing
        NOTHING also stands for files that are not labels of this image. If they go into
        a folder and into the image, what has to be written decides.
    """
    found = []
    if labels is not None and is_in_store(labels):
        found.append(_compare(_in_store, image, store_beside(labels), options))
    elif labels is not None:
        found.append(_compare(_in_folder, image, labels, options))
        files = files_of(labels, options.formats).values()
        if found == [Existing.SAME] and not all(file.exists() for file in files):
            return Existing.FORMAT_MISSING
        if found == [Existing.SAME] and _lacks_measurements(labels, options):
            return Existing.NOT_MEASURED
    if (name := into_image(image, options)) is not None:
        found.append(_compare(_in_image, image, labels_path(image, name), options))
    return next((f for f in found if f is not Existing.SAME), Existing.SAME)


def _lacks_measurements(labels: Path, options: SegmentOptions) -> bool:
    """Return whether the GeoJSON of labels would be written with other measurements."""
    if options.measure is None or GEOJSON not in options.also:
        return False
    return (read_note(note_path(labels)) or {}).get(MEASURED) != options.measure


def _in_folder(labels: Path, image: Path) -> tuple[Note | None, bool]:
    """Read the note of labels in a folder; also tell whether they may be edited."""
    note = note_of_image(labels, image)
    there = note is not None and labels.is_file()
    return (note, may_be_edited(labels, note or {})) if there else (None, False)


def _in_store(labels: Path, image: Path) -> tuple[Note | None, bool]:
    note = note_of_store(labels, image)
    return note, note is not None and is_changed(labels, note)


def _in_image(labels: Path, image: Path) -> tuple[Note | None, bool]:
    note = read_label_note(image, labels.name)
    if note is None or not isinstance(note.get("image"), dict):
        return None, False
    return note, may_be_corrected(image, labels.name)


def _compare(
    read: Callable[[Path, Path], tuple[Note | None, bool]],
    image: Path,
    labels: Path,
    options: SegmentOptions,
) -> Existing:
    try:
        note, edited = read(labels, image)
        if note is None or edited:
            return Existing.EDITED if edited else Existing.NOTHING
        stamp = file_stamp(image)
    except (FileError, OSError):
        return Existing.NOTHING
    about = note.get("model")
    model = about.get("sha256") if isinstance(about, dict) else None
    if not model or model != options.model_hash:
        return Existing.OTHER_MODEL
    if note.get(REQUEST) != options.request:
        return Existing.OTHER_REQUEST
    same = note.get(FILE) == stamp or _has_pixels(image, options.axes, note)
    return Existing.SAME if same else Existing.IMAGE_CHANGED


def _has_pixels(image: Path, axes: str | None, note: Mapping[str, Any]) -> bool:
    """Return whether an image has the pixels that a note describes."""
    if note["image"].get("content_hash") is None:  # of a large image, nobody reads them all
        return False
    try:
        stored = read_image_file(image, axes, level_in(note))
        return bool(content_hash(stored.array) == note["image"].get("content_hash"))
    except (ResunetError, MemoryError):
        return False
