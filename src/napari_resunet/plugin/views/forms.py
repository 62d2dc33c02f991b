"""Forms made by magicgui from the definitions of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from magicgui.widgets import request_values
from pydantic import BaseModel
from qtpy.QtWidgets import QWidget

from napari_resunet.session.settings import Choice

S = TypeVar("S", bound=BaseModel)


def ask_settings(
    parent: QWidget,
    title: str,
    before: S,
    choices: Mapping[str, Sequence[Choice]],
) -> S | None:
    """Ask for settings in a dialog; None if the user cancels.

    Parameters
    ----------
    parent : QWidget
        The dialog looks like it.
    title : str
        What is asked for.
    before : BaseModel
        What the form shows first. Its fields have titles and descriptions.
    choices : mapping of str to sequence of Choice
        What can be chosen, for the fields that are chosen from a list.
    """
    rows = {}
    for name, field in type(before).model_fields.items():
        options: dict[str, Any] = {"tooltip": field.description or ""}
        if name in choices:
            options["choices"] = [(choice.title, choice.key) for choice in choices[name]]
        rows[name] = {
            "annotation": field.annotation,
            "value": getattr(before, name),
            "label": field.title or name,
            "options": options,
        }
    answers = request_values(rows, title=title, parent=parent)
    return None if answers is None else before.model_copy(update=answers)
