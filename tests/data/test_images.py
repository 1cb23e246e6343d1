"""Folders, zips and tars of the same pictures give the same finds and the same bytes."""

import io
import os
import tarfile
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.config import TableConfig
from clipfuse.data import load_dataset, open_images
from clipfuse.data.image_names import NameIndex
from clipfuse.errors import ImageSourceError

SHARED = Path(__file__).resolve().parents[2].parent / "shared"

FILES = {
    "1.jpg": b"one",
    "2.JPG": b"two" * 5000,
    "sub/3.png": b"three",
    "sub/deep/4.jpeg": b"",
    "train/5.jpg": b"five",
    "val/5.jpg": b"other five",
    "6.jpg": b"six",
    "6.png": b"six too",
    "a.b.jpg": b"dots",
    "7": b"bare",
    "notes.txt": b"text",
    "ümlaut 8.jpg": b"eight",
}
HIDDEN = {".DS_Store": b"x", "__MACOSX/._1.jpg": b"x", ".git/9.jpg": b"x"}


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_zip(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path, files, mode="w", start=""):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(start + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


KINDS = {
    "folder": lambda path, files: write_folder(path / "images", files),
    "zip": lambda path, files: write_zip(path / "images.zip", files),
    "stored": lambda path, files: write_zip(path / "stored.zip", files, zipfile.ZIP_STORED),
    "bzip2": lambda path, files: write_zip(path / "bzip2.zip", files, zipfile.ZIP_BZIP2),
    "tar": lambda path, files: write_tar(path / "images.tar", files),
    "dotted": lambda path, files: write_tar(path / "dotted.tar", files, start="./"),
}


@pytest.fixture(params=KINDS)
def make(request, tmp_path):
    (tmp_path / "images").mkdir()
    return lambda files: open_images(KINDS[request.param](tmp_path, files))


@pytest.mark.parametrize(
    ("reference", "key"),
    [
        *((name, name) for name in FILES),
        ("3.png", "sub/3.png"),
        ("3", "sub/3.png"),
        ("sub/3", "sub/3.png"),
        ("./sub/3.png", "sub/3.png"),
        ("sub\\3.png", "sub/3.png"),
        ("pictures/sub/3.png", "sub/3.png"),
        ("/home/me/1.jpg", "1.jpg"),
        ("../images/1.jpg", "1.jpg"),
        (" 1.jpg ", "1.jpg"),
        ("1", "1.jpg"),
        ("2", "2.JPG"),
        ("2.jpg", "2.JPG"),
        ("4.JPEG", "sub/deep/4.jpeg"),
        ("a.b", "a.b.jpg"),
        ("7.jpg", "7"),
        ("val/5", "val/5.jpg"),
        ("x/val/5.jpg", "val/5.jpg"),
        ("other/3.png", None),
        ("1.png", None),
        ("10.jpg", None),
        ("notes", None),
        ("", None),
        (".", None),
        ("../../etc/passwd", None),
        ("/etc/passwd", None),
        ("sub", None),
        ("a\x00b", None),
        (".DS_Store", None),
        ("._1.jpg", None),
        ("9.jpg", None),
    ],
)
def test_finds(make, reference, key):
    source = make(FILES | HIDDEN)
    assert source.find(reference) == key
    if key is not None:
        assert source.read(key) == FILES[key]
        assert 0 <= source.stamp(key) < 2**63


@pytest.mark.parametrize(("reference", "both"), [("5.jpg", ("train/5.jpg", "val/5.jpg")), ("6", ("6.jpg", "6.png"))])
def test_a_reference_that_may_be_two_names_both(make, reference, both):
    with pytest.raises(ImageSourceError) as caught:
        make(FILES).find(reference)
    assert all(repr(name) in caught.value.problem for name in both)


@pytest.mark.parametrize("key", ["10.jpg", "../secret", "/etc/passwd", "sub"])
def test_only_found_pictures_are_read(make, tmp_path, key):
    source = make(FILES)
    (tmp_path / "secret").write_bytes(b"x")
    for action in (source.read, source.stamp):
        with pytest.raises(OSError):
            action(key)


def test_several_threads_read_the_same_source(make):
    files = {f"{number}.jpg": os.urandom(20_000) for number in range(40)}
    source = make(files)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert dict(zip(files, pool.map(source.read, files), strict=True)) == files


NAME = st.text("ab1", min_size=1, max_size=3)
FILE = st.builds(
    "{}{}{}".format, st.sampled_from(["", "x/", "y/", "x/y/"]), NAME, st.sampled_from([".jpg", ".JPG", ".png", ""])
)


@settings(deadline=None, max_examples=100)
@given(names=st.lists(FILE, unique=True, max_size=8), reference=FILE)
def test_a_find_is_never_a_silent_choice(names, reference):
    index = NameIndex(names)
    try:
        found = index.find(reference)
    except ImageSourceError:
        assert reference not in names
        return
    if reference in names:
        assert found == reference
    if found is not None:
        assert index.find(found) == found
        assert found.rpartition("/")[2].split(".")[0] == reference.rpartition("/")[2].split(".")[0]
        exact = [name for name in names if name.rpartition("/")[2] == reference]
        assert len(exact) < 2 or found == reference


def test_stamps_change_with_the_picture(make):
    old = make({"1.jpg": b"a" * 5000, "2.jpg": b"b"})
    before = [old.stamp("1.jpg"), old.stamp("2.jpg")]
    assert [old.stamp("1.jpg"), old.stamp("2.jpg")] == before
    time.sleep(0.02)
    new = make({"1.jpg": b"a" * 4999 + b"x", "2.jpg": b"b"})
    assert new.stamp("1.jpg") != before[0]
    if not hasattr(new, "_root"):
        assert new.stamp("2.jpg") == before[1]


def test_links_inside_a_folder_are_followed_but_not_in_circles(tmp_path):
    folder = write_folder(tmp_path / "images", {"a/1.jpg": b"one"})
    write_folder(tmp_path / "elsewhere", {"2.jpg": b"two"})
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "broken.jpg").symlink_to(folder / "nothing")
    source = open_images(folder)
    assert source.find("1.jpg") == "a/1.jpg"
    assert source.read(source.find("2.jpg")) == b"two"


