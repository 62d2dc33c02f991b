"""The dock is what controllers expect, and so is its stand-in."""

import inspect

import pytest
from fakes import fake_dock, methods_of, sections_of, signals_of

from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.protocol import DockView


def check(real, view):
    """Compare a widget with its Protocol, and so all of its parts; count the members."""
    for name in signals_of(view):
        signal = getattr(real, name)
        assert callable(signal.connect), name
        assert callable(signal.disconnect), name
    for name, method in methods_of(view).items():
        expected = list(inspect.signature(method).parameters.values())[1:]
        found = list(inspect.signature(getattr(real, name)).parameters.values())
        assert [(p.name, p.default) for p in found] == [
            (p.name, p.default) for p in expected
        ]
    parts = sections_of(view)
    n = len(signals_of(view)) + len(methods_of(view)) + len(parts)
    return n + sum(check(getattr(real, name), part) for name, part in parts.items())


def test_the_dock_has_what_controllers_use(qtbot):
    dock = Dock()
    qtbot.addWidget(dock)
    assert check(dock, DockView) > 80
    assert isinstance(dock.fine_tune.minutes, float)


def test_a_fake_dock_emits_what_a_test_wants():
    dock, chosen = fake_dock(), []
    dock.image.image_chosen.connect(chosen.append)
    dock.image.image_chosen.emit("1")
    dock.image.image_chosen.disconnect(chosen.append)
    dock.image.image_chosen.emit("2")
    assert chosen == ["1"]


def test_a_fake_dock_records_calls_and_refuses_wrong_ones():
    dock = fake_dock()
    dock.correct.tools.set_tool("add")
    dock.correct.tools.set_tool.assert_called_once_with("add")
    with pytest.raises(TypeError):
        dock.set_enabled()
    with pytest.raises(AttributeError):
        dock.set_images([], None)


def test_in_a_fake_dock_the_user_cancels_every_question():
    dock = fake_dock()
    assert dock.ask_open_path() is None
    assert dock.ask_class_names() == ()
    assert dock.session.ask_copy("It is in use.") is False
    assert dock.session.ask_unsaved("The disk is full.", True) == "lose"
    assert dock.versions.chosen() is None
