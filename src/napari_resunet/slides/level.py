"""One level of a TIFF as an array with named axes, of which only what is used is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import shown
from napari_resunet.slides.pages import (
    MAX_PIECE,
    PackedPages,
    Pages,
    Pieces,
    PlainPages,
    SameFile,
    piece_bytes,
    piece_grid,
)
from napari_resunet.tiff_reader import (
    PIXEL_AXES,
    UnreadableError,
    check_page,
    check_stated,
    inverted_back,
    named_axes,
    with_channels_last,
    with_known_samples,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

log = logging.getLogger(__name__)
Pixels = npt.NDArray[Any]


class TiffLevel:
    """One level of a TIFF; only what is indexed is read.

    Parameters
    ----------
    path : Path
        The file.
    pages : Pages
        Its pages, in the order of the stack.
    layout : Layout
        How they make an array.
    restored : callable
        Inverts pixels that are stored inverted.
    """

    def __init__(
        self, path: Path, pages: Pages, layout: Layout, restored: Callable[[Pixels], Pixels]
    ) -> None:
        self._path, self._pages, self._layout = path, pages, layout
        self._restored = restored
        self.axes, self.shape = layout.axes, layout.shape
        self.dtype: np.dtype[Any] = layout.dtype
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __getitem__(self, where: Any) -> Pixels:
        """Read a part into memory; slices without steps."""
        try:
            return self._restored(self._read(where))
        except MemoryError:
            raise
        except Exception as error:  # each codec raises its own errors
            log.warning("%s cannot be read", shown(self._path), exc_info=True)
            raise FileError(
                f"The pixels in {shown(self._path)} cannot be read, for some are damaged "
                "or gone: copy the image again."
            ) from error

    def _read(self, where: Any) -> Pixels:
        layout = self._layout
        chosen = _chosen(where, self.shape)
        spans = [range(c, c + 1) if isinstance(c, int) else c for c in chosen]
        found = np.empty([len(span) for span in spans], self.dtype)
        by_axis = dict(zip(self.axes, spans, strict=True))
        rows, columns = (slice(by_axis[a].start, by_axis[a].stop) for a in PIXEL_AXES)
        samples = layout.samples_at(spans)
        planes = layout.samples_last(found)
        for place in product(*(enumerate(spans[axis]) for axis in layout.stack)):
            page = layout.page_at([position for _, position in place])
            into = tuple(i for i, _ in place)
            if found.size:
                planes[into] = self._pages.read(page, samples, rows, columns)
        return found[tuple(0 if isinstance(c, int) else slice(None) for c in chosen)]


class Layout:
    """How the pages of one or several series make one array.

    Parameters
    ----------
    alike : sequence of tifffile.TiffPageSeries
        Series of one kind, which are stacked.

    Attributes
    ----------
    axes : str
        One letter of "PTZCYXS" for each dimension.
    shape : tuple of int
        Of the array.
    dtype : dtype
        Of the pixels.
    stack : tuple of int
        The dimensions that count pages.
    """

    def __init__(self, alike: Sequence[TiffPageSeries]) -> None:
        first, page = alike[0], alike[0].keyframe
        axes, shape = first.axes, tuple(first.shape)
        if len(alike) > 1:
            axes = ("P" if first.kind == "ome" else "I") + axes
            shape = (len(alike), *shape)
        self.dtype = np.dtype(first.dtype)
        self.stack = tuple(range(len(shape) - len(page.shape)))
        self._n_pages = shape[: len(self.stack)]
        self._place: int | None = None
        self._samples = [0]
        if "S" in axes:
            axes, shape = self._with_samples(axes, shape, page)
        self.axes, self.shape = named_axes(axes), shape

    def _with_samples(
        self, axes: str, shape: tuple[int, ...], page: TiffPage
    ) -> tuple[str, tuple[int, ...]]:
        """Let the samples of a single pixel tell which are kept, and what they are."""
        place = axes.index("S")
        pixel = np.arange(shape[place]).reshape([-1 if a == "S" else 1 for a in axes])
        kept, known = with_known_samples(pixel, axes, page)
        self._samples = kept.ravel().tolist()
        if len(known) < len(axes):
            return known, shape[:place] + shape[place + 1 :]
        self._place = place
        return known, (*shape[:place], len(self._samples), *shape[place + 1 :])

    def samples_at(self, spans: Sequence[range]) -> list[int]:
        """List the samples of a page that a part of the array holds."""
        if self._place is None:
            return self._samples
        return [self._samples[n] for n in spans[self._place]]

    def samples_last(self, array: Pixels) -> Pixels:
        """View an array with rows, columns, and samples last."""
        if self._place is None:
            return array[..., None]
        return np.moveaxis(array, self._place, -1)

    def page_at(self, position: Sequence[int]) -> int:
        """Return the number of the page at a position of the stack."""
        return int(np.ravel_multi_index(tuple(position), self._n_pages)) if position else 0


def open_series(
    path: Path, tiff: TiffFile, alike: Sequence[TiffPageSeries]
) -> TiffLevel | None:
    """Make an array of series of one kind; None if they can only be read as a whole.

    Raises
    ------
    UnreadableError
        If they state what their file cannot hold, or cannot be read at all.
    """
    page, file = alike[0].keyframe, SameFile.at(path)
    check_page(page)
    pages = None
    if all(map(_is_regular, alike)) and not _has_unnamed_channels(alike[0]):
        check_stated(sum(series.nbytes for series in alike), file.n_bytes)
        pages = _plain(tiff, alike, file) or _packed(alike, file)
    if pages is None:
        return None
    inverted = partial(inverted_back, page=page, inverted=not tiff.is_imagej)
    return TiffLevel(path, pages, Layout(alike), inverted)


def _is_regular(series: TiffPageSeries) -> bool:
    """Return whether a series is its pages, one after the other, and nothing else."""
    page = series.keyframe
    n_stack = len(series.shape) - len(page.shape)
    return (
        n_stack >= 0
        and tuple(series.shape[n_stack:]) == tuple(page.shape)
        and series.axes[n_stack:] == page.axes
        and sorted(page.axes.replace("S", "")) == sorted(PIXEL_AXES)
        and page.imagedepth == 1 == page.tiledepth
        and series.transform is None
        and not series.is_multifile
    )


def _has_unnamed_channels(series: TiffPageSeries) -> bool:
    """Return whether what the file calls columns are channels."""
    nothing = np.broadcast_to(np.zeros((), series.dtype), series.shape)
    return with_channels_last(nothing, series.axes)[1] != series.axes


def _plain(
    tiff: TiffFile, alike: Sequence[TiffPageSeries], file: SameFile
) -> PlainPages | None:
    """Find the pages if none of them is packed."""
    page = alike[0].keyframe
    if not page.is_final or not all(series.keyframe.is_final for series in alike):
        return None
    starts = [start for series in alike for start in _starts(series)]
    if not starts or min(starts) <= 0:
        return None
    if max(starts) + page.nbytes > file.n_bytes:
        raise UnreadableError("a part of its pixels was cut off: copy it again")
    return PlainPages(
        file=file,
        starts=starts,
        dtype=np.dtype(page.dtype).newbyteorder(tiff.byteorder),
        height=page.imagelength,
        width=page.imagewidth,
        n_samples=page.samplesperpixel,
        apart=page.planarconfig == 2 and page.samplesperpixel > 1,
    )


def _starts(series: TiffPageSeries) -> Iterator[int]:
    """List where pages start; 0 for one whose parts do not follow each other."""
    if (offset := series.dataoffset) is not None:
        # Of long stacks, ImageJ describes the first page only.
        n = math.prod(series.shape) // math.prod(series.keyframe.shape)
        yield from (offset + k * series.keyframe.nbytes for k in range(n))
        return
    for page in series:
        yield 0 if page is None or not page.is_contiguous else page.dataoffsets[0]


def _packed(alike: Sequence[TiffPageSeries], file: SameFile) -> PackedPages | None:
    """Find the tiles or strips of all pages."""
    keyframe = alike[0].keyframe
    if piece_bytes(keyframe) > MAX_PIECE:
        return None
    pieces = []
    for page in (page for series in alike for page in series):
        if page is None:
            return None
        pieces.append(Pieces(page.dataoffsets, page.databytecounts, page.jpegtables))
    apart = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
    expected = apart * math.prod(piece_grid(keyframe))
    for each in pieces:
        if not len(each.offsets) == len(each.counts) == expected:
            raise UnreadableError("some of its pieces are missing: copy it again")
        ends = map(sum, zip(each.offsets, each.counts, strict=True))
        if max(ends, default=0) > file.n_bytes:
            raise UnreadableError("a part of its pixels was cut off: copy it again")
    n_pages = sum(math.prod(s.shape) for s in alike) // math.prod(keyframe.shape)
    return PackedPages(file, keyframe, pieces) if len(pieces) == n_pages else None


def _chosen(where: Any, shape: tuple[int, ...]) -> list[int | range]:
    """Say of each dimension which positions are asked for."""
    parts = list(where) if isinstance(where, tuple) else [where]
    if Ellipsis in parts:
        i = parts.index(Ellipsis)
        parts[i : i + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    return [range(n)[part] for n, part in zip(shape, parts, strict=True)]
