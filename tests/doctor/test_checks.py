"""Each check finds what was planted, and nothing else."""

import json
from dataclasses import replace

import numpy as np
import pytest

from clipfuse.data import Dataset, ImageRef
from clipfuse.data.dataset import TableLayout
from clipfuse.data.images import open_images
from clipfuse.data.origins import Origins
from clipfuse.doctor.conflicts import conflicting_labels
from clipfuse.doctor.duplicates import equal_captions, equal_pictures, similar_inputs
from clipfuse.doctor.missing_parts import missing_parts
from clipfuse.doctor.odd_sizes import far_from_usual, odd_captions, odd_pictures
from clipfuse.doctor.rare_labels import rare_labels
from clipfuse.doctor.subject import Subject


def row_of(finding, number=0):
    return dict(zip(finding.columns, finding.rows[number], strict=True))


def place(samples, name):
    return list(samples.ids).index(name)


def test_equal_inputs_within_and_across_roles(small):
    split, digests = small.split(), small.samples.image_digests.copy()
    train, test = ([place(small.samples, name) for name in split.roles[role]] for role in ("train", "test"))
    digests[train[1]] = digests[train[0]]
    digests[test[0]] = digests[train[2]]
    captions = list(small.samples.captions)
    captions[test[1]], captions[train[3]] = "Two  DOGS", "two dogs"
    toy = small.with_samples(image_digests=digests, captions=tuple(captions))
    subject = Subject(toy.cache, toy.samples, split)
    pictures = equal_pictures(subject)
    assert (pictures.count, pictures.looked_at) == (2, 60) and "1 across roles" in pictures.detail
    first = row_of(pictures)
    assert first["across roles"] is True  # what flatters scores comes first
    assert {first["id"], first["other id"]} == {toy.ids[test[0]], toy.ids[train[2]]}
    assert {first["role"], first["other role"]} == {"train", "test"}
    assert first["line"].startswith("train.csv:")
    assert row_of(pictures, 1)["across roles"] is False
    words = equal_captions(subject)
    assert words.count == 1 and {row_of(words)["caption"], row_of(words)["other caption"]} == {"Two  DOGS", "two dogs"}
    alone = equal_pictures(Subject(toy.cache, toy.samples))
    assert alone.count == 2 and "across" not in alone.detail and row_of(alone)["across roles"] is False


def test_very_many_pairs_are_counted_and_some_are_listed(small, monkeypatch):
    from clipfuse.doctor import duplicates

    monkeypatch.setattr(duplicates, "LISTED", 5)
    monkeypatch.setattr(duplicates, "RANKED", 7)
    toy = small.with_samples(captions=("a dog",) * 60)
    found = equal_captions(Subject(toy.cache, toy.samples, toy.split()))
    assert (found.count, len(found.rows)) == (59, 5) and "the first 5 are listed" in found.detail
    assert all(row[0] is True for row in found.rows)


def test_nearly_equal_pictures_are_all_found(build_toy, add_features, tmp_path):
    small = build_toy(tmp_path / "cache", rows=60, modalities=("text",))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 64)).astype(np.float32) + 5
    values[7] = values[3] + 0.02 * rng.normal(size=64)
    values[50] = values[3] + 0.02 * rng.normal(size=64)
    values[20] = values[21]  # an equal file, which another check tells of
    digests = small.samples.image_digests.copy()
    digests[20] = digests[21]
    toy = small.with_samples(image_digests=digests)
    add_features(toy.cache, toy.samples, "image", values, encoder="wide")
    found = similar_inputs(Subject(toy.cache, toy.samples, toy.split()), "image", 0.9)
    pairs = {frozenset((row[2], row[5])) for row in found.rows}
    assert pairs == {frozenset(toy.ids[n] for n in pair) for pair in ((3, 7), (3, 50), (7, 50))}
    cosines = [row_of(found, n)["cosine"] for n in range(3)]
    order = [(not row[1], -row[0]) for row in found.rows]  # what flatters scores first, then what is nearest
    assert order == sorted(order)
    centred = values.astype(np.float16).astype(np.float32)
    centred -= centred.mean(axis=0)
    one, other = centred[3], centred[7]
    assert any(abs(value - one @ other / np.linalg.norm(one) / np.linalg.norm(other)) < 2e-3 for value in cosines)
    limited = similar_inputs(Subject(toy.cache, toy.samples), "image", 0.9, products=1000)
    assert "take long" in limited.skipped and limited.summary.startswith("not looked for")
    assert similar_inputs(Subject(toy.cache, replace(toy.samples, captions=(None,) * 60)), "text", 0.9).skipped


