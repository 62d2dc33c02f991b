"""Images of any program come as they are stated to be, or one true sentence comes."""

import os
import stat
import subprocess
import uuid

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_resunet.errors import FileError, ImageError
from napari_resunet.files import (
    atomic_path,
    check_writable,
    read_image,
    read_mask,
    read_stored,
    scene_name,
    scenes_in,
    stated_axes,
)

NO_TIFF = b"no picture"


def pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((20, 30), {}, "YX"),
        ((5, 20, 30), {"photometric": "minisblack"}, "ZYX"),
        ((2, 5, 20, 30), {"photometric": "minisblack"}, "TZYX"),
        ((2, 5, 3, 20, 30), {"photometric": "minisblack"}, "TZCYX"),
        ((20, 30, 2), {"photometric": "minisblack"}, "YXC"),
        ((5, 20, 30, 2), {"photometric": "minisblack"}, "ZYXC"),
        ((20, 30, 2), {"photometric": "minisblack", "metadata": None}, "YXC"),
        ((20, 30, 2), {"photometric": "minisblack", "planarconfig": "contig"}, "YXC"),
        ((20, 30, 5), {"photometric": "minisblack", "metadata": {"axes": "YXC"}}, "YXC"),
        ((20, 30, 3), {"photometric": "rgb"}, "YXS"),
        ((3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, "SYX"),
        ((5, 3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, "ZSYX"),
        ((2, 5, 3, 20, 30), {"imagej": True}, "TZCYX"),
        ((3, 20, 30), {"imagej": True, "metadata": {"axes": "CYX"}}, "CYX"),
        ((4, 20, 30), {"imagej": True, "metadata": {"axes": "TYX"}}, "TYX"),
        ((2, 3, 20, 30), {"ome": True, "metadata": {"axes": "TCYX"}}, "TCYX"),
        ((5, 20, 30, 3), {"ome": True, "photometric": "rgb"}, "ZYXS"),
    ],
)
def test_a_tiff_has_the_axes_that_it_states(tmp_path, shape, options, axes):
    array = pixels(*shape)
    if options.get("ome") and "metadata" not in options:
        options = {**options, "metadata": {"axes": "ZYXS"}}
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    stored = read_stored(tmp_path / "a.tif")
    assert (stored.axes, stored.notices) == (axes, ())
    np.testing.assert_array_equal(stored.array, array)


IMAGEJ = {"imagej": True, "resolution": (4.0, 1.0)}
OME = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 1.0}


@pytest.mark.parametrize(
    ("options", "pixel_size"),
    [
        ({**IMAGEJ, "metadata": {"unit": "um"}}, 0.5),
        ({**IMAGEJ, "metadata": {"unit": "\\u00B5m"}}, 0.5),
        ({**IMAGEJ, "metadata": {"unit": "micron"}}, 0.5),
        ({**IMAGEJ, "metadata": {"unit": "mm"}}, 500.0),
        ({**IMAGEJ, "metadata": {"unit": "pixel"}}, None),
        (IMAGEJ, None),
        ({"imagej": True, "metadata": {"unit": "um"}}, 1.0),
        ({"ome": True, "metadata": OME}, 0.5),
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.5}}, None),
        ({"ome": True, "metadata": {**OME, "PhysicalSizeX": "x"}}, None),
        ({"ome": True, "metadata": {**OME, "PhysicalSizeX": -1.0}}, None),
        ({"ome": True, "metadata": {**OME, "PhysicalSizeXUnit": "pixel"}}, None),
        ({"ome": True}, None),
        ({"resolution": (118.0, 118.0), "resolutionunit": "CENTIMETER"}, None),
    ],
)
def test_a_tiff_of_a_microscope_states_its_pixel_size(tmp_path, options, pixel_size):
    tifffile.imwrite(tmp_path / "a.tif", pixels(20, 30), **options)
    assert read_stored(tmp_path / "a.tif").pixel_size == pytest.approx(pixel_size)
    assert read_stored(tmp_path / "a.tif", "YX").pixel_size == pytest.approx(pixel_size)


