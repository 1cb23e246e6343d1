"""The training loop."""

import copy

import pytest
import torch
from torch import nn

from clipfuse import train as train_module
from clipfuse.config import FitConfig, HeadConfig
from clipfuse.errors import TrainingError
from clipfuse.fusions import SingleFusion
from clipfuse.heads import HEADS
from clipfuse.streams import Streams
from clipfuse.train import fit, predict_logits, predict_probabilities

DIM, LABELS = 8, 3


def rows(n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n, 1, DIM, generator=generator)
    noise = torch.randn(n, LABELS, generator=generator)
    targets = (values[:, 0, :LABELS] + 0.7 * noise > 0).float()
    return Streams({"x": values}, {"x": torch.ones(n).bool()}), targets


def model(kind="mlp", dropout=0.5, seed=0):
    torch.manual_seed(seed)
    return SingleFusion("x", HEADS.get(kind)(DIM, LABELS, HeadConfig(hidden=(16,), dropout=dropout)))


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


CONFIG = FitConfig(epochs=5, learning_rate=1e-2, batch_size=32)


@pytest.mark.parametrize("kind", ["mlp", "gmlp"])
def test_one_seed_repeats_bit_for_bit(kind):
    found = []
    for seed in (1, 1, 2):
        net = model(kind)
        torch.rand(1 + len(found))  # what chance did before must not matter
        result = fit(net, rows(), rows(80, 1), CONFIG, seed=seed)
        found.append((weights(net), result.history))
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not same(found[0][0], found[2][0])


def test_the_best_epoch_is_kept():
    net, seen = model(), []
    config = CONFIG.model_copy(update={"epochs": 25, "learning_rate": 0.05, "schedule": "constant"})
    result = fit(
        net, rows(60), rows(80, 1), config, seed=0, on_epoch=lambda record: seen.append((record, weights(net)))
    )
    assert [record.epoch for record, _ in seen] == list(range(1, 26))
    assert tuple(record for record, _ in seen) == result.history
    best = max(result.history, key=lambda record: (record.validation_f1, -record.validation_loss))
    assert 1 < best.epoch < 25, "a toy that is no test"
    assert result.best_epoch == best.epoch
    assert same(weights(net), seen[best.epoch - 1][1])


def test_without_validation_rows_the_last_epoch_is_kept():
    net, seen = model(), []
    result = fit(net, rows(), None, CONFIG, seed=0, on_epoch=lambda record: seen.append(weights(net)))
    assert result.best_epoch == 5
    assert same(weights(net), seen[-1])
    assert result.history[0].validation_f1 is None and result.history[0].validation_loss is None


@pytest.mark.parametrize("kind", ["mlp", "gmlp"])
def test_validation_is_scored_in_evaluation_mode(kind):
    net = model(kind, dropout=0.8)
    streams, targets = rows(80, 1)
    result = fit(net, rows(), (streams, targets), CONFIG, seed=0)
    assert not net.training
    chosen, truth = predict_probabilities(net, streams) >= 0.5, targets > 0.5
    f1 = 2 * (chosen & truth).sum().item() / (chosen.sum() + truth.sum()).item()
    record = result.history[result.best_epoch - 1]
    assert record.validation_f1 == pytest.approx(f1, abs=1e-12)
    loss = nn.functional.binary_cross_entropy_with_logits(predict_logits(net, streams), targets)
    assert record.validation_loss == pytest.approx(loss.item(), rel=1e-6)


def test_validation_rows_change_nothing_but_the_choice():
    histories = []
    for validation in (rows(80, 1), rows(10, 2)):
        net = model("gmlp")
        seen = []
        fit(
            net,
            rows(),
            validation,
            CONFIG,
            seed=0,
            on_epoch=lambda record, seen=seen, net=net: seen.append(weights(net)),
        )
        histories.append(seen)
    assert all(same(one, other) for one, other in zip(*histories, strict=True))


def test_training_happens_in_training_mode():
    modes = []

    class Watch(nn.Linear):
        def forward(self, x):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(x)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Watch(DIM, LABELS)

        def forward(self, values, present):
            return self.layer(values["x"][:, 0])

    fit(Net(), rows(96), rows(20, 1), CONFIG.model_copy(update={"epochs": 2}), seed=0)
    assert modes == [(True, True)] * 3 + [(False, False)] + [(True, True)] * 3 + [(False, False)]


