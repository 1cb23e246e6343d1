"""Heads are made of the layers that their reports and papers give."""

import pytest
import torch

from clipfuse.errors import ConfigError
from clipfuse.heads import HEADS, GatedBlock, perceptron
from clipfuse.settings import Choice


def make(kind, dim, labels, **options):
    torch.manual_seed(0)
    return HEADS.build(Choice(kind=kind, **options), dim, labels)


def count_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def kinds(module):
    return [type(layer).__name__ for layer in module]


class TestMlp:
    def test_layers_are_in_the_reports_order(self):
        layers = perceptron([4, 8, 6, 2], dropout=0.3, activation="leaky_relu")
        assert kinds(layers) == [*["Linear", "LeakyReLU", "Dropout"] * 2, "Linear"]
        sizes = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, torch.nn.Linear)]
        assert sizes == [(4, 8), (8, 6), (6, 2)]
        assert layers[2].p == 0.3

    @pytest.mark.parametrize(
        ("dim", "hidden", "count"),
        [
            (768, (2048,), 768 * 2048 + 2048 + 2048 * 18 + 18),
            (768, (2048, 512), 5_266_468 // 2),
            (1536, (2048, 1024, 512), 5_779_986),
        ],
    )
    def test_has_the_reports_number_of_parameters(self, dim, hidden, count):
        assert count_parameters(make("mlp", dim, 18, hidden=hidden)) == count

    @pytest.mark.parametrize("options", [{"hidden": (0,)}, {"dropout": 1.0}, {"activation": "tanh"}])
    def test_refuses_what_can_not_be(self, options):
        with pytest.raises(ConfigError, match="head mlp"):
            make("mlp", 4, 2, **options)


def test_linear_head_of_the_photograph_report_has_relu_then_dropout():
    head = make("linear", 1592, 18, input_activation="relu", dropout=0.2)
    assert kinds(head.before) == ["ReLU", "Dropout"]
    assert head.before[1].p == 0.2
    assert count_parameters(head) == 1592 * 18 + 18
    x = torch.randn(5, 1, 1592)
    torch.testing.assert_close(head.eval()(x), head.linear(x[:, 0].relu()))


class TestGmlp:
    def test_whole_gate_is_the_reports(self):
        block = GatedBlock(6, dropout=0.5, gate="whole").eval()
        assert kinds(block.before) == ["Linear", "Dropout", "BatchNorm1d", "GELU"]
        x = torch.randn(5, 6)
        inner = torch.nn.functional.gelu(block.before[2](block.before[0](x)))
        gate = torch.sigmoid(block.gate.gate[1](torch.nn.functional.layer_norm(inner, (6,))))
        torch.testing.assert_close(block(x), x + block.after(inner * gate))

    def test_split_gate_is_the_published_one(self):
        block = GatedBlock(6, dropout=0.5, gate="split").eval()
        torch.nn.init.normal_(block.gate.linear.weight)
        x = torch.randn(5, 6)
        inner = block.before(x)
        gate = block.gate.linear(torch.nn.functional.layer_norm(inner[:, 3:], (3,)))
        torch.testing.assert_close(block(x), x + block.after(inner[:, :3] * gate))

    def test_split_gate_starts_open(self):
        gate = GatedBlock(64, dropout=0.5, gate="split").gate
        x = torch.randn(50, 64)
        torch.testing.assert_close(gate(x), x[:, :32], rtol=0, atol=0.1)
        assert gate.linear.weight.abs().sum() > 0

    def test_odd_widths_can_be_split(self):
        assert GatedBlock(7, dropout=0.5, gate="split")(torch.randn(5, 7)).shape == (5, 7)

    def test_has_the_reports_number_of_parameters(self):
        block = 3 * (768 * 768 + 768) + 4 * 768  # three linear layers, batch norm, layer norm
        assert count_parameters(make("gmlp", 768, 18)) == 2 * block + 768 * 18 + 18


class TestBinaryRnn:
    def test_is_an_lstm_without_inputs(self):
        head = make("binary-rnn", 6, 4, hidden=5)
        lstm = torch.nn.LSTM(1, 5, batch_first=True)
        lstm.load_state_dict(
            {
                "weight_ih_l0": torch.randn(20, 1),
                "weight_hh_l0": head.recurrent.weight,
                "bias_ih_l0": torch.zeros(20),
                "bias_hh_l0": head.recurrent.bias,
            }
        )
        x = torch.randn(7, 1, 6)
        start = head.start(x[:, 0])[None]
        states, _ = lstm(torch.zeros(7, 4, 1), (start, torch.zeros_like(start)))
        torch.testing.assert_close(head(x), head.out(states)[..., 0])

    def test_has_the_reports_number_of_parameters(self):
        head = make("binary-rnn", 1792, 22, hidden=700)
        assert count_parameters(head) == (1792 * 700 + 700) + (700 * 2800 + 2800) + (700 + 1)


class TestChain:
    def test_each_label_hears_those_before_it_only(self):
        head = make("chain", 6, 4, hidden=()).eval()
        torch.nn.init.normal_(head.effects)
        x = torch.randn(5, 1, 6)
        own, found = head.own(x[:, 0]), head(x)
        for label in range(4):
            heard = torch.sigmoid(found[:, :label]) @ head.effects[:label, label]
            torch.testing.assert_close(found[:, label], own[:, label] + heard)

    def test_labels_are_independent_at_first(self):
        head, x = make("chain", 6, 4).eval(), torch.randn(5, 1, 6)
        assert torch.equal(head(x), head.own(x[:, 0]))

    def test_learns_that_a_label_follows_from_another(self):
        """A label that is a step of one feature, and another that adds it to a second feature."""
        x = torch.randn(400, 1, 2, generator=torch.Generator().manual_seed(1))
        first = (x[:, 0, 0] > 0).float()
        targets = torch.stack([first, (first * 3 + x[:, 0, 1] > 1.5).float()], dim=1)
        head = make("chain", 2, 2, hidden=())
        optimizer = torch.optim.Adam(head.parameters(), lr=5e-2)
        for _ in range(200):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(head(x), targets).backward()
            optimizer.step()
        assert head.effects[0, 1] > 1


class TestLabelQuery:
    def test_reads_all_tokens_in_no_order(self):
        head, x = make("label-query", 6, 4).eval(), torch.randn(5, 3, 6)
        torch.testing.assert_close(head(x), head(x.flip(1)))
        for token in range(3):
            changed = x.clone()
            changed[:, token] += 1
            assert not torch.allclose(head(changed), head(x))

    @pytest.mark.parametrize(
        ("labels", "groups", "queries", "in_group"),
        [(5, None, 5, 1), (5, 9, 5, 1), (5, 2, 2, 3), (9, 5, 5, 2), (6, 4, 3, 2)],
    )
    def test_groups_share_a_query(self, labels, groups, queries, in_group):
        head = make("label-query", 6, labels, groups=groups)
        assert head.queries.shape == (queries, 256)
        assert head.weight.shape == (queries, 256, in_group)
        assert head(torch.randn(2, 1, 6)).shape == (2, labels)

    def test_width_is_a_multiple_of_the_heads(self):
        with pytest.raises(ConfigError, match=r"heads is 4: .*the width, 30, should be a multiple"):
            make("label-query", 6, 3, width=30)
