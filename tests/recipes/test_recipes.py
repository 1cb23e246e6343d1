"""Every recipe builds exactly the layers of its report, and trains."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clipfuse.baselines import BASELINES
from clipfuse.errors import UnknownName
from clipfuse.fusions import modalities_read
from clipfuse.models import build_model, check_models, count_parameters
from clipfuse.recipes import find_recipe, recipe_kind, recipes
from clipfuse.settings import updated
from clipfuse.streams import Streams, modality_of
from clipfuse.table_streams import TableStreams
from clipfuse.train_config import TrainConfig
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.train_models import Trainee, train_models
from clipfuse.training.validation import predict_logits

D, L = 768, 18
META = (L * 1024 + 1024) + (1024 * 512 + 512) + (512 * L + L)


def mlp(*sizes):
    return sum(before * after + after for before, after in zip(sizes[:-1], sizes[1:], strict=True))


GATED_BLOCK = 3 * (D * D + D) + 2 * D + 2 * D  # before, gate, after; batch norm, layer norm
SPLIT_BLOCK = (D * D + D) + 2 * D + (D + mlp(D // 2, D // 2)) + mlp(D // 2, D)
RNN = 4 * 500 * 500 + 4 * 500 + mlp(500, 1)
CROSS = mlp(D, 2 * D) * 3 + 2 * 2 * D + mlp(2 * D, L)

PARAMETERS = {
    "s2-image-mlp": mlp(D, 2048, L),
    "s2-text-mlp": mlp(D, 2048, L),
    "s2-gmlp": 2 * GATED_BLOCK + mlp(D, L),
    "s2-gmlp-split": 2 * SPLIT_BLOCK + mlp(D, L),
    "s2-concat": mlp(2 * D, 2048, 1024, 512, L),
    "s2-sum": 5_819_958,
    "s2-mixed": 5_819_958 + mlp(2 * D, 2048, 1024, 512, L),
    "s2-layers-3": 2 * mlp(D, 2048, L) + META,
    "s2-layers-4": 2 * mlp(D, 2048, 512, L) + META,
    "s2-layers-5": 2 * mlp(D, 2048, 1024, 512, L) + META,
    "s4-logit-average": 2 * mlp(D, L),
    "s4-fcnn": mlp(2 * D, L),
    "s4-fcnn-average": 2 * mlp(D, L) + mlp(2 * D, L),
    "s4-cross-attention": CROSS,
    "s4-cross-attention-average": 2 * mlp(D, L) + CROSS,
    "s1-concat": mlp(2 * D, L),
    "s0-cnn": mlp(D, L),
    "s0-bert": mlp(D, L),
    "s0-binary-rnn": mlp(D, 500) + RNN,
    "s0-text-dense": mlp(D + 5, 1024, L),
    "s0-late-fusion": 2 * mlp(D, L) + mlp(L, L),
    "s0-dependent-fusion": mlp(D, 128) + mlp(D + 128, 500) + RNN,
}
LAYERS = {
    "s2-image-mlp": {"": [D, "GELU", 0.5, 2048]},
    "s2-text-mlp": {"": [D, "GELU", 0.5, 2048]},
    "s2-concat": {"": [2 * D, "GELU", 0.5, 2048, "GELU", 0.5, 1024, "GELU", 0.5, 512]},
    "s2-sum": {
        "image": [D, "GELU", 0.6, 2048, "GELU", 0.6, 512],
        "text": [D, "GELU", 0.6, 2048, "GELU", 0.6, 512],
        "combiner": [L, "GELU", 0.0, 1024, "GELU", 0.0, 512],
    },
    "s2-mixed": {
        "image": [D, "GELU", 0.6, 2048, "GELU", 0.6, 512],
        "concat": [2 * D, "GELU", 0.5, 2048, "GELU", 0.5, 1024, "GELU", 0.5, 512],
        "combiner": [L, "GELU", 0.0, 1024, "GELU", 0.0, 512],
    },
    "s2-layers-3": {"image": [D, "GELU", 0.5, 2048], "text": [D, "GELU", 0.5, 2048]},
    "s2-layers-5": {"text": [D, "GELU", 0.5, 2048, "GELU", 0.5, 1024, "GELU", 0.5, 512]},
    "s4-fcnn": {"": [0.0, 2 * D]},
    "s4-fcnn-average": {"image": [0.0, D], "text": [0.0, D], "concat": [0.0, 2 * D]},
    "s1-concat": {"": ["ReLU", 0.5, 2 * D]},
    "s0-cnn": {"": [0.0, D]},
    "s0-bert": {"": [0.5, D]},
    "s0-text-dense": {"": [D + 5, "GELU", 0.2, 1024]},
    "s0-late-fusion": {"image": [0.0, D], "text": [0.5, D], "combiner": [L]},
    "s2-gmlp": {"": [*[D, 0.5, "BatchNorm1d", "GELU", "LayerNorm", D, "Sigmoid", D] * 2, D]},
    "s2-gmlp-split": {"": [*[D, 0.5, "BatchNorm1d", "GELU", "LayerNorm", D // 2, D // 2] * 2, D]},
}
EVERY = [recipe.name for recipe in recipes() if recipe.source != "clipfuse" and recipe.train.head.kind not in BASELINES]
ESTIMATORS = [recipe.name for recipe in recipes() if recipe.train.head.kind in BASELINES]
every = pytest.mark.parametrize("name", EVERY)


def dims_of(config, width, numbers=5):
    read = modalities_read(config.fusion, config.modalities)
    return {name: numbers if name == "numbers" else width for name in read}


def layers(module):
    """Linear layers as their input's width, dropouts as their share, others by name."""
    found = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            found.append(layer.in_features)
        elif isinstance(layer, nn.Dropout):
            found.append(layer.p)
        elif isinstance(layer, nn.GELU | nn.ReLU | nn.LeakyReLU | nn.BatchNorm1d | nn.LayerNorm | nn.Sigmoid):
            found.append(type(layer).__name__)
    return found


