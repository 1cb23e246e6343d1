"""Files of the cache that are something else: the documented errors, and what they say. Damage: tests/faults."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse_cache import CacheCorrupt, CacheError, ClipfuseError, FeatureTable
from clipfuse_cache.fingerprint import fingerprint
from clipfuse_cache.manifest import read_manifest, read_plan
from clipfuse_cache.samples import read_samples


@pytest.fixture
def texts(toy):
    return toy.inputs(12)


def test_what_the_message_says_about_a_damaged_plan_helps(toy, tmp_path, texts):
    toy.extract(tmp_path, texts, stop_after=2)
    (tmp_path / "plan.json").write_bytes(b"{")
    with pytest.raises(CacheCorrupt, match=r"plan.json.*finished shards are kept"):
        toy.extract(tmp_path, texts)
    (tmp_path / "plan.json").unlink()
    assert toy.extract(tmp_path, texts) == list(texts)[8:]


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"format": "clipfuse-table"}', b'{"a": "\\ud800"}'],
    ids=lambda text: str(text[:12]),
)
def test_other_json_is_refused(tmp_path, text):
    for name, read in (("manifest.json", read_manifest), ("plan.json", read_plan)):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(CacheCorrupt, match=name):
            read(tmp_path)


def test_another_version_is_named(toy, tmp_path, texts):
    toy.extract(tmp_path, texts)
    path = tmp_path / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(CacheCorrupt, match=r"version are \('clipfuse-table', 2\), expected \('clipfuse-table', 1\)"):
        read_manifest(tmp_path)


def test_a_folder_in_place_of_a_file_is_a_cache_error(toy, tmp_path, texts):
    toy.extract(tmp_path, texts)
    table = FeatureTable.open(tmp_path)
    for name, read in (
        ("manifest.json", lambda: read_manifest(tmp_path)),
        ("plan.json", lambda: read_plan(tmp_path)),
        ("shard-000000.h5", lambda: table.take(["row-1"])),
        ("samples.h5", lambda: read_samples(tmp_path / "samples.h5")),
    ):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).mkdir()
        with pytest.raises(CacheError, match=f"can't read .*{name}"):
            read()


@pytest.mark.parametrize("notes", [{"truncated": 0}, {"truncated": -1}, {"truncated": True}, {"truncated": "2"}, []])
def test_forged_counts_of_notes_are_refused(toy, tmp_path, texts, notes):
    toy.extract(tmp_path, texts)
    value = json.loads((tmp_path / "manifest.json").read_bytes())
    value["shards"][1]["notes"] = notes
    del value["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps({**value, "sha256": fingerprint(value)}))
    with pytest.raises(CacheCorrupt, match=r"manifest\.json: notes must be"):
        read_manifest(tmp_path)


odd = st.sampled_from(
    [None, True, 0, 1, -1, 2, 7, 10**6, 1.0, "", "float64", "O", "ab" * 32, "../x", [], {}, [{}], {"a": 1}, [None]]
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_forged_manifest_or_plan_gives_right_values_or_a_clipfuse_error(toy, tmp_path_factory, data):
    # as someone would write it by hand: one value changed, the checksum right
    folder = tmp_path_factory.getbasetemp() / "forged"
    texts, name = toy.inputs(12), data.draw(st.sampled_from(["manifest.json", "plan.json"]))
    toy.restore(folder, {})
    toy.extract(folder, texts, stop_after=None if name == "manifest.json" else 2)
    value = json.loads((folder / name).read_bytes())
    del value["sha256"]
    places = [(value, key) for key in value] + [(value["table"], key) for key in value["table"]]
    places += [(entry, key) for entry in value.get("shards", []) for key in entry]
    place, key = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()):
        place[key] = data.draw(odd)
    else:
        del place[key]
    value["sha256"] = fingerprint(value)
    (folder / name).write_text(json.dumps(value))
    try:
        toy.extract(folder, texts)
        found = FeatureTable.open(folder).take(list(texts))
    except ClipfuseError:
        return
    for row, text in enumerate(texts.values()):
        expected, valid = toy.features_of(text, toy.description())
        assert found.valid[row] == valid
        assert (found.values[row] == expected).all()