def test_an_absolute_path_inside_the_folder_is_found(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "images", {"a/1.jpg": b"one", "b/1.jpg": b"two"})
    monkeypatch.chdir(tmp_path)
    assert open_images(Path("images")).find(str(folder / "b" / "1.jpg")) == "b/1.jpg"


def test_links_and_folders_in_a_tar_are_no_pictures(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in [("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.LNKTYPE), ("3.jpg", tarfile.DIRTYPE)]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    source = open_images(path)
    assert [source.find(f"{number}.jpg") for number in (1, 2, 3)] == [None] * 3


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_a_compressed_tar_says_how_to_unpack_it(tmp_path, mode):
    path = write_tar(tmp_path / f"x.tar.{mode}", FILES, "w:" + mode)
    with pytest.raises(ImageSourceError, match="tar -x"):
        open_images(path)


@pytest.mark.parametrize("content", [b"", b"x" * 2000, b"PK\x03\x04" + b"x" * 100], ids=["empty", "text", "no zip"])
def test_a_file_that_is_no_archive_is_one_clear_error(tmp_path, content):
    path = tmp_path / "images.bin"
    path.write_bytes(content)
    with pytest.raises(ImageSourceError, match="can't be read as a") as caught:
        open_images(path)
    assert caught.value.fix


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(ImageSourceError, match="there are no pictures at"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ImageSourceError, match="can't be read"):
        open_images(tmp_path / "a\x00b")


def test_a_tar_cut_short_is_an_error(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"1.jpg": b"a" * 5000, "2.jpg": b"b" * 5000})
    path.write_bytes(path.read_bytes()[:8000])
    with pytest.raises(ImageSourceError, match="unexpected end"):
        open_images(path)


def test_a_damaged_zip_member_is_an_os_error(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"1.jpg": b"abc" * 100, "2.jpg": b"fine"}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"abcabc", b"abcabd", 1))
    source = open_images(path)
    with pytest.raises(OSError, match="checksum"):
        source.read("1.jpg")
    assert source.read("2.jpg") == b"fine"


def test_a_zip_bomb_unfolds_no_further_than_declared(tmp_path):
    path = write_zip(tmp_path / "x.zip", {"1.jpg": b"\0" * 50_000_000})
    data = path.read_bytes()
    size = (50_000_000).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    source = open_images(path)
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="damaged"):
            source.read("1.jpg")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_large_archives_are_opened_fast(tmp_path):
    names = [f"images/{number}.jpg" for number in range(20_000)]
    path = write_zip(tmp_path / "x.zip", dict.fromkeys(names, b"x"), zipfile.ZIP_STORED)
    began = time.perf_counter()
    source = open_images(path)
    assert all(source.find(f"{number}.jpg") for number in range(0, 20_000, 7))
    assert time.perf_counter() - began < 5


def test_real_pictures_are_read_in_place():
    path = SHARED / "data" / "coco18"
    if not path.exists():
        pytest.skip(f"no {path}")
    dataset = load_dataset(TableConfig(table=path / "train.csv", images=path / "images.tar"))
    assert not dataset.ledger
    assert len(dataset) == 8000
    assert all(image.read()[:2] == b"\xff\xd8" for image in dataset.images[::97])
    assert len({image.key for image in dataset.images}) == 8000


@pytest.mark.parametrize(("name", "rows", "bare"), [("train", 687, 29), ("dev", 63, 3)])
def test_real_json_with_lists_of_labels(name, rows, bare):
    path = SHARED / "data" / "semeval21"
    if not path.exists():
        pytest.skip(f"no {path}")
    known = (path / "labels.txt").read_text(encoding="utf-8").split("\n")
    dataset = load_dataset(TableConfig(table=path / f"{name}.json", images=path / f"{name}-images.tar"))
    assert not dataset.ledger
    assert len(dataset) == rows
    assert (~dataset.labels.any(axis=1)).sum() == bare
    assert set(dataset.label_names) <= set(known)
    assert all(image.read() for image in dataset.images)
    assert dataset.references[0].endswith("_image.png") or "_image" in dataset.references[0]
