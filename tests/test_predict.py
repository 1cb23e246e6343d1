"""New rows to labels, with mini."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from clipfuse import predict as predict_module
from clipfuse.config import TableConfig
from clipfuse.data import load_dataset
from clipfuse.errors import DataError, FingerprintMismatch, UnknownName
from clipfuse.extract import ExtractOptions
from clipfuse.predict import like_training_table, predict
from clipfuse.table_streams import TableStreams
from clipfuse.training.rows_on_disk import read_at
from clipfuse_cache import CacheMissing, FeatureCache, RowsMissing

OPTIONS = ExtractOptions(batch_size=8)


def rows_of(scenes):
    with scenes.table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def is_whole(scenes, row):
    path = scenes.images / row["filename"]
    return path.exists() and path.read_bytes()[-2:] == b"\xff\xd9"


@pytest.fixture
def table(scenes, tmp_path):
    """``table(rows, columns=...)`` -> a CSV of these rows."""

    def write(rows, columns=("filename", "caption", "labels"), name="new.csv"):
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def load(run, table, images, **given):
    return load_dataset(like_training_table(run, table, images, given), run.labels)


def kept(run, ids):
    found = run.predictions()
    place = {name: row for row, name in enumerate(found.ids)}
    return found.probabilities[[place[name] for name in ids]]


@pytest.mark.parametrize("kind", ["sum", "image", "knn"])
def test_pictures_give_what_the_cache_gives(scenes, table, kind):
    run = scenes.runs[kind]
    dataset = load(run, table(rows_of(scenes)[:14]), scenes.images)
    from_pictures = predict(run, dataset, options=OPTIONS)
    from_cache = predict(run, dataset, cache=scenes.cache, options=OPTIONS)
    assert from_pictures.probabilities.shape == (14, len(run.labels))
    np.testing.assert_allclose(from_pictures.probabilities, from_cache.probabilities, atol=1e-3)
    np.testing.assert_allclose(from_cache.probabilities, kept(run, dataset.ids), atol=1e-5)
    assert np.array_equal(from_pictures.chosen, from_pictures.probabilities >= run.thresholds())
    assert np.array_equal(from_pictures.without_input, from_cache.without_input)


@pytest.mark.parametrize("kind", ["sum", "image"])
def test_rows_that_do_not_fit_in_memory_are_predicted_in_blocks(scenes, table, kind, monkeypatch):
    run = scenes.runs[kind]
    rows = rows_of(scenes)
    dataset = load(run, table([*rows[30:44], {"filename": "", "caption": ""}, *rows[3:20]]), scenes.images)
    whole = predict(run, dataset, options=OPTIONS)
    sizes = []

    def read(tables, places, rows):
        sizes.append(rows.stop - rows.start)
        return read_at(tables, places, rows)

    monkeypatch.setattr(predict_module, "read_at", read)
    monkeypatch.setattr(predict_module, "MEMORY", 15_000)
    in_blocks = predict(run, dataset, options=OPTIONS)
    assert len(sizes) > 2 and sum(sizes) == 32
    np.testing.assert_allclose(in_blocks.probabilities, whole.probabilities, atol=1e-6)
    assert np.array_equal(in_blocks.without_input, whole.without_input)


def test_bad_rows_are_in_the_ledger_either_way(scenes, table):
    run = scenes.runs["sum"]
    dataset = load(run, table(rows_of(scenes)), scenes.images)
    ledgers = [
        {(entry.id, entry.part) for entry in predict(run, dataset, cache=cache, options=OPTIONS).ledger}
        for cache in (None, scenes.cache)
    ]
    bad = {(row["filename"], "image") for row in rows_of(scenes) if not is_whole(scenes, row)}
    silent = {(row["filename"], "text") for row in rows_of(scenes) if not row["caption"]}
    assert len(bad) == 5 and len(silent) == 3
    assert ledgers == [bad | silent] * 2


def test_rows_with_nothing_all_get_the_same_prediction(scenes, table):
    rows = [
        {"filename": "nowhere.jpg", "caption": ""},
        {"filename": "", "caption": "a dog on a meadow"},
        {"filename": "nor-here.jpg", "caption": ""},
    ]
    for kind, empty in (("sum", [True, False, True]), ("image", [True, True, True])):
        run = scenes.runs[kind]
        dataset = load(run, table([*rows, rows_of(scenes)[20]], ("filename", "caption")), scenes.images)
        found = predict(run, dataset, options=OPTIONS)
        assert found.without_input.tolist() == [*empty, False]
        np.testing.assert_allclose(found.probabilities[0], found.probabilities[2], atol=1e-6)
        assert np.isfinite(found.probabilities).all()
        reasons = {entry.id: entry.reason for entry in found.ledger if entry.part == "image"}
        assert any("no such picture" in reason for reason in reasons.values())


def test_a_table_without_anything_that_the_run_reads(scenes, table):
    dataset = load(scenes.runs["sum"], table([{"caption": "a dog"}], ("caption",)), None)
    assert predict(scenes.runs["sum"], dataset, options=OPTIONS).probabilities.shape[0] == 1
    with pytest.raises(DataError, match=r"read nothing that the table has.*--images"):
        predict(scenes.runs["image"], dataset, options=OPTIONS)


def test_unknown_labels_are_in_the_ledger(scenes, table):
    row = {**rows_of(scenes)[20], "labels": "dog|unicorn"}
    dataset = load(scenes.runs["sum"], table([row]), scenes.images)
    (entry,) = predict(scenes.runs["sum"], dataset, options=OPTIONS).ledger
    assert (entry.part, entry.reason) == ("labels", "unknown label 'unicorn'")


class TestFromACache:
    def test_a_picture_that_has_changed(self, scenes, table, tmp_path):
        rows = [row for row in rows_of(scenes) if is_whole(scenes, row)][:3]
        for row in rows:
            shutil.copy(scenes.images / row["filename"], tmp_path / row["filename"])
        shutil.copy(scenes.images / rows[1]["filename"], tmp_path / rows[0]["filename"])
        dataset = load(scenes.runs["image"], table(rows), tmp_path)
        with pytest.raises(DataError, match=rf"1 rows of .* other inputs, the first is '{rows[0]['filename']}'"):
            predict(scenes.runs["image"], dataset, cache=scenes.cache, options=OPTIONS)
        predict(scenes.runs["image"], dataset, options=OPTIONS)

    def test_a_caption_that_has_changed(self, scenes, table):
        row = {**rows_of(scenes)[20], "caption": "something else"}
        dataset = load(scenes.runs["sum"], table([row]), scenes.images)
        with pytest.raises(DataError, match=r"1 rows of .*text.* other inputs"):
            predict(scenes.runs["sum"], dataset, cache=scenes.cache, options=OPTIONS)

    def test_rows_that_it_does_not_hold(self, scenes, table):
        row = {**rows_of(scenes)[20], "id": "another"}
        dataset = load(scenes.runs["sum"], table([row], ("id", "filename", "caption")), scenes.images)
        with pytest.raises(RowsMissing, match=r"1 of 1 rows are not in .*'another'"):
            predict(scenes.runs["sum"], dataset, cache=scenes.cache, options=OPTIONS)

    def test_none(self, scenes, table, tmp_path):
        dataset = load(scenes.runs["sum"], table(rows_of(scenes)[:2]), scenes.images)
        with pytest.raises(CacheMissing):
            predict(scenes.runs["sum"], dataset, cache=FeatureCache(tmp_path / "none"), options=OPTIONS)

    def test_features_of_another_encoder(self, scenes, table, toy):
        dataset = load(scenes.runs["sum"], table(rows_of(scenes)[:2]), scenes.images)
        with pytest.raises(CacheMissing, match=r"holds no mini/image/projected.*--encoder mini"):
            predict(scenes.runs["sum"], dataset, cache=toy.cache, options=OPTIONS)


class TestEncoders:
    def copied(self, tmp_path):
        from clipfuse.encoders import ALIASES

        folder = tmp_path / "moved"
        shutil.copytree(ALIASES["mini"].target.removeprefix("clip:local-dir:"), folder)
        return folder

    def test_files_that_have_moved(self, scenes, table, tmp_path):
        dataset = load(scenes.runs["sum"], table(rows_of(scenes)[:4]), scenes.images)
        name = f"clip:local-dir:{self.copied(tmp_path)}"
        found = predict(scenes.runs["sum"], dataset, encoders={"image": name, "text": name}, options=OPTIONS)
        here = predict(scenes.runs["sum"], dataset, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, here.probabilities, atol=1e-6)

    def test_another_setting_names_the_field(self, scenes, table, tmp_path):
        folder = self.copied(tmp_path)
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["preprocess_cfg"]["mean"] = [0.1, 0.2, 0.3]
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        dataset = load(scenes.runs["image"], table(rows_of(scenes)[:4]), scenes.images)
        with pytest.raises(
            FingerprintMismatch, match=r"not the one that .*image was trained on \(preprocessing.*--image-encoder"
        ):
            predict(scenes.runs["image"], dataset, encoders={"image": f"clip:local-dir:{folder}"}, options=OPTIONS)

    def test_an_unknown_one(self, scenes, table):
        dataset = load(scenes.runs["image"], table(rows_of(scenes)[:1]), scenes.images)
        with pytest.raises(UnknownName, match=r"unknown encoder 'minni'.*'mini'"):
            predict(scenes.runs["image"], dataset, encoders={"image": "minni"}, options=OPTIONS)

    def test_streams_that_are_stored_differently(self, scenes, table, tmp_path, settings):
        """Pictures in half precision, captions in single: each is encoded as its own table was."""
        from clipfuse.config import SplitConfig
        from clipfuse.encoders import find_encoder
        from clipfuse.extract import extract
        from clipfuse.splits import find_split
        from clipfuse.train_head import train_head

        class Only:
            def __init__(self, modality):
                self.factory = find_encoder("mini")
                self.specs = tuple(spec for spec in self.factory.specs if spec.modality == modality)

            def load(self, device, specs, *, compiled=False):
                return self.factory.load(device, specs, compiled=compiled)

        cache = FeatureCache(tmp_path / "mixed")
        path = table(rows_of(scenes)[:30])
        dataset = load_dataset(TableConfig(table=path, images=scenes.images))
        extract([Only("image")], dataset, cache, ExtractOptions(storage="float16"))
        extract([Only("text")], dataset, cache, ExtractOptions(storage="float32"))
        samples = cache.samples()
        split = find_split(cache, samples, SplitConfig(), None)
        run = train_head(cache, samples, split, settings("concat", epochs=2), runs=tmp_path / "runs")
        assert [stream.dtype for stream in run.streams.values()] == ["float16", "float32"]
        found = predict(run, dataset, options=OPTIONS)
        np.testing.assert_allclose(found.probabilities, kept(run, dataset.ids), atol=1e-3)
        captions = load(run, table([{"caption": "a dog"}], ("caption",), "captions.csv"), None)
        assert predict(run, captions, options=OPTIONS).probabilities.shape[0] == 1


class TestReadLikeTheTrainingTable:
    def test_columns_of_the_training_table_win(self, scenes, table):
        path = table([{"filename": "a.jpg", "caption": "x", "text": "y"}], ("text", "filename", "caption"))
        config = like_training_table(scenes.runs["sum"], path, None, {})
        assert (config.image_column, config.caption_column) == ("filename", "caption")
        assert config.label_column is None
        given = like_training_table(scenes.runs["sum"], path, None, {"caption_column": "text"})
        assert given.caption_column == "text"

    def test_labels_are_split_as_they_were(self, scenes, table):
        config = like_training_table(scenes.runs["sum"], table(rows_of(scenes)[:2]), None, {})
        assert (config.label_column, config.separator) == ("labels", "|")

    def test_columns_of_numbers_are_read_again_where_they_are(self, scenes, table):
        run = scenes.runs["sum"]
        run = replace(run, own=TableStreams(("likes", "age")))
        config = like_training_table(run, table([{"caption": "x", "age": "3"}], ("caption", "age")), None, {})
        assert config.number_columns == ("age",)
        config = like_training_table(run, table([{"caption": "x"}], ("caption",)), None, {})
        assert config.number_columns is None

    def test_other_names_are_found(self, scenes, table):
        path = table([{"image": "a.jpg", "text": "a dog"}], ("image", "text"))
        dataset = load(scenes.runs["sum"], path, scenes.images)
        assert dataset.captions == ("a dog",)
