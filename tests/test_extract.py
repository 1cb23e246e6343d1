"""Stage one with a fake encoder: what is encoded when, what is masked, and that nothing interrupts its bytes.

Kills and full disks: tests/faults.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest

from clipfuse.encoders import find_encoder
from clipfuse.errors import CacheError, ConfigError, DataError, EncoderError
from clipfuse.extract import ExtractOptions, extract
from clipfuse.machine import compared_machine
from clipfuse.testing import FakeFactory, MemoryImages, fake_dataset, load_encoders, small_png
from clipfuse_cache import FeatureCache
from clipfuse_cache.faults import armed
from clipfuse_cache.times import TIMES

SMALL = ExtractOptions(shard_rows=8, batch_size=3, threads=2)
BOTH = ("projected", "pooled")


def names(rows):
    return [f"p{row}" for row in range(rows)]


def make(rows=20):
    images = MemoryImages({name: small_png(row) for row, name in enumerate(names(rows))})
    return images, fake_dataset(images, {name: f"caption of {name}" for name in names(rows)})


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def files(cache):
    """All but how long it took, which is another figure each time."""
    paths = [path for path in cache.root.rglob("*") if path.is_file() and path.name != TIMES]
    return {str(path.relative_to(cache.root)): path.read_bytes() for path in paths}


def by_name(report):
    return {one.table.description.name: one for one in report.tables}


def features(table, ids):
    found = table.take(ids)
    return found.values[:, 0], found.valid


def direct(factory, dataset, modality="image", output="projected"):
    """The features of every row, one by one, straight from the encoder."""
    from clipfuse.data.pictures import decode_picture

    (encoder,) = load_encoders(replace(factory, refuses=lambda _: False), [modality])
    rows = []
    for picture, caption in zip(dataset.images, dataset.captions, strict=True):
        item = caption if modality == "text" else decode_picture(picture.read()).image
        rows.append(encoder.encode(encoder.collate([encoder.prepare(item)]))[output][0, 0].numpy())
    return np.stack(rows).astype(np.float16)


def test_every_row_gets_its_own_features(cache):
    _, dataset = make()
    factory = FakeFactory(outputs=BOTH)
    report = extract([factory], dataset, cache, SMALL)
    assert list(by_name(report)) == [f"fake/{kind}/{output}" for kind in ("image", "text") for output in BOTH]
    for (_, modality, output), one in ((name.split("/"), one) for name, one in by_name(report).items()):
        assert (one.rows, one.encoded, one.failed, one.stale, one.damaged) == (20, 20, 0, (), ())
        values, valid = features(one.table, dataset.ids[::-1])
        assert valid.all()
        assert np.array_equal(values[::-1], direct(factory, dataset, modality, output))
    assert report.ledger == ()
    assert cache.samples().ids == dataset.ids
    assert cache.unfinished() == []
    assert factory.loads == 1


def test_a_second_run_loads_no_weights_and_reads_no_pictures(cache):
    images, dataset = make()
    extract([FakeFactory()], dataset, cache, SMALL)
    before, read = files(cache), len(images.reads)
    again = FakeFactory()
    report = extract([again], dataset, cache, SMALL)
    assert again.loads == 0
    assert len(images.reads) == read
    assert [one.encoded for one in report.tables] == [0, 0]
    assert [one.rows for one in report.tables] == [20, 20]
    assert files(cache) == before


def test_one_more_encoder_loads_only_itself(cache):
    _, dataset = make()
    first, second = FakeFactory(), FakeFactory("other")
    extract([first], dataset, cache, SMALL)
    report = extract([first, second], dataset, cache, SMALL)
    assert (first.loads, second.loads) == (1, 1)
    assert {name: one.encoded for name, one in by_name(report).items()} == {
        "fake/image/projected": 0,
        "fake/text/projected": 0,
        "other/image/projected": 20,
        "other/text/projected": 20,
    }


def test_encoders_share_one_pass_of_reading_and_decoding(cache):
    images, dataset = make()
    factories = [FakeFactory(name) for name in ("one", "two", "three")]
    extract(factories, dataset, cache, SMALL)
    assert sorted(images.reads) == sorted(2 * names(20))  # once for its digest, once for its pixels
    seen = [[id(item) for item in factory.prepared if not isinstance(item, str)] for factory in factories]
    assert seen[0] and set(seen[0]) == set(seen[1]) == set(seen[2])


def test_encoders_do_not_depend_on_the_others_that_share_their_pass(tmp_path):
    """One refuses pictures, one gives NaN: the third is none the wiser, and neither are they themselves."""
    images, dataset = make()
    images.files["p7"] = b"no picture"
    strange = {"one": 3, "two": 11}

    def factories():
        one = FakeFactory("one", batch_effect=0.1, refuses=lambda item: item == f"caption of p{strange['one']}")
        two = FakeFactory("two", batch_effect=0.1, not_finite=lambda item: item == f"caption of p{strange['two']}")
        return [one, two, FakeFactory("three", batch_effect=0.1)]

    together = extract(factories(), dataset, FeatureCache(tmp_path / "together"), SMALL)
    for number, name in enumerate(("one", "two", "three")):
        alone = extract([factories()[number]], dataset, FeatureCache(tmp_path / name), SMALL)
        for table, one in by_name(alone).items():
            other = by_name(together)[table]
            assert [entry.sha256 for entry in one.table.manifest.shards] == [
                entry.sha256 for entry in other.table.manifest.shards
            ]
            assert one.failed == other.failed
    assert {name: one.failed for name, one in by_name(together).items() if name.endswith("text/projected")} == {
        "one/text/projected": 1,
        "two/text/projected": 1,
        "three/text/projected": 0,
    }
    said = [str(entry) for entry in together.ledger]
    assert said == [
        "table.csv:5 (p3): text: one: can't be prepared (refused)",
        "table.csv:9 (p7): image: not a picture of a known format",
        "table.csv:13 (p11): text: two: its features are not finite",
    ]


def test_an_encoder_under_two_names_is_one_encoder(cache):
    _, dataset = make(6)
    twin = FakeFactory()
    twin.specs = tuple(replace(spec, name="twin") for spec in twin.specs)
    report = extract([FakeFactory(), twin], dataset, cache, SMALL)
    assert list(by_name(report)) == ["fake/image/projected", "fake/text/projected"]
    assert twin.loads == 0
    assert len(cache.tables()) == 2


def test_equal_inputs_are_encoded_once_in_a_shard(cache):
    images, dataset = make()
    for row in range(1, 8):
        images.files[f"p{row}"] = images.files["p0"]
    dataset = replace(dataset, captions=("same",) * 20)
    factory = FakeFactory()
    report = extract([factory], dataset, cache, SMALL)
    assert factory.encoded == (1 + 12) + 3  # pictures: one shard of equal ones; captions: one for each of three shards
    values, valid = features(by_name(report)["fake/image/projected"].table, dataset.ids)
    assert valid.all()
    assert np.array_equal(values, direct(factory, dataset))


def test_failures_are_masked_and_named_and_the_rest_keeps_its_place(cache):
    images, dataset = make()
    images.files |= {"p0": b"", "p9": b"no picture", "p19": small_png(19)[:40]}
    report = extract([FakeFactory()], dataset, cache, SMALL)
    one = by_name(report)["fake/image/projected"]
    values, valid = features(one.table, dataset.ids)
    bad = np.array([name in {"p0", "p9", "p19"} for name in dataset.ids])
    assert np.array_equal(valid, ~bad)
    assert (values[bad] == 0).all()
    images.files |= {name: small_png(0) for name in ("p0", "p9", "p19")}
    assert np.array_equal(values[~bad], direct(FakeFactory(), dataset)[~bad])
    assert one.failed == 3
    assert [(entry.id, entry.part, entry.line) for entry in report.ledger] == [
        ("p0", "image", 2),
        ("p9", "image", 11),
        ("p19", "image", 21),
    ]
    assert [entry.reason for entry in report.ledger][:2] == ["the file is empty", "not a picture of a known format"]
    assert by_name(report)["fake/text/projected"].failed == 0


def test_failures_are_told_again_by_a_run_with_nothing_to_do(cache):
    images, dataset = make()
    images.files["p9"] = b"no picture"
    first = extract([FakeFactory()], dataset, cache, SMALL)
    second = extract([FakeFactory()], dataset, cache, SMALL)
    assert first.ledger == second.ledger != ()
    assert [one.failed for one in second.tables] == [1, 0]


def test_a_shard_in_which_everything_failed(cache):
    images, dataset = make()
    images.files |= {f"p{row}": b"no picture" for row in range(8)}
    report = extract([FakeFactory()], dataset, cache, SMALL)
    _, valid = features(report.tables[0].table, dataset.ids)
    assert valid.tolist() == [False] * 8 + [True] * 12


def test_not_a_number_is_masked_and_named(cache):
    _, dataset = make()
    factory = FakeFactory(outputs=BOTH, not_finite=lambda item: item == "caption of p5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = extract([factory], dataset, cache, SMALL)
    for output in BOTH:
        values, valid = features(by_name(report)[f"fake/text/{output}"].table, dataset.ids)
        assert [name for name, there in zip(dataset.ids, valid, strict=True) if not there] == ["p5"]
        assert np.isfinite(values).all()
    assert [str(entry) for entry in report.ledger] == ["table.csv:7 (p5): text: its features are not finite"]


def test_values_beyond_float16_end_the_run_and_name_the_way_out(cache):
    _, dataset = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EncoderError, match=r"fake/image/projected gave values up to .*--storage float32"):
            extract([FakeFactory(scale=1e6)], dataset, cache, SMALL)
    report = extract([FakeFactory(scale=1e6)], dataset, cache, replace(SMALL, storage="float32"))
    values, valid = features(report.tables[0].table, dataset.ids)
    assert values.dtype == np.float32 and np.abs(values).max() > 65504 and valid.all()


def test_float32_is_another_table(cache):
    _, dataset = make(4)
    extract([FakeFactory()], dataset, cache, SMALL)
    extract([FakeFactory()], dataset, cache, replace(SMALL, storage="float32"))
    assert sorted(table.description.dtype for table in cache.tables()) == ["float16", "float16", "float32", "float32"]


def test_missing_inputs_are_masked_and_are_no_failures(cache):
    images, dataset = make()
    del images.files["p4"]
    captions = {name: None if name in ("p2", "p4") else f"caption of {name}" for name in dataset.ids}
    dataset = fake_dataset(images, captions)
    report = extract([FakeFactory()], dataset, cache, SMALL)
    found = {name: features(one.table, dataset.ids)[1] for name, one in by_name(report).items()}
    assert np.flatnonzero(~found["fake/image/projected"]).tolist() == [4]
    assert np.flatnonzero(~found["fake/text/projected"]).tolist() == [2, 4]
    assert [one.failed for one in report.tables] == [0, 0]
    assert report.ledger == ()


def test_a_table_without_pictures_asks_nothing_of_image_encoders(cache):
    dataset = fake_dataset(MemoryImages({}), dict.fromkeys(names(3), "words"))
    report = extract([FakeFactory(), FakeFactory("eyes", modalities=("image",))], dataset, cache, SMALL)
    assert list(by_name(report)) == ["fake/text/projected"]
    with pytest.raises(DataError, match="read nothing that the table has"):
        extract([FakeFactory("eyes", modalities=("image",))], dataset, cache, SMALL)


def test_a_grown_table_encodes_only_its_new_rows(cache):
    images, dataset = make(20)
    extract([FakeFactory()], dataset, cache, SMALL)
    images.files |= {f"p{row}": small_png(row) for row in range(20, 25)}
    order = [*names(25)[22:], *names(25)[:22]]
    grown = fake_dataset(images, {name: f"caption of {name}" for name in order})
    factory = FakeFactory()
    report = extract([factory], grown, cache, SMALL)
    assert [(one.rows, one.encoded, one.stale) for one in report.tables] == [(25, 5, ()), (25, 5, ())]
    assert factory.encoded == 10
    assert np.array_equal(features(report.tables[0].table, grown.ids)[0], direct(FakeFactory(), grown))


def test_a_shrunk_table_encodes_nothing(cache):
    images, dataset = make(20)
    extract([FakeFactory()], dataset, cache, SMALL)
    fewer = fake_dataset(images, {name: f"caption of {name}" for name in names(20)[5:9]})
    report = extract([FakeFactory()], fewer, cache, SMALL)
    assert [(one.rows, one.encoded) for one in report.tables] == [(4, 0), (4, 0)]


def test_an_edited_picture_or_caption_is_stale_and_encoded_again(cache):
    images, dataset = make()
    extract([FakeFactory()], dataset, cache, SMALL)
    images.files["p3"] = small_png(777)
    images.times["p3"] = 1
    edited = replace(dataset, captions=("new words", *dataset.captions[1:]))
    factory = FakeFactory()
    report = extract([factory], edited, cache, SMALL)
    assert {name: (one.encoded, one.stale) for name, one in by_name(report).items()} == {
        "fake/image/projected": (1, ("p3",)),
        "fake/text/projected": (1, ("p0",)),
    }
    assert factory.encoded == 2
    assert np.array_equal(features(report.tables[0].table, edited.ids)[0], direct(FakeFactory(), edited))
    assert np.array_equal(features(report.tables[1].table, edited.ids)[0], direct(FakeFactory(), edited, "text"))


def test_a_touched_picture_is_read_again_and_not_encoded(cache):
    images, dataset = make()
    extract([FakeFactory()], dataset, cache, SMALL)
    images.reads.clear()
    images.times["p3"] = 1
    factory = FakeFactory()
    report = extract([factory], dataset, cache, SMALL)
    assert images.reads == ["p3"]
    assert factory.loads == 0
    assert [(one.encoded, one.stale) for one in report.tables] == [(0, ()), (0, ())]


def test_a_mended_picture_is_encoded(cache):
    images, dataset = make()
    images.files["p3"] = b"no picture"
    extract([FakeFactory()], dataset, cache, SMALL)
    images.files["p3"] = small_png(3)
    report = extract([FakeFactory()], dataset, cache, SMALL)
    assert report.ledger == ()
    assert report.tables[0].stale == ("p3",)
    assert features(report.tables[0].table, dataset.ids)[1].all()


def test_a_picture_that_never_could_be_read_is_masked_and_tried_again(cache):
    images, dataset = make()
    images.unreadable = {"p3"}
    report = extract([FakeFactory()], dataset, cache, SMALL)
    assert [str(entry) for entry in report.ledger] == ["table.csv:5 (p3): image: can't be read (Input/output error)"]
    assert np.flatnonzero(~features(report.tables[0].table, dataset.ids)[1]).tolist() == [3]
    images.unreadable = set()
    report = extract([FakeFactory()], dataset, cache, SMALL)
    assert report.ledger == ()
    assert [one.encoded for one in report.tables] == [1, 0]
    assert features(report.tables[0].table, dataset.ids)[1].all()


def test_a_disk_that_goes_away_in_the_middle_ends_the_run_and_masks_nothing(cache):
    images, dataset = make()

    def progress(what, _done, _total):
        if what.startswith("loading"):
            images.unreadable = {"p13"}

    with pytest.raises(DataError, match=r"p13.*could be read before.*finished shards are kept"):
        extract([FakeFactory()], dataset, cache, SMALL, progress)
    images.unreadable = set()
    report = extract([FakeFactory()], dataset, cache, SMALL)
    assert report.ledger == ()
    assert features(report.tables[0].table, dataset.ids)[1].all()


def plain_run(root, factory=None, rows=40, options=SMALL):
    cache = FeatureCache(root)
    extract([factory or FakeFactory(outputs=BOTH, batch_effect=0.1)], make(rows)[1], cache, options)
    return cache


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What an uninterrupted run leaves."""
    return files(plain_run(tmp_path_factory.mktemp("reference")))


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_threads_do_not_change_bytes(threads, tmp_path, reference):
    assert files(plain_run(tmp_path, options=replace(SMALL, threads=threads))) == reference


