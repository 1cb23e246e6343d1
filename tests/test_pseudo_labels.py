"""Training on rows without labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_two import same_predictions, small

from clipfuse import pseudo_labels as module
from clipfuse.errors import CacheMissing, DataError, FingerprintMismatch
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import load_rows
from clipfuse.pseudo_labels import pseudo_labels, read_unlabelled, train_in_rounds
from clipfuse.select_streams import select_streams
from clipfuse.train_config import PseudoLabelConfig
from clipfuse.train_head import train_head
from clipfuse.train_jobs import Job

pytestmark = pytest.mark.usefixtures("_quick_intervals")


@pytest.fixture(scope="module")
def labelled(build_toy, tmp_path_factory):
    """Few labelled rows of a noisy problem; the rows of ``pool`` are of the same one."""
    return build_toy(tmp_path_factory.mktemp("labelled") / "cache", rows=120, seed=3)


@pytest.fixture(scope="module")
def pool(labelled, build_toy, tmp_path_factory):
    """Unlabelled rows: 100 whose inputs are new, 12 with a picture and 8 with a caption of a labelled row."""
    made = build_toy(tmp_path_factory.mktemp("pool") / "cache", rows=120, seed=4, prefix="pool")
    split, samples = labelled.split(), made.samples
    rows = labelled.samples.rows([*split.roles["test"][:6], *split.roles["validation"][:6]])
    digests, captions = samples.image_digests.copy(), [f"new {text}" for text in samples.captions]
    digests[:12] = labelled.samples.image_digests[rows]
    said = labelled.samples.rows([*split.roles["test"][6:10], *split.roles["train"][:4]])
    captions[12:20] = [labelled.samples.captions[row].upper() + " " for row in said]
    return made, replace(samples, image_digests=digests, captions=tuple(captions), labels=None, label_names=())


class Cache:
    """The pool's features with other inputs told of its rows."""

    def __init__(self, made, samples):
        self.root, self._made, self._samples = made.cache.root, made, samples

    def samples(self):
        return self._samples

    def table(self, about):
        return self._made.cache.table(about)


@pytest.fixture
def unlabelled(pool, monkeypatch):
    monkeypatch.setattr(module, "check_inputs", lambda tables, samples: None)  # the features are those of other inputs
    return Cache(*pool)


def test_targets_from_probabilities():
    said = np.array([[0.95, 0.05], [0.6, 0.5], [0.9, 0.1]])
    targets, sure = pseudo_labels(said, PseudoLabelConfig(select="threshold"))
    assert sure.tolist() == [[True, True], [False, False], [True, True]]
    np.testing.assert_allclose(targets, [[1, 0], [0.6, 0.5], [1, 0]], atol=1e-6)
    half, _ = pseudo_labels(said, PseudoLabelConfig(select="threshold", weight=0.5))
    np.testing.assert_allclose(half[0], [0.975, 0.025], atol=1e-6)


def test_the_surest_share_of_each_label_and_side():
    said = np.array([[0.9, 0.4], [0.8, 0.3], [0.7, 0.2], [0.6, 0.1], [0.2, 0.9]])
    _, sure = pseudo_labels(said, PseudoLabelConfig(select="share", share=0.5))
    assert sure.T.tolist() == [[True, True, False, False, False], [False, False, True, True, False]]


def test_rows_of_the_split_are_left_out(labelled, unlabelled):
    tables = select_streams(labelled.cache, small())
    found = read_unlabelled(unlabelled, tables, labelled.samples, labelled.split(), "cpu", 1.0)
    assert found.left_out == {"train": 4, "validation": 6, "test": 10}
    assert found.ids == unlabelled.samples().ids[20:]
    assert all(len(value) == 100 for value in found.streams.values.values())


@pytest.mark.parametrize("modality", ["image", "text"])
def test_near_duplicates_of_rows_that_are_held_out_are_left_out(build_toy, add_features, tmp_path, modality):
    """Five rows are nearly test rows, three nearly validation rows, four nearly training rows."""
    ours, more = (build_toy(tmp_path / name, rows=60, prefix=name, modalities=()) for name in ("ours", "more"))
    new = [f"new {text}" for text in more.samples.captions]
    more = more.with_samples(image_digests=more.samples.image_digests ^ 1, captions=tuple(new))
    split, rng = ours.split(), np.random.default_rng(0)
    like = [*split.roles["test"][:5], *split.roles["validation"][:3], *split.roles["train"][:4]]
    values, others = rng.normal(size=(2, 60, 30)) + 4  # both have a direction in common
    others[10:22] = values[ours.samples.rows(like)] + 0.05 * others[10:22]
    add_features(ours.cache, ours.samples, modality, values)
    add_features(more.cache, more.samples, modality, others)
    tables = select_streams(ours.cache, small(modality))
    found = read_unlabelled(more.cache, tables, ours.samples, split, "cpu", 0.9)
    assert found.left_out == {"train": 0, "validation": 3, "test": 5}
    assert found.ids == more.ids[:10] + more.ids[18:]
    assert read_unlabelled(more.cache, tables, ours.samples, split, "cpu", 1.0).ids == more.ids


