"""Exports labels in one or more formats, with a JSON file that says how they were made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_resunet._package import library_versions
from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.errors import FileError
from napari_resunet.files import TIFF_SUFFIXES, cannot_write, is_hidden, plain_name, shown
from napari_resunet.session.formats.geojson import Measurements, write_geojson
from napari_resunet.session.formats.layout import LabelsLayout, layout_of
from napari_resunet.session.formats.ome_tiff import write_ome_tiff
from napari_resunet.session.formats.roi import write_rois
from napari_resunet.session.formats.tracking_challenge import TRACKS_ENDING, write_tracks
from napari_resunet.session.settings import EXPORTS, TRACKS, Settings
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.tiff import write_text
from napari_resunet.tiff_reader import PIXEL_AXES, STACK_AXES
from napari_resunet.types import MaskArray, ModelInfo, now

LABELS_HASH = "labels_sha256"
"""Key of the hash of the TIFF as written: labels that somebody changed have another."""

VERIFIED = "checked_share"
"""Key of the verified fraction: labels from the dock have it, where they can be edited."""

OTHER_HASHES = "other_formats_sha256"
"""Key of the hashes of the other files, by name."""

TIFF, ROI, GEOJSON = (choice.key for choice in EXPORTS)
CTC = TRACKS.key
SUFFIXES = {
    TIFF: TIFF_SUFFIXES,
    ROI: (".zip",),
    GEOJSON: (".geojson",),
    CTC: (TRACKS_ENDING,),
}
KNOWN_SUFFIXES = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}

MAX_NOTE = 2**20
"""Bytes."""


def record_of_model(info: ModelInfo, origin: str) -> VersionRecord:
    """Describe a model that is not a version of a session.

    Parameters
    ----------
    info : ModelInfo
        Of the model.
    origin : str
        "starter" or "loaded".

    Returns
    -------
    VersionRecord
        Without the hash of the model file.
    """
    lineage = info.lineage
    return VersionRecord(
        number=0,
        name=origin,
        origin=origin,
        model_id=lineage.model_id,
        parent_id=lineage.parent_id or "",
        created=lineage.created,
        task=info.task,
        objects=lineage.corrected_objects,
        object_size=info.object_size,
    )


def describe_labels(
    image: ImageRecord,
    version: VersionRecord,
    settings: Settings,
    labels: npt.NDArray[Any],
    n_verified: int | None,
) -> dict[str, Any]:
    """Describe how labels were made.

    Parameters
    ----------
    image : ImageRecord
        The segmented image.
    version : VersionRecord
        The model in use; its number is 0 if it is not a version of a session.
    settings : Settings
        Of the dock, or of the command.
    labels : integer array
        The labels.
    n_verified : int or None
        Number of verified pixels; None if nobody could verify any.

    Returns
    -------
    dict
        Values that JSON can hold.
    """
    fields = ("name", "source", "content_hash", "shape", "axes", "scale", "units",
              "axis_labels", "channels", "object_scale")  # fmt: skip
    fraction = 0.0 if not n_verified else round(n_verified / labels.size, 6)
    verified = {} if n_verified is None else {VERIFIED: fraction}
    return {
        "created": now(),
        "image": image.model_dump(mode="json", include=set(fields)),
        "model": version.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "n_objects": count_objects(labels),
        **verified,
        "programs": library_versions(),
    }


@dataclass(frozen=True, eq=False)
class LabelsToExport:
    """Labels, and what the files say about them.

    Attributes
    ----------
    labels : integer array
        A channel axis has the length 1.
    about : mapping
        From `describe_labels`.
    class_names : tuple of str
        Names of the classes, background first; empty for objects.
    verified : bool array or None
        What is verified, of the labels' shape.
    measurements : callable or None
        Gives the measurements of an object, which only GeoJSON holds.
    """

    labels: npt.NDArray[Any]
    about: Mapping[str, Any]
    class_names: tuple[str, ...] = ()
    verified: MaskArray | None = None
    measurements: Measurements | None = None


def export_labels(
    path: Path,
    export: LabelsToExport,
    formats: Sequence[str] = (TIFF,),
    *,
    overwrite: bool = False,
) -> Path:
    """Write labels in some formats, and their description as a JSON file.

    Parameters
    ----------
    path : Path
        The file that the user named; see `files_of`.
    export : LabelsToExport
        The labels; hashes of the files are added to their description.
    formats : sequence of {"ome-tiff", "roi", "geojson", "ctc"}
        At least one.
    overwrite : bool
        Whether to replace folders, and files other than `path`, that are not as we wrote
        them.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    FileError
        If a file cannot be written, or must not be replaced.
    """
    note, files = note_path(path), files_of(path, formats)
    if not overwrite and note.exists() and read_note(note) is None:
        raise FileError(
            f"{shown(note)} is there already and does not describe labels: give the "
            "labels another name, or move that file."
        )
    try:
        changed = [] if overwrite else changed_files(path, formats)
    except OSError as error:
        raise cannot_write(path, error) from error
    # A dialog asks before it names a file that is there, but not a folder.
    if others := [file for file in changed if file != path or file.is_dir()]:
        raise FileError(
            f"{shown(others[0])} is there already, and not as it was exported before: "
            "give the labels another name, or move that file."
        )
    _write(export, files)
    try:
        write_text(note, json.dumps(_with_hashes(export.about, files), indent=1))
    except BaseException:
        # Without their note, nobody could tell these labels from those of the user.
        for file in files.values():
            _remove(file)
        raise
    return note


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _with_hashes(about: Mapping[str, Any], files: Mapping[str, Path]) -> dict[str, Any]:
    """Add the hashes of the files as written to a description."""
    hashes = {file.name: _hash(file) for file in files.values()}
    told = dict(about)
    if TIFF in files:
        told[LABELS_HASH] = hashes.pop(files[TIFF].name)
    return told | ({OTHER_HASHES: hashes} if hashes else {})


def _write(export: LabelsToExport, files: Mapping[str, Path]) -> None:
    labels, verified, layout = _without_channels(export)
    for key, file in files.items():
        if key == TIFF:
            write_ome_tiff(file, labels, layout)
        elif key == ROI:
            write_rois(file, labels, layout)
        elif key == CTC:
            write_tracks(file, labels, layout)
        else:
            values = export.measurements
            write_geojson(file, labels, layout, verified=verified, measurements=values)


def note_of_image(labels: Path, image: Path) -> dict[str, Any] | None:
    """Read the description of labels, if it is of this image file; None otherwise."""
    note = read_note(note_path(labels))
    same = note is not None and note["image"].get("source") == source_of(image)
    return note if same else None


def source_of(image: Path) -> str:
    """Return the path of an image file, as descriptions of labels have it."""
    return plain_name(os.path.realpath(image))


def _without_channels(
    export: LabelsToExport,
) -> tuple[npt.NDArray[Any], MaskArray | None, LabelsLayout]:
    """Return labels, verified pixels, and their layout without an axis of channels."""
    image, labels, verified = export.about["image"], export.labels, export.verified
    axes = image["axes"].replace("S", "")
    if labels.ndim == len(axes) and "C" in axes:
        labels = labels.squeeze(axes.index("C"))
        verified = None if verified is None else verified.squeeze(axes.index("C"))
    kept = [place for place, axis in enumerate(axes) if axis != "C"]
    known = [image[name] for name in ("axis_labels", "scale", "units")]
    told = [[v[k] for k in kept] if len(v) == len(axes) else [] for v in known]
    axes = axes.replace("C", "")
    if (seen := _as_others_read(axes)) != axes:
        axes, told[0] = seen, []
    layout = layout_of(axes, *told, class_names=export.class_names, name=image["name"])
    return labels, verified, layout


def _as_others_read(axes: str) -> str:
    """Name axes by their place if rows and columns are not last.

    Other programs read the image like that, and its labels must lie on it there.
    """
    if axes.endswith(PIXEL_AXES):
        return axes
    leading = axes[: -len(PIXEL_AXES)]
    free = [axis for axis in STACK_AXES[::-1] if axis not in leading]
    named = [free.pop(0) if axis in PIXEL_AXES else axis for axis in leading]
    return "".join(named) + PIXEL_AXES


def files_of(path: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Name the file of each format.

    Parameters
    ----------
    path : Path
        The file that the user named.
    formats : sequence of {"ome-tiff", "roi", "geojson", "ctc"}
        At least one.

    Returns
    -------
    dict of str to Path
        ``NAME.tif``, ``NAME.zip``, ``NAME.geojson``, or the folder ``NAME_ctc``. With
        ``NAME_labels.tif`` go ``NAME_rois.zip``, ``NAME.geojson``, and ``NAME_ctc``.
    """
    name = _stem(path)
    plain = name.removesuffix(".ome").removesuffix("_labels")
    names = {TIFF: f"{name}.tif", ROI: f"{plain}_rois.zip", GEOJSON: f"{plain}.geojson"}
    names[CTC] = f"{plain}{TRACKS_ENDING}"
    if len(formats) == 1:
        names = {key: name + suffixes[0] for key, suffixes in SUFFIXES.items()}
    return {
        key: path if path.suffix.lower() in SUFFIXES[key] else path.with_name(names[key])
        for key in formats
    }