def test_batches_do_change_them_and_so_are_kept_in_the_plan(tmp_path, reference):
    """This is what makes the other tests of bytes worth something."""
    assert files(plain_run(tmp_path, options=replace(SMALL, batch_size=4))) != reference


@pytest.mark.parametrize(("what", "stop_at"), [("pictures", 1), ("pictures", 4), ("pictures", 15), ("captions", 4)])
def test_an_interrupt_leaves_no_thread_and_a_state_to_go_on_from(what, stop_at, cache, reference):
    _, dataset = make(40)
    calls = []

    def progress(label, _done, _total):
        calls.append(label)
        if label == f"fake, {what}" and calls.count(label) == stop_at:
            raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        extract([FakeFactory(outputs=BOTH, batch_effect=0.1)], dataset, cache, SMALL, progress)
    assert set(threading.enumerate()) <= before
    assert cache.unfinished()
    assert {name: data for name, data in files(cache).items() if "shard" in name}.items() <= reference.items()
    # other options now: what was begun goes on with those that it was begun with
    options = ExtractOptions(shard_rows=5, threads=1)
    extract([FakeFactory(outputs=BOTH, batch_effect=0.1)], dataset, cache, options)
    begun = ("image", "text") if what == "captions" else ("image",)
    assert {name: data for name, data in files(cache).items() if any(one in name for one in begun)} == {
        name: data for name, data in reference.items() if any(one in name for one in begun)
    }


