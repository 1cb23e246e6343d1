"""Which models are trained as one batched model, and dropout of several rates in one."""

import pytest
import torch

from clipfuse.dropout import Dropout
from clipfuse.models import build_model
from clipfuse.train_config import FusionConfig, HeadConfig, TrainConfig
from clipfuse.training.members import Together, architecture


def model(seed=0, **head):
    config = TrainConfig(
        head=HeadConfig.model_validate({"kind": "mlp", "hidden": [16], **head}), fusion=FusionConfig(kind="image")
    )
    return build_model(config, {"image": 8}, 3, seed=seed)


def test_seed_and_rate_of_dropout_may_differ():
    assert architecture(model()) == architecture(model(seed=1, dropout=0.1))


@pytest.mark.parametrize(
    "head", [{"activation": "relu"}, {"hidden": [12]}, {"dropout": 0.0}, {"kind": "chain", "hidden": [16]}]
)
def test_everything_else_may_not(head):
    assert architecture(model()) != architecture(model(**head))


def test_settings_that_leave_no_trace_in_the_shapes_count():
    config = {"kind": "label-query", "width": 8}
    heads = [
        build_model(
            TrainConfig(head=HeadConfig.model_validate({**config, "heads": n}), fusion=FusionConfig(kind="image")),
            {"image": 8},
            3,
            seed=0,
        )
        for n in (2, 4)
    ]
    assert [value.shape for value in heads[0].state_dict().values()] == [
        value.shape for value in heads[1].state_dict().values()
    ]
    assert architecture(heads[0]) != architecture(heads[1])


class Dropping(torch.nn.Module):
    """Nothing but dropout, of a weight of ones."""

    def __init__(self, rate):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.dropout = Dropout(rate)

    def forward(self, values, present):
        return self.dropout(values["x"] * self.weight)


def test_each_model_drops_at_its_own_rate():
    rates = (0.1, 0.5, 0.9)
    models = [Dropping(rate).train() for rate in rates]
    torch.manual_seed(0)
    found = Together(models)({"x": torch.ones(3, 50, 400)}, {"x": torch.ones(3, 50, dtype=torch.bool)})
    for rate, out in zip(rates, found.detach(), strict=True):
        assert float((out == 0).float().mean()) == pytest.approx(rate, abs=0.01)
        assert float(out.max()) == pytest.approx(1 / (1 - rate), rel=1e-5)
        assert float(out.mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("varies", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.6])
def test_dropout_drops_that_share_and_keeps_the_mean(rate, varies):
    layer = Dropout(rate).train()
    layer.varies = varies
    values = torch.full((301, 703), 2.0, requires_grad=True)
    torch.manual_seed(3)
    found = layer(values)
    found.sum().backward()
    dropped = found == 0
    assert abs(dropped.float().mean().item() - rate) < 0.005
    torch.testing.assert_close(found[~dropped], torch.full_like(found[~dropped], 2 / (1 - rate)))
    torch.testing.assert_close(values.grad, (~dropped).float() / (1 - rate))
    by_place = dropped.float()
    assert by_place.mean(0).std() < 0.05 and by_place.mean(1).std() < 0.04  # no pattern along rows or columns
    torch.manual_seed(3)
    assert torch.equal(layer(values), found)
    assert not torch.equal(layer(values), found)
    assert layer(values.bfloat16()).dtype == torch.bfloat16


def test_dropout_is_not_saved_and_does_nothing_in_evaluation():
    layer, values = Dropout(0.3), torch.ones(20, 30)
    assert not layer.state_dict()
    layer.varies = True
    assert torch.equal(layer.eval()(values), values)
    assert torch.equal(Dropout(0.0).train()(values), values)
