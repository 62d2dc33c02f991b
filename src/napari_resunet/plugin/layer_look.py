"""How the user set layers to look: told to the session, and put back by Continue."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap
from pydantic import ValidationError

from napari_resunet.session.store.schema import ImageLook, Look

FEW_COLORS = 32
"""Colormaps of so many colours may be the user's own: their colours are kept, too."""


def look_of(layer: Image | Labels) -> Look:
    """Tell how opaque a layer is and whether it is shown."""
    return Look(opacity=float(layer.opacity), visible=bool(layer.visible))


def image_look_of(layer: Image) -> ImageLook:
    """Tell how an image looks; colours of RGB are as they are."""
    common = look_of(layer).model_dump()
    if layer.rgb:
        return ImageLook(**common)
    low, high = layer.contrast_limits
    limits = float(low), float(high)
    colormap = layer.colormap
    few = len(colormap.colors) <= FEW_COLORS
    known: dict[str, Any] = {
        "colormap": str(colormap.name),
        "colors": _rounded(colormap.colors) if few else (),
        "controls": tuple(float(x) for x in colormap.controls) if few else (),
        # JSON holds no infinity, and napari's slider no infinite range.
        "contrast_limits": limits if _is_finite(limits) else None,
        "gamma": float(layer.gamma),
    }
    try:
        return ImageLook(**common, **known)
    except ValidationError:
        # Colours or a gamma that no session can hold: a script set them.
        return ImageLook(**common, contrast_limits=known["contrast_limits"])


def _rounded(colors: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(x), 4) for x in color) for color in colors)


def put_look(layer: Image | Labels, look: Look | None) -> None:
    """Give a layer a look; what napari does not take stays as it is."""
    if look is None:
        return
    layer.opacity, layer.visible = look.opacity, look.visible
    if not isinstance(look, ImageLook) or not isinstance(layer, Image) or layer.rgb:
        return
    # Names of colormaps differ between versions of napari, and it checks the numbers.
    with contextlib.suppress(ValueError, KeyError, TypeError, AssertionError):
        if look.colormap:
            layer.colormap = _colormap(look)
    with contextlib.suppress(ValueError, TypeError):
        if look.contrast_limits is not None and _is_finite(look.contrast_limits):
            layer.contrast_limits = look.contrast_limits
        layer.gamma = look.gamma


def _is_finite(limits: tuple[float, float]) -> bool:
    return math.isfinite(limits[1] - limits[0])


def _colormap(look: ImageLook) -> Colormap | str:
    if not look.colors:
        return look.colormap
    return Colormap(look.colors, name=look.colormap, controls=look.controls)