def test_finished_shards_are_not_encoded_again(cache):
    _, dataset = make(40)
    factory = FakeFactory(modalities=("image",))

    def progress(what, done, _total):
        if "fake" in what and done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract([factory], dataset, cache, SMALL, progress)
    again = FakeFactory(modalities=("image",))
    extract([again], dataset, cache, SMALL)
    assert again.encoded == 40 - 24  # three shards of eight were whole


def test_an_interrupt_while_pictures_are_read_stops_the_reading(cache):
    images, dataset = make(400)

    def progress(what, done, _total):
        if what == "reading pictures" and done == 1:
            raise KeyboardInterrupt

    slow, event = images.read, threading.Event()
    images.read = lambda key: (event.wait(0.002), slow(key))[1]
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        extract([FakeFactory()], dataset, cache, SMALL, progress)
    assert set(threading.enumerate()) <= before
    assert len(images.reads) < 400
    assert not cache.root.exists()


@pytest.mark.parametrize("output", BOTH)
def test_a_lost_table_of_one_output_is_made_again_alone(output, cache):
    import shutil

    _, dataset = make(40)
    factory = FakeFactory(outputs=BOTH, batch_effect=0.1)
    first = by_name(extract([factory], dataset, cache, SMALL))
    before = files(cache)
    shutil.rmtree(first[f"fake/image/{output}"].table.folder)
    report = extract([factory], dataset, cache, SMALL)
    assert {name: one.encoded for name, one in by_name(report).items() if one.encoded} == {f"fake/image/{output}": 40}
    assert files(cache) == before


