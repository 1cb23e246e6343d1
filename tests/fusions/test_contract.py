"""What every fusion promises, for each one in the registry."""

import pytest
import torch

from clipfuse.config import FusionConfig, HeadConfig, TrainConfig
from clipfuse.fusions import FUSIONS, MlpMeta, ResidualMeta, StackedFusion
from clipfuse.models import build_model, count_parameters
from clipfuse.streams import Streams
from clipfuse.train import fit, predict_logits

DIMS = {"image": 10, "text": 6}
ROWS = 40


def make(name, labels=3, seed=0, head="mlp", **fusion):
    config = TrainConfig(
        fusion=FusionConfig(kind=name, meta_hidden=(8,), **fusion),
        head=HeadConfig(kind=head, hidden=(16,), dropout=0.0),
    )
    dims = {name: DIMS[name]} if name in DIMS else DIMS
    return build_model(config, dims, labels, seed=seed)


def streams(rows=ROWS, missing=(), seed=1):
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.rand(rows, generator=generator) > (0.5 if name in missing else -1) for name in DIMS}
    values = {name: torch.randn(rows, 1, dim, generator=generator) for name, dim in DIMS.items()}
    return Streams({name: value * present[name][:, None, None] for name, value in values.items()}, present)


def test_registry_is_not_empty():
    assert set(FUSIONS) >= {"image", "text", "concat", "sum", "mixed"}


@pytest.mark.parametrize("name", FUSIONS)
class TestEveryFusion:
    @pytest.mark.parametrize("labels", [1, 4])
    def test_gives_one_logit_a_label(self, name, labels):
        found = streams()
        logits = make(name, labels)(found.values, found.present)
        assert logits.shape == (ROWS, labels)

    def test_gives_logits_and_not_probabilities(self, name):
        model = make(name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5).add_(0.5)
        found = predict_logits(model, streams())
        assert found.min() < 0 or found.max() > 1

    @pytest.mark.parametrize("meta", ["residual", "mlp"])
    def test_gradients_reach_every_parameter(self, name, meta):
        model = make(name, meta=meta)
        if isinstance(model, StackedFusion) and meta == "residual":
            torch.nn.init.normal_(model.meta.correction[-1].weight)  # it starts at zero, and stops gradients only there
        found = streams()
        model(found.values, found.present).square().sum().backward()
        for where, parameter in model.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, where

    def test_is_deterministic_in_evaluation_mode(self, name):
        model = make(name, head="gmlp")
        assert torch.equal(predict_logits(model, streams()), predict_logits(model, streams()))

    def test_one_row_alone_gives_what_it_gives_among_others(self, name):
        model, found = make(name, head="gmlp"), streams(missing=("text",))
        together = predict_logits(model, found)
        alone = torch.cat([predict_logits(model, found.rows(slice(row, row + 1))) for row in range(ROWS)])
        torch.testing.assert_close(alone, together)

    def test_rows_without_a_modality_give_finite_logits(self, name):
        nothing = streams(missing=("image", "text"))
        assert predict_logits(make(name), nothing).isfinite().all()

    def test_state_round_trip(self, name):
        model, other = make(name, seed=0), make(name, seed=1)
        assert not torch.equal(predict_logits(model, streams()), predict_logits(other, streams()))
        other.load_state_dict(model.state_dict())
        assert torch.equal(predict_logits(model, streams()), predict_logits(other, streams()))

    def test_one_seed_gives_one_model(self, name):
        one, same = make(name, seed=3).state_dict(), make(name, seed=3).state_dict()
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert count_parameters(make(name)) == sum(p.numel() for p in make(name).parameters()) > 0

    @pytest.mark.parametrize("labels", [1, 3])
    def test_learns_what_can_be_learned(self, name, labels, settings):
        found = streams(400)
        both = found.values["image"][:, 0, :labels] + found.values["text"][:, 0, :labels]
        truth = found.values[name][:, 0, :labels] if name in DIMS else both
        targets = (truth > 0).float()
        train, rest = slice(0, 300), slice(300, 400)
        result = fit(
            make(name, labels),
            (found.rows(train), targets[train]),
            (found.rows(rest), targets[rest]),
            settings(epochs=40).fit,
            seed=0,
        )
        assert max(record.validation_f1 for record in result.history) > 0.9


@pytest.mark.parametrize(("name", "stream", "other"), [("image", "image", "text"), ("text", "text", "image")])
def test_single_fusions_read_their_own_stream_only(name, stream, other):
    model, found = make(name), streams()
    changed = Streams({**found.values, other: torch.full_like(found.values[other], torch.nan)}, found.present)
    assert torch.equal(predict_logits(model, found), predict_logits(model, changed))
    changed = Streams({**found.values, stream: found.values[stream] + 1}, found.present)
    assert not torch.equal(predict_logits(model, found), predict_logits(model, changed))


@pytest.mark.parametrize("name", ["concat", "sum", "mixed"])
def test_the_others_read_both(name):
    model, found = make(name), streams()
    for stream in DIMS:
        changed = Streams({**found.values, stream: found.values[stream] + 1}, found.present)
        assert not torch.equal(predict_logits(model, found), predict_logits(model, changed))


def test_parts_of_sum_and_mixed():
    assert list(make("sum").parts) == ["image", "text"]
    assert list(make("mixed").parts) == ["image", "text", "concat"]


def test_residual_meta_starts_as_a_weighted_sum():
    logits = torch.randn(7, 3, 4)
    torch.testing.assert_close(ResidualMeta(3, 4, hidden=(8,), dropout=0.0)(logits), 1.4 / 3 * logits.sum(1))


def test_mlp_meta_reads_the_sum_of_probabilities():
    meta = MlpMeta(4, hidden=(8,), dropout=0.0)
    logits = torch.randn(7, 3, 4)
    torch.testing.assert_close(meta(logits), meta.layers(torch.sigmoid(logits).sum(1)))
