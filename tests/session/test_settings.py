"""Each parameter has one default and one range, in the dock, the CLI, and the session."""

from dataclasses import fields
from typing import get_args

import pytest
from pydantic import ValidationError

from napari_resunet.cli.program import _parser
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.session import settings
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.schema import SessionSettings
from napari_resunet.types import Decoding, DeviceChoice


def saved_with(folder, **values):
    """Save a session with these settings, and read it again."""
    with_values = {"settings": SessionSettings(**values)}
    session = SessionFolder.create(folder)
    session.update(session.file.model_copy(update=with_values))
    session.close(10)
    again = SessionFolder.open(folder)
    again.close(10)
    return again.file.settings


@pytest.mark.parametrize("minutes", [settings.MINUTES.minimum, 200, 999])
def test_minutes_come_back_as_they_were_saved(tmp_path, minutes):
    assert saved_with(tmp_path / "s", minutes=minutes).minutes == minutes


@pytest.mark.parametrize("minutes", [0.05, 1000, float("nan")])
def test_minutes_out_of_range_are_refused(minutes):
    with pytest.raises(ValidationError):
        Settings(minutes=minutes)


def test_the_engine_has_the_same_defaults_as_the_dock():
    shown = Settings()
    assert FineTuneConfig().seconds == 60 * shown.minutes
    assert Decoding() == Decoding(shown.foreground, shown.split)


@pytest.mark.parametrize(
    "command",
    [["segment", "i.tif", "-o", "d"], ["train", "d", "-o", "m"], ["evaluate", "d"]],
)
def test_the_flags_have_the_same_defaults_as_the_dock(command):
    arguments = _parser().parse_args(command)
    assert arguments.device == Settings().device
    assert arguments.diameter is settings.OBJECT_SIZE.default


def test_the_lists_of_choices_are_complete():
    assert tuple(d.key for d in settings.DEVICES) == get_args(DeviceChoice)
    assert tuple(s.key for s in settings.SCOPES) == get_args(settings.Scope)
    assert [f.name for f in fields(Decoding)] == ["foreground", "split"]