STEPS = {
    "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2000,
    "PhysicalSizeZUnit": "nm", "TimeIncrement": 2, "TimeIncrementUnit": "min",
}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"ome": True, "metadata": STEPS}, {"X": 0.5, "Y": 0.25, "Z": 2.0, "T": 120.0}),
        (
            {**IMAGEJ, "metadata": {"unit": "nm", "spacing": 300.0, "finterval": 5.0}},
            {"X": 0.25e-3, "Y": 1e-3, "Z": 0.3, "T": 5.0},
        ),
        ({"ome": True, "metadata": {**STEPS, "PhysicalSizeZ": "inf"}}, {"X", "Y", "T"}),
        ({"ome": True, "metadata": {**STEPS, "TimeIncrement": 0}}, {"X", "Y", "Z"}),
    ],
)
def test_a_tiff_of_a_microscope_states_the_steps_along_its_axes(tmp_path, options, steps):
    stack = pixels(6, 20, 30).reshape(2, 3, 20, 30)
    options = {**options, "metadata": {"axes": "TZYX", **options["metadata"]}}
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    found = read_stored(tmp_path / "a.tif").steps
    if isinstance(steps, dict):
        assert found == pytest.approx(steps)
    else:
        assert set(found) == steps


def test_transparency_and_a_last_dimension_of_one_are_left_out(tmp_path):
    grey = pixels(20, 30)
    both = np.dstack([grey, np.full_like(grey, 255)])
    kinds = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "la.tif", both, extrasamples=["unassalpha"], **kinds)
    Image.fromarray(both, "LA").save(tmp_path / "la.png")
    tifffile.imwrite(tmp_path / "one.tif", grey[..., None])
    tifffile.imwrite(tmp_path / "pages.tif", grey[..., None], metadata=None)
    for name in ("la.tif", "la.png", "one.tif", "pages.tif"):
        stored = read_stored(tmp_path / name)
        assert stored.axes == "YX"
        np.testing.assert_array_equal(stored.array, grey)


def test_axes_that_are_given_must_name_each_dimension(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pixels(5, 20, 30), photometric="minisblack")
    assert read_stored(tmp_path / "a.tif", "cyx").axes == "CYX"
    with pytest.raises(ImageError, match=r"3 dimensions \(ZYX, 5 × 20 × 30\)"):
        read_stored(tmp_path / "a.tif", "TZYX")


def test_stacks_written_page_by_page_are_whole(tmp_path):
    array = pixels(3, 20, 30)
    for page in array:
        tifffile.imwrite(tmp_path / "a.tif", page, append=True)
    stored = read_stored(tmp_path / "a.tif")
    assert stored.axes == "ZYX"
    np.testing.assert_array_equal(stored.array, array)


@pytest.fixture
def two_images(tmp_path):
    """An OME-TIFF of a stack and of a plane with other pixels."""
    first = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    second = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        writer.write(pixels(2, 20, 30), metadata=first, photometric="minisblack")
        writer.write(pixels(40, 50), metadata=second)
    return tmp_path / "a.tif"


def test_each_image_of_a_tiff_can_be_read(two_images):
    paths = scenes_in(two_images)
    assert paths == [two_images / "1", two_images / "2"]
    assert [scene_name(path) for path in paths] == ["a.tif", "a_2.tif"]
    first, second = map(read_stored, paths)
    assert (first.axes, first.pixel_size, first.notices) == ("CYX", None, ())
    assert (second.axes, second.pixel_size, second.notices) == ("YX", 0.5, ())
    np.testing.assert_array_equal(first.array, pixels(2, 20, 30))
    np.testing.assert_array_equal(second.array, pixels(40, 50))
    assert stated_axes(paths[0]).channels == ("DAPI", "GFP")
    assert stated_axes(paths[1]).shape == (40, 50)


def test_an_image_that_a_tiff_has_not_is_said(two_images):
    for name in ("0", "3", "9" * 5000):
        with pytest.raises(FileError, match="it has no image number"):
            read_stored(two_images / name)
    with pytest.raises(FileError, match="There is no file"):
        read_stored(two_images.with_name("b.tif") / "1")


def test_positions_of_one_size_are_images_and_pages_of_one_size_are_a_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        for _ in range(3):
            writer.write(pixels(20, 30))
    assert len(scenes_in(tmp_path / "a.tif")) == 3
    for page in pixels(3, 20, 30):
        tifffile.imwrite(tmp_path / "b.tif", page, append=True)
    assert scenes_in(tmp_path / "b.tif") == [tmp_path / "b.tif"]


