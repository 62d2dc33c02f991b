"""Which images files, folders, and patterns name, in which order, and what is said."""

import json
import os

import pytest

from napari_resunet.session.find_images import find_images

NOTE = {"image": {"source": "x"}, "model": {}, "settings": {}, "programs": {}}


@pytest.fixture
def data(tmp_path):
    """A folder as a microscope leaves it."""
    touch(
        tmp_path / "data",
        "t10.tif", "t2.tif", "T1.TIFF", "notes.txt", ".hidden.tif", "._t2.tif", "Thumbs.db",
        "sub/photo.JPG", "sub/deep/x.png", ".cache/c.tif",
    )  # fmt: skip
    return tmp_path / "data"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def relatives(found):
    return [image.relative.as_posix() for image in found.images]


def test_a_folder_is_searched_in_natural_order(data):
    found = find_images([data])
    assert relatives(found) == ["T1.TIFF", "t2.tif", "t10.tif"]
    assert found.images[1].path == data / "t2.tif"
    assert found.images[1].folder == data
    assert found.problems == ()


def test_subfolders_are_searched_if_asked(data):
    found = relatives(find_images([data], recursive=True))
    assert found == ["sub/deep/x.png", "sub/photo.JPG", "T1.TIFF", "t2.tif", "t10.tif"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["T*.tif"], ["t2.tif", "t10.tif"]),
        (["t[12]*", "*.jpg"], ["sub/photo.JPG", "T1.TIFF", "t2.tif", "t10.tif"]),
        (["*"], ["sub/deep/x.png", "sub/photo.JPG", "T1.TIFF", "t2.tif", "t10.tif"]),
    ],
)
def test_patterns_are_for_the_name_and_for_images_only(data, patterns, names):
    assert relatives(find_images([data], patterns=patterns, recursive=True)) == names


def test_a_folder_without_images_is_one_sentence(data):
    (data / "empty").mkdir()
    found = find_images([data / "empty", data / "sub"])
    assert relatives(found) == ["sub/photo.JPG"]
    (sentence,) = found.problems
    assert sentence.startswith("There is no TIFF, PNG, JPEG, or OME-Zarr image in ")
    assert sentence.endswith("/empty' (subfolders were not searched).")
    (sentence,) = find_images([data], patterns=["*.lsm", "*.czi"], recursive=True).problems
    assert "with a name like '*.lsm' or '*.czi' in" in sentence
    assert sentence.endswith("/data' or its subfolders.")


def test_named_files_are_taken_whatever_they_are(data):
    named = [data / "notes.txt", data / ".hidden.tif", data / "missing.tif"]
    assert [image.path for image in find_images(named).images] == named


def test_a_pattern_names_files_and_folders(data):
    found = find_images([data / "t*.tif", data / "s*"])
    assert relatives(found) == ["t2.tif", "t10.tif", "photo.JPG"]
    assert [image.folder for image in found.images] == [None, None, data / "sub"]
    found = find_images([data / "*.czi", data / "t2.tif"])
    assert relatives(found) == ["t2.tif"]
    (sentence,) = found.problems
    assert "Nothing matches" in sentence
    assert "*.czi'" in sentence


def test_an_existing_file_is_no_pattern(data):
    touch(data, "t[2].tif", "t*.tif")
    for name in ("t[2].tif", "t*.tif"):
        assert relatives(find_images([data / name])) == [name]
    (data / "t[2].tif").unlink()
    assert relatives(find_images([data / "t[2].tif"])) == ["t2.tif"]


def test_own_results_are_left_out_and_other_labels_are_not(data):
    touch(data, "t2_labels.tif", "t2_labels.json", "t10_labels.tif", "T1_labels.tif")
    (data / "t10_labels.json").write_text(json.dumps(NOTE))
    (data / "T1.json").write_text(json.dumps(NOTE))  # of another name
    found = relatives(find_images([data]))
    assert "t10_labels.tif" not in found
    assert {"t2_labels.tif", "T1.TIFF", "T1_labels.tif", "t10.tif"} <= set(found)


