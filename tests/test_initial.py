"""Training on from an earlier run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from stage_two import same_predictions, small

from clipfuse.errors import ConfigError, FingerprintMismatch, RunError
from clipfuse.initial import initial_states
from clipfuse.run import open_run
from clipfuse.table_streams import TableStreams
from clipfuse.train_head import train_head

pytestmark = pytest.mark.usefixtures("_quick_intervals")

STILL = {"fit": {"epochs": 1, "learning_rate": 1e-12}, "stacking": {"fit": {"epochs": 1, "learning_rate": 1e-12}}}
"""Hardly any step: what comes out is what went in."""


def train(toy, config, runs, **options):
    return train_head(toy.cache, toy.samples, options.pop("split", None) or toy.split(), config, runs=runs, **options)


@pytest.fixture(scope="module")
def earlier(toy, tmp_path_factory):
    runs = tmp_path_factory.mktemp("earlier")
    return {fusion: train(toy, small(fusion), runs) for fusion in ("concat", "sum")}


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_it_starts_where_the_earlier_one_ended(toy, tmp_path, earlier, fusion):
    still = small(fusion, seed=7, **STILL)
    run = train(toy, still, tmp_path, initial=earlier[fusion])
    before = earlier[fusion].predictor().weights
    for name, value in run.predictor().weights.items():
        assert torch.allclose(value, before[name], atol=1e-5), name
    assert run.metrics["from"] == earlier[fusion].name
    fresh = train(toy, still, tmp_path)
    assert fresh.metrics["scores"]["test"]["scores"]["micro_f1"] < run.metrics["scores"]["test"]["scores"]["micro_f1"]
    again, kept = same_predictions(run, toy.cache)
    np.testing.assert_allclose(again, kept, atol=1e-6)


def test_scalers_are_the_earlier_ones(toy, tmp_path, earlier):
    few = toy.split()
    few = replace(few, roles={**few.roles, "train": few.roles["train"][:40]})
    run = train(toy, small(), tmp_path, initial=earlier["concat"], split=few)
    name = "inputs.scalers.image.mean"
    assert torch.equal(run.predictor().weights[name], earlier["concat"].predictor().weights[name])
    assert not torch.equal(
        train(toy, small(), tmp_path, split=few).predictor().weights[name], run.predictor().weights[name]
    )


def test_learners_of_folds_start_fresh(toy, tmp_path, earlier):
    """What they say of rows that they do not see must not come from weights that have seen these rows."""
    on = train(toy, small("sum", **STILL), tmp_path, initial=earlier["sum"]).predictions()
    fresh = train(toy, small("sum", **STILL), tmp_path).predictions()
    rows = on.of_role("train")
    np.testing.assert_allclose(on.out_of_fold[rows], fresh.out_of_fold[rows], atol=1e-6)


@pytest.mark.parametrize("head", ["mlp", "label-query"])
def test_labels_go_by_name(toy, tmp_path, head):
    samples = toy.samples
    config = config_of(head)
    first = train(toy, config, tmp_path)
    order = [2, 0, 3]  # without label 1, in another order
    fewer = replace(samples, labels=samples.labels[:, order], label_names=tuple(samples.label_names[n] for n in order))
    names = [*fewer.label_names, "new"]
    state = initial_states(first, config, first.streams, TableStreams(), names)[0]
    old = first.predictor().weights
    if head == "mlp":
        weight, bias = "fusion.head.layers.3.weight", "fusion.head.layers.3.bias"
        assert torch.equal(state[weight][:3], old[weight][order]) and torch.equal(state[bias][:3], old[bias][order])
        assert torch.equal(state["fusion.head.layers.0.weight"], old["fusion.head.layers.0.weight"])
        assert len(state[weight]) == 4 and not any(torch.equal(state[weight][3], row) for row in old[weight])
    still = config_of(head, **STILL)
    run = train_head(toy.cache, fewer, toy.split(), still, runs=tmp_path, initial=first)
    ours, theirs = run.predictions(), first.predictions()
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities[:, order], atol=1e-3)


def config_of(head, **others):
    from clipfuse.train_config import TrainConfig

    own = {"kind": "mlp", "hidden": [16]} if head == "mlp" else {"kind": head}
    return TrainConfig.model_validate(
        {"fusion": {"kind": "concat"}, "head": own, "fit": {"epochs": 4, "learning_rate": 1e-2}, **others}
    )


@pytest.mark.parametrize("head", ["chain", "binary-rnn"])
def test_heads_that_need_the_labels_order_refuse_another(toy, tmp_path, head):
    first = train(toy, config_of(head), tmp_path)
    with pytest.raises(ConfigError, match="another order"):
        initial_states(first, config_of(head), first.streams, TableStreams(), [*first.labels, "new"])
    assert initial_states(first, config_of(head), first.streams, TableStreams(), first.labels)


def test_other_architectures_are_refused(toy, tmp_path, earlier):
    for config, words in (
        (small("sum"), "fusion"),
        (small(head={"hidden": [8]}), "another architecture"),
        (small(absent="zeros"), "absent"),
        (config_of("label-query"), "head"),
    ):
        with pytest.raises(ConfigError, match=words):
            initial_states(
                earlier["concat"], config, earlier["concat"].streams, TableStreams(), earlier["concat"].labels
            )


def test_other_features_are_refused(toy, tmp_path, earlier):
    run = earlier["concat"]
    other = {name: replace(stream, fingerprint="0" * 64) for name, stream in run.streams.items()}
    with pytest.raises(FingerprintMismatch, match=run.name):
        initial_states(run, small(), other, TableStreams(), run.labels)


def test_rows_that_the_earlier_run_has_seen_are_not_reported(toy, tmp_path, earlier):
    other = toy.split(seed=5)
    with pytest.raises(ConfigError, match=rf"test rows.*Use the split .*{toy.split().name}"):
        train(toy, small(), tmp_path, initial=earlier["concat"], split=other)
    refitted = train(toy, small(refit="all"), tmp_path)
    with pytest.raises(ConfigError, match="test rows") as said:
        train(toy, small(), tmp_path, initial=refitted)
    assert "start from a run without" in str(said.value)
    assert "Use the split" not in str(said.value)  # that is the one that it was trained with
    same = toy.split()
    swapped = replace(
        same, roles={**same.roles, "validation": same.roles["train"][:9], "train": same.roles["train"][9:]}
    )
    with pytest.raises(ConfigError, match="validation rows"):
        train(toy, small(), tmp_path, initial=earlier["concat"], split=swapped)


def test_rows_of_an_earlier_split_stay_seen(toy, tmp_path, earlier):
    split = toy.split()
    fewer = replace(split, roles={**split.roles, "train": split.roles["train"][:50]})
    run = open_run(train(toy, small(), tmp_path, initial=earlier["concat"], split=fewer).path)
    assert run.seen() == {*split.roles["train"], *split.roles["validation"]}


def test_ensembles(toy, tmp_path, earlier):
    ensemble = train(toy, small(ensemble={"kind": "seeds", "size": 2}), tmp_path)
    with pytest.raises(ConfigError, match="ensemble of 2"):
        train(toy, small(), tmp_path, initial=ensemble)
    still = small(ensemble={"kind": "folds", "size": 2}, **STILL)
    on = train(toy, still, tmp_path, initial=ensemble)
    for member, before in zip(on.predictor().members, ensemble.predictor().members, strict=True):
        for name, value in member.weights.items():
            assert torch.allclose(value, before.weights[name], atol=1e-5)
    # members of folds that start from weights that have seen all rows have nothing out of fold to say
    assert on.predictions().parts == () and (on.predictions().folds == -1).all()
    one_for_all = train(toy, small(ensemble={"kind": "seeds", "size": 2}, **STILL), tmp_path, initial=earlier["concat"])
    for member in one_for_all.predictor().members:
        name = "fusion.head.layers.0.weight"
        assert torch.allclose(member.weights[name], earlier["concat"].predictor().weights[name], atol=1e-5)


def test_an_estimator_has_no_weights(toy, tmp_path):
    from clipfuse.train_config import TrainConfig

    config = TrainConfig.model_validate({"fusion": {"kind": "concat"}, "head": {"kind": "knn"}})
    knn = train(toy, config, tmp_path)
    with pytest.raises(RunError, match="knn"):
        train(toy, config, tmp_path, initial=knn)


def test_other_labels_altogether_keep_the_layers_below(build_toy, tmp_path, earlier):
    other = build_toy(tmp_path / "cache", rows=60, prefix="new")
    other = other.with_samples(label_names=("w", "x", "y", "z"))
    run = train(other, small(**STILL), tmp_path, initial=earlier["concat"])
    weights, before = run.predictor().weights, earlier["concat"].predictor().weights
    assert torch.allclose(weights["fusion.head.layers.0.weight"], before["fusion.head.layers.0.weight"], atol=1e-5)
    assert not torch.allclose(weights["fusion.head.layers.3.weight"], before["fusion.head.layers.3.weight"], atol=1e-2)
