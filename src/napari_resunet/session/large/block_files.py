"""What a run on a large image has found so far, one small set of files for each block.

A block is done once its list of owned objects is there, which is written last; all files
are written to another name and renamed. So a run that was stopped at any moment goes on
with the next block.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.blocks import BlockLabels
from napari_resunet.errors import FileError, SessionError
from napari_resunet.files import shown
from napari_resunet.session.large.plan import Block
from napari_resunet.session.store.tiff import read_tiff, whole_file, write_tiff

PLAN = "plan.json"
NAME = np.dtype("<i8")
MAX_PLAN = 2**20
Names = npt.NDArray[np.int64]


class BlockFiles:
    """The blocks of a run.

    Parameters
    ----------
    folder : Path
        Where they are; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read_plan(self) -> Any:
        """Read what an earlier run left; None if there was none."""
        path = self.folder / PLAN
        if not path.exists():
            return None
        if path.stat().st_size > MAX_PLAN:
            raise damaged(path)
        try:
            return json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise damaged(path) from error

    def write_plan(self, document: dict[str, Any]) -> None:
        """Write what the blocks depend on."""
        with whole_file(self.folder / PLAN) as temporary:
            temporary.write_text(json.dumps(document, indent=1), "utf-8")

    def save(self, block: Block, found: BlockLabels) -> None:
        """Save what was found in a block."""
        write_tiff(self._path(block, ".tif"), found.labels)
        if not found.whole:
            _write_names(self._path(block, ".cut"), found.owned)
        _write_names(self._path(block, ".ids"), found.ids)
        _write_names(self._path(block, ".owned"), found.owned)

    def is_done(self, block: Block) -> bool:
        """Return whether a block was found before."""
        return self._path(block, ".owned").is_file()

    def is_cut(self, block: Block) -> bool:
        """Return whether objects of a block are larger than it could see."""
        return self._path(block, ".cut").exists()

    def labels(self, block: Block, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Read the labels of a block, of a known shape.

        Raises
        ------
        FileError
            If the file is damaged.
        """
        path = self._path(block, ".tif")
        try:
            return read_tiff(path, shape)
        except SessionError as error:
            raise damaged(path) from error

    def ids(self, block: Block) -> Names:
        """Read the name of each label of a block; the first is that of background."""
        return _read_names(self._path(block, ".ids"))

    def owned(self, block: Block) -> Names:
        """Read the names of a block's own objects."""
        return _read_names(self._path(block, ".owned"))

    def save_names(self, plane: int, row: int, names: Names) -> None:
        """Save the names of all objects of a row of blocks, ascending."""
        _write_names(self.folder / f"{plane}-{row}.names", names)

    def names(self, plane: int, row: int) -> Names:
        """Read the names of all objects of a row of blocks."""
        return _read_names(self.folder / f"{plane}-{row}.names")

    def save_before(self, plane: int, counts: Names) -> None:
        """Save how many objects of the image come before those of each row of a plane."""
        _write_names(self.folder / f"{plane}.before", counts)

    def before(self, plane: int) -> Names:
        """Read how many objects of the image come before those of each row of a plane."""
        return _read_names(self.folder / f"{plane}.before")

    def save_counts(self, block: Block, plane: int, table: Names) -> None:
        """Save what objects of a block have in common with a plane, with their own one too.

        Parameters
        ----------
        block : Block
            The block.
        plane : int
            The plane.
        table : int array, shape (n_columns, n)
            Positions of objects in their planes, from 0, and numbers of pixels.
        """
        _write_names(self._counts_path(block, plane), table)

    def counts(self, block: Block, plane: int, n_columns: int) -> Names:
        """Read what `save_counts` saved."""
        path = self._counts_path(block, plane)
        names = _read_names(path)
        if len(names) % n_columns:
            raise damaged(path)
        return names.reshape(n_columns, -1)

    def save_linked(self, plane: int, numbers: Names) -> None:
        """Save the numbers of the objects of a plane, linked through the stack."""
        _write_names(self.folder / f"{plane}.linked", numbers)

    def linked(self, plane: int) -> Names:
        """Read the numbers of the objects of a plane, linked through the stack."""
        return _read_names(self.folder / f"{plane}.linked")

    def _counts_path(self, block: Block, plane: int) -> Path:
        return self._path(block, f".{plane}.counts")

    def _path(self, block: Block, suffix: str) -> Path:
        return self.folder / f"{block.name}{suffix}"


def _write_names(path: Path, names: Names) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(names.astype(NAME).tobytes())


def _read_names(path: Path) -> Names:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise damaged(path) from error
    if len(content) % NAME.itemsize:
        raise damaged(path)
    return np.frombuffer(content, NAME).astype(np.int64)


def damaged(path: Path) -> FileError:
    """Make the error for something that an earlier run left and that cannot be used."""
    folder = path if path.is_dir() else path.parent
    return FileError(
        f"{shown(path)}, which an earlier run left, is damaged: delete the folder "
        f"{shown(folder.name)} to start again."
    )
