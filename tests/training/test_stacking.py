"""Training stacked fusions: what the combiner learns from."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipfuse.data.splits import folds
from clipfuse.models import build_model
from clipfuse.streams import Streams
from clipfuse.training import stacking as stacking_module
from clipfuse.training import train_models as module
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.train_models import Trainee, train_models
from clipfuse.training.validation import predict_logits, predict_rows

DIMS = {"image": 60, "text": 40}
LABELS = 3
TRAIN, VALIDATION = torch.arange(160), torch.arange(160, 220)


def make_rows(train=160, seed=0, learnable=True):
    generator = torch.Generator().manual_seed(seed)
    total = train + 60
    values = {name: torch.randn(total, 1, dim, generator=generator) for name, dim in DIMS.items()}
    targets = (torch.rand(total, LABELS, generator=generator) < 0.5).float()
    if learnable:
        targets = (values["image"][:, 0, :LABELS] + values["text"][:, 0, :LABELS] > 0).float()
    return RowsInMemory(Streams(values, {name: torch.ones(total).bool() for name in DIMS}), targets)


@pytest.fixture
def train(settings):
    def run(method="out-of-fold", kind="sum", rows=None, k=4, epochs=6, validation=True, epochs_of=None, **options):
        config = settings(
            kind,
            epochs=epochs,
            stacking={"method": method, "folds": k},
            head_settings={"hidden": (64,), "dropout": 0.0},
            fit={"weight_decay": 0.0, "batch_size": 16},
            **options,
        )
        rows = rows or make_rows()
        places = torch.arange(len(rows.targets) - 60)
        model = build_model(config, DIMS, LABELS, seed=0)
        seen = []
        trainee = Trainee(
            config, model, places, places[-1] + 1 + torch.arange(60) if validation else None, epochs_of or {}
        )
        (fitted,) = train_models([trainee], rows, lambda part, record: seen.append((part, record.epoch)))
        return model, fitted, seen

    return run


@pytest.fixture
def watched(monkeypatch):
    """What every fit was asked for: (members, rows), members with the weights that they started from."""
    calls, original = [], module.fit_members

    def watch(members, rows, on_epoch):
        calls.append(([replace(one, model=copy.deepcopy(one.model)) for one in members], rows))
        return original(members, rows, on_epoch)

    monkeypatch.setattr(module, "fit_members", watch)
    monkeypatch.setattr(stacking_module, "fit", watch)
    return calls


def agreement(probabilities, targets):
    return ((probabilities >= 0.5) == (targets > 0.5)).float().mean().item()


def test_out_of_fold_outputs_come_from_models_that_never_saw_the_row(train):
    """Labels by chance, and features that tell every row apart: what was seen is known, what was not is guessed."""
    rows = make_rows(learnable=False)
    model, fitted, _ = train(rows=rows, epochs=40, validation=False)
    for name, probabilities in fitted.out_of_fold.items():
        assert probabilities.shape == (160, LABELS)
        assert 0.38 < agreement(probabilities, rows.targets[:160]) < 0.62, name
        own = torch.sigmoid(predict_rows(model.parts[name], rows, TRAIN))
        assert agreement(own, rows.targets[:160]) > 0.95, name


@pytest.mark.parametrize("k", [2, 5])
def test_each_row_is_held_out_by_the_fold_that_says_so(train, k):
    _, fitted, _ = train(k=k, epochs=1)
    parts = folds(make_rows().targets[:160].numpy() > 0.5, k, 0)
    assert sorted(np.concatenate([outside for _, outside in parts]).tolist()) == list(range(160))
    for fold, (_, outside) in enumerate(parts):
        assert np.array_equal(np.flatnonzero(fitted.fold_of == fold), outside)


def test_no_fold_sees_the_rows_that_it_holds_out(train, watched):
    train(k=4, epochs=1)
    members, rows = watched[0]
    parts = folds(rows.targets[:160].numpy() > 0.5, 4, 0)
    for part in ("image", "text"):
        kept, *in_folds = (one for one in members if one.name.split(",")[0] == part)
        assert torch.equal(kept.train, TRAIN)
        for (inside, outside), member in zip(parts, in_folds, strict=True):
            assert member.train.tolist() == sorted(inside) and not set(outside) & set(member.train.tolist())
            own = rows.streams.values[part][member.train, 0]  # standardised on the fold's own rows, and on nothing else
            torch.testing.assert_close(member.model.inputs.scaler(part).mean, own.mean(0))
            torch.testing.assert_close(1 / member.model.inputs.scaler(part).scale, own.std(0, correction=0))


def test_a_fold_starts_from_the_weights_that_the_part_started_from(train, watched):
    """A model that is not made anew for each fold has seen the rows it holds out."""
    train(k=3, epochs=2)
    members, _ = watched[0]
    fresh = [dict(one.model.fusion.state_dict()) for one in members if one.name.startswith("image")]
    assert len(fresh) == 4
    for one in fresh:
        del one["head.layers.3.bias"]  # from the frequencies in each one's own training rows
    assert all(torch.equal(fresh[0][key], later[key]) for later in fresh[1:] for key in fresh[0])
    assert len({one.seed for one in members}) == len(members)


@pytest.mark.parametrize("kind", ["sum", "mixed"])
def test_the_parts_that_are_kept_are_trained_on_all_training_rows(train, kind):
    stacked, _, _ = train(kind=kind)
    plain, _, _ = train("in-sample", kind=kind)
    for key, value in stacked.models.state_dict().items():
        assert torch.equal(value, plain.models.state_dict()[key]), key
    assert not torch.equal(stacked.combiner.weights, plain.combiner.weights)


@pytest.mark.parametrize("method", ["out-of-fold", "in-sample", "validation"])
@pytest.mark.parametrize("kind", ["sum", "mixed"])
def test_what_the_combiner_learns_from(train, watched, kind, method):
    model, fitted, _ = train(method, kind=kind)
    (member,), learned = watched[1]
    names = ["image", "text", "concat"][: 2 if kind == "sum" else 3]
    said = learned.streams.values["parts"]
    rows = make_rows()
    learns, chooses = (VALIDATION, None) if method == "validation" else (TRAIN, VALIDATION)
    assert said.shape[1:] == (len(names), LABELS)
    assert torch.equal(learned.targets[member.train], rows.targets[learns])
    for n, name in enumerate(names):
        if method == "out-of-fold":
            assert torch.equal(torch.sigmoid(said[member.train, n]), fitted.out_of_fold[name])
        else:
            torch.testing.assert_close(said[member.train, n], predict_rows(model.parts[name], rows, learns))
        if chooses is None:
            assert member.validation is None
        else:  # the epoch is chosen by what the kept parts say
            assert torch.equal(learned.targets[member.validation], rows.targets[chooses])
            torch.testing.assert_close(said[member.validation, n], predict_rows(model.parts[name], rows, chooses))
    assert (member.config.epochs, member.config.learning_rate) == (3, 2e-2)
    assert (fitted.out_of_fold == {}) == (method != "out-of-fold") == (len(fitted.fold_of) == 0)


def test_the_combiner_is_told_which_parts_had_an_input(train, watched):
    rows = make_rows()
    rows.present["text"][::3] = False
    train(kind="mixed", rows=rows)
    (member,), learned = watched[1]
    told = learned.streams.values["has_input"][member.train, :, 0]
    assert torch.equal(told[:, 0], torch.ones(160).bool()) and torch.equal(told[:, 2], torch.ones(160).bool())
    assert torch.equal(told[:, 1], rows.present["text"][:160])


def test_in_sample_stacking_has_no_folds(train):
    _, fitted, seen = train("in-sample")
    assert [part for part, epoch in seen if epoch == 1] == ["image", "text", "combiner"]
    assert list(fitted.fits) == ["image", "text", "combiner"]


def test_the_progress_of_folds(train):
    _, fitted, seen = train(k=2, epochs=2)
    names = {f"{part}{end}" for part in ("image", "text") for end in ("", ", fold 1 of 2", ", fold 2 of 2")}
    assert {part for part, _ in seen} == {*names, "combiner"}
    assert sorted(seen) == sorted([(name, n) for name in names for n in (1, 2)] + [("combiner", n) for n in (1, 2, 3)])
    assert set(fitted.fits) == {"image", "text", "combiner"}


def test_joint_training_trains_everything_at_once(train):
    model, fitted, seen = train("joint")
    fresh = build_model(
        module.TrainConfig.model_validate({"fusion": {"kind": "sum"}, "head": {"hidden": (64,), "dropout": 0.0}}),
        DIMS,
        LABELS,
        seed=0,
    )
    for (name, value), start in zip(model.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(value, start) == ("absent" in name), name
    assert {part for part, _ in seen} == {"joint"} == set(fitted.fits)
    assert fitted.out_of_fold == {} and len(fitted.fold_of) == 0
    for part in model.parts.values():
        for name in part.streams:
            expected = make_rows().streams.values[name][:160, 0].mean(0)
            torch.testing.assert_close(part.inputs.scaler(name).mean, expected)


@pytest.mark.parametrize(
    ("kind", "combiner"), [("average", {"kind": "average", "weights": "equal"}), ("max", {"kind": "max"})]
)
def test_a_combiner_without_numbers_is_not_trained(train, watched, kind, combiner):
    model, fitted, _ = train(kind=kind, fusion_settings={"combiner": combiner})
    assert len(watched) == 1 and [one.name for one in watched[0][0]] == ["image", "text"]  # nor are folds
    assert set(fitted.fits) == {"image", "text"} and fitted.out_of_fold == {}
    streams, logits = make_rows().streams, predict_logits(model, make_rows().streams)
    both = torch.stack([predict_logits(part, streams) for part in model.parts.values()])
    torch.testing.assert_close(logits, both.mean(0) if kind == "average" else both.amax(0))


@pytest.mark.parametrize("method", ["out-of-fold", "validation", "in-sample", "joint"])
def test_all_ways_learn_and_repeat(train, method):
    rows = make_rows(400)
    found = [train(method, rows=rows, k=2)[0] for _ in range(2)]
    other = make_rows(200, seed=5)
    scores = [torch.sigmoid(predict_logits(model, other.streams)) for model in found]
    assert torch.equal(*scores)
    assert agreement(scores[0], other.targets) > 0.8


@pytest.mark.parametrize(
    ("method", "wanted"), [("out-of-fold", {"image": 2, "text": 5, "combiner": 1}), ("joint", {"joint": 4})]
)
def test_each_part_can_have_epochs_of_its_own(train, method, wanted):
    _, fitted, _ = train(method, epochs_of=wanted, validation=False)
    assert {name: len(fit.history) for name, fit in fitted.fits.items()} == wanted
