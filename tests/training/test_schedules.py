import math

import pytest
from torch import nn

from clipfuse.errors import ConfigError
from clipfuse.settings import build_settings
from clipfuse.train_config import FitConfig
from clipfuse.training.optimizers import make_optimizer
from clipfuse.training.schedules import LearningRates


def rates(steps_per_epoch, *bases, losses=None, **settings):
    """Each step's rates, (steps, groups); ``losses`` (epochs, members)."""
    configs = [FitConfig(learning_rate=base, **settings) for base in bases]
    optimizer = make_optimizer([nn.Linear(2, 1) for _ in bases], configs)
    learning = LearningRates(optimizer, configs[0], steps_per_epoch)
    found = []
    for epoch in range(configs[0].epochs):
        for _ in range(steps_per_epoch):
            found.append([group["lr"] for group in optimizer.param_groups])
            learning.step()
        learning.end_epoch(losses[epoch] if losses else [1.0] * len(bases))
    return found, [group["lr"] for group in optimizer.param_groups]


def sequence(*arguments, **settings):
    found, after = rates(*arguments, **settings)
    assert all(len(set(step)) == 1 for step in [*found, after])
    return [step[0] for step in found], after[0]


def test_constant():
    assert sequence(2, 0.5, schedule="constant", epochs=3) == ([0.5] * 6, 0.5)


def test_warm_up_rises_in_a_line_and_wastes_no_step_at_zero():
    found, after = sequence(5, 1.0, schedule="constant", epochs=2, warmup=0.3)
    assert found == pytest.approx([0.25, 0.5, 0.75] + [1] * 7) and after == 1


def test_cosine_falls_to_zero():
    found, after = sequence(2, 2.0, schedule="cosine", epochs=2)
    half = math.sqrt(0.5)
    assert found == pytest.approx([2, 1 + half, 1, 1 - half])
    assert after == 0


def test_cosine_falls_over_the_steps_after_warm_up():
    found, after = sequence(4, 1.0, schedule="cosine", epochs=2, warmup=0.5)
    half = math.sqrt(0.5) / 2
    assert found == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 0.5 + half, 0.5, 0.5 - half])
    assert after == 0


def test_cosine_stays_at_zero_after_the_last_step():
    optimizer = make_optimizer([nn.Linear(2, 1)], [FitConfig()])
    learning = LearningRates(optimizer, FitConfig(epochs=1), 2)
    for _ in range(3):
        learning.step()
    assert optimizer.param_groups[0]["lr"] == 0


def test_one_step_is_taken_at_the_whole_rate():
    assert sequence(1, 1.0, schedule="cosine", epochs=1, warmup=0.9)[0] == [1]


def test_multi_step():
    found, after = sequence(2, 1.0, schedule="multi-step", epochs=5, milestones=(0.3, 0.7))
    assert found == pytest.approx([1] * 3 + [0.1] * 4 + [0.01] * 3) and after == pytest.approx(0.01)


def test_multi_step_with_another_factor_and_warm_up():
    found, _ = sequence(1, 1.0, schedule="multi-step", epochs=8, milestones=(0.5,), step_factor=0.5, warmup=0.125)
    assert found == pytest.approx([0.5, 1, 1, 1] + [0.5] * 4)


def test_plateau_waits_so_many_epochs_and_counts_anew():
    losses = [[loss] for loss in (3, 2, 2, 2.5, 1, 1, 1, 1, 1)]
    found, after = sequence(1, 1.0, losses=losses, schedule="plateau", epochs=9, plateau_epochs=2)
    assert found == pytest.approx([1] * 4 + [0.1] * 3 + [0.01] * 2) and after == pytest.approx(0.001)


def test_plateau_is_each_members_own():
    losses = [[3, 1], [2, 1], [1, None], [0.5, 1], [0.5, math.nan]]
    found, after = rates(2, 1.0, 0.5, losses=losses, schedule="plateau", epochs=5, plateau_epochs=2)
    assert all(step[:2] == [1, 1] for step in found)
    seconds = [0.5] * 4 * 2 + [0.05] * 2
    assert [step[2] for step in found] == pytest.approx(seconds)
    assert [step[3] for step in found] == pytest.approx(seconds)
    assert after == pytest.approx([1, 1, 0.05, 0.05])


def test_plateau_warms_up():
    found, _ = sequence(1, 1.0, losses=[[1]] * 4, schedule="plateau", epochs=4, plateau_epochs=1, warmup=0.5)
    assert found == pytest.approx([1 / 3, 2 / 3, 0.1, 0.01])


def test_each_member_keeps_its_own_rate():
    found, _ = rates(1, 1.0, 0.2, schedule="cosine", epochs=2)
    assert found == [pytest.approx([1, 1, 0.2, 0.2]), pytest.approx([0.5, 0.5, 0.1, 0.1])]


@pytest.mark.parametrize("milestones", [(0.0,), (0.5, 1.0)])
def test_milestones_are_shares(milestones):
    with pytest.raises(ConfigError, match=r"milestones\.\d"):
        build_settings(FitConfig, {"milestones": milestones}, "fit")