def test_smaller_copies_and_damaged_files_are_no_further_images(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels(20, 30), metadata=None)
        writer.write(pixels(10, 15), metadata=None, subfiletype=1)
    (tmp_path / "b.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "c.png").write_bytes(b"")
    for name in ("a.tif", "b.tif", "c.png", "gone.tif"):
        assert scenes_in(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize("other", [(21, 30), (10, 15), (20, 30, 3)])
def test_what_is_left_out_of_a_tiff_is_said(tmp_path, other):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels(20, 30), metadata=None)
        rgb = "rgb" if len(other) == 3 else "minisblack"
        writer.write(pixels(*other), metadata=None, photometric=rgb)
    stored = read_stored(tmp_path / "a.tif")
    np.testing.assert_array_equal(stored.array, pixels(20, 30))
    (notice,) = stored.notices
    assert "another image" in notice


def test_pages_that_were_cut_off_are_missed(tmp_path):
    path, stack = tmp_path / "stack.tif", pixels(12, 20, 30).reshape(2, 2, 3, 20, 30)
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TZCYX"})
    path.write_bytes(path.read_bytes()[:6000])
    (notice,) = read_stored(path).notices
    assert "cut short" in notice


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "jpeg"])
def test_pixels_that_were_cut_off_are_missed(tmp_path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(64, 80), compression=compression)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match="cut off"):
        read_stored(path)


@pytest.fixture
def ome_set(tmp_path):
    """Three files of one plane each, the second of which lies in another folder."""
    array = pixels(3, 20, 30)
    names = ["t0.ome.tif", "../elsewhere/t1.ome.tif", "t2.ome.tif"]
    ids = [f"urn:uuid:{uuid.UUID(int=n)}" for n in range(3)]
    planes = "".join(
        f'<TiffData FirstT="{t}" FirstZ="0" FirstC="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">{i}</UUID></TiffData>'
        for t, (name, i) in enumerate(zip(names, ids, strict=True))
    )
    folder = tmp_path / "set"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    for plane, name, own in zip(array, names, ids, strict=True):
        description = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="{own}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="30" SizeY="20" SizeZ="1" '
            'SizeC="1" SizeT="3"><Channel ID="C:0" SamplesPerPixel="1"/>'
            f"{planes}</Pixels></Image></OME>"
        )
        tifffile.imwrite(folder / name, plane, description=description, metadata=None)
    return [folder / name for name in names], array


@pytest.mark.parametrize("gone", [False, True])
def test_of_a_set_of_files_each_brings_its_own_planes(ome_set, gone):
    paths, array = ome_set
    if gone:
        paths.pop().unlink()
    for path, plane in zip(paths, array, strict=False):
        stored = read_stored(path)
        assert stored.axes == "YX"
        np.testing.assert_array_equal(stored.array, plane)
        assert "1 of the 3 planes" in stored.notices[0]


@pytest.mark.parametrize("size", ["SizeT", "PlaneCount"])
def test_a_description_of_endless_planes_is_refused(ome_set, size):
    path = ome_set[0][0]
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata.replace(f'{size}="', f'{size}="9999999999', 1)
    tifffile.imwrite(path, pixels(20, 30), description=text, metadata=None)
    with pytest.raises(FileError, match="far more planes"):
        read_stored(path)


def test_pixels_that_a_file_only_says_it_holds_are_not_allocated(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(64, 64), compression="zlib", metadata=None)
    for tag in ("ImageLength", "ImageWidth"):
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages[0].tags[tag].overwrite(10**6)
    with pytest.raises(FileError, match="says that it holds 931"):
        read_stored(path)


@pytest.mark.parametrize("n_pages", [2, 150])
def test_pages_that_go_round_in_a_circle_have_an_end(tmp_path, n_pages):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(n_pages, 8, 8), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        first, last = tiff.pages[0].offset, tiff.pages[-1]
        link = last.offset + 2 + 12 * len(last.tags)
    with path.open("r+b") as stream:
        stream.seek(link)
        stream.write(first.to_bytes(4, "little"))
    with pytest.raises(FileError, match="no end"):
        read_stored(path)


def test_a_jpeg_that_is_larger_than_its_page_is_not_unpacked(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels(64, 64), compression="jpeg", photometric="minisblack")
    data = path.read_bytes()
    start = data.index(b"\xff\xc0") + 5  # height and width in the JPEG's own header
    path.write_bytes(data[:start] + b"\xff\x00\xff\x00" + data[start + 4 :])
    with pytest.raises(FileError, match="far larger than it says"):
        read_stored(path)


