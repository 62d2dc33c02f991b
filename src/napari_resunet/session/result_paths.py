"""Names for the results of images: as the images are named, and no two the same."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

from napari_resunet.files import split_scene
from napari_resunet.session.export import note_of_image
from napari_resunet.session.find_images import LABELS, FoundImage
from napari_resunet.session.large.place import note_of_store, store_beside

SUFFIX = ".tif"
OME_ZARR = ".ome.zarr"


def output_paths(images: Sequence[FoundImage], folder: Path) -> dict[Path, Path]:
    """Find a name for the labels of each image, so that no two are the same.

    Parameters
    ----------
    images : sequence of FoundImage
        From `find_images`.
    folder : Path
        Folder for the labels.

    Returns
    -------
    dict of Path to Path
        The labels of each image: ``NAME_labels.tif``, in the subfolder that the relative
        path of the image names. If names differ only in their ending, it is added:
        ``NAME_ENDING_labels.tif``. Files that were named themselves and differ only in
        their folder or ending get ``FOLDER_NAME_ENDING_labels.tif``, with as many folders
        as needed. What even then differs only in upper and lower case is numbered:
        ``NAME_ENDING_2_labels.tif``. Labels of an earlier run on an image keep their name.
        Of large images, see `session.large.place.store_beside`.
    """
    new = _names_apart(images)
    kept = {i: name for i in images if (name := _earlier_name(i, new[i], folder))}
    names = kept | {image: name for image, name in new.items() if image not in kept}
    final = _numbered(names)
    return {image.path: _labels(folder, final[image]) for image in images}


def _labels(folder: Path, name: Path) -> Path:
    return folder / name.with_name(f"{name.name}{LABELS}{SUFFIX}")


def _earlier_name(image: FoundImage, name: Path, folder: Path) -> Path | None:
    """Return the name that an earlier run gave, perhaps with other images; or None."""
    for earlier in (name, _short_name(image), _long_name(image, 1)):
        labels = _labels(folder, earlier)
        stored = note_of_store(store_beside(labels), image.path)
        if stored or note_of_image(labels, image.path):
            return earlier
    return None


def _names_apart(images: Sequence[FoundImage]) -> dict[FoundImage, Path]:
    names = {image: _short_name(image) for image in images}
    longest = max((len(image.path.absolute().parts) for image in images), default=0)
    for n_folders in range(1, longest):
        alike = _alike(names)
        if not alike:
            break
        names |= {image: _long_name(image, n_folders) for image in alike}
    names |= {image: _long_name(image, 1) for image in _alike(names)}
    return _numbered(names)


def _alike(names: Mapping[FoundImage, Path]) -> set[FoundImage]:
    by_name: dict[str, list[FoundImage]] = defaultdict(list)
    for image, name in names.items():
        by_name[_folded(name)].append(image)
    return {image for images in by_name.values() if len(images) > 1 for image in images}


def _folded(name: Path) -> str:
    """Return what is the same for names that some disks take for one."""
    return normalize("NFC", str(name).casefold())


def _short_name(image: FoundImage) -> Path:
    stem, _ = _name_and_ending(image.relative)
    return image.relative.with_name(stem)


def _name_and_ending(path: Path) -> tuple[str, str]:
    """Split a name; ``.ome.zarr`` is one ending."""
    ending = OME_ZARR if path.name.lower().endswith(OME_ZARR) else path.suffix
    stem = path.name[: len(path.name) - len(ending)]
    return (stem, ending) if stem else (path.stem, path.suffix)


def _long_name(image: FoundImage, n_folders: int) -> Path:
    """Add the ending, and for a file that was named itself, some of its folders."""
    file = Path(os.path.abspath(split_scene(image.path)[0]))
    path = file.with_name(image.relative.name)
    above = path.parts[-1 - n_folders : -1] if image.folder is None else ()
    folders = filter(None, (part.strip("/:\\") for part in above))
    stem, ending = _name_and_ending(path)
    parts = [*folders, stem, *filter(None, [ending[1:].replace(".", "_")])]
    return image.relative.with_name("_".join(parts))


def _numbered(names: Mapping[FoundImage, Path]) -> dict[FoundImage, Path]:
    """Add a number to each name that is taken."""
    taken: set[str] = set()
    found = {}
    for image, name in names.items():
        number, free = 2, name
        while _folded(free) in taken:
            number, free = number + 1, name.with_name(f"{name.name}_{number}")
        taken.add(_folded(free))
        found[image] = free
    return found
