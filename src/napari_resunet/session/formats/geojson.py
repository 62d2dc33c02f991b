"""Labels as GeoJSON: what QuPath imports and exports as objects."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path, shown
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.formats.outlines import (
    MAX_COORDINATE,
    MAX_NAME,
    Outline,
    Rings,
    as_ring,
    outlines_of,
    place_in,
    read_at_most,
)
from napari_resunet.types import Index, MaskArray

Measurements = Callable[[Index, int], Mapping[str, float]]
"""Gives names and values of an object, by its place in the stack and its label."""

DETECTION, ANNOTATION = "detection", "annotation"
VERIFIED = "Verified area"
COLOURS = (
    (0, 158, 115), (230, 159, 0), (86, 180, 233), (204, 121, 167), (213, 94, 0),
    (0, 114, 178),
)  # fmt: skip
"""Of classes, from 1 on: those of Okabe and Ito that can be seen on dark and bright pixels,
and told apart by colour-blind people. Here and in napari."""

ALL_CHANNELS = -1
AREAS = ("Polygon", "MultiPolygon")
MOST_REGIONS = 1000
"""So many of the largest annotations may be regions: comparing all could take minutes."""

MAX_BYTES = 2**28
"""Of a file: about 300,000 objects."""


def write_geojson(
    path: Path,
    labels: npt.NDArray[Any],
    layout: LabelsLayout,
    *,
    verified: MaskArray | None = None,
    measurements: Measurements | None = None,
) -> None:
    """Write a FeatureCollection of QuPath's objects, all or nothing.

    Each object is a detection whose name is its number, and each piece of a class one with
    the classification of that class. Outlines run along the edges of pixels, in pixels of
    the full resolution.

    Parameters
    ----------
    path : Path
        The file.
    labels : integer array
        The labels; 0 and below is background.
    layout : LabelsLayout
        Their axes, and the names of classes.
    verified : bool array or None
        What is verified, of the labels' shape: these areas become annotations.
    measurements : callable or None
        Gives the values of each object; those that are not finite are left out.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8") as stream,
    ):
        stream.write('{"type": "FeatureCollection", "features": [')
        between = "\n"
        for feature in _features(labels, layout, verified, measurements):
            stream.write(between + json.dumps(feature, allow_nan=False))
            between = ",\n"
        stream.write("\n]}\n")


def _features(
    labels: npt.NDArray[Any],
    layout: LabelsLayout,
    verified: MaskArray | None,
    measurements: Measurements | None,
) -> Iterator[dict[str, Any]]:
    if verified is not None:
        areas = LabelsLayout(layout.axes, class_names=("", VERIFIED))
        for outline in outlines_of(verified.astype(np.uint8), areas):
            yield _feature(outline, {"objectType": ANNOTATION, "name": VERIFIED})
    for outline in outlines_of(labels, layout):
        properties: dict[str, Any] = {"objectType": DETECTION, "name": outline.name}
        if outline.class_name:
            colour = COLOURS[(outline.label - 1) % len(COLOURS)]
            properties["classification"] = {
                "name": outline.class_name,
                "color": list(colour),
            }
        if measurements is not None:
            place = tuple(outline.place.values())
            if values := _finite(measurements(place, outline.label)):
                properties["measurements"] = values
        yield _feature(outline, properties)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _feature(outline: Outline, properties: dict[str, Any]) -> dict[str, Any]:
    polygons = [_coordinates(rings) for rings in outline.polygons]
    several = len(polygons) > 1
    geometry: dict[str, Any] = {
        "type": "MultiPolygon" if several else "Polygon",
        "coordinates": polygons if several else polygons[0],
    }
    place = outline.place
    if {"Z", "T"} & place.keys():
        plane = {"c": ALL_CHANNELS, "z": place.get("Z", 0), "t": place.get("T", 0)}
        geometry["plane"] = plane
    return {
        "type": "Feature",
        "id": str(uuid.uuid4()),
        "geometry": geometry,
        "properties": properties,
    }


