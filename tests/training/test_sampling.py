import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipfuse.errors import ConfigError
from clipfuse.settings import build_settings
from clipfuse.train_config import FitConfig
from clipfuse.training.sampling import draw, row_chances


def targets():
    """100 rows: label 0 on 64, label 1 on 16, label 2 on 4, label 3 on none."""
    found = torch.zeros(100, 4)
    found[:64, 0] = 1
    found[60:76, 1] = 1
    found[74:78, 2] = 1
    return found


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class TestRowChances:
    def test_none(self):
        assert row_chances(targets(), None, None) is None

    def test_rows_with_a_rare_label_are_drawn_more_often(self):
        found = row_chances(targets(), 0.36, None)
        expected = [1.0] * 60 + [1.5] * 14 + [3.0] * 4 + [1.0] * 22
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))

    def test_rows_with_only_frequent_labels_are_drawn_less_often(self):
        found = row_chances(targets(), None, 0.09)
        expected = [0.375] * 60 + [0.75] * 14 + [1.0] * 26
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))

    def test_both(self):
        found = row_chances(targets(), 0.09, 0.25)
        expected = [0.625] * 60 + [1.0] * 14 + [1.5] * 4 + [1.0] * 22
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))

    def test_soft_targets_count_above_one_half(self):
        soft = 0.2 + 0.7 * targets()
        assert torch.equal(row_chances(soft, 0.09, 0.25), row_chances(targets(), 0.09, 0.25))

    def test_no_labels_at_all(self):
        assert row_chances(torch.zeros(3, 2), 0.1, 0.5).tolist() == [1, 1, 1]

    def test_no_row_is_over_and_under(self):
        with pytest.raises(ConfigError, match=r"undersample is 0\.1: .*oversample \(0\.2\)"):
            build_settings(FitConfig, {"oversample": 0.2, "undersample": 0.1}, "fit")
        assert FitConfig(oversample=0.2, undersample=0.2).undersample == 0.2


class TestDraw:
    def test_without_chances_it_is_torchs_permutation(self):
        assert torch.equal(draw(None, 50, generator()), torch.randperm(50, generator=generator()))

    @given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40), st.integers(0, 2**31))
    @settings(max_examples=100, deadline=None)
    def test_each_row_comes_as_often_as_its_chance_says_rounded(self, chances, seed):
        weights = torch.tensor(chances, dtype=torch.float64)
        found = draw(weights, len(chances), generator(seed))
        counts = torch.bincount(found, minlength=len(chances))
        share = weights * len(chances) / weights.sum()
        assert found.dtype == torch.int64 and len(found) == len(chances) == len(counts)
        assert ((counts - share).abs() < 1 + 1e-6).all()

    def test_equal_chances_are_a_permutation(self):
        found = draw(torch.full((1000,), 0.3), 1000, generator())
        assert torch.equal(found.sort().values, torch.arange(1000))
        assert not torch.equal(found, torch.arange(1000))

    def test_on_average_over_epochs_the_chances_come_true(self):
        chances = torch.tensor([0.5, 0.5, 1.0, 1.0, 1.3, 2.9])
        drawn = generator()
        counts = sum(torch.bincount(draw(chances, 6, drawn), minlength=6) for _ in range(4000)) / 4000
        torch.testing.assert_close(counts, chances * 6 / chances.sum(), atol=0.03, rtol=0)

    def test_copies_of_a_row_are_spread_over_the_epoch(self):
        chances = torch.ones(1000)
        chances[0] = 1000.0
        places = (draw(chances, 1000, generator()) == 0).nonzero().flatten().float()
        assert 480 < len(places) < 520
        assert 450 < places.mean() < 550 and places.max() - places.min() > 950

    def test_repeats_with_a_seed_and_differs_between_epochs(self):
        chances = torch.linspace(1, 3, 100)
        one, other = generator(4), generator(4)
        first, second = draw(chances, 100, one), draw(chances, 100, one)
        assert torch.equal(first, draw(chances, 100, other)) and not torch.equal(first, second)
