"""Folders of images with ground truth: ``images/`` and ``masks/`` with equal stems."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.files import IMAGE_SUFFIXES, read_image
from napari_resunet.types import Example

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file and the group it is counted with."""

    image: Path
    mask: Path
    group: str

    def read(self) -> Example:
        """Read both files.

        Returns
        -------
        Example
            Without an alpha channel.

        Raises
        ------
        FileError
            If one cannot be read or their sizes differ.
        """
        image, labels = read_image(self.image), read_image(self.mask)
        if image.ndim == 3 and image.shape[-1] == 4:
            image = image[..., :3]
        if image.shape[:2] != labels.shape:
            raise FileError(
                f"'{self.image.name}' is {image.shape[:2]} pixels but its mask "
                f"is {labels.shape}: they must have the same size."
            )
        return Example(image, labels)


def find_pairs(folder: Path) -> list[Pair]:
    """List the images of a folder with their masks.

    Parameters
    ----------
    folder : Path
        Holds ``images/`` and ``masks/``. A ``manifest.csv`` in it or up to two
        folders above (columns dataset, split, idx, group) names the groups; without
        one, the folder's name is the group.

    Returns
    -------
    list of Pair
        In the order of the file names.

    Raises
    ------
    FileError
        If there is no pair.
    """
    masks = {p.stem: p for p in _images_in(folder / "masks")}
    groups = _groups(folder)
    pairs = [
        Pair(path, masks[path.stem], groups.get(path.stem, folder.resolve().name))
        for path in _images_in(folder / "images")
        if path.stem in masks
    ]
    if not pairs:
        raise FileError(
            f"'{folder}' has no pairs: put images into '{folder / 'images'}' and masks "
            f"of the same names into '{folder / 'masks'}'."
        )
    return pairs


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)


def _groups(folder: Path) -> dict[str, str]:
    folder = folder.resolve()
    for above in (folder, *folder.parents[:2]):
        if (above / MANIFEST).is_file():
            parts = folder.relative_to(above).parts
            with (above / MANIFEST).open(newline="", encoding="utf-8") as stream:
                return {
                    row["idx"]: row["group"]
                    for row in csv.DictReader(stream)
                    if (row["dataset"], row["split"])[2 - len(parts) :] == parts
                }
    return {}