def _coordinates(rings: Rings) -> list[list[list[float]]]:
    """Close each ring: its last corner is its first."""
    return [[*ring.tolist(), ring[0].tolist()] for ring in rings]


def read_geojson(path: Path) -> tuple[list[Outline], list[str]]:
    """Read the areas of a GeoJSON file: of QuPath, or of this program.

    Parameters
    ----------
    path : Path
        A FeatureCollection, a list of features, or one feature.

    Returns
    -------
    outlines : list of Outline
        In the order of the file, without verified areas, and without annotations that
        hold several other objects, such as the outline of a tissue.
    notices : list of str
        What was left out.

    Raises
    ------
    FileError
        If the file is missing, too large, or no GeoJSON.
    """
    try:
        found = json.loads(read_at_most(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"{shown(path)} is no GeoJSON, or damaged: export the objects once more."
        ) from error
    if isinstance(found, dict):
        found = found.get("features", [found])
    features = found if isinstance(found, list) else []
    outlines = [(_outline(f), _kind(f)) for f in features if not _is_verified(f)]
    good = [(outline, kind) for outline, kind in outlines if outline is not None]
    objects = _without_regions(good)
    notices = []
    if n := len(outlines) - len(good):
        lost = f"{n} of the {len(features)} features are no areas, or damaged: left out."
        notices.append(lost)
    if n := len(good) - len(objects):
        notices.append(f"{n} of the {len(good)} outlines hold several others: left out.")
    return objects, notices


def _kind(feature: Any) -> str:
    return _text(_part(_part(feature, "properties"), "objectType"))


def _without_regions(found: list[tuple[Outline, str]]) -> list[Outline]:
    """Leave out annotations with the centres of several other outlines in their box."""
    outlines = [outline for outline, _ in found]
    corners = [np.concatenate([r for rings in o.polygons for r in rings]) for o in outlines]
    low = np.array([points.min(axis=0) for points in corners]).reshape(-1, 2)
    high = np.array([points.max(axis=0) for points in corners]).reshape(-1, 2)
    centres, places = (low + high) / 2, [str(sorted(o.place.items())) for o in outlines]
    planes = np.unique(places, return_inverse=True)[1] if places else np.zeros(0, int)
    regions = set()
    annotations = [k for k, (_, kind) in enumerate(found) if kind == ANNOTATION]
    sides = high - low
    largest = sorted(annotations, key=lambda k: -float(sides[k].prod()))[:MOST_REGIONS]
    for k in largest:
        inside = ((centres > low[k]) & (centres < high[k])).all(axis=1)
        # One of them is its own.
        if np.count_nonzero(inside & (planes == planes[k])) > 2:
            regions.add(k)
    return [outline for k, outline in enumerate(outlines) if k not in regions]


def _is_verified(feature: Any) -> bool:
    return bool(_part(_part(feature, "properties"), "name") == VERIFIED)


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _outline(feature: Any) -> Outline | None:
    """Read a feature; None if it is no area."""
    geometry, properties = _part(feature, "geometry"), _part(feature, "properties")
    kind, coordinates = _part(geometry, "type"), _part(geometry, "coordinates")
    if kind not in AREAS or not isinstance(coordinates, list):
        return None
    polygons = coordinates if kind == "MultiPolygon" else [coordinates]
    try:
        rings = tuple(tuple(map(as_ring, polygon)) for polygon in polygons)
    except (ValueError, TypeError, OverflowError):
        return None
    if not any(rings):
        return None
    name = _text(_part(properties, "name"))
    place = place_in(name) | _place(_part(geometry, "plane"))
    return Outline(name, 0, rings, place, _class(_part(properties, "classification")))


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_NAME else ""


def _place(plane: Any) -> dict[str, int]:
    found = {axis: _part(plane, axis.lower()) for axis in "TZ"}
    return {a: n for a, n in found.items() if type(n) is int and 0 <= n < MAX_COORDINATE}


def _class(classification: Any) -> str:
    """Return the name of a class, which QuPath writes in three ways."""
    if isinstance(names := _part(classification, "names"), list):
        return ": ".join(map(_text, names))
    return _text(classification) or _text(_part(classification, "name"))