@pytest.mark.parametrize("output", BOTH)
def test_a_damaged_shard_of_one_output_is_made_again(output, cache):
    _, dataset = make(40)
    factory = FakeFactory(outputs=BOTH)
    first = by_name(extract([factory], dataset, cache, SMALL))
    folder = first[f"fake/image/{output}"].table.folder
    (folder / "shard-000002.h5").write_bytes(b"damaged")
    one = by_name(extract([factory], dataset, cache, SMALL))[f"fake/image/{output}"]
    assert one.damaged == ("shard-000002.h5",)
    assert one.encoded == 8
    assert np.array_equal(features(one.table, dataset.ids)[0], direct(factory, dataset, output=output))


class Breaks(FakeFactory):
    """Raises after 20 rows."""

    error = RuntimeError("a kernel is broken")

    def load(self, device, specs, *, compiled=False):
        encoders = super().load(device, specs, compiled=compiled)
        encode = encoders[0].encode

        def until(batch):
            if self.encoded > 20:
                raise self.error
            return encode(batch)

        encoders[0].encode = until
        return encoders


def test_a_plan_that_a_kill_right_after_the_manifest_left_goes(cache):
    _, dataset = make(20)
    with armed("folder:manifest.json#1=error"), pytest.raises(CacheError):
        extract([FakeFactory()], dataset, cache, SMALL)
    assert len(list(cache.root.rglob("plan.json"))) == 2
    extract([FakeFactory()], dataset, cache, SMALL)
    assert not list(cache.root.rglob("plan.json"))


