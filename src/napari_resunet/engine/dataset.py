"""Folders of image and mask pairs, and preparing training data in other processes.

While a GPU computes, torch's DataLoader prepares the next items.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from napari_resunet.engine.device import Compute
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import CorrectionError, FileError, ImageError, ResunetError
from napari_resunet.events import Notice
from napari_resunet.files import IMAGE_SUFFIXES, is_hidden, read_mask, read_stored, shown
from napari_resunet.masks import labels_from_mask
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, Task

MANIFEST = "manifest.csv"
COLUMNS = ("dataset", "split", "idx", "group")
MAX_NAMES = 5
"""How many files a sentence names."""


@dataclass(frozen=True)
class Skipped(Notice):
    """A file that could not be used, and why; the work continues without it."""


OnNotice = Callable[[str], object]
"""Takes a sentence about what was changed or left out."""


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file, and the group it belongs to."""

    image: Path
    mask: Path
    group: str

    def read(
        self,
        task: Task = "instances",
        n_classes: int | None = None,
        on_notice: OnNotice | None = None,
    ) -> Example:
        """Read both files.

        Parameters
        ----------
        task : {"instances", "classes"}
            What the numbers of the mask mean.
        n_classes : int or None
            For ``classes``, their number, background included.
        on_notice : callable or None
            Called with each sentence about what was changed or left out.

        Returns
        -------
        Example
            An image of shape (Y, X) or (Y, X, 3), and labels.

        Raises
        ------
        FileError
            If a file cannot be used, or their sizes differ.
        """
        reader, notices, pixel_size = self._open_image()
        try:
            found = labels_from_mask(read_mask(self.mask), task, n_classes)
        except CorrectionError as error:
            raise FileError(f"The mask {_named(self.mask)}: {error}") from error
        if reader.shape[-2:] != found.labels.shape:
            raise FileError(
                f"{_named(self.image)} has {reader.height} × {reader.width} pixels, but "
                f"its mask {' × '.join(map(str, found.labels.shape))}: they must have the "
                "same size."
            )
        if found.notice:
            notices.append(f"{_named(self.mask)}: {found.notice}")
        pixels = reader.read((0,) * len(reader.stack_shape), *reader.window)
        image = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        if on_notice is not None:
            for notice in notices:
                on_notice(notice)
        return Example(image, found.labels, pixel_size=pixel_size)

    def skipped(self, error: ResunetError) -> Skipped:
        """Say why the pair cannot be used."""
        text = str(error)
        named = text if self.image.name in text else f"{_named(self.image)}: {text}"
        return Skipped(f"{named} It was skipped.")

    def _open_image(self) -> tuple[ImageReader, list[str], float | None]:
        stored = read_stored(self.image)
        try:
            reader = ImageReader([stored.array], stored.axes)
        except ImageError as error:
            raise FileError(f"{_named(self.image)}: {error}") from error
        if any(n > 1 for n in reader.stack_shape):
            n_planes = " × ".join(map(str, reader.stack_shape))
            raise FileError(
                f"{_named(self.image)} is a stack of {n_planes} planes: save each plane as "
                "an image of its own, with a mask of its own."
            )
        notices = [f"{_named(self.image)}: {notice}" for notice in stored.notices]
        n_channels = dict(zip(stored.axes, stored.array.shape, strict=True)).get("C", 1)
        if n_channels > 1:
            notices.append(
                f"{_named(self.image)} has {n_channels} channels: the first was used."
            )
        return reader, notices, stored.pixel_size


def find_pairs(folder: Path, on_notice: OnNotice | None = None) -> list[Pair]:
    """List the images of a folder with their masks, by file name.

    Parameters
    ----------
    folder : Path
        Holds ``images/`` and ``masks/``. Groups are named in a ``manifest.csv`` (columns
        dataset, split, idx, group) in it or up to two folders above; without one, the
        group is the folder's name.
    on_notice : callable or None
        Called with each sentence about what was left out. Hidden files are ignored.

    Raises
    ------
    FileError
        If there is no pair.
    """
    images, masks = _images_in(folder / "images"), _images_in(folder / "masks")
    groups, notices = _groups(folder)
    by_stem = _by_stem(masks)
    matched = [(image, _mask_of(image, by_stem)) for image in images]
    pairs = [
        Pair(image, mask, groups.get(image.stem, folder.resolve().name))
        for image, mask in matched
        if mask is not None
    ]
    if not pairs:
        raise FileError(
            f"{shown(folder)} has no pairs: put images into its folder 'images' and masks "
            "of the same names into its folder 'masks'."
        )
    used = {pair.mask for pair in pairs}
    notices += _without(
        folder, "images", "mask", [i for i, mask in matched if mask is None]
    )
    notices += _without(folder, "masks", "image", [m for m in masks if m not in used])
    if on_notice is not None:
        for notice in notices:
            on_notice(notice)
    return pairs


