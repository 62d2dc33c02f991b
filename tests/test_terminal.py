"""What somebody sees who waits at a terminal."""

import io
import re
import sys
from pathlib import Path

from napari_resunet.events import Notice, Progress, Resumed
from napari_resunet.terminal import ImagesBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Let standard error be a terminal; in the test itself, for pytest replaces it too."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    return stream


def test_many_images_share_a_bar_with_the_time_left(monkeypatch):
    stream = terminal(monkeypatch)
    bar = ImagesBar(4)
    bar.begin(Path("a/one.tif"))
    bar(Progress(0, 0, "estimating the object size"))
    bar.end("one: 3 labels", stream)
    bar.begin(Path("a/two.tif"))
    bar(Progress(1, 2, "tiles"))
    bar(Notice("two.tif is odd."))
    bar.close()
    lines = re.split(r"[\r\n]+", stream.getvalue())
    assert any("'one.tif' (1 of 4)" in line and " 0 %, ? left" in line for line in lines)
    assert "one: 3 labels" in lines
    half = next(line for line in lines if line.endswith(", tiles"))
    assert re.search(r"'two.tif' \(2 of 4\).* (37|38) %, \d\d:\d\d left", half)
    assert "two.tif is odd." in lines


def test_the_time_left_does_not_count_what_an_earlier_run_did(monkeypatch):
    stream = terminal(monkeypatch)
    bar = ImagesBar(1)
    bar.begin(Path("one.tif"))
    bar(Resumed(50, 100, "reading the image"))
    bar.close()
    assert " 50 %, ? left" in stream.getvalue()


def test_one_image_is_not_counted(monkeypatch):
    stream = terminal(monkeypatch)
    bar = ImagesBar(1)
    bar.begin(Path("one.tif"))
    assert bar.number == ""
    bar.close()
    assert " of 1" not in stream.getvalue()