def test_work_begun_for_other_rows_is_kept(cache):
    """A table is complete, a grown one is begun, the first one comes back: what was begun is not thrown away."""
    _, dataset = make(20)
    _, grown = make(40)
    extract([FakeFactory()], dataset, cache, SMALL)
    with armed("temporary:shard-000005.h5=error"), pytest.raises(CacheError):
        extract([FakeFactory()], grown, cache, SMALL)
    begun = files(cache)
    assert any(name.endswith("shard-000004.h5") for name in begun)
    again = FakeFactory()
    extract([again], dataset, cache, SMALL)
    assert again.loads == 0
    assert files(cache).keys() == begun.keys()


def test_an_encoder_that_breaks_ends_the_run_and_not_its_shards(cache):
    _, dataset = make(40)
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="a kernel is broken"):
        extract([Breaks()], dataset, cache, SMALL)
    assert set(threading.enumerate()) <= before
    again = FakeFactory(modalities=("image",))
    extract([again], dataset, cache, SMALL)
    assert again.encoded < 40


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried"), MemoryError()])
def test_out_of_memory_says_what_to_change_and_can_be_gone_on_from(error, cache, monkeypatch):
    monkeypatch.setattr(Breaks, "error", error)
    _, dataset = make(40)
    with pytest.raises(EncoderError, match=r"memory ran out while encoding with fake.*--batch-size 1, or fewer"):
        extract([Breaks()], dataset, cache, SMALL)
    kept = {name: data for name, data in files(cache).items() if "shard-" in name}
    assert kept
    again = FakeFactory(modalities=("image",))
    report = extract([again], dataset, cache, replace(SMALL, batch_size=1))
    assert again.encoded == 40 - 8 * len(kept)
    assert kept.items() <= files(cache).items()
    table = report.tables[0].table
    assert np.array_equal(features(table, dataset.ids)[0], direct(FakeFactory(), dataset))


