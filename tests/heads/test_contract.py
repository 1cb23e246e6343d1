"""What every head promises, for each one in the registry."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state

from clipfuse.heads import HEADS
from clipfuse.settings import Choice

DIM = 12
TINY = {
    "mlp": {"hidden": (16,)},
    "chain": {"hidden": (16,)},
    "binary-rnn": {"hidden": 16},
    "label-query": {"width": 16, "heads": 2},
    "zero-shot": {"learned": "all"},
}
CASES = [
    *((name, TINY.get(name, {})) for name in HEADS),
    ("linear", {"input_activation": "relu", "dropout": 0.5}),
    ("gmlp", {"gate": "split"}),
    ("label-query", {"width": 16, "heads": 2, "groups": 2}),
]
NAMES = ["-".join([name, *map(str, options.values())]) for name, options in CASES]


@pytest.fixture(params=CASES, ids=NAMES)
def make(request):
    """A function that makes a head: its labels, its seed, and more settings of those that it has."""
    name, options = request.param

    def build(labels=3, seed=0, **more):
        torch.manual_seed(seed)
        known = type(HEADS.settings(Choice(kind=name))).model_fields
        return HEADS.build(
            Choice(kind=name, **options | {key: value for key, value in more.items() if key in known}), DIM, labels
        )

    return build


def features(rows=20, tokens=1, seed=1):
    return torch.randn(rows, tokens, DIM, generator=torch.Generator().manual_seed(seed))


def test_registry_has_them_all():
    assert set(HEADS) >= {"linear", "mlp", "gmlp", "binary-rnn", "chain", "label-query"}


@pytest.mark.parametrize("labels", [1, 5])
@pytest.mark.parametrize("tokens", [1, 3])
def test_gives_one_logit_a_label(make, labels, tokens):
    logits = make(labels)(features(tokens=tokens))
    assert logits.shape == (20, labels)
    assert logits.dtype == torch.float32


def test_a_label_bias_moves_its_label_and_no_other(make):
    head = make().eval()
    if head.label_bias is None:
        pytest.skip("has no number for each label alone")
    assert head.label_bias.shape == (3,)
    before = head(features())
    with torch.no_grad():
        head.label_bias.add_(torch.tensor([1.0, 0.0, -2.0]))
    moved = head(features()) - before
    torch.testing.assert_close(moved, torch.tensor([1.0, 0.0, -2.0]).expand(20, 3))


def test_gives_logits_and_not_probabilities(make):
    head = make().eval()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(10)
        found = head(features() * 10)
    assert found.min() < 0
    assert found.max() > 1


@pytest.mark.parametrize("tokens", [1, 3])
def test_gradients_reach_every_parameter(make, tokens):
    head = make(dropout=0.0)
    head(features(tokens=tokens)).square().sum().backward()
    for where, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 1e-7, where


def test_is_deterministic_in_evaluation_mode(make):
    head = make(dropout=0.5).eval()
    before = copy.deepcopy(head.state_dict())
    assert torch.equal(head(features()), head(features()))
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


def test_a_row_does_not_depend_on_its_batch_in_evaluation_mode(make):
    head, rows = make().eval(), features(tokens=2)
    alone = torch.cat([head(rows[row : row + 1]) for row in range(len(rows))])
    torch.testing.assert_close(alone, head(rows))


def test_state_round_trip(make):
    head, other = make(seed=0).eval(), make(seed=1).eval()
    assert not torch.equal(other(features()), head(features()))
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(features()), head(features()))


@pytest.mark.parametrize("labels", [1, 3])
def test_learns_what_can_be_learned(make, labels):
    values = features(300)
    targets = (values[:, 0, :labels] > 0.3).float()
    head = make(labels, dropout=0.0)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-2)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(head(values[:200]), targets[:200]).backward()
        optimizer.step()
    right = (head.eval()(values[200:]) > 0) == targets[200:].bool()
    assert right.float().mean() > 0.8


class TestStackedCopies:
    """Heads of one shape train as one batched model."""

    def stacked(self, make, training):
        heads = [make(seed=seed, dropout=0.0).train(training) for seed in range(3)]
        inputs = torch.stack([features(tokens=2, seed=seed) for seed in range(3)])
        return heads, copy.deepcopy(heads[0]), *stack_module_state(heads), inputs

    def test_give_what_each_gives_alone(self, make):
        heads, template, parameters, buffers, inputs = self.stacked(make, training=False)
        together = torch.vmap(lambda p, b, x: functional_call(template, (p, b), (x,)), randomness="different")(
            parameters, buffers, inputs
        )
        alone = torch.stack([head(x) for head, x in zip(heads, inputs, strict=True)])
        torch.testing.assert_close(together, alone)

    def test_have_the_gradients_that_each_has_alone(self, make):
        heads, template, parameters, buffers, inputs = self.stacked(make, training=True)

        def loss(p, b, x):
            return functional_call(template, (p, b), (x,)).square().sum()

        together = torch.vmap(grad(loss), randomness="different")(parameters, buffers, inputs)
        for n, (head, x) in enumerate(zip(heads, inputs, strict=True)):
            head(x).square().sum().backward()
            for where, parameter in head.named_parameters():
                torch.testing.assert_close(together[where][n], parameter.grad, rtol=1e-3, atol=1e-4)
            for where, buffer in head.named_buffers():
                torch.testing.assert_close(buffers[where][n], buffer)

    def test_each_has_a_dropout_of_its_own(self, make):
        head = make(dropout=0.5).train()
        if not any(isinstance(module, torch.nn.Dropout) for module in head.modules()):
            pytest.skip("has no dropout")
        _, template, parameters, buffers, inputs = self.stacked(make, training=True)
        template.load_state_dict(head.state_dict())
        for module in template.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5
        same = {key: value[:1].expand_as(value).clone() for key, value in parameters.items()}
        found = torch.vmap(
            lambda p, b, x: functional_call(template, (p, b), (x,)), in_dims=(0, 0, None), randomness="different"
        )(same, {key: value.clone() for key, value in buffers.items()}, inputs[0])
        assert not torch.equal(found[0], found[1])
