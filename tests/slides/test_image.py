"""Slides and large TIFFs: each level is read window by window, as the whole would be."""

import io
import itertools
import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_resunet.errors import FileError
from napari_resunet.files import scenes_in
from napari_resunet.session.find_images import find_images
from napari_resunet.session.image_files import read_image_file, suitable_level
from napari_resunet.slides import image as slides
from napari_resunet.slides import pages
from napari_resunet.types import ObjectSize

TILED = {"tile": (32, 48)}
ZIP = {"compression": "zlib"}
APERIO = "Aperio Image Library v12\n200x160 -> 100x80|AppMag = 20|MPP = 0.25"
WINDOWS = [
    (slice(0, 1), slice(0, 1)),
    (slice(31, 70), slice(47, 98)),
    (slice(90, 150), slice(100, 131)),
]


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Let every image count as large."""
    monkeypatch.setattr(slides, "HARMLESS_BYTES", 0)


def pixels(*shape, dtype=np.uint16):
    return np.random.default_rng(5).integers(0, 255, shape).astype(dtype)


def whole(path):
    """Read with the reader of small images, which is not the one that is tested."""
    from napari_resunet.files import read_stored

    return read_stored(path)


def assert_same_windows(lazy, expected):
    """Compare the windows of each plane, and each channel by itself, as a model sees it."""
    assert (lazy.axes, lazy.array.shape) == (expected.axes, expected.array.shape)
    assert not isinstance(lazy.array, np.ndarray)
    stack = [(slice(None), 1) if a in "CS" else range(n) for a, n in sizes(expected)]
    for *place, (rows, columns) in itertools.product(*stack, WINDOWS):
        where = dict(zip([a for a, _ in sizes(expected)], place, strict=True))
        where |= {"Y": rows, "X": columns}
        index = tuple(where[a] for a in expected.axes)
        np.testing.assert_array_equal(lazy.array[index], expected.array[index])
    np.testing.assert_array_equal(lazy.array[...], expected.array)
    assert lazy.array[...].dtype == expected.array.dtype


def sizes(stored):
    pairs = zip(stored.axes, stored.array.shape, strict=True)
    return [(a, n) for a, n in pairs if a not in "YX"]


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((150, 131), {}),
        ((150, 131), TILED | ZIP),
        ((150, 131), {"rowsperstrip": 7} | ZIP),
        ((150, 131), {"byteorder": ">"}),
        ((150, 131), {"byteorder": ">"} | TILED),
        ((150, 131), {"photometric": "miniswhite"}),
        ((3, 150, 131), {"photometric": "minisblack", "metadata": {"axes": "ZYX"}} | TILED),
        ((2, 3, 150, 131), {"imagej": True, "metadata": {"axes": "TCYX"}}),
        ((2, 3, 150, 131), {"ome": True, "metadata": {"axes": "TCYX"}} | TILED | ZIP),
        ((150, 131, 3), {"photometric": "rgb"}),
        ((150, 131, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]} | TILED),
        ((3, 150, 131), {"photometric": "rgb", "planarconfig": "separate"}),
        ((3, 150, 131), {"photometric": "rgb", "planarconfig": "separate"} | TILED),
        ((150, 131, 2), {"planarconfig": "contig", "extrasamples": ["unassalpha"]} | TILED),
        ((150, 131, 5), {"planarconfig": "contig", "photometric": "minisblack"} | ZIP),
        ((2, 150, 131, 3), {"photometric": "rgb", "metadata": {"axes": "TYXS"}} | TILED),
    ],
)  # fmt: skip
def test_each_window_is_that_of_the_whole_image(tmp_path, shape, options):
    options = dict(options)
    opening = {k: options.pop(k) for k in ("imagej", "ome", "byteorder") if k in options}
    with tifffile.TiffWriter(tmp_path / "x.tif", **opening) as writer:
        writer.write(pixels(*shape), **options)
    assert_same_windows(read_image_file(tmp_path / "x.tif"), whole(tmp_path / "x.tif"))


def pyramid(image, *factors):
    return [image, *(np.ascontiguousarray(image[..., ::f, ::f]) for f in factors)]


def write_ome(path, levels, **options):
    """Write coarser levels as SubIFDs, as OME-TIFF has them."""
    metadata = {
        "axes": "CYX"[-levels[0].ndim :],
        "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm",
    }  # fmt: skip
    options = TILED | {"photometric": "minisblack"} | options
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)


def write_svs(path, levels, **options):
    """Write a slide as Aperio has it: levels as pages, with a thumbnail as the second."""
    options = {"photometric": "rgb", "metadata": None} | options
    thumbnail = np.zeros((20, 26, 3), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(level, description=APERIO, **TILED, **options)
            if number == 0:
                writer.write(thumbnail, description=APERIO, **options)
        for subfiletype in (1, 9):
            label = np.full((30, 20, 3), subfiletype, np.uint8)
            writer.write(label, subfiletype=subfiletype, **options)


def colours(*shape):
    """Make colours that JPEG keeps: each tile of one colour."""
    rows, columns = (np.arange(n) // 16 for n in shape)
    return np.stack(np.broadcast_arrays(rows[:, None] * 9, columns * 9, 77), -1).astype(
        "u1"
    )


def test_the_levels_of_an_ome_tiff(tmp_path):
    levels = pyramid(pixels(2, 300, 262), 2, 4)
    write_ome(tmp_path / "x.ome.tif", levels, **ZIP)
    for number, expected in enumerate(levels):
        stored = read_image_file(tmp_path / "x.ome.tif", level=number)
        np.testing.assert_array_equal(stored.array[...], expected)
        assert stored.axes == "CYX"
        assert stored.pixel_size == pytest.approx(0.5 * 2**number, rel=0.01)
        assert not isinstance(stored.array, np.ndarray)
    assert stored.notices == (
        "Its resolution level '2' was read, 75 × 66 pixels, which suits the diameter; "
        "labels in a file of their own have that size.",
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (ObjectSize(30.0), (0, ObjectSize(30.0))),
        (ObjectSize(60.0), (1, ObjectSize(30.0))),
        (ObjectSize(um=25.0), (1, ObjectSize(25.0))),
        (ObjectSize(100.0), (2, ObjectSize(25.0))),
        (None, (0, None)),
    ],
)
def test_the_level_suits_the_size_of_the_objects(tmp_path, size, expected):
    write_ome(tmp_path / "x.ome.tif", pyramid(pixels(320, 240), 2, 4))
    assert suitable_level(tmp_path / "x.ome.tif", size, 24.0) == expected


def test_a_slide_of_aperio(tmp_path):
    levels = [colours(320, 288), colours(160, 144)]
    write_svs(tmp_path / "x.svs", levels, compression="jpeg")
    assert suitable_level(tmp_path / "x.svs", ObjectSize(um=12.0), 24.0)[0] == 1
    for number, expected in enumerate(levels):
        stored = read_image_file(tmp_path / "x.svs", level=number)
        window = stored.array[30:70, 40:100, :]
        assert abs(window.astype(int) - expected[30:70, 40:100]).max() < 8
        assert stored.axes == "YXS"
        assert stored.pixel_size == pytest.approx(0.25 * 2**number)
        assert len(stored.notices) == number  # nothing of the label and the thumbnail


def test_the_resolution_of_scanners_is_that_of_the_pixels(tmp_path):
    scanner = {"resolution": (20000, 20000), "resolutionunit": 3, "metadata": None} | TILED
    image = pixels(160, 128)
    tags = [(65420, 4, 1, 1, True), (271, 2, 0, "Hamamatsu", True)]
    tifffile.imwrite(tmp_path / "ndpi.tif", image, extratags=tags, **scanner)
    with tifffile.TiffWriter(tmp_path / "x.qptiff") as writer:
        for level in (image, image, image[::4, ::4], image[::2, ::2], image[::2, ::2]):
            writer.write(level, software="PerkinElmer-QPI", **scanner)
    tifffile.imwrite(tmp_path / "print.tif", image, **scanner)
    assert read_image_file(tmp_path / "ndpi.tif").pixel_size == 0.5
    assert read_image_file(tmp_path / "print.tif").pixel_size is None
    coarse = read_image_file(tmp_path / "x.qptiff", level=1)
    assert (coarse.axes, coarse.array.shape, coarse.pixel_size) == ("CYX", (2, 80, 64), 1.0)
    np.testing.assert_array_equal(coarse.array[1], image[::2, ::2])


SCN = """<?xml version="1.0"?><scn><collection>
<image name="macro"><pixels><dimension r="0" ifd="0"/></pixels></image>
<image name="tissue"><pixels>
<dimension r="0" ifd="1"/><dimension r="1" ifd="2"/></pixels></image>
</collection></scn>"""


def test_of_a_slide_of_leica_the_tissue_is_read(tmp_path):
    tissue = colours(320, 288)
    with tifffile.TiffWriter(tmp_path / "x.scn", bigtiff=True) as writer:
        for page in (colours(96, 64), tissue, tissue[::2, ::2]):
            description = SCN if page.shape[0] == 96 else None
            writer.write(
                page, photometric="rgb", description=description, metadata=None,
                resolution=(40000, 40000), resolutionunit=3, **TILED,
            )  # fmt: skip
    stored = read_image_file(tmp_path / "x.scn")
    np.testing.assert_array_equal(stored.array[...], tissue)
    assert (stored.axes, stored.pixel_size, stored.notices) == ("YXS", 0.25, ())
    assert suitable_level(tmp_path / "x.scn", ObjectSize(50.0), 24.0)[0] == 1


TWO = """<?xml version="1.0"?><scn><collection>
<image name="macro"><pixels>
<dimension r="0" ifd="0"/><dimension r="1" ifd="1"/></pixels></image>
<image name="left"><pixels>
<dimension r="0" ifd="2"/><dimension r="1" ifd="3"/></pixels></image>
<image name="right"><pixels>
<dimension r="0" ifd="4"/><dimension r="1" ifd="5"/></pixels></image>
</collection></scn>"""


def test_each_piece_of_tissue_on_a_slide_of_leica_is_an_image(tmp_path):
    macro, left, right = colours(128, 64), colours(160, 144), colours(320, 288)
    pages = [page for image in (macro, left, right) for page in (image, image[::2, ::2])]
    with tifffile.TiffWriter(tmp_path / "x.scn", bigtiff=True) as writer:
        for n, page in enumerate(pages):
            fine = 40000 if n > 1 else 500
            writer.write(
                page, photometric="rgb", description=None if n else TWO, metadata=None,
                resolution=(fine, fine), resolutionunit=3, **TILED,
            )  # fmt: skip
    numbered = [tmp_path / "x.scn" / n for n in ("1", "2")]
    assert [image.path for image in find_images([tmp_path / "x.scn"]).images] == numbered
    in_viewer = find_images([tmp_path / "x.scn"], split_slides=False).images
    assert [image.path for image in in_viewer] == [tmp_path / "x.scn"]
    for path, tissue in zip(numbered, (left, right), strict=True):
        stored = read_image_file(path)
        np.testing.assert_array_equal(stored.array[...], tissue)
        assert (stored.pixel_size, stored.notices) == (0.25, ())
        level, size = suitable_level(path, ObjectSize(um=12.5), 24.0)
        assert (level, size) == (1, ObjectSize(25.0))
        coarse = read_image_file(path, level=1)
        np.testing.assert_array_equal(coarse.array[...], tissue[::2, ::2])
        assert (coarse.pixel_size, len(coarse.notices)) == (0.5, 1)
    largest = read_image_file(tmp_path / "x.scn")
    np.testing.assert_array_equal(largest.array[...], right)
    assert largest.notices == (
        "It holds 2 images of parts of the slide: only the largest was read.",
    )
    with pytest.raises(FileError, match="it has no image number 3"):
        read_image_file(tmp_path / "x.scn" / "3")


def test_the_label_and_the_thumbnail_of_a_slide_are_no_images(tmp_path):
    write_svs(tmp_path / "x.tif", [colours(160, 144), colours(80, 72)])
    assert scenes_in(tmp_path / "x.tif") == [tmp_path / "x.tif"]
    stored = read_image_file(tmp_path / "x.tif")
    assert (stored.pixel_size, stored.notices) == (0.25, ())


def test_each_image_of_an_ome_tiff_has_levels_and_a_pixel_size_of_its_own(tmp_path):
    images = [pixels(160, 128), pixels(2, 320, 240)]
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as writer:
        for image, side in zip(images, (2.0, 0.5), strict=True):
            sides = {f"PhysicalSize{a}": side for a in "XY"}
            about = {"axes": "CYX"[-image.ndim :]} | sides
            options = TILED | {"photometric": "minisblack"}
            writer.write(image, subifds=1, metadata=about, **options)
            writer.write(image[..., ::2, ::2], subfiletype=1, **options)
    for path, image, side in zip(
        scenes_in(tmp_path / "x.ome.tif"), images, (2.0, 0.5), strict=True
    ):
        assert_same_windows(read_image_file(path), whole(path))
        assert read_image_file(path).pixel_size == side
        level, size = suitable_level(path, ObjectSize(um=60 * side), 24.0)
        assert (level, size) == (1, ObjectSize(30.0))
        coarse = read_image_file(path, level=1)
        np.testing.assert_array_equal(coarse.array[...], image[..., ::2, ::2])
        assert coarse.pixel_size == 2 * side
        assert len(coarse.notices) == 1  # of the level, and not of the other image


def test_each_image_of_another_tiff_is_read_window_by_window(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        for image in (pixels(150, 131), pixels(3, 150, 140, dtype=np.uint8)):
            writer.write(image, photometric="minisblack", **TILED, **ZIP)
    paths = scenes_in(tmp_path / "x.tif")
    assert len(paths) == 2
    for path in paths:
        assert_same_windows(read_image_file(path), whole(path))


def test_a_small_image_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "HARMLESS_BYTES", 2**20)
    write_svs(tmp_path / "x.svs", [colours(96, 96)])
    write_ome(tmp_path / "x.tif", pyramid(pixels(96, 96), 2))
    for name, level in (("x.svs", 0), ("x.tif", 0), ("x.tif", 1)):
        assert isinstance(read_image_file(tmp_path / name, level=level).array, np.ndarray)


def test_images_of_one_kind_are_stacked_at_each_level(tmp_path):
    positions = [pixels(96, 96), pixels(96, 96) + 1]
    with tifffile.TiffWriter(tmp_path / "x.ome.tif", ome=True) as writer:
        for image in positions:
            writer.write(image, subifds=1, **TILED)
            writer.write(image[::2, ::2], subfiletype=1, **TILED)
    stored = read_image_file(tmp_path / "x.ome.tif", level=1)
    assert (stored.axes, stored.array.shape) == ("PYX", (2, 48, 48))
    np.testing.assert_array_equal(stored.array[1], positions[1][::2, ::2])


@pytest.mark.parametrize(
    "odd", [pixels(160, 30), pixels(80, 64, dtype=np.uint8), pixels(320, 256)]
)
def test_a_level_that_does_not_belong_to_the_image_is_not_used(tmp_path, odd):
    write_ome(tmp_path / "x.ome.tif", [pixels(160, 128), odd])
    assert suitable_level(tmp_path / "x.ome.tif", ObjectSize(60.0), 24.0)[0] == 0


def test_tiles_that_are_left_out_are_empty(tmp_path):
    tiles = iter([np.full((32, 48), 7, np.uint16), None, None, None])
    tifffile.imwrite(tmp_path / "x.tif", tiles, shape=(64, 96), dtype="u2", **TILED, **ZIP)
    array = read_image_file(tmp_path / "x.tif").array
    np.testing.assert_array_equal(
        array[10:50, 40:60], whole(tmp_path / "x.tif").array[10:50, 40:60]
    )
    assert array[10, 40:50].tolist() == [7] * 8 + [0, 0]


def test_an_image_in_one_piece_that_is_too_large_is_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_resunet.slides.level.MAX_PIECE", 2**10)
    tifffile.imwrite(tmp_path / "x.tif", pixels(64, 64), rowsperstrip=64, **ZIP)
    np.testing.assert_array_equal(read_image_file(tmp_path / "x.tif").array, pixels(64, 64))


# Files that lie ---------------------------------------------------------------------


def tag(path, name):
    """Return where a tag of the first page is, and where its value."""
    with tifffile.TiffFile(path) as tiff:
        return tiff.pages.first.tags[name]


def overwrite(path, offset, data):
    with path.open("rb+") as stream:
        stream.seek(offset)
        stream.write(data)


def test_more_pixels_than_the_file_can_hold_are_refused(tmp_path):
    path = tmp_path / "x.svs"
    write_svs(path, [colours(96, 96)])
    for name in ("ImageWidth", "ImageLength"):
        overwrite(path, tag(path, name).valueoffset, (2**20).to_bytes(4, "little"))
    with pytest.raises(FileError, match=r"says that it holds 3072\.0 GB"):
        read_image_file(path)


@pytest.mark.parametrize("options", [{}, TILED, TILED | ZIP])
def test_a_file_that_was_cut_short_is_refused(tmp_path, options):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels(300, 300), **options, metadata=None)
    where = tag(path, "TileOffsets" if "tile" in options else "StripOffsets")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        moved = [path.stat().st_size - 10] * where.count
        tiff.pages.first.tags[where.code].overwrite(moved)
    with pytest.raises(FileError, match="cut off: copy it again"):
        read_image_file(path)


def test_a_picture_that_is_larger_than_its_tile_is_refused(tmp_path, monkeypatch):
    import imagecodecs

    monkeypatch.setattr("napari_resunet.tiff_reader.HARMLESS_PIXELS", 0)
    path = tmp_path / "x.svs"
    noise = pixels(96, 96, 3, dtype=np.uint8)
    write_svs(path, [noise], compression="jpeg")
    bomb = imagecodecs.jpeg_encode(np.zeros((200, 200, 3), np.uint8), level=1)
    with tifffile.TiffFile(path) as tiff:
        offset, n_bytes = (
            tiff.pages.first.dataoffsets[0],
            tiff.pages.first.databytecounts[0],
        )
    assert len(bomb) <= n_bytes
    overwrite(path, offset, bomb)
    array = read_image_file(path).array
    with pytest.raises(FileError, match="some are damaged or gone: copy the image again"):
        array[:10, :10]
    array[40:50, 60:70]


def test_a_tile_that_is_far_larger_than_its_pixels_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "SMALL_PIECE", 0)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((320, 288), np.uint8), **TILED, **ZIP)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = tiff.pages.first.tags["TileByteCounts"]
        counts.overwrite([10_000, *counts.value[1:]])
    overwrite(path, path.stat().st_size, bytes(20_000))
    array = read_image_file(path).array
    with pytest.raises(FileError, match="some are damaged or gone"):
        array[:10, :10]
    assert not array[40:60, 60:80].any()


def test_a_file_that_has_changed_meanwhile_is_not_read_on(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels(64, 64))
    array = read_image_file(path).array
    tifffile.imwrite(path, pixels(80, 64))
    with pytest.raises(FileError, match="copy the image again"):
        array[:10, :10]


def test_a_compression_that_is_not_known_is_named(tmp_path):
    path = tmp_path / "x.svs"
    write_svs(path, [colours(96, 96)], compression="zlib")
    overwrite(path, tag(path, "Compression").valueoffset, (33003).to_bytes(2, "little"))
    stored = read_image_file(path)  # JPEG 2000 is known; these tiles are none
    with pytest.raises(FileError, match="copy the image again"):
        stored.array[:10, :10]
    overwrite(path, tag(path, "Compression").valueoffset, (32908).to_bytes(2, "little"))
    with pytest.raises(
        FileError, match="is not known here: run pip install --upgrade imagecodecs"
    ):
        read_image_file(path)


# Hamamatsu --------------------------------------------------------------------------


def write_ndpi(path, image):
    """Write a slide as Hamamatsu has it: a TIFF of 64 bits in which one JPEG is a page."""
    stream = io.BytesIO()
    options = {"subsampling": 0, "restart_marker_blocks": 8, "quality": 95}
    Image.fromarray(image).save(stream, "JPEG", **options)
    jpeg = stream.getvalue()
    scan = jpeg.index(b"\xff\xda")
    starts = [scan + 2 + int.from_bytes(jpeg[scan + 2 : scan + 4], "big")]
    starts += [m.end() for m in re.finditer(rb"\xff[\xd0-\xd7]", jpeg[scan:])]
    starts[1:] = [scan + start for start in starts[1:]]
    height, width, _ = image.shape
    arrays = {0: starts, 1: [8, 8, 8]}
    places, data = {}, bytearray(12)
    for key, values in arrays.items():
        places[key] = len(data)
        data += np.array(values, "<u4" if key == 0 else "<u2").tobytes()
    places["jpeg"] = len(data)
    data += jpeg
    places["resolution"] = len(data)
    data += np.array([20000, 1], "<u4").tobytes()
    places["make"] = len(data)
    data += b"Hamamatsu\0"
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, places[1]), (259, 3, 1, 7),
        (262, 3, 1, 6), (271, 2, 10, places["make"]), (273, 4, 1, places["jpeg"]),
        (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(jpeg)),
        (282, 5, 1, places["resolution"]), (283, 5, 1, places["resolution"]),
        (284, 3, 1, 1), (296, 3, 1, 3), (65420, 4, 1, 1),
        (65426, 4, len(starts), places[0]),
    ]  # fmt: skip
    data[:12] = struct.pack("<2sHQ", b"II", 42, len(data))
    data += struct.pack("<H", len(tags))
    data += b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data += bytes(8 + 4 * len(tags))  # no further page; upper halves of the values
    path.write_bytes(data)


def test_a_slide_of_hamamatsu(tmp_path):
    image = colours(160, 256)
    write_ndpi(tmp_path / "x.ndpi", image)
    stored = read_image_file(tmp_path / "x.ndpi")
    assert (stored.axes, stored.array.shape) == ("YXS", image.shape)
    assert stored.pixel_size == 0.5
    window = stored.array[30:70, 40:210, :]
    assert abs(window.astype(int) - image[30:70, 40:210]).max() < 8
