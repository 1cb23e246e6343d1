"""Rows that come in blocks, as they do from a disk, train what rows in memory train."""

import numpy as np
import pytest
import torch

from clipfuse.errors import TrainingError
from clipfuse.models import build_model
from clipfuse.stream_model import StreamModel
from clipfuse.streams import Streams
from clipfuse.train_config import FitConfig
from clipfuse.training.fit import Member, _groups, fit
from clipfuse.training.rows import RowsInMemory, fold_rows
from clipfuse.training.scaling import set_scalers, stream_moments
from clipfuse.training.train_models import Trainee, train_models
from clipfuse.training.validation import predict_rows, validate


def test_rows_of_one_group_are_in_one_fold():
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(60, 3, generator=generator) > 0.6).float()
    groups = np.arange(60) // 4
    train = torch.arange(1, 58)
    parted = {}
    for name, own in (("grouped", groups), ("alone", None)):
        found = fold_rows(RowsInMemory(Streams({}, {}), targets, groups=own), train, 3, seed=1)
        held_out = [set(groups[train.numpy()[outside]]) for _, outside in found]
        assert sorted(np.concatenate([outside for _, outside in found])) == list(range(57))
        parted[name] = sum(map(len, held_out)) - len(set().union(*held_out))
    assert parted["grouped"] == 0 < parted["alone"]


@pytest.fixture
def both(tools):
    """The same rows in memory and in blocks: even ones, a block of one row, and one in which nothing trains."""
    whole = tools.rows(280, lacking=("text",))
    return whole, tools.blocked(whole, 0, 64, 128, 200, 201, 240)


def test_scalers_and_predictions_are_the_same(tools, both):
    whole, blocked = both
    train = torch.cat([torch.arange(3, 190), torch.arange(250, 260)])
    one, other = stream_moments(whole, train), stream_moments(blocked, train)
    for name in tools.dims:
        assert torch.equal(one[name].count, other[name].count)
        torch.testing.assert_close(one[name].mean, other[name].mean)
        torch.testing.assert_close(one[name].squares, other[name].squares)
    net = tools.model("gmlp")
    set_scalers([net], one)
    for some in (train, torch.arange(280), torch.tensor([200]), torch.arange(205, 230)):
        torch.testing.assert_close(predict_rows(net, whole, some), predict_rows(net, blocked, some))
        assert validate(net, whole, some).f1 == validate(net, blocked, some).f1


class Watching(StreamModel):
    """Notes the rows of each step, by their first number."""

    streams = ("image",)

    def __init__(self, *, norm=False):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(8, 3), []
        self.norm = torch.nn.BatchNorm1d(8) if norm else torch.nn.Identity()

    def forward(self, values, present):
        if self.training:
            self.seen.append(values["image"][:, 0, 0].tolist())
        return self.layer(self.norm(values["image"][:, 0]))


def watch(tools, blocked, batch=8, epochs=1, norm=False, train=slice(0, 200), **settings):
    model = Watching(norm=norm)
    config = FitConfig(epochs=epochs, batch_size=batch, **settings)
    tools.fit(model, blocked, train=train, validation=None, config=config)
    return model.seen


def test_every_row_is_trained_on(tools, both):
    whole, blocked = both
    (numbers,) = {tuple(whole.streams.values["image"][:200, 0, 0].tolist())}
    seen = [number for batch in watch(tools, blocked) for number in batch]
    assert len(seen) == len(set(seen)) == 200  # all blocks are whole batches
    assert set(seen) == set(numbers)
    seen = {number for batch in watch(tools, blocked, batch=30, epochs=12) for number in batch}
    assert seen == set(numbers)  # what is left over in one epoch is drawn in another


def test_blocks_come_in_another_order_each_epoch_and_are_shuffled(tools, both):
    whole, blocked = both
    block_of = {value: row // 64 for row, value in enumerate(whole.streams.values["image"][:192, 0, 0].tolist())}
    seen = watch(tools, blocked, batch=64, epochs=8, train=slice(0, 192))
    orders = {tuple(block_of[batch[0]] for batch in seen[n : n + 3]) for n in range(0, 24, 3)}
    assert len(orders) > 2 and all(sorted(order) == [0, 1, 2] for order in orders)
    first = [tuple(batch) for batch in seen if block_of[batch[0]] == 0]
    assert len(set(first)) == len(first) == 8
    assert all({block_of[value] for value in batch} == {block_of[batch[0]]} for batch in seen)


def test_a_block_that_holds_fewer_rows_than_a_batch_is_one_batch(tools, both):
    sizes = [len(batch) for batch in watch(tools, both[1], batch=50, train=slice(100, 210))]
    assert sorted(sizes) == [1, 9, 28, 50]  # 100-128, 128-200, 200-201, 201-210


def test_batch_norm_leaves_a_single_row_out(tools, both):
    sizes = [len(batch) for batch in watch(tools, both[1], batch=50, train=slice(100, 210), norm=True)]
    assert sorted(sizes) == [9, 28, 50]
    with pytest.raises(TrainingError, match="one row"):
        watch(tools, both[1], train=slice(199, 202), norm=True)


def test_oversampling_draws_within_blocks_that_have_training_rows(tools, both):
    whole, blocked = both
    whole.targets[:, 0] = (torch.arange(280) % 10 == 0).float()
    rare = set(whole.streams.values["image"][:140:10, 0, 0].tolist())
    seen = watch(tools, blocked, epochs=4, train=slice(0, 140), oversample=0.9)
    drawn = [number for batch in seen for number in batch]
    assert sum(number in rare for number in drawn) / len(drawn) > 0.15


def test_members_with_unequal_shares_of_a_block_are_trained_together(tools, both):
    """Folds: a block holds more training rows of one than of another."""
    places = torch.arange(280)
    members = []
    for n in range(3):
        train = places[places % 3 != n][:120]
        config = tools.config.model_copy(update={"batch_size": 40})
        members.append(Member(str(n), tools.model(seed=n), config, n, train, places[250:]))
    assert len(_groups(members)) == 1
    found = fit(members, both[1], lambda *_: None)
    assert all(result.history[-1].train_loss < result.history[0].train_loss for result in found)


@pytest.mark.parametrize("stacking", ["out-of-fold", "joint"])
def test_a_stacked_fusion_on_blocks_learns_as_well(tools, settings, stacking):
    whole = tools.rows(400)
    scores = []
    for rows in (whole, tools.blocked(whole, 0, 150, 310)):
        config = settings("sum", epochs=8, stacking={"method": stacking}, fit={"batch_size": 16})
        model = build_model(config, tools.dims, 3, seed=0)
        train_models([Trainee(config, model, torch.arange(320), None)], rows, lambda *_: None)
        scores.append(validate(model, rows, torch.arange(320, 400)).f1)
    assert min(scores) > 0.7 and abs(scores[0] - scores[1]) < 0.1
