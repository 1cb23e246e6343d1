"""Where the logits of fresh heads start."""

import math

import pytest
import torch

from clipfuse.models import build_model
from clipfuse.streams import Streams
from clipfuse.train_config import FitConfig, FusionConfig, HeadConfig, TrainConfig
from clipfuse.training.biases import start_biases
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.train_models import Trainee, train_models

DIMS = {"image": 4, "text": 3}
TARGETS = torch.tensor([[1, 0, 0], [1, 0, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.float32)
LOG_ODDS = [math.log(4.5 / 0.5), math.log(0.5 / 4.5), math.log(1.5 / 3.5)]


def biases(model):
    return [head.label_bias.tolist() for head in model.modules() if hasattr(head, "label_bias")]


@pytest.mark.parametrize("head", ["linear", "mlp", "gmlp", "chain", "label-query"])
@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_every_head_starts_from_the_frequencies(head, fusion):
    model = build_model(TrainConfig(head=HeadConfig(kind=head), fusion=FusionConfig(kind=fusion)), DIMS, 3, seed=0)
    start_biases(model, TARGETS)
    found = biases(model)
    assert len(found) == (1 if fusion == "concat" else 2)
    for each in found:
        assert each == pytest.approx(LOG_ODDS)


@pytest.mark.parametrize("bias", ["log-odds", "random"])
def test_training_starts_so_only_where_it_is_asked_to_and_by_training_rows_alone(bias):
    fit = FitConfig(epochs=1, learning_rate=1e-9, weight_decay=0.0)
    config = TrainConfig(fusion=FusionConfig(kind="image"), head=HeadConfig(kind="linear"), fit=fit, bias=bias)
    values = {"image": torch.randn(6, 1, 4)}
    rows = RowsInMemory(
        Streams(values, {"image": torch.ones(6, dtype=torch.bool)}), torch.cat([TARGETS, 1 - TARGETS[:2]])
    )
    model = build_model(config, {"image": 4}, 3, seed=0)
    train_models([Trainee(config, model, torch.arange(4), torch.arange(4, 6))], rows, lambda *_: None)
    (found,) = biases(model)
    assert (found == pytest.approx(LOG_ODDS, abs=1e-6)) == (bias == "log-odds")
