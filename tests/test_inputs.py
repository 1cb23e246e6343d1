"""What a picture and a caption are, by digest; and when a picture must be read again."""

from __future__ import annotations

import numpy as np
import pytest

from clipfuse.data import open_images
from clipfuse.data.dataset import ImageRef
from clipfuse.inputs import cpu_count, describe_samples, row_entry
from clipfuse.testing import MemoryImages, fake_dataset, small_png
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest


def make(rows=6):
    images = MemoryImages({f"p{row}": small_png(row) for row in range(rows)})
    return images, fake_dataset(images, {name: f"caption of {name}" for name in images.files})


def digests(samples):
    return [digest.tobytes() for digest in samples.image_digests]


def test_digests_are_those_of_the_files():
    images, dataset = make()
    samples, problems = describe_samples(dataset, None)
    assert digests(samples) == [input_digest(data) for data in images.files.values()]
    assert samples.input_digests("text")[0] == input_digest(b"caption of p0")
    assert problems == []
    assert samples.ids == dataset.ids
    assert samples.captions == dataset.captions
    assert np.array_equal(samples.labels, dataset.labels)
    assert samples.lines.tolist() == [2, 3, 4, 5, 6, 7]
    assert samples.tables == ("table.csv",)


def test_known_stamps_spare_the_reading():
    images, dataset = make()
    samples, _ = describe_samples(dataset, None)
    images.reads.clear()
    images.times["p2"] = 5
    images.files["p4"] += b" "
    again, _ = describe_samples(dataset, samples)
    assert sorted(images.reads) == ["p2", "p4"]
    assert again.image_stamps[2] != samples.image_stamps[2]
    assert digests(again)[2] == digests(samples)[2]
    assert digests(again)[4] == input_digest(images.files["p4"]) != digests(samples)[4]


def test_an_edit_that_keeps_size_and_time_is_not_seen():
    """The limit of stamps, said in the docstring: nobody reads every picture at every start."""
    images, dataset = make()
    samples, _ = describe_samples(dataset, None)
    edited = bytearray(images.files["p0"])
    edited[-1] ^= 1
    images.files["p0"] = bytes(edited)
    again, _ = describe_samples(dataset, samples)
    assert digests(again) == digests(samples)
    images.times["p0"] = 1
    again, _ = describe_samples(dataset, again)
    assert digests(again)[0] == input_digest(bytes(edited))


def test_another_picture_of_the_same_size_and_time_is_seen():
    """Two rows' pictures change places: each file is what it was, and no row has its own any more."""
    images, dataset = make()
    assert len({len(data) for data in images.files.values()}) == 1
    samples, _ = describe_samples(dataset, None)
    swapped = fake_dataset(images, dict(zip(dataset.ids, dataset.captions, strict=True)))
    object.__setattr__(swapped, "images", (dataset.images[1], dataset.images[0], *dataset.images[2:]))
    again, _ = describe_samples(swapped, samples)
    assert digests(again)[:2] == digests(samples)[1::-1]


def test_another_folder_with_the_same_names_sizes_and_times_is_seen():
    images, dataset = make()
    samples, _ = describe_samples(dataset, None)
    other = MemoryImages({name: data[:-1] + b"?" for name, data in images.files.items()})
    other.path = images.path / "other"
    object.__setattr__(dataset, "images", tuple(ImageRef(other, name) for name in dataset.ids))
    again, _ = describe_samples(dataset, samples)
    assert digests(again) == [input_digest(data) for data in other.files.values()]


def test_the_same_folder_by_another_path_is_the_same(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(small_png(1))
    found = []
    for path in (tmp_path, tmp_path.relative_to(tmp_path.parent)):
        monkeypatch.chdir(tmp_path.parent)
        source = open_images(path)
        _, dataset = make(1)
        object.__setattr__(dataset, "images", (ImageRef(source, "a.png"),))
        found.append(describe_samples(dataset, None)[0].image_stamps[0])
    assert found[0] == found[1]


def test_missing_and_unreadable_pictures():
    images, dataset = make()
    del images.files["p1"]  # gone since the table was read
    images.unreadable = {"p3"}
    captions = dict(zip(dataset.ids, (None, *dataset.captions[1:]), strict=True))
    object.__setattr__(dataset, "captions", tuple(captions.values()))
    object.__setattr__(dataset, "images", (None, *dataset.images[1:]))
    samples, problems = describe_samples(dataset, None)
    absent = [row for row, digest in enumerate(digests(samples)) if digest == NO_DIGEST]
    assert absent == [0, 1, 3]
    assert samples.image_stamps[absent].tolist() == [0, 0, 0]  # to be tried again
    assert samples.input_digests("text")[0] == NO_DIGEST
    assert [str(entry) for entry in problems] == [
        "table.csv:3 (p1): image: can't be read (No such file or directory)",
        "table.csv:5 (p3): image: can't be read (Input/output error)",
    ]


def test_an_empty_file_is_a_file():
    images, dataset = make()
    images.files["p0"] = b""
    samples, problems = describe_samples(dataset, None)
    assert digests(samples)[0] == input_digest(b"") != NO_DIGEST
    assert problems == []


def test_a_stranger_with_the_same_id_is_read():
    """The cache's earlier rows are known by id: another table's row of that id has another place."""
    images, dataset = make()
    samples, _ = describe_samples(dataset, None)
    renamed = fake_dataset(images, {"p0": "x"})
    object.__setattr__(renamed, "images", (ImageRef(images, "p5"),))
    again, _ = describe_samples(renamed, samples)
    assert digests(again) == [input_digest(images.files["p5"])]


def test_progress_counts_what_is_read():
    images, dataset = make()
    seen = []
    samples, _ = describe_samples(dataset, None, lambda *step: seen.append(step))
    assert seen == [("reading pictures", done, 6) for done in range(1, 7)]
    seen.clear()
    describe_samples(dataset, samples, lambda *step: seen.append(step))
    assert seen == []
    assert len(images.reads) == 6


@pytest.mark.parametrize("part", ["image", "text"])
def test_a_ledger_entry_says_where(part):
    entry = row_entry(make()[1], 2, part, "because")
    assert str(entry) == f"table.csv:4 (p2): {part}: because"


def test_there_is_a_processor():
    assert cpu_count() >= 1
