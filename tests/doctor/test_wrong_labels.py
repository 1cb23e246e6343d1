"""How many of the labels that were flipped on purpose are found."""

from dataclasses import replace

import numpy as np
import pytest
from stage_two import small as small_config

from clipfuse.config import SplitConfig
from clipfuse.cross_validate import cross_validate
from clipfuse.doctor.asked_run import ask_run
from clipfuse.doctor.out_of_fold import ask_folds, default_config
from clipfuse.doctor.subject import OutOfFold, Subject
from clipfuse.doctor.wrong_labels import find_suspects, suspects_by_label, wrong_labels
from clipfuse.errors import ConfigError
from clipfuse.splits import find_cross_validation
from clipfuse.train_head import train_head

pytestmark = pytest.mark.usefixtures("_quick_intervals")


@pytest.fixture(scope="module")
def flipped(build_toy, tmp_path_factory):
    """300 rows whose labels can be learned, 5% of the cells flipped; which."""
    toy = build_toy(tmp_path_factory.mktemp("flipped") / "cache", rows=300, noise=0.7)
    flips = np.random.default_rng(1).random(toy.samples.labels.shape) < 0.05
    return toy.with_samples(labels=toy.samples.labels ^ flips), flips


def test_most_of_five_percent_of_flipped_labels_are_found(flipped):
    toy, flips = flipped
    config = default_config(toy.cache, toy.samples)
    assert config.fusion.kind == "concat"
    before = sorted(path for path in toy.cache.root.rglob("*"))
    asked = ask_folds(toy.cache, toy.samples, config, folds=3)
    assert sorted(path for path in toy.cache.root.rglob("*")) == before
    assert not np.isnan(asked.probabilities).any()
    cells = find_suspects(asked.probabilities, toy.samples.labels).cells
    found = (cells & flips).sum()
    precision, recall = found / cells.sum(), found / flips.sum()
    print(f"{flips.sum()} flipped, {cells.sum()} suspect: precision {precision:.3f}, recall {recall:.3f}")
    assert precision > 0.8 and recall > 0.8

    finding = wrong_labels(Subject(toy.cache, toy.samples, toy.split(), asked))
    assert (finding.count, finding.looked_at) == (cells.sum(), flips.size)
    names = toy.samples.label_names
    first = dict(zip(finding.columns, finding.rows[0], strict=True))
    row, label = list(toy.ids).index(first["id"]), names.index(first["label"])
    assert first["suggestion"] == ("remove" if toy.samples.labels[row, label] else "add")
    assert flips[row, label] and first["probability"] == pytest.approx(asked.probabilities[row, label], abs=1e-4)
    by_label = suspects_by_label(Subject(toy.cache, toy.samples, None, asked))
    assert sum(row[2] + row[3] for row in by_label.rows) == cells.sum()


def test_suspects_by_hand():
    """One label: of ten rows that have it, one is near zero; the confident rows say that one in nine is wrong."""
    given = np.array([True] * 10 + [False] * 10)[:, None]
    said = np.array([0.9] * 9 + [0.02] + [0.05] * 9 + [0.95])[:, None]
    found = find_suspects(said, given)
    assert np.flatnonzero(found.cells[:, 0]).tolist() == [9, 19] and found.judged.tolist() == [True]
    assert found.confidence[9, 0] == pytest.approx(0.02) and found.confidence[19, 0] == pytest.approx(0.05)
    unknown = said.copy()
    unknown[9] = np.nan
    assert np.flatnonzero(find_suspects(unknown, given).cells[:, 0]).tolist() == [19]
    rare = find_suspects(said, np.array([True] * 4 + [False] * 16)[:, None])
    assert not rare.judged.any() and not rare.cells.any()


def test_a_model_that_knows_nothing_suspects_nothing():
    rng = np.random.default_rng(0)
    given = rng.random((400, 3)) < 0.3
    assert find_suspects(np.full((400, 3), 0.3), given).cells.sum() == 0


def test_probabilities_of_runs(build_toy, tmp_path):
    toy = build_toy(tmp_path / "cache", rows=90)
    deals = [find_cross_validation(toy.cache, toy.samples, 3, SplitConfig(), None)]
    many = cross_validate(toy.cache, toy.samples, deals, small_config("image"), runs=tmp_path / "runs")
    asked = ask_run(many, toy.samples)
    kept = many.predictions()
    assert (
        np.allclose(asked.probabilities[toy.samples.rows(kept.ids)], kept.probabilities) and many.name in asked.source
    )
    stacked = train_head(toy.cache, toy.samples, toy.split(), small_config("sum"), runs=tmp_path / "runs")
    asked, kept = ask_run(stacked, toy.samples), stacked.predictions()
    train = kept.of_role("train")
    there = toy.samples.rows([kept.ids[row] for row in train])
    assert np.allclose(asked.probabilities[there], kept.out_of_fold[train].mean(axis=1))
    plain = train_head(toy.cache, toy.samples, toy.split(), small_config("image"), runs=tmp_path / "runs")
    asked = ask_run(plain, toy.samples)
    assert np.isnan(asked.probabilities[there]).all() and (~np.isnan(asked.probabilities)).any(
        axis=1
    ).sum() == 90 - len(train)
    other = replace(toy.samples, label_names=("a", "b", "c", "d"))
    assert ask_run(plain, other) is None
    assert ask_run(plain, replace(toy.samples, ids=tuple(f"other {n}" for n in range(90)))) is None


def test_nothing_to_ask(small, build_toy, tmp_path):
    unlabelled = replace(small.samples, labels=None, label_names=())
    assert wrong_labels(Subject(small.cache, unlabelled)).skipped
    assert "no probabilities" in wrong_labels(Subject(small.cache, small.samples)).skipped
    assert suspects_by_label(Subject(small.cache, small.samples)).skipped
    with pytest.raises(ConfigError, match="no labels"):
        ask_folds(small.cache, unlabelled, default_config(small.cache, small.samples))
    alone = build_toy(tmp_path / "text", rows=20, modalities=("text",))
    assert default_config(alone.cache, alone.samples).fusion.kind == "text"
    bare = build_toy(tmp_path / "bare", rows=20, modalities=())
    with pytest.raises(ConfigError, match="no complete features"):
        default_config(bare.cache, bare.samples)
    nobody = OutOfFold(np.full(small.samples.labels.shape, np.nan), "nobody")
    assert wrong_labels(Subject(small.cache, small.samples, None, nobody)).count == 0
