"""What every head promises, for each one in the registry."""

import copy

import pytest
import torch

from clipfuse.config import FitConfig, HeadConfig
from clipfuse.fusions import SingleFusion
from clipfuse.heads import HEADS, GatedBlock, perceptron
from clipfuse.streams import Streams
from clipfuse.train import fit, predict_logits

DIM = 12


def make(name, labels=3, **config):
    torch.manual_seed(0)
    return HEADS.get(name)(DIM, labels, HeadConfig(hidden=(16,), **config))


def features(rows=40, tokens=1, seed=1):
    return torch.randn(rows, tokens, DIM, generator=torch.Generator().manual_seed(seed))


def test_registry_is_not_empty():
    assert set(HEADS) >= {"linear", "mlp", "gmlp"}


@pytest.mark.parametrize("name", HEADS)
class TestEveryHead:
    @pytest.mark.parametrize("labels", [1, 5])
    def test_gives_one_logit_a_label(self, name, labels):
        logits = make(name, labels)(features())
        assert logits.shape == (40, labels)
        assert logits.dtype == torch.float32

    def test_gives_logits_and_not_probabilities(self, name):
        head = make(name)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.mul_(10)
        found = predict_logits(SingleFusion("x", head), Streams({"x": features() * 10}, {"x": torch.ones(40).bool()}))
        assert found.min() < 0
        assert found.max() > 1

    def test_reads_the_first_token(self, name):
        head = make(name).eval()
        several = features(tokens=3)
        assert torch.equal(head(several), head(several[:, :1]))

    def test_gradients_reach_every_parameter(self, name):
        head = make(name, dropout=0.0)
        head(features()).square().sum().backward()
        for where, parameter in head.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, where

    def test_is_deterministic_in_evaluation_mode(self, name):
        head = make(name, dropout=0.5).eval()
        before = copy.deepcopy(head.state_dict())
        assert torch.equal(head(features()), head(features()))
        assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())

    def test_a_row_does_not_depend_on_its_batch_in_evaluation_mode(self, name):
        head = make(name).eval()
        together = head(features())
        alone = torch.cat([head(features()[row : row + 1]) for row in range(40)])
        torch.testing.assert_close(alone, together)

    def test_state_round_trip(self, name):
        head, other = make(name), make(name)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(1)
        assert not torch.equal(other.eval()(features()), head.eval()(features()))
        other.load_state_dict(head.state_dict())
        assert torch.equal(other.eval()(features()), head.eval()(features()))

    @pytest.mark.parametrize("labels", [1, 3])
    def test_learns_what_can_be_learned(self, name, labels):
        values = features(400)
        targets = (values[:, 0, :labels] > 0).float()
        streams = Streams({"x": values}, {"x": torch.ones(400).bool()})
        model = SingleFusion("x", make(name, labels))
        config = FitConfig(epochs=30, learning_rate=3e-2, weight_decay=0.0)
        seen = slice(0, 300), slice(300, 400)
        result = fit(
            model,
            (streams.rows(seen[0]), targets[seen[0]]),
            (streams.rows(seen[1]), targets[seen[1]]),
            config,
            seed=0,
        )
        assert max(record.validation_f1 for record in result.history) > 0.9


def test_mlp_is_built_as_the_settings_say():
    sizes = [
        (layer.in_features, layer.out_features)
        for layer in perceptron([4, 8, 6, 2], dropout=0.3, activation="relu")
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [(4, 8), (8, 6), (6, 2)]
    kinds = [type(layer).__name__ for layer in perceptron([4, 8, 2], dropout=0.3, activation="leaky_relu")]
    assert kinds == ["Linear", "LeakyReLU", "Dropout", "Linear"]
    assert perceptron([4, 8, 2], dropout=0.3, activation="gelu")[2].p == 0.3


def test_gated_block_is_the_reports():
    block = GatedBlock(6, dropout=0.5).eval()
    x = torch.randn(5, 6)
    inner = torch.nn.functional.gelu(block.before[2](block.before[0](x)))
    gate = torch.sigmoid(block.gate[1](torch.nn.functional.layer_norm(inner, (6,))))
    torch.testing.assert_close(block(x), x + block.after(inner * gate))
