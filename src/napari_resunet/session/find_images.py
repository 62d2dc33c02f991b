"""Finds the images that a user means who names files, folders, or patterns.

The command line and the queue of the dock use the same function, so that both find the
same images in the same order. No pixels are read here.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.files import (
    IMAGE_SUFFIXES,
    MICROSCOPE_SUFFIXES,
    SLIDE_SUFFIXES,
    TIFF_SUFFIXES,
    cannot_open,
    is_hidden,
    scene_name,
    scenes_in,
    shown,
    split_scene,
)
from napari_resunet.ome_zarr.labels import own_attributes
from napari_resunet.ome_zarr.metadata import SUFFIX as ZARR
from napari_resunet.ome_zarr.metadata import images_in, is_ome_zarr, store_of
from napari_resunet.session.export import note_path, read_note
from napari_resunet.session.microscope_files import (
    is_installed,
    is_microscope_file,
    scenes_of_microscope,
)
from napari_resunet.session.store.manifest import read_file
from napari_resunet.session.store.schema import DESCRIPTION

LABELS = "_labels"
"""End of the name of labels, before the suffix."""


@dataclass(frozen=True)
class FoundImage:
    """An image file, and where it is below the folder that was named.

    Attributes
    ----------
    path : Path
        The file, or one of the images in it; see `split_scene`. Of an OME-Zarr, the folder
        of the image.
    relative : Path
        Its path relative to the folder that was named. If several folders were, it begins
        with the name of that folder. For a file that was named itself, its name only.
    folder : Path or None
        The folder that was named; None for a file that was named itself.
    """

    path: Path
    relative: Path
    folder: Path | None = None


@dataclass(frozen=True)
class FoundImages:
    """What `find_images` found.

    Attributes
    ----------
    images : tuple of FoundImage
        Each image once, also each of several images in a file. Files and folders are in the
        order in which they were named, and the images of a folder in natural order:
        ``t2.tif`` is before ``t10.tif``.
    problems : tuple of str
        A sentence for each folder without images, each pattern that nothing matches, and
        each folder that cannot be opened.
    n_repeated : int
        How often an image was named again.
    """

    images: tuple[FoundImage, ...]
    problems: tuple[str, ...]
    n_repeated: int


def image_name(image: FoundImage) -> str:
    """Name an image for a list: without its ending; a field of a plate with its place."""
    parts = image.relative.parts
    stores = [n for n, part in enumerate(parts) if part.lower().endswith(ZARR)]
    if not stores:
        file, number = split_scene(image.path)
        return file.stem if number is None else f"{file.stem} [{number}]"
    store, *place = parts[stores[0] :]
    name = store[: -len(ZARR)]
    ome = name.lower().endswith(".ome") and len(name) > len(".ome")
    return "/".join([name[: -len(".ome")] if ome else name, *place])


def find_images(
    places: Sequence[Path],
    *,
    patterns: Sequence[str] = (),
    recursive: bool = False,
    leave_out: Path | None = None,
    split_slides: bool = True,
) -> FoundImages:
    """Find the images that files, folders, and patterns name.

    Parameters
    ----------
    places : sequence of Path
        Files, which are taken whatever they are, OME-Zarr images, which are folders (or
        the metadata file in them), and
        other folders, which are searched for TIFF, PNG, and JPEG files and for OME-Zarr
        images. Each image of an OME-Zarr plate or collection is an image. A name with
        ``*``, ``?``, or ``[]`` that no file has is a pattern for files and folders.
    patterns : sequence of str
        Names that files in folders may have, for example ``*_dapi.tif``; upper and lower
        case are the same. Without any, each name is allowed.
    recursive : bool
        Whether to search subfolders too. Links to folders are followed; each folder is
        searched once.
    leave_out : Path or None
        A folder that is not searched unless it is one of the places: that of the results.
    split_slides : bool
        Whether each image on a slide is one of its own; a viewer's plugins open the file.

    Returns
    -------
    FoundImages
        Without hidden files, without labels that this program wrote, and without the files
        of its sessions.
    """
    search = _Search(tuple(p.casefold() for p in patterns), recursive, leave_out)
    given = [store_of(path) for place in places for path in search.expand(place)]
    stores = {path for path in given if is_ome_zarr(path)}
    folders = [path for path in given if os.path.isdir(path) and path not in stores]
    names = _folder_names(folders)
    found: list[FoundImage] = []
    for path in given:
        if path in names:
            found += search.inside(path, names[path])
        elif path in stores:
            found += search.in_store(path)
        else:
            found.append(FoundImage(path, Path(path.name)))
    once: dict[Path, FoundImage] = {}
    scenes = [scene for image in found for scene in _scenes(image, split_slides)]
    for image in scenes:
        once.setdefault(_identity(image.path), image)
    return FoundImages(
        images=tuple(once.values()),
        problems=tuple(search.problems),
        n_repeated=len(scenes) - len(once),
    )


def _scenes(image: FoundImage, split_slides: bool) -> list[FoundImage]:
    """List the images in a file, each with a relative path of its own."""
    if not split_slides and image.path.suffix.lower() in SLIDE_SUFFIXES:
        return [image]
    list_ = scenes_of_microscope if is_microscope_file(image.path) else scenes_in
    return [
        replace(image, path=path, relative=image.relative.with_name(scene_name(path)))
        for path in list_(image.path)
    ]


@dataclass
class _Search:
    """What is searched for, and what went wrong."""

    patterns: tuple[str, ...]
    recursive: bool
    leave_out: Path | None
    problems: list[str] = field(default_factory=list)

    def expand(self, place: Path) -> list[Path]:
        """List what a name stands for; it is a pattern only if nothing has that name."""
        text = str(place)
        if os.path.lexists(text) or not glob.has_magic(text):
            return [place]
        # Without `**`, which would follow a link to its own folder again and again.
        matching = sorted(map(Path, glob.glob(text)), key=_natural)
        if not matching:
            self.problems.append(
                f"Nothing matches {shown(place)}: check the folder and the pattern."
            )
        return matching

    def inside(self, folder: Path, name: Path) -> list[FoundImage]:
        """Find the images of a folder; their relative paths begin with `name`."""
        n_problems = len(self.problems)
        paths = [(path, path.relative_to(folder)) for path in self._walk(folder)]
        if not paths and len(self.problems) == n_problems:
            self.problems.append(self._nothing_in(folder))
        in_order = sorted(paths, key=lambda pair: _natural(pair[1]))
        return [FoundImage(path, name / below, folder) for path, below in in_order]

    def in_store(self, store: Path) -> list[FoundImage]:
        """Find the images of an OME-Zarr; a plate's keep their places in it."""
        paths = self._images_in(store)
        if paths == [store]:
            return [FoundImage(store, Path(store.name))]
        name = Path(store.name)
        return [FoundImage(p, name / p.relative_to(store), store) for p in paths]

    def _images_in(self, store: Path) -> list[Path]:
        try:
            return images_in(store)
        except FileError as error:
            self.problems.append(str(error))
        except OSError as error:
            self.problems.append(str(cannot_open(store, error)))
        return []

    def _walk(self, folder: Path) -> Iterator[Path]:
        """List the images of a folder, and then those in the folders that it links to."""
        seen = set() if self.leave_out is None else {_real(self.leave_out)}
        seen.discard(_real(folder))
        starts = [folder]
        for start in starts:  # which grows by links
            if _is_new(start, seen):
                yield from self._walk_tree(start, seen, starts)

    def _walk_tree(self, start: Path, seen: set[Path], links: list[Path]) -> Iterator[Path]:
        """List the images below a folder, and add links to other folders to `links`."""
        for where, folders, names in os.walk(start, onerror=self._closed):
            here = Path(where)
            stores = [here / n for n in sorted(folders) if is_ome_zarr(here / n)]
            for store in filter(self._is_named, stores):
                yield from () if _is_stored_result(store) else self._images_in(store)
            below = [here / n for n in sorted(folders) if self._is_searched(here / n)]
            below = [path for path in below if path not in stores]
            links += [path for path in below if path.is_symlink()]
            entered = [path for path in below if not path.is_symlink()]
            folders[:] = [path.name for path in entered if _is_new(path, seen)]
            yield from (here / n for n in names if self._is_wanted(here / n))

    def _is_searched(self, folder: Path) -> bool:
        return self.recursive and not is_hidden(folder) and not _is_session(folder)

    def _is_wanted(self, path: Path) -> bool:
        known = (*IMAGE_SUFFIXES, *(MICROSCOPE_SUFFIXES if is_installed() else ()))
        image = path.suffix.lower() in known
        return image and self._is_named(path) and not _is_result(path)

    def _is_named(self, path: Path) -> bool:
        """Return whether its name is one that is searched for."""
        name = path.name.casefold()
        matching = not self.patterns or any(fnmatchcase(name, p) for p in self.patterns)
        return matching and not is_hidden(path)

    def _closed(self, error: OSError) -> None:
        self.problems.append(str(cannot_open(Path(error.filename), error)))

    def _nothing_in(self, folder: Path) -> str:
        like = " or ".join(map(shown, self.patterns))
        named = f" with a name like {like}" if like else ""
        where = "or its subfolders" if self.recursive else "(subfolders were not searched)"
        kinds = "TIFF, PNG, JPEG, or OME-Zarr image"
        return f"There is no {kinds}{named} in {shown(folder)} {where}."


