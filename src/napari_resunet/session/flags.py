"""Reads the values of the command line's flags; each error says what to give."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from napari_resunet.files import shown
from napari_resunet.session.settings import (
    DIAMETER_WANTED,
    DIRECTIONS,
    EXPORTS,
    LABELS_NAME,
    LABELS_NAME_WANTED,
    SLICE_STEP,
    STACK,
    STACKS,
    TRACKS,
    read_diameter,
)
from napari_resunet.tiff_reader import KNOWN_AXES
from napari_resunet.types import ObjectSize

MOST_CLASSES = 254
MOST_CHANNELS = 3
LONGEST_CLASS_NAME = 60
MULTIPLE = 32
SCHEDULER = re.compile(r"(tcp|tls)://([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}")


def wrong(wanted: str, text: str) -> argparse.ArgumentTypeError:
    """Make the error for a value."""
    return argparse.ArgumentTypeError(f"give {wanted}, not {shown(text)}")


def path(text: str) -> Path:
    """Read the name of a file or folder."""
    if not text.strip():
        raise wrong("a name", text)
    return Path(text)


def name_pattern(text: str) -> str:
    """Read a pattern for the names of files."""
    if not text.strip() or set(text) & set("/\\"):
        raise wrong("a pattern for names without their folder, for example '*.tif'", text)
    return text


def labels_name(text: str) -> str:
    """Read a name for labels in an OME-Zarr image."""
    if not LABELS_NAME.fullmatch(text):
        raise wrong(LABELS_NAME_WANTED, text)
    return text


def number(least: float, most: float, example: str) -> Callable[[str], float]:
    """Make a function that reads a number from `least` to `most`."""

    def read(text: str) -> float:
        with suppress(ValueError):
            number = float(text)
            if math.isfinite(number) and least <= number <= most:
                return number
        raise wrong(f"a number from {least:g} to {most:g}, for example {example}", text)

    return read


def whole(least: int, most: int, example: str) -> Callable[[str], int]:
    """Make a function that reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        with suppress(ValueError):
            if least <= (number := int(text)) <= most:
                return number
        raise wrong(f"a whole number from {least} to {most}, for example {example}", text)

    return read


def diameter(text: str) -> ObjectSize:
    """Read an object size in pixels or micrometres."""
    size = read_diameter(text)
    if size is None:
        raise wrong(DIAMETER_WANTED, text)
    return size


def no_scale(text: str) -> NoReturn:
    """Say what to give instead of the flag of earlier versions."""
    raise argparse.ArgumentTypeError(
        "give the object size instead, for example --diameter 30 (a scale of 1 is 24)"
    )


def patch(text: str) -> int:
    """Read the side of a patch."""
    with suppress(ValueError):
        number = int(text)
        if number % MULTIPLE == 0 and MULTIPLE <= number <= 2048:
            return number
    raise wrong("a multiple of 32 from 32 to 2048, for example 128", text)


def scheduler(text: str) -> str:
    """Read the address of a Dask scheduler."""
    if not SCHEDULER.fullmatch(text):
        raise wrong("an address such as tcp://host:8786", text)
    return text


def axes(text: str) -> str:
    """Read one letter for each dimension."""
    found = text.upper()
    known = set(found) <= set(KNOWN_AXES) and {"Y", "X"} <= set(found)
    if not known or len(set(found)) != len(found) or {"C", "S"} <= set(found):
        raise wrong(
            "one letter for each dimension, each once, of P, T, Z, C (or S for RGB), Y and "
            "X, for example TZCYX",
            text,
        )
    return found


def channels(text: str) -> tuple[int, ...]:
    """Read numbers of channels."""
    with suppress(ValueError):
        numbers = tuple(int(part) for part in text.split(","))
        if len(numbers) <= MOST_CHANNELS and min(numbers) >= 0:
            return numbers
    raise wrong("one to three channels, counted from 0, for example 0,2", text)


def formats(text: str) -> tuple[str, ...]:
    """Read names of formats to write besides TIFF."""
    known = [choice.key for choice in (*EXPORTS[1:], TRACKS)]
    found = dict.fromkeys(part.strip().lower() for part in text.split(","))
    if not found or not set(found) <= set(known):
        raise wrong(f"one or more of {', '.join(known)}, for example {known[0]}", text)
    return tuple(found)


def add_stack(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what the slices of a stack are."""
    words = STACK[0].lower() + STACK[1:]
    parser.add_argument("--stack", choices=[s.key for s in STACKS], help=words)
    parser.add_argument(
        "--directions",
        type=int,
        choices=DIRECTIONS,
        default=1,
        help="3 finds the objects of a volume in the planes of XY, XZ, and YZ: nuclei that "
        "lie above one another stay apart, but it takes much longer",
    )
    parser.add_argument(
        "--slice-step",
        type=number(*SLICE_STEP, "2.5"),
        metavar="PIXELS",
        help="from slice to slice, for three directions, if the file does not state it",
    )


def names(text: str) -> tuple[str, ...]:
    """Read names of classes."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    short = all(len(n) <= LONGEST_CLASS_NAME and n.isprintable() for n in found)
    different = len({"background", *found}) == len(found) + 1
    if not found or not short or not different or len(found) > MOST_CLASSES:
        raise wrong(
            "names that differ, without the background, for example axon,myelin", text
        )
    return found
