import json
from dataclasses import replace

import pytest

from clipfuse.cache_info import describe_cache
from clipfuse.errors import CacheCorrupt, CacheMissing, DataError
from clipfuse.select_streams import check_inputs
from clipfuse.stream_tables import StreamTables
from clipfuse_cache import FeatureCache, RowsMissing
from clipfuse_cache.fingerprint import fingerprint


@pytest.fixture
def small(tmp_path, build_toy):
    return build_toy(tmp_path / "cache", rows=50, without={"image": 0.2, "text": 0.1})


def test_everything_is_told(small):
    small.split()
    about = describe_cache(small.cache)
    assert json.loads(json.dumps(about, allow_nan=False)) == about
    lacking = {
        "picture": int((~small.samples.image_digests.any(1)).sum()),
        "caption": sum(caption is None for caption in small.samples.captions),
    }
    samples = about["samples"]
    assert (samples["rows"], samples["labels"], samples["tables"]) == (50, 4, ["train.csv"])
    assert (samples["without_picture"], samples["without_caption"]) == (lacking["picture"], lacking["caption"])
    assert min(lacking.values()) > 0
    image, text = about["tables"]
    assert (image["name"], image["dim"], image["tokens"], image["dtype"]) == ("toy/image/pooled", 10, 1, "float16")
    assert (image["rows"], image["valid"], text["valid"]) == (50, 50 - lacking["picture"], 50 - lacking["caption"])
    assert image["failed"] == 0 and image["state"] == "complete" and image["bytes"] > 0
    (split,) = about["splits"]
    assert (split["train"], split["validation"], split["test"]) == (35, 5, 10)
    assert about["unfinished"] == []


def test_a_table_of_other_captions_is_behind(small):
    changed = small.with_samples(captions=("new", *small.samples.captions[1:]))
    states = {table["name"]: table["state"] for table in describe_cache(changed.cache)["tables"]}
    assert states["toy/image/pooled"] == "complete"
    assert states["toy/text/pooled"].startswith("behind")
    assert "clipfuse extract" in states["toy/text/pooled"]


@pytest.mark.parametrize(
    ("output", "view", "backend", "command"),
    [
        ("pooled", "@flip", "toy", "clipfuse extract with its view, flip"),
        ("tokens-4", "", "toy", "clipfuse extract with --tokens 4"),
        ("tokens-4", "@crop-1", "toy", "clipfuse extract with its view, crop-1, and --tokens 4"),
        ("imported", "", "imported", "clipfuse cache import again"),
    ],
)
def test_a_table_that_is_behind_says_what_makes_it_again(small, output, view, backend, command):
    """clipfuse extract alone would leave it behind, and info would say the same again."""
    first = small.cache.tables()[0]
    encoder = {**first.description.encoder, "output": output, "view": view, "backend": backend}
    about = replace(
        first.description, name=f"toy/image/{output}{view}", encoder=encoder, fingerprint=fingerprint(encoder)
    )
    writer = small.cache.writer(about, small.ids, small.samples.input_digests("image"), shard_rows=50, batch_size=50)
    writer.begin()
    writer.write(0, next(first.shards()))
    table = writer.commit()
    digests = small.samples.image_digests.copy()
    digests[0] += 1
    changed = small.with_samples(image_digests=digests)
    states = {found["name"]: found["state"] for found in describe_cache(changed.cache)["tables"]}
    assert states[about.name] == f"behind: run {command}"
    with pytest.raises(RowsMissing, match=rf"1 of 1 rows .* 'new'. Run {command} (on|with)"):
        table.take(["new"])
    with pytest.raises(DataError, match=rf"Run {command.removesuffix(' again')} again"):
        check_inputs(StreamTables({"image": table}), changed.samples)
    with pytest.raises(RowsMissing, match=rf"the first is 'new'. Run {command} (on|with)"):
        check_inputs(StreamTables({"image": table}), small.with_samples(ids=("new", *small.ids[1:])).samples)


def test_unfinished_work_is_named(small):
    about = small.cache.tables()[0].description
    encoder = {**about.encoder, "view": "flipped"}
    other = replace(about, encoder=encoder, fingerprint=fingerprint(encoder))
    writer = small.cache.writer(other, small.ids, small.samples.input_digests("image"), shard_rows=20, batch_size=10)
    writer.begin()
    assert describe_cache(small.cache)["unfinished"] == [other.key]


def test_no_cache(tmp_path):
    with pytest.raises(CacheMissing, match=r"is not a feature cache.*clipfuse extract"):
        describe_cache(FeatureCache(tmp_path))


def test_a_damaged_cache(small):
    path = small.cache.root / "samples.h5"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CacheCorrupt, match=r"samples\.h5"):
        describe_cache(small.cache)


def test_unlabelled_samples(small):
    bare = small.with_samples(labels=None, label_names=())
    about = describe_cache(bare.cache)
    assert about["samples"]["labels"] == 0 and about["samples"]["label_names"] == []


def test_a_damaged_table_is_shown_as_damaged_and_hides_no_other(small):
    image, text = small.cache.tables()
    path = image.folder / "shard-000000.h5"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    one, other = describe_cache(small.cache)["tables"]
    assert one["state"] == "damaged: run clipfuse cache verify"
    assert (one["name"], one["dim"], one["rows"], one["valid"]) == ("toy/image/pooled", 10, None, None)
    assert one["bytes"] == path.stat().st_size
    assert other["state"] == "complete" and one.keys() == other.keys()
    (text.folder / "manifest.json").write_bytes(b"{}")
    (image.folder / "plan.json").write_bytes(b"{}")
    about = describe_cache(small.cache)
    assert json.loads(json.dumps(about, allow_nan=False)) == about
    assert [table["name"] for table in about["tables"]] == ["toy/image/pooled", text.folder.name]
    assert {table["state"] for table in about["tables"]} == {"damaged: run clipfuse cache verify"}
    assert about["tables"][1]["fingerprint"] is None


def test_notes_are_counted(small):
    about = small.cache.tables()[1].description
    encoder = {**about.encoder, "view": "noted"}
    noted = replace(about, name="noted/text/pooled", encoder=encoder, fingerprint=fingerprint(encoder))
    digests = small.samples.input_digests("text")
    writer = small.cache.writer(noted, small.ids, digests, shard_rows=50, batch_size=50)
    writer.begin()
    shard = next(small.cache.tables()[1].shards())
    writer.write(0, replace(shard, notes={"truncated": (0, 3, 7)}))
    writer.commit()
    (found,) = [table for table in describe_cache(small.cache)["tables"] if table["name"] == noted.name]
    assert found["notes"] == {"truncated": 3}
