"""The loop."""

import math

import pytest
import torch
from torch import nn

from clipfuse.errors import TrainingError
from clipfuse.stream_model import StreamModel
from clipfuse.train_config import FitConfig
from clipfuse.training import fit as module
from clipfuse.training.validation import predict_rows


class Watching(StreamModel):
    """A linear model that tells what it was called with."""

    streams = ("image",)

    def __init__(self, see):
        super().__init__()
        self.layer, self.see = nn.Linear(8, 3), see

    def forward(self, values, present):
        self.see(self, values, present)
        return self.layer(values["image"][:, 0])


@pytest.mark.parametrize("head", ["mlp", "gmlp"])
def test_one_seed_repeats_bit_for_bit(tools, head):
    found = []
    for seed in (1, 1, 2):
        net = tools.model(head, dropout=0.5)
        torch.rand(1 + len(found))  # what chance did before must not matter
        config = tools.config.model_copy(update={"modality_dropout": 0.3})
        result = tools.fit(net, config=config, seed=seed)
        found.append((tools.weights(net), result.history))
    assert tools.same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not tools.same(found[0][0], found[2][0])


def test_the_best_epoch_is_kept(tools):
    net, seen = tools.model(dropout=0.5), []
    config = tools.config.model_copy(update={"epochs": 25, "learning_rate": 0.05, "schedule": "constant"})
    result = tools.fit(
        net, config=config, train=slice(0, 60), on_epoch=lambda _, record: seen.append((record, tools.weights(net)))
    )
    assert [record.epoch for record, _ in seen] == list(range(1, 26))
    assert {record.epochs for record, _ in seen} == {25}
    assert tuple(record for record, _ in seen) == result.history
    best = max(result.history, key=lambda record: (record.validation_f1, -record.validation_loss))
    assert 1 < best.epoch < 25, "a toy that is no test"
    assert result.best_epoch == best.epoch
    assert tools.same(tools.weights(net), seen[best.epoch - 1][1])


def test_without_validation_rows_the_last_epoch_is_kept(tools):
    net, seen = tools.model(), []
    result = tools.fit(net, validation=None, on_epoch=lambda *_: seen.append(tools.weights(net)))
    assert result.best_epoch == 5
    assert tools.same(tools.weights(net), seen[-1])
    assert result.history[0].validation_f1 is None and result.history[0].validation_loss is None


@pytest.mark.parametrize("head", ["mlp", "gmlp"])
def test_validation_is_scored_in_evaluation_mode(tools, head):
    net, rows = tools.model(head, dropout=0.8), tools.rows()
    result = tools.fit(net, rows)
    assert not net.training
    logits, targets = predict_rows(net, rows, torch.arange(200, 280)), rows.targets[200:]
    chosen, truth = logits >= 0, targets > 0.5
    f1 = 2 * (chosen & truth).sum().item() / (chosen.sum() + truth.sum()).item()
    record = result.history[result.best_epoch - 1]
    assert record.validation_f1 == pytest.approx(f1, abs=1e-12)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert record.validation_loss == pytest.approx(loss.item(), rel=1e-6)


def test_validation_rows_change_nothing_but_the_choice(tools):
    histories = []
    for validation in (slice(200, 280), slice(270, 280)):
        net, seen = tools.model("gmlp", dropout=0.5), []
        tools.fit(net, validation=validation, on_epoch=lambda *_, seen=seen, net=net: seen.append(tools.weights(net)))
        histories.append(seen)
    assert all(tools.same(one, other) for one, other in zip(*histories, strict=True))


def test_training_happens_in_training_mode(tools):
    modes = []
    net = Watching(lambda self, *_: modes.append((self.training, torch.is_grad_enabled())))
    tools.fit(net, train=slice(0, 96), config=tools.config.model_copy(update={"epochs": 2}))
    assert modes == ([(True, True)] * 3 + [(False, False)]) * 2