def _images_in(folder: Path) -> list[Path]:
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise FileError(f"{shown(folder)} cannot be opened ({error.strerror}).") from error
    return [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(p)]


def _by_stem(masks: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = defaultdict(list)
    for mask in masks:
        found[mask.stem].append(mask)
    return found


def _mask_of(image: Path, masks: dict[str, list[Path]]) -> Path | None:
    """Find the mask with the image's stem; if there are several, the one of its name."""
    found = masks.get(image.stem, [])
    if len(found) > 1:
        found = [mask for mask in found if mask.name == image.name]
    return found[0] if found else None


def _without(folder: Path, kind: str, partner: str, files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    names = ", ".join(_named(path) for path in files[:MAX_NAMES])
    more = f" and {len(files) - MAX_NAMES} more" if len(files) > MAX_NAMES else ""
    return [
        f"{len(files)} of the {kind} in {shown(folder)} have no {partner} that is theirs "
        f"by its name, and were left out: {names}{more}."
    ]


def _named(path: Path) -> str:
    return shown(Path(path.name))


def _groups(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Read the group of each stem from the nearest manifest."""
    folder = folder.resolve()
    for above in (folder, *folder.parents[:2]):
        manifest = above / MANIFEST
        try:
            if manifest.is_file():
                return _read_manifest(manifest, folder.relative_to(above).parts), []
        except (OSError, ValueError, KeyError, csv.Error):
            return {}, [
                f"{shown(manifest)} is no table with the columns {', '.join(COLUMNS)} in "
                "UTF-8: all images are of one group."
            ]
    return {}, []


def _read_manifest(manifest: Path, parts: tuple[str, ...]) -> dict[str, str]:
    text = manifest.read_text("utf-8-sig")
    if "\0" in text:  # the csv module reads it as part of a name
        raise ValueError("not a text file")
    with io.StringIO(text, newline="") as stream:
        return {
            row["idx"]: row["group"]
            for row in csv.DictReader(stream)
            if (row["dataset"], row["split"])[2 - len(parts) :] == parts and row["group"]
        }


Job = TypeVar("Job")
Item = TypeVar("Item")

PREFETCH_FACTOR = 4
"""Items that each process prepares in advance."""


def prefetch(
    make: Callable[[Job], Item], jobs: Sequence[Job], compute: Compute
) -> Iterator[Item]:
    """Make one item from each job, in order, ahead of time if `compute` is a GPU.

    A CPU has no cores to spare, so it makes each item when it is requested. So do Windows
    and macOS, where each process would copy what `make` refers to.

    Yields
    ------
    Item
        In page-locked memory for CUDA, so that copying does not wait.

    Raises
    ------
    ResunetError
        The one that `make` raised.
    """
    spare = compute.kind != "cpu" and sys.platform == "linux"
    n_workers = min(len(jobs), os.cpu_count() or 1) if spare else 0
    loader = torch.utils.data.DataLoader(
        _Jobs(make, jobs),
        batch_size=None,
        num_workers=n_workers,
        prefetch_factor=PREFETCH_FACTOR if n_workers else None,
        multiprocessing_context="fork" if n_workers else None,
        pin_memory=compute.kind == "cuda",
    )
    for item in loader:
        if isinstance(item, ResunetError):
            raise item
        yield item


class _Jobs(torch.utils.data.Dataset[Item | ResunetError], Generic[Job, Item]):
    def __init__(self, make: Callable[[Job], Item], jobs: Sequence[Job]) -> None:
        self._make, self._jobs = make, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> Item | ResunetError:
        try:
            return self._make(self._jobs[number])
        except ResunetError as error:
            # If it were raised here, torch would add a stack trace to its message.
            return error
