"""How the user set layers to look: told to the session, and put back by Continue."""

from __future__ import annotations

import contextlib
import math
from typing import Any

from napari.layers import Image, Labels
from napari.utils.colormaps import Colormap
from pydantic import ValidationError

from napari_resunet.session.store.schema import ImageStyle, LayerStyle

FEW_COLORS = 32
"""Colormaps of so many colours may be the user's own: their colours are kept, too."""


def layer_style(layer: Image | Labels) -> LayerStyle:
    """Tell how opaque a layer is and whether it is shown."""
    return LayerStyle(opacity=float(layer.opacity), visible=bool(layer.visible))


def image_style(layer: Image) -> ImageStyle:
    """Tell how an image looks; colours of RGB are as they are."""
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
        # JSON holds no infinity, and napari's slider no infinite range.
        "contrast_limits": limits if _is_finite(limits) else None,
        "gamma": float(layer.gamma),
    }
    try:
        return ImageStyle(**common, **known)
    except ValidationError:
        # Colours or a gamma that no session can hold: a script set them.
        return ImageStyle(**common, contrast_limits=known["contrast_limits"])


def _rounded(colors: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(x), 4) for x in color) for color in colors)


def apply_style(layer: Image | Labels, look: LayerStyle | None) -> None:
    """Give a layer a look; what napari does not take stays as it is."""
    if look is None:
        return
    layer.opacity, layer.visible = look.opacity, look.visible
    if not isinstance(look, ImageStyle) or not isinstance(layer, Image) or layer.rgb:
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


def _colormap(look: ImageStyle) -> Colormap | str:
    if not look.colors:
        return look.colormap
    return Colormap(look.colors, name=look.colormap, controls=look.controls)