@pytest.mark.parametrize("codec", ["tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_can_be_read(tmp_path, codec):
    array = np.full((20, 30), 77, np.uint8)
    Image.fromarray(array).save(tmp_path / "a.tif", compression=codec)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), array)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fax_is_read_as_it_looks(tmp_path, white_is_zero):
    mask = pixels(20, 32) > 200
    options = {"tiffinfo": {262: 0}} if white_is_zero else {}
    picture = Image.fromarray(mask)
    picture.save(tmp_path / "a.tif", compression="group4", **options)
    with Image.open(tmp_path / "a.tif") as looked_at:
        expected = np.asarray(looked_at)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), expected)


def test_an_indexed_picture_is_colours_as_image_and_indices_as_mask(tmp_path):
    indices = pixels(20, 30) % 4
    picture = Image.fromarray(indices, "P")
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), indices)
    stored = read_stored(tmp_path / "a.png")
    assert stored.axes == "YXS"
    np.testing.assert_array_equal(stored.array, colours[indices])


def test_a_colour_mask_in_separate_planes_comes_with_its_colours_last(tmp_path):
    array = pixels(3, 20, 30)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), np.moveaxis(array, 0, -1))


def test_another_format_under_a_known_name_starts_no_program(tmp_path, monkeypatch):
    def started(*arguments, **named):
        raise AssertionError("a program was started")

    for name in ("Popen", "check_call", "run"):
        monkeypatch.setattr(subprocess, name, started)
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(FileError, match="cannot be read as an image"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_pipes_folders_and_what_is_not_there_end_in_a_sentence(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    (tmp_path / f"text{suffix}").write_bytes(NO_TIFF)
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    (tmp_path / f"._mac{suffix}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    words = {
        "pipe": "a pipe or a device", "folder": "is a folder", "loop": "cannot be opened",
        "text": "cannot be read as an image", "empty": "cannot be read as an image",
        "._mac": "macOS keeps notes", "none": "There is no file",
        "x" * 5000: "cannot be opened",
    }  # fmt: skip
    for name, word in words.items():
        with pytest.raises(FileError, match=word) as told:
            read_image(tmp_path / f"{name}{suffix}")
        assert len(str(told.value)) < 400


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.tif"
    with atomic_path(path) as temporary:
        temporary.write_bytes(NO_TIFF)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o600)
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"other")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"other"


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / f"{'x' * 251}.tif"
    with atomic_path(path) as temporary:
        temporary.write_bytes(NO_TIFF)
    assert path.read_bytes() == NO_TIFF


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").write_text("mine")
    check_writable(tmp_path / "new" / "a.tif")
    for target in (tmp_path, tmp_path / "file" / "a.tif"):
        with pytest.raises(FileError):
            check_writable(target)
    assert (tmp_path / "file").read_text() == "mine"


NAMED = {"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}}
TWICE = {"axes": "CYX", "Channel": {"Name": ["a", "a", "c"]}}
LABELS = {"axes": "CYX", "Labels": ["a", "b", "c"]}
STATED = {
    "OME": ({"ome": True, "metadata": NAMED}, "CYX", ("a", "b", "c")),
    "OME, one name twice": ({"ome": True, "metadata": TWICE}, "CYX", ()),
    "ImageJ": ({"imagej": True, "metadata": LABELS}, "CYX", ("a", "b", "c")),
    "slices": ({"imagej": True, "metadata": LABELS | {"axes": "ZYX"}}, "ZYX", ()),
    "shaped": ({}, "QYX", ()),
    "plain": ({"metadata": None}, "IYX", ()),
}


@pytest.mark.parametrize(("known", "axes", "names"), STATED.values(), ids=STATED)
def test_axes_and_channels_that_a_tiff_states(tmp_path, known, axes, names):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((3, 20, 30), np.uint8), photometric="minisblack", **known
    )
    stated = stated_axes(path)
    assert (stated.shape, stated.axes, stated.channels) == ((3, 20, 30), axes, names)


def test_what_states_no_axes(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0 not a tiff")
    (tmp_path / "a.png").write_bytes(b"")
    for name in ("a.tif", "a.png", "missing.tif"):
        assert stated_axes(tmp_path / name) is None


def test_damaged_notes_in_a_picture_are_no_warning(tmp_path, recwarn):
    cut_short = b"Exif\0\0II*\0\x08\0\0\0"
    Image.new("L", (16, 12)).save(tmp_path / "x.jpg", exif=cut_short)
    assert read_image(tmp_path / "x.jpg").shape == (12, 16)
    assert not recwarn.list
