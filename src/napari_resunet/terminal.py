"""What the command line shows while it works: progress bars and sentences."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from napari_resunet.events import Notice, Progress, Resumed
from napari_resunet.files import plain, shown

if TYPE_CHECKING:
    from napari_resunet.session.evaluate import ImageScore


def sentence_of(error: BaseException, path: Path | None = None) -> str:
    """Format an error with the name of its file."""
    if isinstance(error, MemoryError):
        text = "There is not enough memory: close other programs, or cut the image."
    elif isinstance(error, OSError):
        path = Path(error.filename) if isinstance(error.filename, str) else path
        text = f"{error.strerror or plain(error)}."
        text = text if path else f"The result cannot be written: {text}"
    else:
        text = str(error)
    named = path is None or path.name in text or shown(path) in text
    return text if named or path is None else f"{shown(path)}: {text}"


class Bar:
    """A progress bar on a terminal; notices are printed above it.

    Parameters
    ----------
    title : str
        Shown before the bar.
    **settings
        Of tqdm.
    """

    def __init__(self, title: str, **settings: Any) -> None:
        from tqdm import tqdm

        self._bar = tqdm(desc=title, leave=False, file=sys.stderr, disable=None, **settings)
        self.n_skipped = 0

    def __call__(self, event: Progress | Notice) -> None:
        """Show how much is done, or print a notice."""
        from napari_resunet.engine.dataset import Skipped

        if isinstance(event, Notice):
            self.n_skipped += isinstance(event, Skipped)
            self.write(event.message, sys.stderr)
        else:
            self.show(event)

    def show(self, event: Progress) -> None:
        """Show how much is done."""
        self._bar.total = event.total or None
        self._bar.n = event.done
        self._bar.set_postfix_str(event.message)

    def write(self, sentence: str, stream: TextIO) -> None:
        """Print a line above the bar."""
        self._bar.write(sentence, file=stream)
        stream.flush()

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()


class ImagesBar(Bar):
    """One bar for all images of a run, with the time left.

    Parameters
    ----------
    n_images : int
        Number of images to work on.
    """

    def __init__(self, n_images: int) -> None:
        form = "{desc} |{bar}| {percentage:.0f} %, {remaining} left{postfix}"
        super().__init__("", total=n_images, bar_format=form)
        self.n_images, self.n_done = n_images, 0

    @property
    def number(self) -> str:
        """Which of the images it is; empty if there is only one."""
        return f" ({self.n_done + 1} of {self.n_images})" if self.n_images > 1 else ""

    def begin(self, path: Path) -> None:
        """Show the name of the next image."""
        self._bar.set_description_str(f"{shown(path.name)}{self.number}")

    def show(self, event: Progress) -> None:
        """Show how much of the image is done."""
        self._bar.n = self.n_done + event.done / max(event.total, 1)
        if isinstance(event, Resumed) or self._bar.n < getattr(self._bar, "initial", 0):
            self._bar.initial = self._bar.n  # it took no time now, or another step begins
        self._bar.set_postfix_str(event.message)

    def end(self, line: str, stream: TextIO) -> None:
        """Print the line of an image that is done."""
        self.n_done += 1
        self._bar.n = self.n_done
        self.write(line, stream)


def print_table(scores: Sequence[ImageScore], by_group: bool) -> None:
    """Print scores: one row for all images, or for each group."""
    from napari_resunet.session.evaluate import table

    rows = table(scores, by_group=by_group)
    print(f"{'group':<24}{'images':>8}" + "".join(f"{n:>16}" for n in rows[0].values))
    for row in rows:
        numbers = "".join(f"{v:>16.3f}" for v in row.values.values())
        print(f"{row.group:<24}{row.n_images:>8}{numbers}")