def test_an_error_in_the_writing_thread_surfaces(cache, monkeypatch):
    import clipfuse_cache.writer

    whole = clipfuse_cache.writer.write_bytes

    def refuse(path, data):
        if path.name == "shard-000001.h5":
            raise CacheError(f"can't write {path}: read-only file system")
        whole(path, data)

    _, dataset = make(40)
    monkeypatch.setattr(clipfuse_cache.writer, "write_bytes", refuse)
    with pytest.raises(CacheError, match="read-only"):
        extract([FakeFactory()], dataset, cache, SMALL)
    monkeypatch.undo()
    extract([FakeFactory()], dataset, cache, SMALL)
    assert len(cache.tables()) == 2 and not cache.unfinished()


def test_a_cache_knows_what_made_it(cache):
    _, dataset = make(3)
    extract([FakeFactory()], dataset, cache, SMALL)
    about = cache.tables()[0].description
    assert about.encoder["backend"] == "fake"
    assert about.provenance["device"] == "cpu"
    assert "torch" in about.provenance["libraries"]


def test_every_shard_says_what_it_took_however_often_it_was_interrupted(cache):
    _, dataset = make(20)
    for point in ("temporary:shard-000001.h5#1=error", f"append:{TIMES}#4=error"):
        with armed(point), pytest.raises(CacheError):
            extract([FakeFactory()], dataset, cache, SMALL)
    extract([FakeFactory()], dataset, cache, SMALL)
    for table in cache.tables():
        assert [one.rows for one in table.times()] == [8, 8, 4]
        assert all(one.seconds > 0 and one.machine == compared_machine("cpu") for one in table.times())