def test_the_folder_of_the_results_is_left_out_unless_it_is_named(data):
    touch(data, "out/a.tif", "out/sub/b.tif", "outer/c.tif")
    found = relatives(find_images([data], recursive=True, leave_out=data / "out"))
    assert [name for name in found if name.startswith("out")] == ["outer/c.tif"]
    for folder in (data / "out", data / "out" / "sub"):
        assert find_images([folder], recursive=True, leave_out=data / "out").images


def test_sessions_are_left_out_and_folders_that_only_look_so_are_not(data):
    from napari_resunet.session.store.folder import SessionFolder

    session = SessionFolder.create(data / "session")
    session.close()
    touch(data, "session/images/a.tif", "mine/b.tif")
    (data / "mine" / "session.json").write_text("[1, 2]")
    found = relatives(find_images([data], recursive=True))
    assert "mine/b.tif" in found
    assert not [name for name in found if name.startswith("session/")]


def test_links_to_folders_are_followed_once(data, tmp_path):
    touch(tmp_path / "elsewhere", "z.tif")
    (data / "a_link").symlink_to(tmp_path / "elsewhere")
    (data / "sub" / "loop").symlink_to(data)
    (data / "sub" / "self").symlink_to("self")
    (data / "again").symlink_to(data / "sub")
    found = relatives(find_images([data], recursive=True))
    assert found == [
        "a_link/z.tif", "sub/deep/x.png", "sub/photo.JPG", "T1.TIFF", "t2.tif", "t10.tif",
    ]  # fmt: skip


def test_a_link_renames_no_image_of_a_folder(data):
    (data / "latest").symlink_to(data / "sub" / "deep")
    found = relatives(find_images([data], recursive=True))
    assert found == ["sub/deep/x.png", "sub/photo.JPG", "T1.TIFF", "t2.tif", "t10.tif"]
    linked = relatives(
        find_images([data / "latest"], recursive=True, leave_out=data / "sub")
    )
    assert linked == ["x.png"]


def test_a_link_to_an_image_is_an_image(data):
    (data / "t3.tif").symlink_to(data / "t2.tif")
    (data / "t4.tif").symlink_to(data / "gone.tif")
    found = relatives(find_images([data]))
    assert found == ["T1.TIFF", "t2.tif", "t3.tif", "t4.tif", "t10.tif"]


def test_several_folders_are_told_apart_by_their_names(data, tmp_path):
    touch(tmp_path, "a/images/x.tif", "b/images/x.tif", "b/images/s/x.tif", "a/y.tif")
    one = find_images([tmp_path / "a" / "images", data / "sub"])
    assert relatives(one) == ["images/x.tif", "sub/photo.JPG"]
    two = find_images([tmp_path / "a/images", tmp_path / "b/images"], recursive=True)
    assert relatives(two) == ["a/images/x.tif", "b/images/s/x.tif", "b/images/x.tif"]
    mixed = find_images([tmp_path / "a/y.tif", tmp_path / "a/images"])
    assert relatives(mixed) == ["y.tif", "x.tif"]


def test_each_image_is_found_once(data, monkeypatch):
    monkeypatch.chdir(data)
    found = find_images([data / "t2.tif", data, data / "sub" / ".." / "t10.tif"])
    assert [image.path.name for image in found.images] == ["t2.tif", "T1.TIFF", "t10.tif"]
    assert found.images[0].folder is None
    assert found.n_repeated == 2


def test_a_folder_that_cannot_be_opened_is_named_and_the_rest_goes_on(data, monkeypatch):
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_images([data], recursive=True)
    assert "sub/photo.JPG" in relatives(found)
    (sentence,) = found.problems
    assert "deep' cannot be opened (Permission denied)" in sentence


def test_names_of_any_kind_are_sorted(tmp_path):
    touch(tmp_path, "1.tif", "a1.tif", "01.tif", "a.tif", "é².tif", "a 1 b.tif", "b٣.tif")
    found = relatives(find_images([tmp_path]))
    assert found == [
        "01.tif", "1.tif", "a1.tif", "a 1 b.tif", "a.tif", "b٣.tif", "é².tif",
    ]  # fmt: skip