def _stem(path: Path) -> str:
    known = path.suffix.lower() in KNOWN_SUFFIXES
    return path.stem if known else path.name.removesuffix(TRACKS_ENDING)


def note_path(path: Path) -> Path:
    """Return the path of the description that belongs to labels, in whatever format."""
    return path.with_name(f"{_stem(path)}.json")


def written_before(labels: Path, image: Path, formats: Sequence[str] = (TIFF,)) -> bool:
    """Return whether labels are missing, or as the command line wrote them for an image.

    Parameters
    ----------
    labels : Path
        The TIFF.
    image : Path
        The image file.
    formats : sequence of str
        The formats whose files count; see `files_of`.

    Returns
    -------
    bool
    """
    note = note_of_image(labels, image)
    if note is None:
        return False
    try:
        from_dock = VERIFIED in note and labels.exists()
        return not from_dock and not changed_files(labels, formats)
    except OSError:
        return False


def may_be_edited(labels: Path, note: Mapping[str, Any]) -> bool:
    """Return whether labels come from the dock, or were changed since they were written."""
    return VERIFIED in note or note.get(LABELS_HASH) != file_hash(labels)


def changed_files(labels: Path, formats: Sequence[str] = (TIFF,)) -> list[Path]:
    """List the files that exist, and not as their description says that they were written.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    note = read_note(note_path(labels)) or {}
    others = note.get(OTHER_HASHES)
    known = {str(note.get(LABELS_HASH))}
    known.update(map(str, others.values()) if isinstance(others, dict) else ())
    there = [file for file in files_of(labels, formats).values() if file.exists()]
    return [file for file in there if _hash(file) not in known]


def _hash(path: Path) -> str:
    """Hash a file, or the files of a folder with their names; "" of anything else."""
    if path.is_file():
        return file_hash(path)
    if not path.is_dir():
        return ""
    files = sorted(file for file in path.iterdir() if not is_hidden(file))
    listed = "\n".join(f"{f.name} {file_hash(f) if f.is_file() else ''}" for f in files)
    return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()


def read_note(path: Path) -> dict[str, Any] | None:
    """Read the description of labels; None if the file is missing or something else."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_NOTE:
            return None
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(note, dict) and isinstance(note.get("image"), dict)
    return note if ours and {"model", "settings", "programs"} <= note.keys() else None
