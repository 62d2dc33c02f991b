"""The keys on the viewer do what the buttons do, or say why that cannot be done."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from app_model.types import KeyCode
from fakes import fake_dock
from napari.components import ViewerModel
from napari.utils.key_bindings import coerce_keybinding

from napari_resunet.plugin.controllers.keys import KeysController
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.tools import KEYS, TOOLS

ACTIONS = (
    "segment", "mark_verified", "done", "done_next", "next", "fine_tune", "contours",
)  # fmt: skip


@pytest.fixture
def keys():
    """The keys of a viewer; the attributes record what was started."""
    viewer, view = ViewerModel(), fake_dock()
    started, reasons = {name: Mock() for name in ACTIONS}, {}
    keys = KeysController(Layers(viewer), view, started, lambda: reasons)
    keys.viewer, keys.view, keys.started, keys.reasons = viewer, view, started, reasons
    yield keys
    keys.shut_down()


def press(keys, key):
    bound = {str(k): call for k, call in keys.viewer.keymap.items()}
    bound[key](keys.viewer)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.action)
def test_each_key_does_what_its_button_does(keys, key):
    keys.press(key.action)
    called = [name for name, call in keys.started.items() if call.called]
    assert called == [key.action]


def test_they_are_bound_on_the_viewer_until_the_dock_ends(keys):
    press(keys, "G")
    keys.started["segment"].assert_called_once_with()
    keys.shut_down()
    assert not [k for k, call in keys.viewer.keymap.items() if call is not None]


def test_a_key_whose_button_is_disabled_says_why(keys):
    keys.reasons["segment"] = "Open an image first."
    keys.press("segment")
    keys.started["segment"].assert_not_called()
    keys.view.set_message.assert_called_once_with("Open an image first.", "warning")


def test_napari_knows_each_key_by_its_name():
    """A name that it does not know would be bound to nothing that can be pressed."""
    for key in [key.key for key in KEYS] + [tool.key for tool in TOOLS]:
        part = coerce_keybinding(key).parts[0]
        assert part.key != KeyCode.UNKNOWN, key
        assert len(str(part.key)) == 1


def test_a_key_of_the_user_stays_theirs():
    viewer, mine = ViewerModel(), Mock()
    viewer.bind_key("G", mine)
    keys = KeysController(Layers(viewer), fake_dock(), {}, dict)
    press_viewer = {str(k): call for k, call in viewer.keymap.items()}
    press_viewer["G"](viewer)
    mine.assert_called_once_with(viewer)
    keys._bound.clear()


def test_no_key_is_used_twice():
    used = [key.key for key in KEYS] + [tool.key for tool in TOOLS]
    assert len(used) == len(set(used))
