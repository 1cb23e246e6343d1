import math

import pytest
import torch

from clipfuse.losses import LOSSES
from clipfuse.train_config import FitConfig, LossConfig
from clipfuse.training.objective import Objective, label_weights


def cells(members=2, rows=5, labels=3):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(members, rows, labels, generator=generator)
    return logits, torch.rand(members, rows, labels, generator=generator).round()


class TestLabelWeights:
    def test_none(self):
        assert label_weights("none", torch.tensor([1, 2])) is None

    def test_log_frequency_is_the_mean_of_a_ratio_and_its_inverse(self):
        found = label_weights("log-frequency", torch.tensor([890, 100, 10]))
        ratios = [math.log(n) / math.log(1000) for n in (890, 100, 10)]
        torch.testing.assert_close(found, torch.tensor([(r + 1 / r) / 2 for r in ratios]))

    def test_log_frequency_is_clamped_where_a_label_has_hardly_a_row(self):
        found = label_weights("log-frequency", torch.tensor([61, 2, 1, 0]))
        assert found[2] == found[1] == found[3]
        torch.testing.assert_close(found[3], torch.tensor((6 + 1 / 6) / 2))
        assert label_weights("log-frequency", torch.tensor([0])).isfinite().all()

    def test_inverse_frequency(self):
        found = label_weights("inverse-frequency", torch.tensor([400, 200, 100]))
        torch.testing.assert_close(found, torch.tensor([3 / 7, 6 / 7, 12 / 7]))

    def test_inverse_frequency_is_bounded_by_the_median_label(self):
        found = label_weights("inverse-frequency", torch.tensor([0, 100, 100, 100, 1]))
        torch.testing.assert_close(found / found[1], torch.tensor([10.0, 1, 1, 1, 10]))
        assert label_weights("inverse-frequency", torch.zeros(3)).tolist() == [1, 1, 1]

    def test_effective_number(self):
        found = label_weights("effective-number", torch.tensor([5000, 50, 1]))
        raw = torch.tensor([0.001 / (1 - 0.999**n) for n in (5000, 50, 1)])
        torch.testing.assert_close(found, raw / raw.mean())
        assert label_weights("effective-number", torch.tensor([3, 0])).isfinite().all()

    def test_effective_number_with_a_small_beta_hardly_weighs(self):
        found = label_weights("effective-number", torch.tensor([50, 5000]), beta=0.5)
        torch.testing.assert_close(found, torch.ones(2))

    @pytest.mark.parametrize("kind", ["log-frequency", "inverse-frequency", "effective-number"])
    def test_members_are_weighted_apart(self, kind):
        positives = torch.tensor([[300.0, 20, 4], [7, 500, 80]])
        both = label_weights(kind, positives)
        assert both.dtype == torch.float32
        for member in range(2):
            assert torch.equal(both[member], label_weights(kind, positives[member]))
            assert kind == "log-frequency" or both[member].mean() == pytest.approx(1)


class TestObjective:
    @pytest.mark.parametrize("kind", LOSSES)
    def test_mean_and_sum_over_the_cells_of_each_member(self, kind):
        logits, targets = cells()
        loss = LossConfig(kind=kind)
        values = LOSSES.build(loss)(logits, targets)
        mean = Objective(FitConfig(loss=loss), None)(logits, targets)
        total = Objective(FitConfig(loss=loss, reduction="sum"), None)(logits, targets)
        assert mean.shape == total.shape == (2,)
        torch.testing.assert_close(mean, torch.stack([member.sum() / 15 for member in values]))
        torch.testing.assert_close(total, 15 * mean)

    def test_without_members_it_is_one_number(self):
        logits, targets = cells()
        objective = Objective(FitConfig(), None)
        torch.testing.assert_close(objective(logits[0], targets[0]), objective(logits, targets)[0])

    def test_plain_bce_is_torchs(self):
        logits, targets = cells()
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
        torch.testing.assert_close(Objective(FitConfig(), None)(logits, targets).mean(), expected)

    def test_label_weights_of_all_and_of_each_member(self):
        logits, targets = cells()
        values = LOSSES.build(LossConfig())(logits, targets)
        shared = Objective(FitConfig(), torch.tensor([1.0, 0, 3]))(logits, targets)
        torch.testing.assert_close(shared, (values[..., 0] + 3 * values[..., 2]).sum(-1) / 15)
        apart = Objective(FitConfig(), torch.tensor([[1.0, 0, 0], [0, 0, 2]]))(logits, targets)
        torch.testing.assert_close(apart, torch.stack([values[0, :, 0].sum(), 2 * values[1, :, 2].sum()]) / 15)

    def test_smoothing_draws_targets_towards_one_half(self):
        logits, targets = cells()
        kept = targets.clone()
        smoothed = Objective(FitConfig(label_smoothing=0.2), None)(logits, targets)
        torch.testing.assert_close(smoothed, Objective(FitConfig(), None)(logits, 0.1 + 0.8 * targets))
        assert torch.equal(targets, kept)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_summed_in_single(self, dtype):
        logits, targets = cells(rows=1000)
        objective = Objective(FitConfig(reduction="sum"), None)
        found = objective(logits.to(dtype), targets)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, objective(logits.to(dtype).float(), targets))
