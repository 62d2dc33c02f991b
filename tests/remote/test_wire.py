"""Arrays and messages as bytes, and bytes that claim to be such."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from napari_resunet.errors import RemoteError
from napari_resunet.remote.wire import (
    WIRE,
    Known,
    MapsEvent,
    NoticeEvent,
    Packed,
    PredictMessage,
    frame,
    read_event,
    read_message,
    unpack,
    unpack_all,
)

KINDS = (
    arrays.integer_dtypes(endianness="?")
    | arrays.unsigned_integer_dtypes(endianness="?")
    | arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | arrays.boolean_dtypes()
)


def sent(array):
    line, *data = frame(MapsEvent(), [array])
    return unpack_all(read_event(line), memoryview(b"".join(data)))[0]


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_an_array_arrives_as_it_was(array):
    arrived = sent(array)
    assert arrived.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(arrived, array)


def test_labels_travel_in_a_fraction_of_their_size():
    labels = np.zeros((300, 300), np.int32)
    labels[50:90, 20:70] = 5
    _, data = frame(MapsEvent(), [labels])
    assert len(data) < labels.nbytes / 100
    np.testing.assert_array_equal(sent(labels), labels)


def test_nothing_but_numbers_travels():
    with pytest.raises(ValidationError):
        frame(MapsEvent(), [np.array(["2026"], "M8[D]")])
    for dtype in ("|O8", "<U4", "<c16", "|V8", "<M8", "x"):
        with pytest.raises(ValidationError):
            Packed(dtype=dtype, shape=(2,), n_bytes=16)


@pytest.mark.parametrize(
    "claim",
    [
        {"shape": (4, 5), "n_bytes": 19},
        {"shape": (2**39, 2**39), "n_bytes": 20},
        {"shape": (-1,), "n_bytes": -1},
        {"shape": (1,) * 5, "n_bytes": 1},
        {"shape": (4, 5), "n_bytes": 25, "codec": "zlib"},
        {"shape": (4, 5), "n_bytes": 20, "codec": "pickle"},
    ],
)
def test_a_claim_that_does_not_fit_is_refused_before_a_byte_is_read(claim):
    with pytest.raises(ValidationError):
        Packed(dtype="|u1", **claim)


def test_compressed_bytes_that_hold_more_or_less_than_they_say_are_refused():
    packed = Packed(dtype="|u1", shape=(1000,), n_bytes=20, codec="zlib")
    longer, shorter = zlib.compress(bytes(10**6)), zlib.compress(bytes(999))
    whole = zlib.compress(bytes(1000))
    for data in (longer, shorter, whole[:-1], whole + b"x", b"no zlib"):
        with pytest.raises(RemoteError, match="does not have the size that it states"):
            unpack(packed, data)
    assert not unpack(packed, whole).any()


def test_words_of_the_other_side_are_one_printable_line():
    event = NoticeEvent(text="a\x1b[2J\nb\u202e" + "c" * 9999)
    arrived = read_event(frame(event)[0])
    assert arrived.text.startswith("a\N{REPLACEMENT CHARACTER}[2J")
    assert arrived.text.isprintable()
    assert len(arrived.text) <= 1000


def test_a_message_of_another_version_says_so():
    with pytest.raises(RemoteError, match=r"different versions \(99 and 1\)"):
        read_message(PredictMessage, json.dumps({"wire": 99, "new": "words"}).encode())
    for line in (b"{}", b"[" * 10**5, b"\xff", json.dumps({"wire": WIRE}).encode()):
        with pytest.raises(RemoteError, match="What arrived is damaged"):
            read_message(PredictMessage, line)
    assert read_message(Known, b'{"known": true, "more": 1}').known
