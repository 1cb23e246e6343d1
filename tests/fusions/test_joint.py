"""What every fusion that is one module promises, for each one in the registry, and what each is made of."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state

from clipfuse.errors import ConfigError
from clipfuse.fusions import FUSIONS
from clipfuse.fusions.joined import join
from clipfuse.heads import HEADS
from clipfuse.settings import Choice
from clipfuse.streams import modality_of

DIMS = {"image": 10, "image-2": 4, "text": 6, "numbers": 3}
TOKENS = {"one": dict.fromkeys(DIMS, 1), "several": {"image": 3, "image-2": 3, "text": 2, "numbers": 1}}
TINY = {
    "gated": {"width": 16},
    "bilinear": {"rank": 8},
    "cross-attention": {"width": 16, "heads": 2, "dropout": 0.0},
    "s0-dependent": {"text_width": 5},
}
SINGLE = ("image", "text", "numbers")
MASKING = ("gated", "cross-attention")
ROWS = 24

every = pytest.mark.parametrize("name", FUSIONS)
tokens = pytest.mark.parametrize("tokens", TOKENS)


def make(name, labels=3, seed=0, dims=DIMS, head="mlp", **options):
    torch.manual_seed(seed)
    heads = {"linear": Choice(kind="linear"), "mlp": Choice(kind="mlp", hidden=(16,), dropout=0.0)}
    choice = Choice(kind=name, **TINY.get(name, {}) | options)
    return FUSIONS.build(choice, dims, labels, lambda dim: HEADS.build(heads[head], dim, labels))


def rows(count=ROWS, tokens="one", lacking=(), seed=1):
    """Values and present; about half of the rows lack each of the modalities ``lacking``."""
    generator = torch.Generator().manual_seed(seed)
    values = {s: torch.randn(count, TOKENS[tokens][s], dim, generator=generator) for s, dim in DIMS.items()}
    present = {s: torch.rand(count, generator=generator) > (0.5 if modality_of(s) in lacking else -1) for s in DIMS}
    return values, present


def some(index, values, present):
    return {s: x[index] for s, x in values.items()}, {s: x[index] for s, x in present.items()}


def count_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_registry_has_them_all():
    assert set(FUSIONS) >= {
        *SINGLE,
        *MASKING,
        "concat",
        "bilinear",
        "s4-cross-attention",
        "s0-dependent",
    }


@every
class TestEveryFusion:
    @tokens
    @pytest.mark.parametrize("labels", [1, 4])
    def test_gives_one_logit_a_label(self, name, tokens, labels):
        logits = make(name, labels)(*rows(tokens=tokens))
        assert logits.shape == (ROWS, labels)
        assert logits.dtype == torch.float32

    @tokens
    def test_gradients_reach_every_parameter(self, name, tokens):
        model = make(name)
        model(*rows(tokens=tokens)).square().sum().backward()
        blind = {"one": {"key.weight", "key.bias"}, "several": {"key.bias"}}[tokens]  # a softmax does not see them
        for where, parameter in model.named_parameters():
            if not (name == "s4-cross-attention" and where in blind):
                assert parameter.grad is not None and parameter.grad.abs().sum() > 1e-6, where

    def test_is_deterministic_in_evaluation_mode(self, name):
        model, found = make(name).eval(), rows(tokens="several")
        assert torch.equal(model(*found), model(*found))

    @tokens
    def test_one_row_alone_gives_what_it_gives_among_others(self, name, tokens):
        model, found = make(name).eval(), rows(tokens=tokens, lacking=("image", "text"))
        alone = torch.cat([model(*some(slice(row, row + 1), *found)) for row in range(ROWS)])
        torch.testing.assert_close(alone, model(*found))

    @pytest.mark.parametrize("lacking", [("image",), ("text",), ("numbers",), SINGLE])
    def test_rows_that_lack_something_have_finite_logits_and_gradients(self, name, lacking):
        model = make(name)
        values, present = rows(lacking=lacking)
        present = {s: there & (torch.arange(ROWS) % 3 > 0) for s, there in present.items()}  # some lack everything
        values = {s: value * present[s][:, None, None] for s, value in values.items()}
        logits = model(values, present)
        logits.square().sum().backward()
        assert logits.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_state_round_trip(self, name):
        model, other, found = make(name, seed=0).eval(), make(name, seed=1).eval(), rows()
        assert not torch.equal(model(*found), other(*found))
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(*found), other(*found))

    def test_reads_the_streams_that_it_should(self, name):
        model, (values, present) = make(name).eval(), rows()
        for stream in DIMS:
            changed = model({**values, stream: values[stream] + 1}, present)
            reads = name not in SINGLE or modality_of(stream) == name
            assert torch.equal(changed, model(values, present)) != reads

    def test_needs_only_one_encoder_a_modality(self, name):
        dims = {"image": 10, "text": 6} | ({"numbers": 3} if name == "numbers" else {})
        assert make(name, dims=dims)(*rows()).shape == (ROWS, 3)

    def test_learns_what_can_be_learned(self, name):
        values, present = rows(600)
        read = [name] if name in SINGLE else ["image", "text"]
        targets = (sum(values[stream][:, 0, :3] for stream in read) > 0).float()
        model = make(name)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
        train, rest = slice(0, 500), slice(500, 600)
        for _ in range(80):
            optimizer.zero_grad()
            logits = model(*some(train, values, present))
            torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[train]).backward()
            optimizer.step()
        right = (model.eval()(*some(rest, values, present)) > 0) == targets[rest].bool()
        assert right.float().mean() > 0.8

    @tokens
    def test_stacked_copies_give_what_each_gives_alone(self, name, tokens):
        models = [make(name, seed=seed) for seed in range(3)]
        found = [rows(tokens=tokens, lacking=("image",), seed=seed) for seed in range(3)]
        values, present = ({s: torch.stack([one[n][s] for one in found]) for s in DIMS} for n in range(2))
        template, (parameters, buffers) = copy.deepcopy(models[0]), stack_module_state(models)

        def call(p, b, v, there):
            return functional_call(template, (p, b), (v, there))

        together = torch.vmap(call, randomness="different")(parameters, buffers, values, present)
        torch.testing.assert_close(together, torch.stack([m(*one) for m, one in zip(models, found, strict=True)]))
        gradients = torch.vmap(grad(lambda *x: call(*x).square().sum()), randomness="different")(
            parameters, buffers, values, present
        )
        for n, (model, one) in enumerate(zip(models, found, strict=True)):
            model(*one).square().sum().backward()
            for where, parameter in model.named_parameters():
                torch.testing.assert_close(gradients[where][n], parameter.grad, rtol=1e-3, atol=1e-4)


@tokens
@pytest.mark.parametrize("name", MASKING)
def test_nothing_of_an_absent_stream_is_read(name, tokens):
    model = make(name).eval()
    values, present = rows(tokens=tokens, lacking=SINGLE)
    present["numbers"] &= torch.arange(ROWS) % 3 > 0
    other = {
        s: torch.where(present[s][:, None, None], value, 100 * torch.randn_like(value)) for s, value in values.items()
    }
    assert torch.equal(model(values, present), model(other, present))
    everything = dict.fromkeys(DIMS, torch.ones(ROWS, dtype=torch.bool))
    assert not torch.allclose(model(values, everything), model(other, everything))


def test_an_absent_stream_is_a_factor_of_one():
    model = make("bilinear", dims={"image": 10, "text": 6}).eval()
    values, present = rows()
    present["text"] = torch.zeros(ROWS, dtype=torch.bool)
    alone = model.norm(torch.tanh(model.project["image"](values["image"][:, 0])))
    expected = model.head(torch.cat([alone, values["image"][:, 0], values["text"][:, 0]], dim=-1)[:, None])
    torch.testing.assert_close(model(values, present), expected)


def test_gates_add_up_to_one_over_what_is_there():
    model, (values, present) = make("gated").eval(), rows(lacking=("text",))
    for name, layer in model.project.items():  # all but text say the same: a sum of weights that is one leaves it
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, -0.7 if name == "text" else 0.7)
    same = torch.isclose(model(values, present), model.head(torch.full((ROWS, 1, 16), 0.7).tanh())).all(1)
    assert torch.equal(same, ~present["text"])


@pytest.mark.parametrize("name", ["image", "text", "numbers", "s4-cross-attention", "s0-dependent"])
def test_a_modality_that_is_not_there_is_named(name):
    modality = name if name in SINGLE else "text"
    with pytest.raises(ConfigError, match=f"fusion {name} reads {modality} features, and there are none"):
        make(name, dims={s: dim for s, dim in DIMS.items() if modality_of(s) != modality})


class TestJoin:
    def test_equal_tokens_stay(self):
        one, two = torch.randn(5, 3, 2), torch.randn(5, 3, 4)
        joined = join([one, two])
        assert torch.equal(joined[..., :2], one) and torch.equal(joined[..., 2:], two)

    def test_others_become_their_means(self):
        one, two = torch.randn(5, 3, 2), torch.randn(5, 1, 4)
        joined = join([one, two])
        assert joined.shape == (5, 1, 6)
        torch.testing.assert_close(joined[:, 0, :2], one.mean(1))
        torch.testing.assert_close(joined[:, 0, 2:], two[:, 0])

    def test_one_modality_keeps_its_tokens(self):
        model, (values, present) = make("text", head="linear"), rows(tokens="several")
        torch.testing.assert_close(model(values, present), model.head(values["text"]))


class TestReports:
    def test_s4_cross_attention_has_the_reports_layers(self):
        dims = {"image": 1792, "text": 128}
        model = make("s4-cross-attention", labels=18, dims=dims, head="linear")
        query, key, norm, head = 128 * 1920 + 1920, 1792 * 1920 + 1920, 2 * 1920, 1920 * 18 + 18
        assert count_parameters(model) == query + 2 * key + norm + head

    def test_s4_cross_attention_is_the_reports(self):
        model = make("s4-cross-attention", dims={"image": 10, "text": 6}, head="linear").eval()
        values, present = rows()
        image, text = values["image"][:, 0], values["text"][:, 0]
        inner = torch.nn.functional.layer_norm(model.value(image) + model.query(text), (16,))
        expected = model.head((inner + torch.cat([text, image], dim=-1))[:, None])
        torch.testing.assert_close(model(values, present), expected)

    @pytest.mark.parametrize(("tokens", "changes"), [("one", False), ("several", True)])
    def test_its_softmax_over_one_key_is_always_one(self, tokens, changes):
        model, found = make("s4-cross-attention").eval(), rows(tokens=tokens)
        before = model(*found)
        torch.nn.init.normal_(model.key.weight)
        assert torch.allclose(model(*found), before) != changes

    def test_s0_dependent_has_the_reports_layers(self):
        model = make("s0-dependent", labels=22, dims={"image": 2048, "text": 768}, head="linear", text_width=128)
        assert count_parameters(model) == (768 * 128 + 128) + ((2048 + 128) * 22 + 22)
        assert FUSIONS.settings(Choice(kind="s0-dependent")).text_width == 128