def test_nothing_left(labelled):
    tables = select_streams(labelled.cache, small())
    with pytest.raises(DataError, match="120 rows"):
        read_unlabelled(labelled.cache, tables, labelled.samples, labelled.split(), "cpu", 1.0)


def test_features_of_another_encoder(labelled, pool, build_toy, add_features, tmp_path):
    tables = select_streams(labelled.cache, small())
    other = build_toy(tmp_path / "bare", rows=20, modalities=("image",))
    with pytest.raises(CacheMissing, match="toy/text"):
        read_unlabelled(other.cache, tables, labelled.samples, labelled.split(), "cpu", 1.0)
    add_features(other.cache, other.samples, "text", np.zeros((20, 9), np.float32), storage="float32")
    with pytest.raises(FingerprintMismatch):
        read_unlabelled(other.cache, tables, labelled.samples, labelled.split(), "cpu", 1.0)


def test_rounds_end_when_validation_does_not_improve(labelled, unlabelled, monkeypatch):
    config = small(pseudo_labels={"rounds": 4})
    tables = select_streams(labelled.cache, config)
    rows = load_rows(tables, labelled.samples, labelled.split(), "cpu")
    extra = read_unlabelled(unlabelled, tables, labelled.samples, labelled.split(), "cpu", 1.0)
    scores, trained_on = iter([0.5, 0.6, 0.7, 0.7, 0.9]), []

    class Scores:
        @property
        def micro_f1(self):
            return next(scores)

    train_jobs = module.train_jobs

    def watched(jobs, rows, progress):
        trained_on.append(jobs[0].roles["train"])
        assert torch.equal(jobs[0].roles["validation"], index["validation"])
        return train_jobs(jobs, rows, progress)

    index = rows.index
    monkeypatch.setattr(module, "evaluate", lambda *_: Scores())
    monkeypatch.setattr(module, "train_jobs", watched)
    found = train_in_rounds(Job(config, rows.index), rows, extra, no_progress)
    assert found.best_round == 2 and [one["round"] for one in found.history] == [0, 1, 2, 3]
    assert [len(train) for train in trained_on] == [len(index["train"])] + [len(index["train"]) + 100] * 3
    for train in trained_on:
        reported = torch.cat([index["validation"], index["test"]])
        assert not torch.isin(train, reported).any()
    assert torch.equal(found.rows.rows.targets[: len(rows.ids)], rows.rows.targets)
    assert found.labelled.tolist() == list(range(len(rows.ids), len(rows.ids) + 100))


def test_labels_of_reported_rows_change_nothing(labelled, unlabelled, tmp_path):
    split, config = labelled.split(), small("sum", pseudo_labels={"rounds": 1})
    labels = labelled.samples.labels.copy()
    test = labelled.samples.rows(split.roles["test"])
    labels[test] = ~labels[test]
    flipped = replace(labelled.samples, labels=labels)
    one, other = (
        train_head(labelled.cache, samples, split, config, runs=tmp_path, unlabelled=unlabelled)
        for samples in (labelled.samples, flipped)
    )
    assert one.metrics["pseudo_labels"] == other.metrics["pseudo_labels"]
    assert np.array_equal(one.predictions().probabilities, other.predictions().probabilities)
    about = one.metrics["pseudo_labels"]
    assert (about["rows"], len(about["rounds"])) == (100, 2)
    best = max(about["rounds"], key=lambda entry: entry["validation_micro_f1"])
    assert about["best_round"] == best["round"]


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_run_with_pseudo_labels(labelled, unlabelled, tmp_path, monkeypatch, fusion):
    scores = iter([0.1, 0.2])
    evaluate = module.evaluate

    class Scores:
        micro_f1 = property(lambda self: next(scores))

    monkeypatch.setattr(module, "evaluate", lambda *_: Scores())
    config = small(fusion, pseudo_labels={"rounds": 1}, refit="all", ensemble={"kind": "folds", "size": 2})
    run = train_head(labelled.cache, labelled.samples, labelled.split(), config, runs=tmp_path, unlabelled=unlabelled)
    assert evaluate is not module.evaluate and run.metrics["pseudo_labels"]["best_round"] == 1
    assert run.metrics["rows"] == {"train": 84, "validation": 12, "test": 24}
    assert (
        run.predictions().ids
        == load_rows(select_streams(labelled.cache, config), labelled.samples, labelled.split(), "cpu").ids
    )
    assert run.seen() == {*labelled.ids, *unlabelled.samples().ids[20:]}
    reopened, _ = same_predictions(run, labelled.cache)
    assert np.isfinite(reopened).all()
