"""Where the key comes from, and the two commands that need it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from servers import KEY, ask

from napari_resunet import cli
from napari_resunet.errors import ArgumentError, FileError
from napari_resunet.files import read_image
from napari_resunet.remote import server as server_module
from napari_resunet.remote.key import KEY_VARIABLE, new_key, read_key_file


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key.txt"
    path.write_text(f"{KEY}\nmore\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def serving(monkeypatch, starter):
    """What `serve` would run."""
    made = []

    def make_server(service):
        made.append(service)
        return SimpleNamespace(run=lambda sockets: made.extend(sockets))

    monkeypatch.setattr(server_module, "make_server", make_server)
    monkeypatch.setattr("napari_resunet.session.api.load_model", lambda: starter)
    return made


def test_new_keys_differ_and_are_long():
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"[\w-]{32}", key) for key in keys)


def test_the_key_is_the_first_line_of_a_file(key_file):
    assert read_key_file(key_file) == KEY


def test_a_file_that_others_may_read_is_refused(key_file):
    key_file.chmod(0o640)
    with pytest.raises(FileError, match=r"Others on this computer may read .*chmod 600"):
        read_key_file(key_file)


@pytest.mark.parametrize("key", ["", "short", "with two spaces in it", "x" * 300])
def test_a_file_without_a_key_is_refused(key_file, key):
    key_file.write_text(key)
    with pytest.raises(ArgumentError, match="holds no key: give 16 to 200 letters"):
        read_key_file(key_file)


def test_serve_prints_the_address_the_key_and_the_tunnel(serving, capsys, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert cli.main(["serve", "--port", "0", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    port = re.search(r"clients of http://127\.0\.0\.1:(\d+)", printed)[1]
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in printed
    assert re.search(r"^Key: [\w-]{32}$", printed, re.MULTILINE)


@pytest.mark.parametrize("way", ["file", "variable"])
def test_serve_prints_no_key_that_was_given(way, serving, key_file, capsys, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY if way == "variable" else "")
    flags = ["--key-file", str(key_file)] if way == "file" else []
    assert cli.main(["serve", "--port", "0", "--device", "cpu", *flags]) == 0
    printed = capsys.readouterr().out
    assert KEY not in printed
    assert "Key: as you gave it" in printed


def test_serve_warns_where_others_can_read(serving, capsys):
    assert cli.main(["serve", "--port", "0", "--host", "0.0.0.0", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "can read what is sent, also the key" in printed
    assert "ssh -N" not in printed


def test_segment_computes_on_the_server(url, nuclei, tmp_path, monkeypatch, capsys):
    import imageio.v3 as iio

    iio.imwrite(tmp_path / "a.png", nuclei[0][:96, :96])
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    labels = []
    for place, flags in (("here", ["--device", "cpu"]), ("there", ["--remote", url])):
        out = tmp_path / place
        command = ["segment", str(tmp_path / "a.png"), "-o", str(out), "--diameter", "24"]
        assert cli.main([*command, *flags]) == 0
        labels.append(read_image(out / "a_labels.tif"))
    assert labels[0].max() > 3
    np.testing.assert_array_equal(*labels)
    assert KEY not in (tmp_path / "there" / "a_labels.json").read_text()
    assert ask(url, "GET", "/v1/hello")[0] == 200


@pytest.mark.parametrize(
    ("key", "output", "sentence"),
    [
        ("", "out", "--remote needs the key that 'napari-resunet serve' printed"),
        (KEY, "x.ome.zarr", "leave --remote out, or give a folder with -o"),
        (KEY, "out", "Nothing answers at 127.0.0.1:9"),
        ("short", "out", f"The variable {KEY_VARIABLE} holds no key"),
    ],
)
def test_what_remote_needs_is_said(key, output, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(KEY_VARIABLE, key)
    monkeypatch.chdir(tmp_path)
    command = ["segment", "a.png", "-o", output, "--remote", "http://127.0.0.1:9"]
    assert cli.main(command) == 1
    assert sentence in capsys.readouterr().err
