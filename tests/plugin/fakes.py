"""Stand-ins for the dock, so that controllers can be tested without Qt."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints
from unittest.mock import NonCallableMagicMock, create_autospec

from napari_resunet.plugin.views.page_protocols import SignalLike
from napari_resunet.plugin.views.protocol import DockView

ANSWERS = {
    "ask_class_names": (),
    "ask_copy": False,
    "ask_replace": False,
    "ask_unsaved": "lose",
}
"""What the fake answers to questions that a user cannot cancel by None."""


class FakeSignal:
    """A signal that a test emits; whatever is connected is called at once."""

    def __init__(self) -> None:
        self.slots: list[Any] = []

    def connect(self, slot: Any) -> None:
        self.slots.append(slot)

    def disconnect(self, slot: Any) -> None:
        self.slots.remove(slot)

    def emit(self, *args: Any) -> None:
        for slot in list(self.slots):
            slot(*args)


def fake_dock() -> Any:
    """Make a dock whose setters record their calls and whose signals can be emitted.

    A call with wrong arguments fails, and so does a name that `DockView` does not have. The
    user cancels every question; set ``return_value`` for another answer.
    """
    fake = _fake(DockView)
    fake.fine_tune.minutes = 1.0
    return fake


def signals_of(view: type) -> list[str]:
    """List the names of a Protocol's signals."""
    return [name for name, kind in get_type_hints(view).items() if kind is SignalLike]


def sections_of(view: type) -> dict[str, type]:
    """List the parts of a Protocol that are Protocols themselves."""
    parts = {n: x for n, x in vars(view).items() if isinstance(x, property)}
    return {name: get_type_hints(part.fget)["return"] for name, part in parts.items()}


def methods_of(view: type) -> dict[str, Any]:
    """List the setters and questions of a Protocol."""
    public = {n: x for n, x in vars(view).items() if not n.startswith("_")}
    return {name: x for name, x in public.items() if callable(x)}


def _fake(view: type) -> NonCallableMagicMock:
    fake = create_autospec(view, instance=True)
    for name in signals_of(view):
        setattr(fake, name, FakeSignal())
    for name, part in sections_of(view).items():
        setattr(fake, name, _fake(part))
    for name, method in methods_of(view).items():
        answer = get_type_hints(method)["return"]
        if answer is type(None) or type(None) in get_args(answer):
            getattr(fake, name).return_value = None
        elif name in ANSWERS:
            getattr(fake, name).return_value = ANSWERS[name]
    return fake
