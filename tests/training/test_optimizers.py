import copy

import pytest
import torch
from torch import nn

from clipfuse.train_config import FitConfig
from clipfuse.training.optimizers import clip, make_optimizer

KINDS = ["adamw", "adam", "adafactor"]


def model(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))


def config(kind, **settings):
    return FitConfig(optimizer=kind, **{"learning_rate": 1e-2, "weight_decay": 0.1, **settings})


def train(members, optimizer, steps=4):
    inputs = torch.randn(steps, 10, 6, generator=torch.Generator().manual_seed(1))
    for batch in inputs:
        optimizer.zero_grad()
        for member in members:
            member(batch).square().sum().backward()
        optimizer.step()


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def by_hand(kind, trained, settings):
    matrices = [p for p in trained.parameters() if p.ndim == 2]
    others = [p for p in trained.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    if kind == "adafactor":
        from transformers import Adafactor

        return Adafactor(groups, lr=rate, scale_parameter=False, relative_step=False, warmup_init=False)
    return (torch.optim.AdamW if kind == "adamw" else torch.optim.Adam)(groups, lr=rate, fused=True)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryOptimizer:
    def test_one_member_is_trained_as_by_the_librarys_own(self, kind):
        ours, theirs, before = model(0), model(0), model(0)
        train([ours], make_optimizer([ours], [config(kind)]))
        train([theirs], by_hand(kind, theirs, config(kind)))
        assert same(ours, theirs) and not same(ours, before)

    def test_two_members_are_trained_as_each_alone(self, kind):
        configs = [config(kind), config(kind, learning_rate=3e-3, weight_decay=0.0)]
        together = [model(0), model(1)]
        train(together, make_optimizer(together, configs))
        for seed, (member, settings) in enumerate(zip(together, configs, strict=True)):
            alone = model(seed)
            train([alone], make_optimizer([alone], [settings]))
            assert same(member, alone)

    def test_only_matrices_decay(self, kind):
        decayed, kept = model(0), model(0)
        for trained, decay in ((decayed, 0.5), (kept, 0.0)):
            train([trained], make_optimizer([trained], [config(kind, weight_decay=decay)]), steps=1)
        for a, b in zip(decayed.parameters(), kept.parameters(), strict=True):
            assert torch.equal(a, b) == (a.ndim == 1)

    def test_frozen_parameters_stay(self, kind):
        trained = model(0)
        trained[0].requires_grad_(False)
        before = copy.deepcopy(trained)
        optimizer = make_optimizer([trained], [config(kind)])
        assert sum(len(group["params"]) for group in optimizer.param_groups) == 4
        train([trained], optimizer)
        assert same(trained[0], before[0]) and not same(trained[3], before[3])


def test_decay_of_adamw_shrinks_weights_beside_the_gradient_and_adams_goes_through_it():
    """The first step of Adam is the rate times the sign of its gradient."""
    for kind, expected in (("adamw", 2 - 0.01 * 0.1 * 2 - 0.01), ("adam", 2 - 0.01)):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.constant_(layer.weight, 2.0)
        optimizer = make_optimizer([layer], [config(kind)])
        (0.5 * layer.weight.sum()).backward()
        optimizer.step()
        assert layer.weight.item() == pytest.approx(expected, abs=1e-6)
    nn.init.constant_(layer.weight, 2.0)
    optimizer = make_optimizer([layer], [config("adam")])
    layer.weight.grad = torch.full((1, 1), -0.1)  # decay, 0.1 · 2, outweighs it
    optimizer.step()
    assert layer.weight.item() == pytest.approx(2 - 0.01, abs=1e-6)


def test_groups_know_their_member():
    members = [model(0), nn.BatchNorm1d(3), nn.Linear(3, 1, bias=False)]
    groups = make_optimizer(members, [config("adamw", learning_rate=rate) for rate in (0.1, 0.2, 0.3)]).param_groups
    assert [(group["member"], group["lr"], len(group["params"])) for group in groups] == [
        (0, 0.1, 2),
        (0, 0.1, 4),
        (1, 0.2, 2),
        (2, 0.3, 1),
    ]


def test_adam_has_one_kernel_where_torch_has_it():
    assert make_optimizer([model(0)], [config("adamw")]).defaults["fused"] is True
    assert make_optimizer([model(0).to("meta")], [config("adam")]).defaults["fused"] is None


def test_members_share_the_kind():
    with pytest.raises(ValueError, match=r"adam.*adamw"):
        make_optimizer([model(0), model(1)], [config("adamw"), config("adam")])
    with pytest.raises(ValueError):
        make_optimizer([model(0), model(1)], [config("adamw")])


def test_gradients_are_clipped_a_member():
    members = [nn.Linear(2, 1) for _ in range(3)]
    for member, size in zip(members, (3.0, 0.1, 0.0), strict=True):
        member.weight.grad = torch.tensor([[size, 0.0]])
        member.bias.grad = torch.tensor([size * 4 / 3])
    found = clip(members, 1.0)
    torch.testing.assert_close(found, torch.tensor([5.0, 0.5 / 3, 0]))
    torch.testing.assert_close(members[0].weight.grad, torch.tensor([[0.6, 0.0]]))
    torch.testing.assert_close(members[0].bias.grad, torch.tensor([0.8]))
    assert members[1].weight.grad[0, 0] == torch.tensor(0.1) and members[2].bias.grad == 0
