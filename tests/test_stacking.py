"""Training the sum and mixed fusions: what the meta-classifier learns from."""

import copy

import numpy as np
import pytest
import torch

from clipfuse import stacking as stacking_module
from clipfuse.data.splits import folds
from clipfuse.models import build_model
from clipfuse.stacking import fit_stacked, part_settings
from clipfuse.streams import Streams

DIMS = {"image": 60, "text": 40}
LABELS = 3


def rows(n=160, seed=0, learnable=True):
    generator = torch.Generator().manual_seed(seed)
    values = {name: torch.randn(n, 1, dim, generator=generator) for name, dim in DIMS.items()}
    targets = (torch.rand(n, LABELS, generator=generator) < 0.5).float()
    if learnable:
        targets = (values["image"][:, 0, :LABELS] + values["text"][:, 0, :LABELS] > 0).float()
    return Streams(values, {name: torch.ones(n).bool() for name in DIMS}), targets


def train(settings, stacking="out-of-fold", kind="sum", data=None, k=4, epochs=6, validation=True, epochs_of=None):
    config = settings(
        kind,
        epochs=epochs,
        fusion_settings={"stacking": stacking, "folds": k},
        head_settings={"hidden": (64,), "dropout": 0.0},
        fit={"weight_decay": 0.0, "batch_size": 16},
    )
    model = build_model(config, DIMS, LABELS, seed=0)
    data = data or rows()
    parts = folds(data[1].numpy() > 0.5, k, 0) if stacking == "out-of-fold" else []
    seen = []
    result = fit_stacked(
        model,
        data,
        rows(60, 9) if validation else None,
        stacking,
        part_settings(config.fusion, config.fit, epochs_of or {}),
        parts,
        seed=0,
        on_epoch=lambda part, record: seen.append((part, record.epoch)),
    )
    return model, result, seen, parts


def agreement(probabilities, targets):
    return ((probabilities >= 0.5) == (targets > 0.5)).float().mean().item()


def test_out_of_fold_outputs_come_from_models_that_never_saw_the_row(settings):
    """Labels by chance, and features that tell every row apart: what was seen is known, what was not is guessed."""
    data = rows(learnable=False)
    model, result, _, _ = train(settings, data=data, epochs=40, validation=False)
    for name, probabilities in result.out_of_fold.items():
        assert probabilities.shape == data[1].shape
        assert 0.38 < agreement(probabilities, data[1]) < 0.62, name
        own = torch.sigmoid(stacking_module.predict_logits(model.parts[name], data[0]))
        assert agreement(own, data[1]) > 0.95, name


@pytest.mark.parametrize("k", [2, 4, 5])
def test_each_row_is_held_out_by_the_fold_that_says_so(settings, k):
    _, result, _, parts = train(settings, k=k, epochs=1)
    assert sorted(np.concatenate([outside for _, outside in parts]).tolist()) == list(range(160))
    assert set(result.fold_of.tolist()) == set(range(k))
    for fold, (_, outside) in enumerate(parts):
        assert np.array_equal(np.flatnonzero(result.fold_of == fold), outside)


