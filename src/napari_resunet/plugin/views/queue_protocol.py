"""What controllers may use of the list of images. No Qt here, as in `protocol`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from napari_resunet.plugin.views.page_protocols import SignalLike


@dataclass(frozen=True)
class QueueRow:
    """A row of the list of images.

    Attributes
    ----------
    key : str
        Identifies the image.
    cells : tuple of str
        Name, state, number of objects, and minutes.
    tooltip : str
        Its file, and why it failed.
    """

    key: str
    cells: tuple[str, str, str, str]
    tooltip: str


class QueueView(Protocol):
    """The list of images, and the way through it.

    Signals: files and folders were chosen or dropped (list of Path), with a pattern and
    whether subfolders count (str, bool); a row was activated (its key); rows are to be
    skipped or removed (list of keys); rows without a picture came into view (the same).
    """

    paths_chosen: SignalLike
    item_chosen: SignalLike
    previous_clicked: SignalLike
    next_clicked: SignalLike
    sort_clicked: SignalLike
    propose_all_clicked: SignalLike
    export_all_clicked: SignalLike
    skip_clicked: SignalLike
    remove_clicked: SignalLike
    pictures_wanted: SignalLike

    def set_rows(self, rows: Sequence[QueueRow], current: str | None) -> None:
        """Show the images, the open one in bold; the chosen ones stay chosen."""

    def set_position(self, number: int, total: int) -> None:
        """Show which of the images is open; 0 if none of them is."""

    def set_picture(self, key: str, picture: npt.NDArray[Any]) -> None:
        """Show the small picture of an image, uint8, shape (Y, X, 3)."""

    def ask_folder(self) -> Path | None:
        """Ask for a folder to export to; None if the user cancels."""
