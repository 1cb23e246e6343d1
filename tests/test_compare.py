"""Two runs on the same test rows."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2
from stage_two import small

from clipfuse.bootstrap import label_differences, paired_difference
from clipfuse.compare import compare, holm, mcnemar, paired
from clipfuse.errors import RunError
from clipfuse.train_head import train_head
from clipfuse_cli.comparison_tables import show_comparison, verdict

pytestmark = pytest.mark.usefixtures("_quick_intervals")


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory, _quick_intervals):
    """One modality, both, and both on another split."""
    folder = tmp_path_factory.mktemp("runs")

    def train(config, split):
        return train_head(toy.cache, toy.samples, split, config, runs=folder)

    split = toy.split()
    elsewhere = toy.split(seed=1)
    rule = small("text", empty_rows="most-probable", thresholds="per-label")
    return train(small("image"), split), train(rule, split), train(small("concat"), elsewhere)


class TestCompare:
    def test_scores_are_those_of_the_runs(self, runs):
        first, second, _ = runs
        found = compare(first, second)
        assert (found.first, found.second, found.rows) == (first.name, second.name, first.metrics["rows"]["test"])
        for metric, (ours, theirs, difference) in found.scores.items():
            assert ours == pytest.approx(first.metrics["scores"]["test"]["scores"][metric])
            assert theirs == pytest.approx(second.metrics["scores"]["test"]["scores"][metric])
            assert difference.observed == pytest.approx(ours - theirs)
            assert difference.low <= difference.mean <= difference.high

    def test_labels_are_those_of_the_runs(self, runs):
        first, second, _ = runs
        found = compare(first, second)
        for label, ours, theirs in zip(
            found.labels, *(run.metrics["scores"]["test"]["scores"]["labels"] for run in (first, second)), strict=True
        ):
            assert (label.name, label.support) == (ours["name"], ours["support"])
            assert (label.first, label.second) == pytest.approx((ours["f1"], theirs["f1"]))
            assert label.difference.observed == pytest.approx(label.first - label.second)
            assert label.p_value == mcnemar(label.only_first, label.only_second) <= label.adjusted

    def test_the_other_way_round(self, runs):
        there, back = compare(runs[0], runs[1]), compare(runs[1], runs[0])
        for one, other in zip(there.labels, back.labels, strict=True):
            assert (one.only_first, one.only_second) == (other.only_second, other.only_first)
            assert one.difference.low == pytest.approx(-other.difference.high)
        assert paired(runs[0], runs[1]).observed == pytest.approx(-paired(runs[1], runs[0]).observed)
        assert paired(runs[0], runs[1]) == there.scores["micro_f1"][2]

    def test_a_run_with_itself(self, runs):
        found = compare(runs[0], runs[0])
        assert {label.adjusted for label in found.labels} == {1.0}
        assert found.scores["micro_f1"][2].low == found.scores["micro_f1"][2].high == 0
        assert "don't tell them apart" in verdict(found)

    def test_other_rows_are_refused(self, runs):
        with pytest.raises(RunError, match="were scored on different rows"):
            compare(runs[0], runs[2])


def test_label_differences_are_those_of_each_label_alone():
    rng = np.random.default_rng(0)
    targets, a, b = (rng.random((60, 3)) < 0.4 for _ in range(3))
    targets[:, 2] = a[:, 2] = b[:, 2] = False
    found = label_differences(a, b, targets, replicates=50, seed=3)
    for label, difference in enumerate(found):
        columns = [one[:, [label]] for one in (a, b, targets)]
        alone = paired_difference(columns[0] * 1.0, 0.5, columns[1] * 1.0, 0.5, columns[2], replicates=50, seed=3)
        for name in ("observed", "mean", "low", "high"):
            assert getattr(difference, name) == pytest.approx(getattr(alone, name))
    assert found[2].low == found[2].high == 0


class TestTests:
    def test_mcnemar_is_exact(self):
        assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0
        assert mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
        assert mcnemar(9, 1) == mcnemar(1, 9) == pytest.approx(2 * 11 / 2**10)

    def test_mcnemar_is_near_the_chi_square_of_many_rows(self):
        assert mcnemar(5200, 5000) == pytest.approx(chi2.sf((200 - 1) ** 2 / 10200, 1), rel=1e-2)

    def test_holm(self):
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_run_of_several_seeds_is_compared_by_its_first_model(toy, runs, tmp_path, capsys):
    several = train_head(toy.cache, toy.samples, toy.split(), small("text"), runs=tmp_path, seeds=2)
    folds = replace(runs[0], metrics={**runs[0].metrics, "repeats": {"each": [{"fold": 1}]}})
    found = compare(several, folds)
    assert found.one_of_several == (several.name,)
    show_comparison(found)
    assert f"{several.name} was trained with several seeds" in " ".join(capsys.readouterr().out.split())


def test_what_is_shown(runs, capsys):
    found = compare(runs[0], runs[1])
    show_comparison(found)
    shown = capsys.readouterr().out
    for label in found.labels:
        line = next(line for line in shown.splitlines() if line.split()[:1] == [label.name])
        assert f"{label.first:.3f}" in line and f"{label.adjusted:.3f}" in line
    assert "micro-F1" in shown and verdict(found) in shown


@pytest.mark.parametrize(("sign", "winner"), [(1, "a"), (-1, "b")])
def test_the_verdict_names_the_better_one(runs, sign, winner):
    found = compare(runs[0], runs[1])
    micro = replace(found.scores["micro_f1"][2], observed=0.2 * sign, low=0.2 * sign - 0.1, high=0.2 * sign + 0.1)
    clear = replace(found, first="a", second="b", scores={"micro_f1": (0.5, 0.5 - 0.2 * sign, micro)}, labels=())
    assert verdict(clear).startswith(f"{winner} is better than ")