def test_no_fold_sees_the_rows_that_it_holds_out(settings, monkeypatch):
    seen = []
    whole = rows()[0].values["image"][:, 0]

    def watched(model, train, validation, config, **others):
        if "image" in train[0].values:
            seen.append(train[0].values["image"][:, 0])
        return fit(model, train, validation, config, **others)

    fit = stacking_module.fit
    monkeypatch.setattr(stacking_module, "fit", watched)
    *_, parts = train(settings, k=4, epochs=1)
    for kept, *in_folds in (seen[:5], seen[5:]):  # the image part, then the text part
        assert torch.equal(kept, whole)
        for (inside, outside), values in zip(parts, in_folds, strict=True):
            assert sorted([*inside, *outside]) == list(range(160))
            own = whole[inside]  # standardised on the fold's own rows, and on nothing else
            torch.testing.assert_close(values, (own - own.mean(0)) / own.std(0, correction=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["sum", "mixed"])
def test_the_parts_that_are_kept_are_trained_on_all_training_rows(settings, kind):
    stacked, _, _, _ = train(settings, kind=kind)
    plain, _, _, _ = train(settings, stacking="in-sample", kind=kind)
    for key, value in stacked.parts.state_dict().items():
        assert torch.equal(value, plain.parts.state_dict()[key]), key
    assert not torch.equal(stacked.meta.weights, plain.meta.weights)


@pytest.mark.parametrize("kind", ["sum", "mixed"])
def test_the_meta_classifier_learns_from_the_out_of_fold_outputs(settings, kind, monkeypatch):
    seen = {}
    original = stacking_module.fit

    def watched(model, train, validation, config, **others):
        if "parts" in train[0].values:
            seen["train"], seen["epochs"], seen["rate"] = train, config.epochs, config.learning_rate
        return original(model, train, validation, config, **others)

    monkeypatch.setattr(stacking_module, "fit", watched)
    _, result, _, _ = train(settings, kind=kind)
    learned = torch.sigmoid(seen["train"][0].values["parts"])
    names = list(result.out_of_fold)
    assert names == ["image", "text", "concat"][: len(names)]
    assert learned.shape == (160, len(names), LABELS)
    for n, name in enumerate(names):
        assert torch.equal(learned[:, n], result.out_of_fold[name])
    assert (seen["epochs"], seen["rate"]) == (3, 2e-2)


def test_in_sample_stacking_has_no_folds(settings):
    _, result, seen, _ = train(settings, stacking="in-sample")
    assert result.out_of_fold == {}
    assert len(result.fold_of) == 0
    assert [part for part, epoch in seen if epoch == 1] == ["image", "text", "meta"]
    assert set(result.fits) == {"image", "text", "meta"}


def test_joint_training_trains_everything_at_once(settings):
    model, result, seen, _ = train(settings, stacking="joint")
    fresh = build_model(settings("sum", head_settings={"hidden": (64,), "dropout": 0.0}), DIMS, LABELS, seed=0)
    for (name, value), start in zip(model.named_parameters(), fresh.parameters(), strict=True):
        assert not torch.equal(value, start), name
    assert {part for part, _ in seen} == {"joint"}
    assert result.out_of_fold == {} and len(result.fold_of) == 0
    assert set(result.fits) == {"joint"}


@pytest.mark.parametrize("stacking", ["out-of-fold", "in-sample", "joint"])
def test_all_ways_learn_and_repeat(settings, stacking):
    found = [train(settings, stacking=stacking, data=rows(600), k=2) for _ in range(2)]
    streams, targets = rows(200, 5)
    scores = [torch.sigmoid(stacking_module.predict_logits(model, streams)) for model, *_ in found]
    assert torch.equal(*scores)
    assert agreement(scores[0], targets) > 0.8
    assert found[0][1].fits.keys() == found[1][1].fits.keys()


def test_a_fold_starts_from_the_weights_that_the_part_started_from(settings, monkeypatch):
    """A model that is not made anew for each fold has seen the rows it holds out."""
    starts = []
    original = stacking_module.fit

    def watched(model, train, validation, config, **others):
        starts.append(copy.deepcopy(model.state_dict()))
        return original(model, train, validation, config, **others)

    monkeypatch.setattr(stacking_module, "fit", watched)
    train(settings, k=3, epochs=2)
    image = starts[:4]
    assert all(torch.equal(image[0][key], later[key]) for later in image[1:] for key in image[0])


@pytest.mark.parametrize(
    ("stacking", "wanted"), [("out-of-fold", {"image": 2, "text": 5, "meta": 1}), ("joint", {"joint": 4})]
)
def test_each_part_can_have_epochs_of_its_own(settings, stacking, wanted):
    _, result, _, _ = train(settings, stacking=stacking, epochs_of=wanted, validation=False)
    assert {name: len(fit.history) for name, fit in result.fits.items()} == wanted


def test_settings_of_the_parts(settings):
    config = settings("sum", epochs=7)
    of = part_settings(config.fusion, config.fit, {"image": 2})
    assert of("text") == of("joint") == config.fit
    assert of("image") == config.fit.model_copy(update={"epochs": 2})
    assert of("meta") == config.fit.model_copy(update={"epochs": 3, "learning_rate": 2e-2})
