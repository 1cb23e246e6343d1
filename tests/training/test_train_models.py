"""From fresh models to trained ones, one or many."""

import pytest
import torch

from clipfuse.models import build_model
from clipfuse.train_config import TrainConfig
from clipfuse.training import train_models as module
from clipfuse.training.train_models import Trainee, train_models

TRAIN, VALIDATION = torch.arange(200), torch.arange(200, 280)


def trainee(tools, config, name="", train=TRAIN, validation=VALIDATION):
    return Trainee(config, build_model(config, tools.dims, 3, seed=config.seed), train, validation, name=name)


def train(tools, *trainees, rows=None):
    return train_models(list(trainees), rows or tools.rows(), lambda *_: None)


def test_what_is_fitted_is_named_by_its_part(tools, settings):
    names = [
        set(train(tools, trainee(tools, settings(fusion, stacking={"method": method})))[0].fits)
        for fusion, method in (("concat", "out-of-fold"), ("sum", "out-of-fold"), ("sum", "joint"))
    ]
    assert names == [{"concat"}, {"image", "text", "combiner"}, {"joint"}]


def test_parts_may_have_settings_of_their_own(tools, settings):
    config = settings(
        "mixed",
        parts={
            "image": {"head": {"kind": "linear"}, "fit": {"epochs": 7, "learning_rate": 0.5}},
            "concat": {"fusion": {"kind": "gated", "width": 5}},
        },
    )
    one = trainee(tools, config)
    kinds = {name: type(part.fusion).__name__ for name, part in one.model.parts.items()}
    assert kinds == {"image": "JoinedFusion", "text": "JoinedFusion", "concat": "GatedFusion"}
    heads = {name: type(part.fusion.head).__name__ for name, part in one.model.parts.items()}
    assert heads == {"image": "LinearHead", "text": "MlpHead", "concat": "MlpHead"}
    (fitted,) = train(tools, one)
    assert {name: len(fit.history) for name, fit in fitted.fits.items()} == {
        "image": 7,
        "text": 4,
        "concat": 4,
        "combiner": 3,
    }
    assert one.fit_config("image").learning_rate == 0.5 and one.fit_config("combiner").learning_rate == 2e-2


def test_several_models_at_once_are_what_each_is_alone(tools, settings):
    exact = {"precision": "float32", "learning_rate": 1e-2, "epochs": 3}

    def all_of_them():
        configs = [
            settings(kind, seed=seed, head_settings={"dropout": 0.0}, fit=exact, stacking={"fit": exact})
            for kind, seed in (("sum", 1), ("sum", 2), ("concat", 1), ("average", 3))
        ]
        trains = [TRAIN, torch.arange(20, 220), TRAIN, TRAIN]
        return [
            trainee(tools, config, f"{n}: ", rows, torch.arange(240, 280))
            for n, (config, rows) in enumerate(zip(configs, trains, strict=True))
        ]

    together, alone = all_of_them(), all_of_them()
    found, expected = train(tools, *together), [train(tools, one)[0] for one in alone]
    for one, other, fitted, same in zip(together, alone, found, expected, strict=True):
        assert set(fitted.fits) == set(same.fits)
        assert {name: fit.best_epoch for name, fit in fitted.fits.items()} == {
            name: fit.best_epoch for name, fit in same.fits.items()
        }
        for (name, value), alike in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
            torch.testing.assert_close(value, alike, rtol=5e-3, atol=5e-4, msg=lambda text, name=name: name + text)
        for name, probabilities in fitted.out_of_fold.items():
            torch.testing.assert_close(probabilities, same.out_of_fold[name], rtol=1e-3, atol=1e-3)
        assert fitted.fold_of.tolist() == same.fold_of.tolist()


def test_scalers_are_those_of_the_training_rows_and_only_where_asked_for(tools, settings):
    rows = tools.rows()
    for scale in (True, False):
        one, other = (trainee(tools, settings("concat", scale=scale), train=places) for places in (TRAIN, VALIDATION))
        train(tools, one, other, rows=rows)
        for each in (one, other):
            expected = rows.streams.values["image"][each.train, 0].mean(0) if scale else torch.zeros(8)
            torch.testing.assert_close(each.model.inputs.scaler("image").mean, expected)


@pytest.mark.parametrize("change", [{}, {"fit": {"modality_dropout": 0.4}}])
def test_absent_vectors_that_nothing_teaches_are_frozen(tools, settings, change):
    one = trainee(tools, settings("sum", **change))
    train(tools, one)
    assert {vector.requires_grad for part in one.model.parts.values() for vector in part.inputs.absent.values()} == {
        bool(change)
    }


def test_moments_of_the_same_rows_are_found_once(tools, settings, monkeypatch):
    seen, original = [], module.stream_moments
    monkeypatch.setattr(module, "stream_moments", lambda *given: (seen.append(given[1]), original(*given))[1])
    train(tools, trainee(tools, settings("mixed", epochs=1)))
    assert len(seen) == 3  # all training rows, and each of the two folds


def test_one_seed_repeats_bit_for_bit(tools):
    found = []
    for seed in (0, 0, 1):
        config = TrainConfig.model_validate({"head": {"hidden": (16,)}, "fit": {"epochs": 2}, "seed": seed})
        one = trainee(tools, config)
        train(tools, one)
        found.append(one.model.state_dict())
        torch.rand(3)
    assert tools.same(found[0], found[1]) and not tools.same(found[0], found[2])