def test_equal_captions_with_different_labels(small):
    captions, labels = list(small.samples.captions), small.samples.labels.copy()
    captions[1] = captions[0] = "a dog"
    captions[3] = captions[2] = "a cat"
    captions[5] = captions[4] = "a kite"
    labels[0], labels[1] = [True, False, False, False], [False, True, False, False]
    labels[2], labels[3] = labels[0], labels[0] | labels[1]
    labels[5] = labels[4]
    toy = small.with_samples(captions=tuple(captions), labels=labels)
    found = conflicting_labels(Subject(toy.cache, toy.samples), "text")
    assert (found.count, found.looked_at, len(found.rows)) == (2, 3, 4)
    assert [row_of(found, n)["which"] for n in range(4)] == ["dog | cat", "dog | cat", "cat", "cat"]
    assert [row_of(found, n)["id"] for n in range(4)] == list(toy.ids[:4])
    assert conflicting_labels(Subject(toy.cache, toy.samples), "image").count == 0


def test_rare_labels(small):
    labels, split = small.samples.labels.copy(), small.split()
    labels[:, 0] = False
    labels[place(small.samples, split.roles["train"][0]), 0] = True
    labels[:, 1] = True
    toy = small.with_samples(labels=labels)
    found = rare_labels(Subject(toy.cache, toy.samples, split))
    assert [row_of(found, n)["label"] for n in range(found.count)] == ["dog", "cat"]
    assert row_of(found)["why"] == "1 training rows have it; no validation row has it; no test row has it"
    assert row_of(found)["train"] == 1 and row_of(found, 1)["why"] == "only 0 training rows lack it"
    assert rare_labels(Subject(toy.cache, replace(toy.samples, labels=None, label_names=()))).skipped


def test_missing_parts(small):
    labels, captions, digests = (
        small.samples.labels.copy(),
        list(small.samples.captions),
        small.samples.image_digests.copy(),
    )
    labels[:] = True
    labels[4], captions[5], digests[6] = False, None, 0
    entries = [
        {"part": "image", "reason": "truncated", "file": "train.csv", "line": 8, "id": small.ids[6]},
        {"part": "row", "reason": "no id", "file": "train.csv", "line": 99, "id": None},
        {"part": "text", "note": "truncated", "rows": 3, "encoder": None},
    ]
    toy = small.with_samples(labels=labels, captions=tuple(captions), image_digests=digests)
    toy.cache.ledger.write_text("\n".join(map(json.dumps, entries)) + "\nno json\n", encoding="utf-8")
    found = missing_parts(Subject(toy.cache, toy.samples))
    parts = [(row_of(found, n)["missing"], row_of(found, n)["id"], row_of(found, n)["why"]) for n in range(3)]
    assert parts == [
        ("picture", toy.ids[6], "truncated"),
        ("caption", toy.ids[5], "there is none"),
        ("label", toy.ids[4], "it has none"),
    ]
    assert found.count == 3 and "1 rows left out of the tables" in found.detail


def test_odd_sizes(small, tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    sizes = {0: (200, 150), 1: (40, 200), 2: (900, 120), 3: (120, 100)}
    for row, size in sizes.items():
        Image.new("RGB", size).save(folder / f"{row}.png")
    (folder / "4.png").write_bytes(b"no picture")
    source = open_images(folder)
    images = tuple(ImageRef(source, f"{row}.png") if row < 5 else None for row in range(60))
    layout = TableLayout("csv", ("id",), "id", None, None, None, None)
    origins = Origins.of_file(folder / "train.csv", range(60))
    dataset = Dataset(small.ids, images, small.samples.captions, None, (), origins, layout)
    found = odd_pictures(Subject(small.cache, small.samples, dataset=dataset))
    assert (found.count, found.looked_at) == (2, 5)
    assert [row_of(found, n)["id"] for n in range(2)] == [small.ids[1], small.ids[2]]
    assert row_of(found)["why"] == "a side below 64; 5.0 times as long as wide"
    assert "not known here" in odd_pictures(Subject(small.cache, small.samples)).skipped

    captions = [f"a sentence of about so many words, number {n}" for n in range(60)]
    captions[8], captions[9] = "x", "word " * 300
    toy = small.with_samples(captions=tuple(captions))
    found = odd_captions(Subject(toy.cache, toy.samples))
    assert [(row_of(found, n)["id"], row_of(found, n)["why"]) for n in range(2)] == [
        (toy.ids[8], "very short"),
        (toy.ids[9], "very long"),
    ]
    assert found.count == 2
    assert far_from_usual(np.array([10, 10, 10])).tolist() == [0, 0, 0]
    assert far_from_usual(np.array([50, 100, 200])).tolist() == pytest.approx([-0.6745, 0, 0.6745], abs=1e-3)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_findings_as_json(small, modality):
    found = conflicting_labels(Subject(small.cache, small.samples), modality).to_dict()
    assert json.loads(json.dumps(found)) == found and found["rows"] == [] and found["unit"] == "groups"
