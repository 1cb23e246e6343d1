"""Models that are trained side by side are what they would be alone."""

import copy

import pytest
import torch
from torch import nn

from clipfuse.training import fit as module
from clipfuse.training import members as members_module
from clipfuse.training.fit import fit


def three(tools, head="mlp", config=None):
    """Models that differ in seed, rows, learning rate and decay."""
    config = config or tools.config
    differ = [(1e-2, 0.0), (3e-3, 0.1), (2e-2, 0.01)]
    trains = [slice(0, 200), slice(5, 205), slice(40, 240)]
    members = []
    for seed, ((rate, decay), train) in enumerate(zip(differ, trains, strict=True)):
        model = tools.model(head, seed=seed, **({} if head == "linear" else {"dropout": 0.0}))
        if head == "gmlp":  # batch norm takes this bias away: its gradient is rounding, which Adam makes large
            model.fusion.head.blocks[0].before[0].bias.requires_grad_(False)
        own = config.model_copy(update={"learning_rate": rate, "weight_decay": decay})
        members.append(tools.member(model, train=train, config=own, seed=seed, name=str(seed)))
    return members


def one_by_one(members, rows):
    return [fit([member], rows, lambda *_: None)[0] for member in members]


def states(members):
    return [member.model.state_dict() for member in members]


@pytest.mark.parametrize("head", ["linear", "mlp", "gmlp"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "adam", "schedule": "plateau", "plateau_epochs": 1, "clip_norm": 0.1, "ema": 0.8},
        {"label_weights": "inverse-frequency", "oversample": 0.6, "patience": 1, "epochs": 12},
    ],
    ids=["plain", "plateau, clipped, averaged", "weighted, oversampled, stopped"],
)
def test_together_is_alone(tools, head, change):
    rows = tools.rows(lacking=("text",))
    config = tools.config.model_copy(update=change)
    together, alone = three(tools, head, config), three(tools, head, config)
    assert len(module._groups(together)) == 1
    found, expected = fit(together, rows, lambda *_: None), one_by_one(alone, rows)
    for one, other in zip(found, expected, strict=True):
        assert one.best_epoch == other.best_epoch and len(one.history) == len(other.history)
        for record, same in zip(one.history, other.history, strict=True):
            assert record.train_loss == pytest.approx(same.train_loss, rel=1e-3, abs=1e-5)
            assert record.validation_loss == pytest.approx(same.validation_loss, rel=1e-3, abs=1e-5)
    for one, other in zip(states(together), states(alone), strict=True):
        for name, value in one.items():
            if value.is_floating_point():
                torch.testing.assert_close(
                    value, other[name], rtol=2e-3, atol=2e-4, msg=lambda text, name=name: name + text
                )
    if head == "gmlp":  # statistics of batch norm moved, each model's on its own rows
        means = [state["fusion.head.blocks.0.before.2.running_mean"] for state in states(together)]
        assert all(mean.any() for mean in means) and not torch.equal(means[0], means[1])


def test_frozen_vectors_stay_and_the_others_learn(tools):
    members = three(tools)
    for member in members:
        member.model.inputs.absent["image"].requires_grad_(False)
    fit(members, tools.rows(lacking=("text",)), lambda *_: None)
    for member in members:
        assert not member.model.inputs.absent["image"].any()
        assert member.model.inputs.absent["text"].any()
        assert member.model.inputs.absent["image"].grad is None


def test_each_member_draws_dropout_of_its_own(tools):
    members = [tools.member(tools.model(seed=0, dropout=0.5), seed=0) for _ in range(2)]
    assert len(module._groups(members)) == 1
    fit(members, tools.rows(), lambda *_: None)
    one, other = states(members)
    assert not tools.same(one, other)


def test_what_was_trained_together_is_saved_as_each(tools):
    from safetensors.torch import load

    from clipfuse.predictor import TorchPredictor

    members = three(tools, "gmlp")
    fit(members, tools.rows(), lambda *_: None)
    for member in members:
        saved = TorchPredictor(member.model).files()["model.safetensors"]
        assert len(saved) < 2 * sum(value.nbytes for value in member.model.state_dict().values()) + 5000
        assert tools.same(load(saved), member.model.state_dict())
        assert tools.same(copy.deepcopy(member.model).state_dict(), member.model.state_dict())


class TestGroups:
    def groups(self, *members):
        return module._groups(members)

    @pytest.mark.parametrize(
        "change",
        [
            {"config": {"epochs": 6}},
            {"config": {"optimizer": "adam"}},
            {"config": {"loss": {"kind": "focal"}}},
            {"config": {"modality_dropout": 0.2}},
            {"config": {"batch_size": 16}},
            {"train": slice(0, 150)},
            {"model": {"hidden": (8,)}},
            {"model": {"head": "linear"}},
            {"model": {"fusion": "image"}},
            {"model": {"absent": "zeros"}},
        ],
        ids=str,
    )
    def test_what_differs_in_shape_or_steps_is_apart(self, tools, change):
        config = type(tools.config).model_validate({**tools.config.model_dump(), **change.get("config", {})})
        other = tools.member(
            tools.model(**change.get("model", {})), config=config, train=change.get("train", slice(0, 200))
        )
        assert self.groups(tools.member(tools.model()), other) == [[0], [1]]

    def test_what_differs_in_rates_rows_and_seeds_is_together(self, tools):
        config = tools.config.model_copy(update={"learning_rate": 0.5, "weight_decay": 0.5})
        other = tools.member(tools.model(seed=4, dropout=0.5), config=config, seed=3, train=slice(50, 245))
        assert self.groups(tools.member(tools.model(dropout=0.5)), other) == [[0, 1]]

    def test_what_learns_an_absent_vector_is_apart_from_what_does_not(self, tools):
        frozen = tools.model()
        frozen.inputs.absent["text"].requires_grad_(False)
        assert self.groups(tools.member(tools.model()), tools.member(frozen)) == [[0], [1]]

    def test_large_models_are_faster_alone(self, tools, monkeypatch):
        pair = [tools.member(tools.model(seed=seed)) for seed in (0, 1)]
        assert self.groups(*pair) == [[0, 1]]
        monkeypatch.setattr(members_module, "TOGETHER_PARAMETERS", 20)
        assert self.groups(*pair) == [[0], [1]]

    def test_layers_that_cannot_be_batched_are_alone(self, tools):
        class Odd(nn.Linear):
            batchable = False

        pair = [tools.member(tools.model("linear", seed=seed)) for seed in (0, 1)]
        for member in pair:
            member.model.fusion.head.linear = Odd(14, 3)
        assert self.groups(*pair) == [[0], [1]]
        assert len(fit(pair, tools.rows(), lambda *_: None)) == 2

    def test_results_come_in_the_members_order(self, tools):
        members = [
            tools.member(tools.model(head, seed=n), name=f"{n}") for n, head in enumerate(("mlp", "linear", "mlp"))
        ]
        for number, member in enumerate(members):
            members[number] = tools.member(
                member.model, name=member.name, config=tools.config.model_copy(update={"epochs": 2 + number % 2})
            )
        seen = []
        found = fit(members, tools.rows(), lambda name, record: seen.append((name, record.epoch)))
        assert [len(result.history) for result in found] == [2, 3, 2]
        assert seen == [("0", 1), ("2", 1), ("0", 2), ("2", 2), ("1", 1), ("1", 2), ("1", 3)]