def test_the_last_short_batch_is_left_out_and_orders_differ(tools):
    seen = []
    net = Watching(lambda self, values, _: seen.append(values["image"][:, 0, 0]))
    config = tools.config.model_copy(update={"epochs": 4})
    rows = tools.rows()
    tools.fit(net, rows, train=slice(0, 65), validation=None, config=config)
    assert [len(batch) for batch in seen] == [32] * 8
    own = set(rows.streams.values["image"][:65, 0, 0].tolist())
    assert all(set(batch.tolist()) <= own for batch in seen)
    epochs = [torch.cat(seen[n : n + 2]).tolist() for n in range(0, 8, 2)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert all(len(set(epoch)) == 64 for epoch in epochs)


@pytest.mark.parametrize(
    ("wanted", "n", "size"),
    [(None, 3, 3), (None, 40, 16), (None, 1600, 50), (None, 20000, 256), ("all", 900, 900), (5, 9, 5)],
)
def test_the_batch_follows_the_number_of_rows(wanted, n, size):
    assert module.batch_size(FitConfig(batch_size=wanted), n) == size


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_schedule_is_stepped_after_every_step(tools, schedule, monkeypatch):
    found, original = [], module.make_optimizer

    def watched(*arguments):
        optimizer = original(*arguments)
        step = optimizer.step
        optimizer.step = lambda *a: (found.append(optimizer.param_groups[0]["lr"]), step(*a))
        return optimizer

    monkeypatch.setattr(module, "make_optimizer", watched)
    config = FitConfig(epochs=4, learning_rate=0.1, batch_size=32, schedule=schedule)
    tools.fit(tools.model(), train=slice(0, 96), validation=None, config=config)
    assert len(found) == 12 and found[0] == 0.1
    if schedule == "constant":
        assert set(found) == {0.1}
    else:
        assert found[6] == pytest.approx(0.05) and 0 < found[-1] < 0.003


@pytest.mark.parametrize("validation", [None, slice(200, 280)])
def test_a_plateau_lowers_the_rate(tools, validation, monkeypatch):
    """Its losses are those of validation where there are any, zero included."""
    seen, original = [], module.LearningRates.end_epoch
    monkeypatch.setattr(
        module.LearningRates, "end_epoch", lambda self, losses: (seen.append(losses), original(self, losses))
    )
    result = tools.fit(
        tools.model(), validation=validation, config=tools.config.model_copy(update={"schedule": "plateau"})
    )
    name = "train_loss" if validation is None else "validation_loss"
    assert seen == [[getattr(record, name)] for record in result.history]
    nothing = module.EpochRecord(3, 9, 1.0, 0.0, 1.0)
    assert module._watched([nothing], 3) == 0.0 and module._watched([nothing], 4) is None


def test_weight_decay_is_on_matrices_only(tools):
    """Without a gradient only decay moves a weight."""
    net = tools.model("gmlp")
    before = tools.weights(net)
    config = FitConfig(epochs=1, learning_rate=1e-3, weight_decay=0.5, schedule="constant", loss={"kind": "focal"})
    rows = tools.rows()
    with torch.no_grad():
        net.fusion.head.linear.weight.zero_()
        net.fusion.head.linear.bias.fill_(-200.0)  # every label is ruled out, and so it is: nothing to learn
    before = tools.weights(net)
    rows.targets.zero_()
    tools.fit(net, rows, config=config, validation=None)
    after, moved = tools.weights(net), set()
    for name, parameter in net.named_parameters():
        if before[name].any() and not torch.equal(before[name], after[name]):
            assert parameter.ndim > 1, name
            moved.add(name)
    assert moved == {name for name, p in net.named_parameters() if p.ndim > 1 and before[name].any()}


class TestStopping:
    def test_patience(self, tools):
        config = tools.config.model_copy(update={"epochs": 60, "patience": 4, "learning_rate": 0.05})
        result = tools.fit(tools.model(), train=slice(0, 60), config=config)
        assert len(result.history) == result.best_epoch + 4 < 60

    def test_without_patience_or_validation_it_goes_on(self, tools):
        config = tools.config.model_copy(update={"epochs": 12, "patience": 1})
        assert len(tools.fit(tools.model(), validation=None, config=config).history) == 12
        config = tools.config.model_copy(update={"epochs": 12, "learning_rate": 1e-9})
        assert len(tools.fit(tools.model(), config=config).history) == 12


class TestRunningMean:
    @pytest.mark.parametrize("validation", [None, slice(200, 280)])
    def test_the_kept_weights_are_the_mean(self, tools, validation):
        """One epoch of 6 steps, followed by hand."""
        seen = []
        net = Watching(lambda self, *_: seen.append(self.layer.weight.detach().clone()))
        config = tools.config.model_copy(update={"epochs": 1, "ema": 0.9})
        result = tools.fit(net, validation=validation, config=config)
        plain = Watching(lambda *_: None)
        plain.load_state_dict({"layer.weight": seen[0], "layer.bias": torch.zeros(3)})
        weights = [*seen[1:6]]
        mean = seen[0]
        for step, weight in enumerate(weights, start=1):
            mean = mean + (1 - min(0.9, (1 + step) / (10 + step))) * (weight - mean)
        # the sixth step's weights were only seen by nobody: bound them by one step of the optimiser
        share = 1 - min(0.9, 7 / 16)
        assert (net.layer.weight - mean).abs().max() <= share * (weights[-1] - mean).abs().max() + share * 0.011
        if validation is not None:
            torch.testing.assert_close(seen[6], net.layer.weight.detach())  # validation looks at the mean
            assert result.best_epoch == 1

    def test_training_goes_on_from_the_weights_and_not_from_the_mean(self, tools):
        found = []
        for ema in (None, 0.5):
            seen = []
            torch.manual_seed(0)
            net = Watching(
                lambda self, *_, seen=seen: seen.append(self.layer.weight.detach().clone()) if self.training else 0
            )
            tools.fit(net, config=tools.config.model_copy(update={"epochs": 2, "ema": ema}))
            found.append(seen)
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_gradients_are_clipped(tools, monkeypatch):
    seen, original = [], module.make_optimizer

    def watched(models, configs):
        optimizer = original(models, configs)
        step = optimizer.step

        def look():
            seen.append(
                torch.cat([p.grad.flatten() for p in models[0].parameters() if p.grad is not None]).norm().item()
            )
            return step()

        optimizer.step = look
        return optimizer

    monkeypatch.setattr(module, "make_optimizer", watched)
    config = tools.config.model_copy(update={"epochs": 1, "reduction": "sum"})
    tools.fit(tools.model(), config=config)
    assert min(seen) > 1, "a toy that is no test"
    seen.clear()
    tools.fit(tools.model(), config=config.model_copy(update={"clip_norm": 0.5}))
    assert seen == pytest.approx([0.5] * 6, rel=1e-4)


def test_bfloat16_is_used_where_it_is_asked_for(tools):
    kinds = []

    class Net(Watching):
        def forward(self, values, present):
            found = super().forward(values, present)
            if self.training:
                kinds.append(found.dtype)
            return found

    for precision, kind in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        kinds.clear()
        tools.fit(Net(lambda *_: None), config=tools.config.model_copy(update={"epochs": 1, "precision": precision}))
        assert set(kinds) == {kind}


class TestWhatTheObjectiveIsMadeOf:
    """Losses, weights and draws have tests of their own; here, that the loop asks for them."""

    @pytest.mark.parametrize(
        "change",
        [
            {"loss": {"kind": "asymmetric"}},
            {"label_weights": "inverse-frequency"},
            {"label_smoothing": 0.2},
            {"reduction": "sum"},
            {"oversample": 0.9},
            {"undersample": 0.1},
            {"warmup": 0.5},
            {"modality_dropout": 0.5},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_each_setting_reaches_the_loop(self, tools, change):
        losses = []
        rows = tools.rows()
        rows.targets[:, 0] *= torch.arange(280) % 4 == 0  # a rare label
        for settings in ({}, change):
            config = FitConfig.model_validate({**tools.config.model_dump(), "epochs": 2, **settings})
            losses.append([record.train_loss for record in tools.fit(tools.model(), rows, config=config).history])
        assert losses[0] != losses[1]

    def test_label_weights_come_from_the_training_rows(self, tools, monkeypatch):
        seen = []
        original = module.label_weights
        monkeypatch.setattr(
            module, "label_weights", lambda kind, counts: (seen.append(counts), original(kind, counts))[1]
        )
        rows = tools.rows()
        tools.fit(tools.model(), rows)
        assert torch.equal(seen[0], rows.targets[:200].sum(0).long()[None])


class TestErrors:
    @pytest.mark.parametrize("epochs", [1, 5])
    def test_a_loss_that_diverges(self, tools, epochs):
        wild = {"learning_rate": 1e30, "batch_size": 200, "schedule": "constant"}
        config = tools.config.model_copy(update={"epochs": epochs, **wild})
        with pytest.raises(TrainingError, match=r"validation loss is (nan|inf) in epoch 1\..*--learning-rate"):
            tools.fit(tools.model(), config=config)
        with pytest.raises(TrainingError, match=r"training loss is (nan|inf) in epoch 2\..*--learning-rate"):
            tools.fit(tools.model(), validation=None, config=config.model_copy(update={"epochs": 3}))

    def test_no_training_rows(self, tools):
        with pytest.raises(TrainingError, match=r"no training rows"):
            tools.fit(tools.model(), train=slice(0, 0))

    def test_batch_norm_on_batches_of_one_row(self, tools):
        config = FitConfig(epochs=1, batch_size=1)
        for train in (slice(0, 20), slice(0, 1)):
            with pytest.raises(TrainingError, match=r"one row.*--batch-size"):
                tools.fit(tools.model("gmlp"), train=train, config=config)
        result = tools.fit(tools.model("mlp"), train=slice(0, 20), config=config)
        assert math.isfinite(result.history[0].train_loss)