def test_encoders_that_share_a_pass_share_its_seconds(cache):
    _, dataset = make(20)
    slow, quick = FakeFactory("slow", modalities=("image",), delay=0.02), FakeFactory("quick", outputs=BOTH)
    report = extract([slow, quick], dataset, cache, SMALL)
    seconds = {name: sum(one.seconds for one in made.table.times()) for name, made in by_name(report).items()}
    assert seconds["slow/image/projected"] > seconds["quick/image/projected"] > 0
    assert seconds["quick/image/projected"] == seconds["quick/image/pooled"]  # one forward pass gave both
    assert seconds["slow/image/projected"] + seconds["quick/image/pooled"] <= report.stages["image"].total


def test_mini_from_pictures_to_features(cache):
    """The embedded encoder through the whole of stage one: the same as encoding each row by itself."""
    from clipfuse.data.pictures import decode_picture

    images, dataset = make(5)
    factory = find_encoder("mini")
    report = extract([factory], dataset, cache, SMALL)
    assert len(report.tables) == 4
    assert report.load_seconds > 0 and report.encode_seconds >= report.stages["image"].encoding > 0
    for encoder in load_encoders(factory):
        image = encoder.spec.modality == "image"
        for row, name in enumerate(dataset.ids):
            item = decode_picture(images.files[name]).image if image else dataset.captions[row]
            expected = encoder.encode(encoder.collate([encoder.prepare(item)]))
            for output, values in expected.items():
                found = features(by_name(report)[encoder.spec.table_name(output)].table, [name])[0][0]
                assert np.abs(found - values.numpy()[0, 0]).max() <= 1e-3 * np.abs(values.numpy()).max()


def test_what_was_done_to_inputs_is_counted(cache):
    _, dataset = make(20)
    dataset = replace(dataset, captions=("one two three", "one two", *dataset.captions[2:18], "four five six", None))
    report = extract([FakeFactory(longest=2), FakeFactory(name="other")], dataset, cache, SMALL)
    (note,) = report.notes
    assert str(note) == f"{2 + 16} captions truncated by fake"  # "caption of p5" has three words
    assert not report.ledger
    again = extract([FakeFactory(longest=2)], dataset, cache, SMALL)
    assert again.notes == (note,)
    shorter = replace(dataset, captions=("one two", *dataset.captions[1:]))  # a row is mended
    assert [one.rows for one in extract([FakeFactory(longest=2)], shorter, cache, SMALL).notes] == [17]


def test_a_picture_that_changes_meanwhile_is_not_kept_under_its_old_digest(cache):
    images, dataset = make(20)
    before = images.files["p17"]

    def progress(label, _done, _total):
        if label == "loading fake":
            images.files["p17"] = before[:20]  # somebody is writing it

    with pytest.raises(DataError, match=r"p17 .*has changed since this extraction began"):
        extract([FakeFactory()], dataset, cache, SMALL, progress)
    images.files["p17"] = before
    for one in extract([FakeFactory()], dataset, cache, SMALL).tables:
        assert one.failed == 0 and features(one.table, dataset.ids)[1].all()


