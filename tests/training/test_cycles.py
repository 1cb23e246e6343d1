"""Cosine cycles and the snapshots that they leave."""

import torch
from torch import nn

from clipfuse.train_config import FitConfig
from clipfuse.training.schedules import LearningRates, cycle_ends


def rates(config, steps_per_epoch):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [parameter], "lr": 1.0, "member": 0}])
    schedule = LearningRates(optimizer, config, steps_per_epoch)
    found = []
    for _ in range(config.epochs * steps_per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    return found


def test_each_cycle_is_a_cosine_of_its_own():
    one = rates(FitConfig(epochs=3), 4)
    assert rates(FitConfig(epochs=6, cycles=2), 4) == one + one
    assert one[0] == 1 and one[-1] < 0.05


def test_uneven_cycles():
    assert cycle_ends(FitConfig(epochs=7, cycles=3)) == [3, 5, 7]
    assert cycle_ends(FitConfig(epochs=2, cycles=5)) == [1, 2]
    found = rates(FitConfig(epochs=7, cycles=3), 2)
    starts = [step for step in range(1, 14) if found[step] > found[step - 1]]
    assert starts == [6, 10] and found[6] == found[10] == 1


def test_warm_up_is_in_the_first_cycle_only():
    found = rates(FitConfig(epochs=4, cycles=2, warmup=0.25), 4)
    assert found[:4] == [0.2, 0.4, 0.6, 0.8] and found[4] == 1 and found[8] == 1
    assert found[7] < 0.3
