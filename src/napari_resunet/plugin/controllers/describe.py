"""Builds session.json from the dock and the layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.session_images import mutable_fields
from napari_resunet.plugin.state import AppState, ImageState
from napari_resunet.session.queue import item_key, items_to_save
from napari_resunet.session.store.manifest import fitting_image
from napari_resunet.session.store.schema import (
    ImageRecord,
    SessionFile,
)
from napari_resunet.types import local_device


def build_manifest(
    file: SessionFile,
    state: AppState,
    layers: Layers,
    minutes: float,
    keys: Mapping[str, str],
    updates: Mapping[str, Mapping[str, Any]],
    on_disk: Collection[int],
) -> SessionFile:
    """Update the description of a session.

    Parameters
    ----------
    file : SessionFile
        The previous description; fields of newer versions stay.
    state : AppState
        Choices and versions.
    layers : Layers
        The images and their labels.
    minutes : float
        About how long to fine-tune.
    keys : mapping of str to str
        The session's key of each image, by the key of its layer.
    updates : mapping
        New facts about images, by the session's key.
    on_disk : collection of int
        Numbers of the versions that are on disk.

    Returns
    -------
    SessionFile
        Equal to `file` if nothing changed.
    """
    layer_ids = {key: layer_id for layer_id, key in keys.items()}
    images = tuple(
        _image(
            image, state, layers, layer_ids.get(image.key), updates.get(image.key, {}), keys
        )
        for image in file.images
    )
    settings = {
        "device": local_device(state.device),
        "scope": state.scope,
        "foreground": state.decoding.foreground,
        "split": state.decoding.split,
        "minutes": minutes,
        "learn_while_correcting": state.learn_while_correcting,
    }
    return file.model_copy(
        update={
            "images": images,
            "current_image": keys.get(state.image_key or "", file.current_image),
            "queue": items_to_save(state.queue),
            "current_item": _current_item(state, file),
            "current_version": _version(file, state, on_disk),
            "settings": file.settings.model_copy(update=settings),
        }
    )


def _image(
    record: ImageRecord,
    state: AppState,
    layers: Layers,
    layer_id: str | None,
    updates: Mapping[str, Any],
    keys: Mapping[str, str],
) -> ImageRecord:
    image, binding = layers.image(layer_id), layers.binding(layer_id)
    update = dict(updates)
    if image is not None and (binding is not None or not record.labels_name):
        settings = state.image(layer_id)
        update |= mutable_fields(image, binding, settings)
        update |= _combined(settings, keys)
    changed = record.model_copy(update=update)
    # A script can give a layer values that a session cannot store; they are left out.
    return record if changed == record else fitting_image(changed.model_dump()) or record


def _combined(settings: ImageState, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return which images are combined; nothing until the session has all of them."""
    partners = tuple(keys[x] for x in settings.partners if x in keys)
    whole = len(partners) == len(settings.partners)
    return {"partners": partners} if whole else {"partners": (), "channels": None}


def _current_item(state: AppState, file: SessionFile) -> str:
    """Return the key of the item that is open, or else of the one that was open last."""
    key = item_key(state.image_key or "")
    return key if key in state.queue else file.current_item


def _version(file: SessionFile, state: AppState, on_disk: Collection[int]) -> int:
    """Return the current version, if it is on disk."""
    number = state.versions.current.number
    return number if number == 0 or number in on_disk else file.current_version