def test_every_row_of_the_reports_has_one():
    assert set(EVERY) == set(PARAMETERS) and len(EVERY) == len(set(EVERY))
    kinds = ("knn", "decision-tree", "bagging", "random-forest", "boosting", "multinomial-nb", "svc")
    assert set(ESTIMATORS) == {f"s0-{kind}" for kind in (*kinds, "label-powerset-svc")}


@pytest.mark.parametrize("name", [*EVERY, *ESTIMATORS])
def test_it_says_what_it_is(name):
    recipe = find_recipe(name)
    assert recipe.source == name.split("-")[0].upper()
    assert len(recipe.description) > 15 and recipe.reported
    assert recipe.train.recipe == name
    check_models(recipe.train)


@every
def test_it_has_exactly_the_reports_numbers(name):
    config = find_recipe(name).train
    with torch.device("meta"):
        model = build_model(config, dims_of(config, D), L, seed=0)
    assert count_parameters(model) == PARAMETERS[name]


@pytest.mark.parametrize("name", LAYERS)
def test_it_has_exactly_the_reports_layers(name):
    config = find_recipe(name).train
    with torch.device("meta"):
        model = build_model(config, dims_of(config, D), L, seed=0)
    for part, expected in LAYERS[name].items():
        inner = model.combiner if part == "combiner" else model.parts[part].fusion if part else model.fusion
        assert layers(inner) == expected, part


REPORTS = {
    "S2": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 2e-4, "batch_size": "all", "epochs": 200},
    "S1": {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 16, "epochs": 3},
    "S4": {"optimizer": "adam", "learning_rate": 5e-4, "batch_size": 256},
    "s4-image": {"optimizer": "adam", "learning_rate": 5e-4, "batch_size": 60},
    "s0-image": {"optimizer": "adam", "learning_rate": 0.01, "batch_size": 25, "epochs": 30, "schedule": "plateau"},
    "S0": {"optimizer": "adafactor", "batch_size": 32, "epochs": 25, "weight_decay": 2e-4},
}


def fit_of(config, part):
    return Trainee(config, None, torch.arange(0), None).fit_config(part)


@every
def test_it_trains_as_the_report_did(name):
    recipe = find_recipe(name)
    config, source = recipe.train, recipe.source
    parts = (
        modalities_read(config.fusion, config.modalities) if config.fusion.kind in ("sum", "mixed", "average") else ()
    )
    for part in parts or (config.fusion.kind,):
        own = f"{source.lower()}-image" if part == "image" and source in ("S0", "S4") else source
        found = fit_of(config, part)
        assert {key: getattr(found, key) for key in REPORTS[own]} == REPORTS[own], part
        assert (found.loss.kind, found.label_weights, found.ema, found.clip_norm) == ("bce", "none", None, None)
        assert found.reduction == ("sum" if source == "S2" else "mean")
        assert found.schedule == ("plateau" if own == "s0-image" else "constant")
    if own == "s0-image":
        assert (found.plateau_epochs, found.step_factor) == (5, 0.1)
    assert (config.scale, config.absent, config.thresholds) == (False, "zeros", "fixed")
    assert config.empty_rows == ("most-probable" if source == "S4" else "nothing")
    if config.fusion.kind in ("sum", "mixed"):
        assert config.stacking.method == "in-sample"
        expected = {key: getattr(config.fit, key) for key in REPORTS[source]}
        assert {key: getattr(config.stacking.fit, key) for key in REPORTS[source]} == expected


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_are_fitted_on_the_words_of_captions(name):
    config = find_recipe(name).train
    assert config.features == "tfidf" and modalities_read(config.fusion, config.modalities) == ("text",)
    captions = [f"photo of a {'dog' if n % 2 else 'cat'} and a {'bus' if n % 3 else 'tree'}" for n in range(150)]
    own = TableStreams(caption_bytes=40)
    streams = own.read(SimpleNamespace(captions=captions), "cpu")
    targets = torch.tensor([[float("dog" in caption), float("bus" in caption)] for caption in captions])
    model = build_model(config, own.dims, 2, seed=0)
    train_models([Trainee(config, model, torch.arange(120), None)], RowsInMemory(streams, targets), lambda *_: None)
    said = torch.sigmoid(predict_logits(model, streams))
    assert (targets * said).sum() / targets.sum() > ((1 - targets) * said).sum() / (1 - targets).sum() + 0.1
    estimator = model.fusion.head.estimator.pipeline.steps[-1][1]
    own_parameters = getattr(estimator, "estimator", estimator).get_params(deep=False)
    free = {"random_state", "n_jobs", "cache_size", "learning_rate", "max_iter", "max_leaf_nodes"}
    plain = type(getattr(estimator, "estimator", estimator))().get_params(deep=False)
    assert {key: value for key, value in own_parameters.items() if key not in free} == {
        key: value for key, value in plain.items() if key not in free
    }