def _is_new(folder: Path, seen: set[Path]) -> bool:
    """Return whether a folder was not searched before; remember that it is."""
    real = _real(folder)
    new = real not in seen
    seen.add(real)
    return new


def _is_session(folder: Path) -> bool:
    try:
        return (folder / DESCRIPTION).is_file() and bool(read_file(folder))
    except (FileError, OSError):
        return False


def _is_result(path: Path) -> bool:
    """Return whether it is labels that this program wrote, corrected or not."""
    named = path.stem.endswith(LABELS) and path.suffix.lower() in TIFF_SUFFIXES
    return named and read_note(note_path(path)) is not None


def _is_stored_result(store: Path) -> bool:
    """Return whether it is labels of a large image that this program wrote."""
    try:
        return own_attributes(store) is not None
    except FileError:  # which reading it as an image says
        return False


def _folder_names(folders: Sequence[Path]) -> dict[Path, Path]:
    """Name folders by as many of their last parts as tell them apart; one needs no name."""
    if len({_real(folder) for folder in folders}) < 2:
        return dict.fromkeys(folders, Path())
    parts = {f: [p.strip("/:\\") for p in Path(os.path.abspath(f)).parts] for f in folders}
    names = {folder: Path() for folder in folders}
    for n in range(1, 1 + max(map(len, parts.values()))):
        names = {folder: Path(*all_parts[-n:]) for folder, all_parts in parts.items()}
        if len({str(name).casefold() for name in names.values()}) == len(names):
            break
    return names


def _identity(path: Path) -> Path:
    """Return the same for two names of one file; a link to a file is a file of its own."""
    return _real(path.parent) / path.name


def _real(path: Path) -> Path:
    return Path(os.path.normcase(os.path.realpath(path)))


def _natural(path: Path) -> list[tuple[list[str | int], str]]:
    """Sort numbers in names by their value; then by upper and lower case."""
    return [(_numbers_apart(part), part) for part in path.parts]


def _numbers_apart(name: str) -> list[str | int]:
    # Digits have every second place, so a number is never compared with a text.
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
