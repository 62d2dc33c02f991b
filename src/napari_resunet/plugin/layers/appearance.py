"""The appearance of layers, saved in the session and restored from it."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap, CyclicLabelColormap
from pydantic import ValidationError

from napari_resunet.session.formats.geojson import COLOURS
from napari_resunet.session.store.schema import ImageStyle, LayerStyle

THICKEST = 100
"""A session stores no thicker contours, in pixels."""

FEW_COLORS = 32
"""A colormap with this many colours or fewer may be the user's own, so they are saved."""


def layer_style(layer: Image | Labels) -> LayerStyle:
    """Describe opacity, visibility, and contours of a layer."""
    contour = int(layer.contour) if isinstance(layer, Labels) else None
    return LayerStyle(
        opacity=float(layer.opacity),
        visible=bool(layer.visible),
        contour=None if contour is None else min(contour, THICKEST),
    )


def image_style(layer: Image) -> ImageStyle:
    """Describe the appearance of an image; an RGB image has no colormap or contrast."""
    common = layer_style(layer).model_dump()
    if layer.rgb:
        return ImageStyle(**common)
    low, high = layer.contrast_limits
    limits = float(low), float(high)
    colormap = layer.colormap
    few = len(colormap.colors) <= FEW_COLORS
    known: dict[str, Any] = {
        "colormap": str(colormap.name),
        "colors": _rounded(colormap.colors) if few else (),
        "controls": tuple(float(x) for x in colormap.controls) if few else (),
        # JSON has no infinity, and napari's slider no infinite range.
        "contrast_limits": limits if _is_finite(limits) else None,
        "gamma": float(layer.gamma),
    }
    try:
        return ImageStyle(**common, **known)
    except ValidationError:
        # A script set colours or a gamma that a session cannot store.
        return ImageStyle(**common, contrast_limits=known["contrast_limits"])


def _rounded(colors: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(x), 4) for x in color) for color in colors)


def class_colours() -> CyclicLabelColormap:
    """Make the colours of classes, after the transparent background."""
    colours = [(red / 255, green / 255, blue / 255, 1.0) for red, green, blue in COLOURS]
    return CyclicLabelColormap(colors=[(0.0, 0.0, 0.0, 0.0), *colours])


def apply_style(layer: Image | Labels, style: LayerStyle | None) -> None:
    """Apply a style to a layer, except for what napari rejects."""
    if style is None:
        return
    layer.opacity, layer.visible = style.opacity, style.visible
    if isinstance(layer, Labels) and style.contour is not None:
        layer.contour = style.contour
    if not isinstance(style, ImageStyle) or not isinstance(layer, Image) or layer.rgb:
        return
    # Names of colormaps differ between versions of napari, and it may reject the colours.
    with contextlib.suppress(ValueError, KeyError, TypeError, AssertionError):
        if style.colormap:
            layer.colormap = _colormap(style)
    with contextlib.suppress(ValueError, TypeError):
        if style.contrast_limits is not None and _is_finite(style.contrast_limits):
            layer.contrast_limits = style.contrast_limits
        layer.gamma = style.gamma


def _is_finite(limits: tuple[float, float]) -> bool:
    return math.isfinite(limits[1] - limits[0])


def _colormap(style: ImageStyle) -> Colormap | str:
    if not style.colors:
        return style.colormap
    return Colormap(style.colors, name=style.colormap, controls=style.controls)
