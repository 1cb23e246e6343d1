import pytest
import torch
from torch import nn

from clipfuse.training.running_mean import RunningMean


def set_all(member, value):
    with torch.no_grad():
        for tensor in [*member.parameters(), member.running_mean, member.running_var]:
            tensor.fill_(value)


def held(member):
    return [*member.parameters(), member.running_mean, member.running_var]


def member(value):
    norm = nn.BatchNorm1d(2)
    set_all(norm, value)
    return norm


def expected(values, decay):
    mean = values[0]
    for t, value in enumerate(values[1:], start=1):
        kept = min(decay, (1 + t) / (10 + t))
        mean = kept * mean + (1 - kept) * value
    return mean


@pytest.mark.parametrize("decay", [0.1, 0.3, 0.999])
def test_is_the_running_mean_of_weights_and_buffers(decay):
    values = [[1.0, 4.0, -2.0, 0.5, 3.0], [0.0, 1.0, 2.0, 5.0, 5.0]]
    members = [member(row[0]) for row in values]
    means = RunningMean(members, decay)
    for step in range(1, 5):
        for each, row in zip(members, values, strict=True):
            set_all(each, row[step])
        means.update()
    with means.swapped():
        for each, row in zip(members, values, strict=True):
            for tensor in held(each):
                torch.testing.assert_close(tensor, torch.full((2,), expected(row, decay)))
    assert all(
        bool((tensor == row[-1]).all()) for each, row in zip(members, values, strict=True) for tensor in held(each)
    )


def test_swapping_changes_nothing_for_what_follows():
    one, other = member(1.0), member(1.0)
    means, untouched = RunningMean([one], 0.9), RunningMean([other], 0.9)
    for value in (0.3, 0.7, 0.1):
        for each, mean in ((one, means), (other, untouched)):
            set_all(each, value)
            mean.update()
        with means.swapped():
            assert one.weight[0] != value
    means.keep()
    untouched.keep()
    assert all(torch.equal(a, b) for a, b in zip(held(one), held(other), strict=True))
    assert one.weight[0] != 0.1


def test_the_tensors_stay_the_ones_that_an_optimizer_knows():
    trained = member(1.0)
    means = RunningMean([trained], 0.9)
    before = [tensor.data_ptr() for tensor in held(trained)]
    set_all(trained, 2.0)
    means.update()
    with means.swapped():
        assert [tensor.data_ptr() for tensor in held(trained)] == before
    means.keep()
    assert [tensor.data_ptr() for tensor in held(trained)] == before
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_an_error_inside_swaps_back():
    trained = member(1.0)
    means = RunningMean([trained], 0.9)
    set_all(trained, 2.0)
    with pytest.raises(KeyError), means.swapped():
        assert trained.weight[0] == 1
        raise KeyError
    assert trained.weight[0] == 2


def test_counts_and_frozen_weights_are_left_alone():
    trained = member(1.0)
    trained.bias.requires_grad_(False)
    means = RunningMean([trained], 0.5)
    set_all(trained, 7.0)
    trained.num_batches_tracked.fill_(3)
    with means.swapped():
        assert trained.num_batches_tracked == 3
        assert trained.bias[0] == 7 and trained.weight[0] == 1


def test_a_model_without_weights_has_a_mean():
    means = RunningMean([nn.Identity()], 0.5)
    means.update()
    means.keep()