def rates(config, monkeypatch):
    """The learning rate of every step."""
    found = []

    class Watched(torch.optim.SGD):
        def __init__(self, groups, lr, **_):
            super().__init__([{"params": group["params"]} for group in groups], lr=lr)

        def step(self, *args):
            found.append(self.param_groups[0]["lr"])
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    fit(model(), rows(96), None, config, seed=0)
    return found


def test_the_cosine_schedule_is_stepped(monkeypatch):
    found = rates(FitConfig(epochs=4, learning_rate=0.1, batch_size=32), monkeypatch)
    assert len(found) == 12
    assert found[0] == 0.1
    assert found[6] == pytest.approx(0.05)
    assert all(later < earlier for earlier, later in zip(found[:-1], found[1:], strict=True))
    assert 0 < found[-1] < 0.003


def test_the_constant_schedule_is_constant(monkeypatch):
    assert set(rates(FitConfig(epochs=2, learning_rate=0.1, schedule="constant"), monkeypatch)) == {0.1}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weight_decay_is_on_matrices_only(optimizer):
    net = model("gmlp")
    made = train_module._optimizer(net, FitConfig(optimizer=optimizer, weight_decay=0.3))
    assert type(made).__name__.lower() == optimizer
    decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert len(decay) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name
    assert {0.0, 0.3} == set(decay.values())


def test_the_last_short_batch_is_left_out():
    sizes = []

    class Net(SingleFusion):
        def forward(self, values, present):
            sizes.append(len(values["x"]))
            return super().forward(values, present)

    net = Net("x", HEADS.get("gmlp")(DIM, LABELS, HeadConfig()))
    fit(net, rows(65), None, FitConfig(epochs=2, batch_size=32), seed=0)
    assert sizes == [32, 32, 32, 32]


def test_every_epoch_has_an_order_of_its_own():
    first = []

    class Net(SingleFusion):
        def forward(self, values, present):
            first.append(values["x"][0, 0, 0].item())
            return super().forward(values, present)

    net = Net("x", HEADS.get("linear")(DIM, LABELS, HeadConfig()))
    fit(net, rows(64), None, FitConfig(epochs=6, batch_size=64), seed=0)
    assert len(set(first)) > 3


@pytest.mark.parametrize(("n", "size"), [(3, 3), (40, 16), (1600, 50), (20000, 256)])
def test_the_batch_follows_the_number_of_rows(n, size):
    sizes = set()

    class Net(SingleFusion):
        def forward(self, values, present):
            sizes.add(len(values["x"]))
            return super().forward(values, present)

    fit(Net("x", HEADS.get("linear")(DIM, LABELS, HeadConfig())), rows(n), None, FitConfig(epochs=1), seed=0)
    assert sizes == {size}


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_loss_that_diverges_is_an_error(epochs):
    config = CONFIG.model_copy(update={"epochs": epochs, "learning_rate": 1e30, "batch_size": 200})
    with pytest.raises(TrainingError, match=r"validation loss is nan in epoch 1\..*--learning-rate"):
        fit(model(), rows(), rows(80, 1), config, seed=0)
    with pytest.raises(TrainingError, match=r"training loss is nan in epoch 2\..*--learning-rate"):
        fit(model(), rows(), None, config.model_copy(update={"epochs": 3}), seed=0)


def test_no_training_rows_is_an_error():
    with pytest.raises(TrainingError, match=r"no training rows"):
        fit(model(), rows(0), rows(20, 1), CONFIG, seed=0)


def test_batch_norm_on_batches_of_one_row_is_an_error():
    with pytest.raises(TrainingError, match=r"one row.*--batch-size"):
        fit(model("gmlp"), rows(20), None, FitConfig(epochs=1, batch_size=1), seed=0)
    fit(model("mlp"), rows(20), None, FitConfig(epochs=1, batch_size=1), seed=0)


def test_prediction_in_blocks_is_prediction(monkeypatch):
    net, (streams, _) = model("gmlp"), rows(50)
    whole = predict_logits(net, streams)
    monkeypatch.setattr(train_module, "EVALUATION_ROWS", 7)
    torch.testing.assert_close(predict_logits(net, streams), whole)
    assert torch.equal(torch.sigmoid(predict_logits(net, streams)), predict_probabilities(net, streams))
    state = copy.deepcopy(net.state_dict())
    net.train()
    predict_logits(net, streams)
    assert same(state, net.state_dict()) and not net.training
