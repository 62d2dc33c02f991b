"""TIFFs of all kinds, each with its content."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from attacks.expected import Expected
from attacks.program import crop

Rng = np.random.Generator
Made = tuple[str, Path, Expected]
DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")


def make(rng: Rng, folder: Path) -> Made:
    """Write a TIFF of a random kind."""
    return KINDS[int(rng.integers(len(KINDS)))](rng, folder)


def as_dtype(image: npt.NDArray[np.uint8], dtype: str, rng: Rng) -> npt.NDArray[Any]:
    """Spread 8-bit pixels over another type."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        spread = float(rng.choice([1 / 255, 1.0, 100.0]))
        return (image * spread - rng.choice([0.0, 3.0])).astype(kind)
    largest = int(np.iinfo(kind).max)
    factor = int(rng.choice([1, max(1, min(largest, 2**40) // 255)]))
    if factor * 255 > largest:
        return (image // 2).astype(kind)
    return image.astype(kind) * kind.type(factor)


def stack_of(rng: Rng, shape: tuple[int, ...], colour: bool = False) -> npt.NDArray[Any]:
    """Make a stack of different planes, rows and columns last (or before three colours)."""
    height, width = 56, 64
    planes = [crop(rng, height, width)[0] for _ in range(int(np.prod(shape)) or 1)]
    stack = np.stack(planes).reshape(*shape, height, width)
    if colour:
        stack = np.stack([stack, stack // 2, 255 - stack], axis=-1)
    return stack


def plain(rng: Rng, folder: Path) -> Made:
    """Two dimensions, any dtype, some pixels not finite."""
    dtype = str(rng.choice(DTYPES))
    image = as_dtype(crop(rng)[0], dtype, rng)
    odd = str(rng.choice(["none", "none", "nan", "inf", "all nan"]))
    if image.dtype.kind == "f" and odd != "none":
        value = -np.inf if odd == "inf" and rng.random() < 0.5 else np.inf
        place = slice(None) if odd == "all nan" else slice(3, 20)
        image[place, 5:30] = np.nan if "nan" in odd else value
    else:
        odd = ""
    path = folder / "plain.tif"
    tifffile.imwrite(path, image)
    return f"{dtype} TIFF {odd}", path, Expected([(image, "YX")], "right")


def complex_pixels(rng: Rng, folder: Path) -> Made:
    """Complex numbers are not pixels."""
    path = folder / "complex.tif"
    tifffile.imwrite(path, crop(rng)[0].astype(str(rng.choice(["c8", "c16"]))))
    return "complex TIFF", path, Expected(must="refuse")


def one_bit(rng: Rng, folder: Path) -> Made:
    """One bit a pixel, by fax codecs too."""
    from PIL import Image

    image = crop(rng, 64, int(rng.integers(56, 90)))[0] > 60
    codec = str(rng.choice(["raw", "group3", "group4", "tiff_ccitt", "packbits"]))
    path = folder / "bits.tif"
    compression = None if codec == "raw" else codec
    Image.fromarray(image).save(path, compression=compression)
    return f"1-bit TIFF, {codec}", path, Expected([(image, "YX"), (~image, "YX")], "right")


def imagej(rng: Rng, folder: Path) -> Made:
    """Write a hyperstack of ImageJ."""
    letters = [a for a in "TZC" if rng.random() < 0.5]
    colour = rng.random() < 0.15
    sizes = tuple(int(rng.integers(2, 4 if a == "C" else 3)) for a in letters)
    stack = stack_of(rng, sizes, colour)
    if not colour:
        stack = stack.astype(str(rng.choice(["u1", "u2", "f4"])))
    axes = "".join(letters) + ("YXS" if colour else "YX")
    path = folder / "hyperstack.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes})
    right = [(stack, axes)]
    if colour and "C" in letters:
        # Colour channels have no meaning, except as one picture after the other.
        free = [a for a in "ZTP" if a not in letters]
        right = [(stack, axes.replace("C", a)) for a in free]
    return f"ImageJ {axes} {stack.shape}", path, Expected(right, "right")


def ome(rng: Rng, folder: Path) -> Made:
    """Write an OME-TIFF with its dimensions in any order."""
    letters = [a for a in rng.permutation(list("TZC")) if rng.random() < 0.5]
    sizes = tuple(int(rng.integers(2, 4 if a == "C" else 3)) for a in letters)
    stack = stack_of(rng, sizes).astype(str(rng.choice(["u1", "u2", "f4"])))
    axes = "".join(letters) + "YX"
    path = folder / "stack.ome.tif"
    name = str(rng.choice(["x", "Zelle µ"]))
    tifffile.imwrite(path, stack, metadata={"axes": axes, "Name": name})
    return f"OME {axes} {stack.shape}", path, Expected([(stack, axes)], "right")


def ome_xml(own: str, shape: tuple[int, int, int], data: str) -> str:
    """Describe a stack of 8 bits whose slices may lie in several files."""
    z, y, x = shape
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06'
        f'" UUID="{own}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint8" SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


def tiff_data(z: int, name: str, own: str) -> str:
    """Say in which file a slice lies."""
    return (
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">{own}'
        "</UUID></TiffData>"
    )


def ome_in_files(rng: Rng, folder: Path) -> Made:
    """One of two files of an OME set."""
    planes = [crop(rng, 56, 64)[0] for _ in range(2)]
    names = ["z0.ome.tif", "z1.ome.tif"]
    ids = [f"urn:uuid:{uuid.UUID(int=int(rng.integers(2**62)))}" for _ in names]
    data = "".join(tiff_data(z, name, ids[z]) for z, name in enumerate(names))
    for z, name in enumerate(names):
        xml = ome_xml(ids[z], (2, 56, 64), data)
        tifffile.imwrite(folder / name, planes[z], description=xml, metadata=None)
    other = bool(rng.integers(2))
    if rng.random() < 0.3:
        (folder / names[1 - other]).unlink()
    path = folder / names[other]
    return "one file of an OME set", path, Expected([(planes[other], "YX")])


def colours(rng: Rng, folder: Path) -> Made:
    """RGB and RGBA, side by side or plane by plane."""
    n = int(rng.choice([3, 4]))
    image = np.stack([crop(rng, 60, 70)[0] for _ in range(n)], axis=-1)
    image = image.astype(str(rng.choice(["u1", "u2"])))
    extra: dict[str, Any] = {"extrasamples": ["unassalpha"]} if n == 4 else {}
    path = folder / "colours.tif"
    if planar := rng.random() < 0.6:
        planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
        extra |= {"planarconfig": "separate"}
        tifffile.imwrite(path, planes, photometric="rgb", **extra)
    else:
        tifffile.imwrite(path, image, photometric="rgb", **extra)
    what = f"{'planar ' if planar else ''}{'RGBA' if n == 4 else 'RGB'} {image.dtype}"
    return what, path, Expected([(image[..., :3], "YXS")], "right")


def grey_alpha(rng: Rng, folder: Path) -> Made:
    """Grey and opacity: opacity is left out."""
    grey = crop(rng, 60, 70)[0]
    image = np.stack([grey, np.full_like(grey, 255)], axis=-1)
    image[:9, :, 1] = 0
    path = folder / "grey alpha.tif"
    known = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path, image, extrasamples=["unassalpha"], **known)
    return "grey + alpha", path, Expected([(grey, "YX")])


def last_axis(rng: Rng, folder: Path) -> Made:
    """(Y, X, 1) and (Y, X, 2): channels, not slices."""
    n = int(rng.choice([1, 2]))
    image = np.stack([crop(rng, 60, 70)[0] for _ in range(n)], axis=-1)
    path = folder / "last axis.tif"
    axes = str(rng.choice(["", "YXC", "YXS"]))
    known: dict[str, Any] = {"metadata": {"axes": axes}} if axes else {}
    if n == 1:
        tifffile.imwrite(path, image, **known)
        return f"(Y, X, 1) {axes}", path, Expected([(image[..., 0], "YX")], "right")
    if rng.random() < 0.5:
        axes = "samples"
        known = {"planarconfig": "contig", "extrasamples": ["unspecified"]}
    # Without axes, the file has 60 pages of 70 x 2, which nobody means.
    tifffile.imwrite(path, image, photometric="minisblack", **known)
    right = [(image[..., 0], "YX"), (image, "YXC"), (image, "YXS")]
    return f"(Y, X, 2) {axes}", path, Expected(right)


def page_by_page(rng: Rng, folder: Path) -> Made:
    """Pages without metadata, as many programs write stacks."""
    n = int(rng.integers(2, 5))
    stack = stack_of(rng, (n,))
    path = folder / "pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        for page in stack:
            tiff.write(page, contiguous=False, metadata=None)
    return f"{n} pages", path, Expected([(stack, "ZYX")], "right")


def other_sizes(rng: Rng, folder: Path) -> Made:
    """Pages of other sizes or types: the program must report what it leaves out."""
    sizes = [(64, 70), (int(rng.integers(40, 60)), 60)]
    pages = [crop(rng, *size)[0] for size in sizes]
    if rng.random() < 0.3:
        pages[1] = crop(rng, 64, 70)[0].astype(np.uint16)
    order = [0, 1] if rng.random() < 0.5 else [1, 0]
    metadata = None if rng.random() < 0.5 else {}
    path = folder / "series.tif"
    with tifffile.TiffWriter(path) as tiff:
        for k in order:
            tiff.write(pages[k], contiguous=False, metadata=metadata)
    return "pages of other sizes", path, Expected([(p, "YX") for p in pages], each=True)


def layout(rng: Rng, folder: Path) -> Made:
    """BigTIFF, tiles, strips, byte order, predictor."""
    image = as_dtype(crop(rng)[0], str(rng.choice(["u1", "u2", "f4"])), rng)
    options: dict[str, Any] = {}
    for name, value in (
        ("bigtiff", True), ("byteorder", ">"), ("tile", (16, 32)), ("rowsperstrip", 7)
    ):  # fmt: skip
        if rng.random() < 0.4 and not ("tile" in options and name == "rowsperstrip"):
            options[name] = value
    if rng.random() < 0.4:
        options |= {"compression": "zlib", "predictor": True}
    path = folder / "layout.tif"
    if options.pop("bigtiff", False):
        with tifffile.TiffWriter(
            path, bigtiff=True, byteorder=options.pop("byteorder", "<")
        ) as t:
            t.write(image, **options)
    else:
        tifffile.imwrite(path, image, **options)
    return f"TIFF {sorted(options)}", path, Expected([(image, "YX")], "right")


def pyramid(rng: Rng, folder: Path) -> Made:
    """Write a pyramid: the finest level counts."""
    image = crop(rng, 96, 112)[0]
    path = folder / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        if rng.random() < 0.6:
            tiff.write(image, subifds=2, tile=(16, 16))
            tiff.write(image[::2, ::2], subfiletype=1, tile=(16, 16))
            tiff.write(image[::4, ::4], subfiletype=1, tile=(16, 16))
        else:
            tiff.write(image, metadata=None)
            tiff.write(image[::2, ::2], subfiletype=1, metadata=None)
    return "pyramid", path, Expected([(image, "YX")], "right")


def codecs(rng: Rng, folder: Path) -> Made:
    """Write with the codecs that microscopes export."""
    codec = str(rng.choice(["lzw", "jpeg", "zlib", "packbits", "zstd", "lzma", "deflate",
                            "jpeg2000", "webp", "png"]))  # fmt: skip
    grey = rng.random() < 0.6 and codec != "webp"
    image = crop(rng, 64, 80)[0]
    image = image if grey else np.stack([image, image // 2, 255 - image], axis=-1)
    path = folder / f"{codec}.tif"
    tifffile.imwrite(path, image, compression=codec,
                     photometric="minisblack" if grey else "rgb")  # fmt: skip
    read = tifffile.imread(path)
    must = "right" if codec in ("lzw", "jpeg", "zlib", "packbits", "zstd") else "either"
    expected = Expected([(read, "YX" if grey else "YXS")], must)
    return f"{codec} TIFF, {'grey' if grey else 'RGB'}", path, expected


def palette(rng: Rng, folder: Path) -> Made:
    """Write indices into colours: what is shown counts, or the indices."""
    image = crop(rng)[0]
    table = np.zeros((3, 256), np.uint16)
    table[int(rng.integers(3))] = np.arange(256) * 257
    path = folder / "palette.tif"
    tifffile.imwrite(path, image, photometric="palette", colormap=table)
    shown = np.moveaxis(table[:, image], 0, -1)
    right = [(image, "YX"), (shown, "YXS"), ((shown >> 8).astype(np.uint8), "YXS")]
    return "palette TIFF", path, Expected(right)


def inverted(rng: Rng, folder: Path) -> Made:
    """White is zero."""
    image = crop(rng)[0]
    path = folder / "inverted.tif"
    tifffile.imwrite(path, image, photometric="miniswhite")
    right = [(image, "YX"), (255 - image, "YX")]
    return "white is zero", path, Expected(right)


def tiny(rng: Rng, folder: Path) -> Made:
    """Write a few pixels."""
    shape = tuple(int(n) for n in rng.choice([1, 2, 3, 17], 2))
    image = rng.integers(0, 255, shape, np.uint8)
    path = folder / "tiny.tif"
    tifffile.imwrite(path, image, metadata={"axes": "YX"})
    return f"TIFF of {shape}", path, Expected([(image, "YX")], "right")


def many_dimensions(rng: Rng, folder: Path) -> Made:
    """Six and seven dimensions."""
    sizes = tuple(int(n) for n in rng.choice([1, 2], int(rng.integers(4, 6))))
    stack = stack_of(rng, sizes)
    path = folder / "many.tif"
    axes = "".join(rng.permutation(list("TZCRAQ"))[: len(sizes)]) + "YX"
    tifffile.imwrite(path, stack, metadata={"axes": axes} if rng.random() < 0.5 else {})
    # Labels have no channels, if the file says which axis holds them.
    one = stack.take([0], axes.index("C")) if "C" in axes else stack
    shapes = [np.squeeze(x).shape for x in (stack, one)]
    return f"{axes} {stack.shape}", path, Expected(shapes=shapes)


KINDS: tuple[Callable[[Rng, Path], Made], ...] = (
    plain, plain, plain, complex_pixels, one_bit, imagej, imagej, ome, ome, ome_in_files,
    colours, colours, grey_alpha, last_axis, page_by_page, other_sizes, layout, layout,
    pyramid, codecs, codecs, palette, inverted, tiny, many_dimensions,
)  # fmt: skip