def test_no_memory_for_a_picture_is_the_machine_s_trouble(cache, monkeypatch):
    from clipfuse.data import pictures

    def none_left(*_):
        raise MemoryError

    _, dataset = make(20)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "_decode", none_left)
        patch.setattr(pictures, "_memory_left", lambda: False)
        with pytest.raises(
            EncoderError, match=r"memory ran out while preparing pictures.*--batch-size 1, or fewer --thr"
        ):
            extract([FakeFactory()], dataset, cache, SMALL)
        patch.setattr(pictures, "_memory_left", lambda: True)  # then it was what the file claims
        claims = extract([FakeFactory(name="other")], dataset, cache, SMALL)
        assert {one.failed for one in claims.tables} == {20, 0}
    assert {one.failed for one in extract([FakeFactory()], dataset, cache, SMALL).tables} == {0}


def test_no_memory_for_a_batch_says_what_to_change(cache):
    class Large(FakeFactory):
        def load(self, device, specs, *, compiled=False):
            encoders = super().load(device, specs, compiled=compiled)
            for encoder in encoders:
                encoder.collate = self.collate
            return encoders

        def collate(self, _items):
            raise RuntimeError("CUDA error: out of memory")

    with pytest.raises(EncoderError, match="memory ran out while preparing"):
        extract([Large()], make(20)[1], cache, SMALL)


def test_rows_that_an_earlier_run_made_are_not_counted_again(cache):
    _, dataset = make(40)
    with armed("rename:shard-000003.h5=error"), pytest.raises(CacheError):
        extract([FakeFactory()], dataset, cache, SMALL)
    kept = {folder.name: len(list(folder.glob("shard-*.h5"))) for folder in (cache.root / "tables").glob("*/")}
    assert any(kept.values())
    report = extract([FakeFactory()], dataset, cache, SMALL)
    for one in report.tables:
        assert one.encoded == 40 - 8 * kept.get(one.table.folder.name, 0)


def test_a_view_that_no_encoder_can_use_is_refused(cache):
    with pytest.raises(ConfigError, match="view louder changes captions, which none of these encoders reads"):
        extract([FakeFactory(modalities=("image",))], make()[1], cache, replace(SMALL, views=(Louder(),)))


@dataclass(frozen=True)
class Louder:
    """A view of captions, told apart by the digest that seeds it."""

    name: str = "louder"
    modality: str = "text"
    mark: str = "!"

    def settings(self):
        return f"{self.name} {self.mark}"

    def apply(self, item, digest):
        return f"{item.upper()} {digest.hex()}{self.mark}"


def test_a_view_is_a_table_of_its_own(cache):
    _, dataset = make()
    factory = FakeFactory()
    report = extract([factory], dataset, cache, replace(SMALL, views=(Louder(),)))
    assert factory.loads == 1
    tables = by_name(report)
    assert list(tables) == ["fake/image/projected", "fake/text/projected", "fake/text/projected@louder"]
    about = tables["fake/text/projected@louder"].table.description
    assert (about.view, about.encoder_name, about.output) == ("louder", "fake", "projected")
    plain, loud = (features(tables[f"fake/text/projected{end}"].table, dataset.ids)[0] for end in ("", "@louder"))
    assert np.array_equal(plain, direct(FakeFactory(), dataset, "text"))
    digests = cache.samples().input_digests("text")
    captions = [Louder().apply(text, digest) for text, digest in zip(dataset.captions, digests, strict=True)]
    assert np.array_equal(loud, direct(FakeFactory(), replace(dataset, captions=tuple(captions)), "text"))


def test_views_are_added_to_what_is_there_and_told_apart_by_their_settings(cache):
    _, dataset = make()
    extract([FakeFactory()], dataset, cache, SMALL)
    again = FakeFactory()
    extract([again], dataset, cache, replace(SMALL, views=(Louder(),)))
    assert again.encoded == 20
    other = FakeFactory()
    extract([other], dataset, cache, replace(SMALL, views=(Louder(mark="?"),)))
    assert other.encoded == 20 and len(cache.tables()) == 4
