"""The description of a session, brought up to date with the dock and the layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from napari_resunet.plugin.session_images import what_changes
from napari_resunet.session.store.description import fitting_image
from napari_resunet.session.store.schema import (
    ImageRecord,
    SessionFile,
    SessionSettings,
)

if TYPE_CHECKING:
    from napari_resunet.plugin.controller import Controller


def build_manifest(
    file: SessionFile,
    controller: Controller,
    keys: Mapping[str, str],
    updates: Mapping[str, Mapping[str, Any]],
    on_disk: Collection[int],
) -> SessionFile:
    """Describe a session as it is now.

    Parameters
    ----------
    file : SessionFile
        As last described; fields of newer programs are kept.
    controller : Controller
        Of the dock.
    keys : mapping of str to str
        The session's name for each image layer.
    updates : mapping
        What was found out of images, by the session's name.
    on_disk : collection of int
        Numbers of the versions that are safely written.

    Returns
    -------
    SessionFile
        Equal to `file` where nothing changed.
    """
    layer_ids = {key: layer_id for layer_id, key in keys.items()}
    images = tuple(
        _image(image, controller, layer_ids.get(image.key), updates.get(image.key, {}))
        for image in file.images
    )
    return file.model_copy(
        update={
            "images": images,
            "current_image": keys.get(controller.image_key or "", file.current_image),
            "current_version": _version(file, controller, on_disk),
            "settings": _settings(file, controller),
        }
    )


def _image(
    record: ImageRecord,
    controller: Controller,
    layer_id: str | None,
    updates: Mapping[str, Any],
) -> ImageRecord:
    layers = controller.layers
    image, binding = layers.image(layer_id), layers.binding(layer_id)
    update = dict(updates)
    if image is not None and binding is not None:
        update |= what_changes(image, binding, controller.work.state(layer_id))
    changed = record.model_copy(update=update)
    # Scripts can give a layer what no session can hold: that is left out.
    return record if changed == record else fitting_image(changed.model_dump()) or record


def _version(file: SessionFile, controller: Controller, on_disk: Collection[int]) -> int:
    """Point only at a version that is safely on the disk."""
    record = controller.work.versions.current.record
    if record is None:
        return 0
    return record.number if record.number in on_disk else file.current_version


def _settings(file: SessionFile, controller: Controller) -> SessionSettings:
    work = controller.work
    return file.settings.model_copy(
        update={
            "device": work.device,
            "scope": controller.scope,
            "foreground": work.sliders.foreground,
            "split": work.sliders.split,
            "minutes": min(controller.view.minutes, 120.0),
        }
    )