@pytest.mark.parametrize("name", [recipe.name for recipe in recipes() if recipe.name not in ESTIMATORS])
def test_it_trains(name):
    """Two epochs on 40 rows, at small widths."""
    config = find_recipe(name).train
    hidden = config.head.options.get("hidden")
    small = {} if hidden is None else {"hidden": 8 if isinstance(hidden, int) else [8] * len(hidden)}
    fits = {"epochs": 2}
    changes = {"head": small, "fit": fits, "stacking": {"fit": fits}}
    changes["parts"] = {part: {"fit": fits} for part, own in config.parts.items() if own.fit is not None}
    if name == "s2-mixed":
        changes["parts"] = {"concat": {"head": {"hidden": [8, 8, 8]}}}
    if config.fusion.options.get("combiner", {}).get("kind") == "mlp":
        changes["fusion"] = {"combiner": {"hidden": [8, 8]}}
    config = updated(config, **changes)
    dims = dims_of(config, 12)
    generator = torch.Generator().manual_seed(0)
    streams = Streams(
        {stream: torch.randn(40, 1, dim, generator=generator) for stream, dim in dims.items()},
        {stream: torch.rand(40, generator=generator) > 0.1 for stream in dims},
    )
    rows = RowsInMemory(streams, (torch.rand(40, 3, generator=generator) > 0.5).float())
    model = build_model(config, dims, 3, seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trainee = Trainee(config, model, torch.arange(30), torch.arange(30, 40))
    (fitted,) = train_models([trainee], rows, lambda *_: None)
    assert {len(fit.history) for fit in fitted.fits.values()} == {2}
    still = {key for key, value in model.named_parameters() if torch.equal(value, before[key])}
    assert not {key for key in still if "key" not in key}  # the one key of s4-cross-attention learns nothing
    assert predict_logits(model, streams).isfinite().all()


def test_clipfuses_own_is_an_ensemble_of_its_default_parts():
    best = find_recipe("best").train
    assert (best.fusion.kind, best.fit.label_smoothing, best.thresholds) == ("mixed", 0.05, "expected")
    assert (best.ensemble.kind, best.ensemble.size) == ("seeds", 5)
    assert updated(best, fit={"label_smoothing": 0.0}).fit == TrainConfig().fit
    assert best.stacking == TrainConfig().stacking


def test_an_unknown_recipe_is_named():
    with pytest.raises(UnknownName, match=r"unknown recipe 's2-smu'. Did you mean 's2-sum'"):
        find_recipe("s2-smu")


def test_what_runs_are_called():
    train = find_recipe("s2-sum").train
    assert recipe_kind(train) == "s2-sum"
    free = updated(train, seed=7, image={"encoder": ("mini",)})
    assert recipe_kind(free) == "s2-sum"
    assert recipe_kind(updated(train, fit={"epochs": 3})) == "s2-sum-changed"
    assert recipe_kind(updated(train, head={"kind": "gmlp"})) == "s2-sum-changed"
    assert recipe_kind(train.model_copy(update={"recipe": None})) is None


def test_a_kind_that_is_set_besides_wins():
    train = updated(find_recipe("s2-sum").train, head={"kind": "gmlp"}, fusion={"kind": "gated"})
    assert (train.head.options, train.fusion.options) == ({}, {})
    assert train.fit == find_recipe("s2-sum").train.fit


def test_modalities_are_those_of_the_report():
    assert find_recipe("s0-text-dense").train.modalities == ("text", "numbers")
    others = {modality_of(name) for one in recipes() if one.name != "s0-text-dense" for name in one.train.modalities}
    assert others == {"image", "text"}
