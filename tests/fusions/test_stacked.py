"""What every stacked fusion promises, for each one in the registry, and its combiners."""

import pytest
import torch

from clipfuse.errors import ConfigError, UnknownName
from clipfuse.fusions import (
    COMBINERS,
    FUSIONS,
    STACKED,
    StackedFusion,
    check_fusion,
    combiner_of,
    fusion_names,
    part_names,
)
from clipfuse.fusions import modalities_read as reads
from clipfuse.models import build_model, count_parameters
from clipfuse.settings import Choice
from clipfuse.streams import Streams
from clipfuse.train_config import FusionConfig, TrainConfig
from clipfuse.training.validation import predict_logits

DIMS = {"image": 10, "image-2": 4, "text": 6, "numbers": 3}
ROWS = 24
COMBINER_SETTINGS = [
    {"kind": "average", "of": of, "weights": weights}
    for of in ("logits", "probabilities")
    for weights in ("equal", "parts", "labels")
] + [{"kind": name} for name in COMBINERS if name not in ("average", "s0-late")]

every = pytest.mark.parametrize("name", STACKED)
combiner = pytest.mark.parametrize("settings", COMBINER_SETTINGS, ids=lambda s: "-".join(s.values()))


def make(name, labels=3, seed=0, dims=DIMS, head="mlp", **fusion):
    heads = {"mlp": {"hidden": (8,), "dropout": 0.0}, "gmlp": {"blocks": 1}, "linear": {}}
    config = {"fusion": {"kind": name, **fusion}, "head": {"kind": head, **heads[head]}}
    return build_model(TrainConfig.model_validate(config), dims, labels, seed=seed)


def make_combiner(settings, parts=("image", "text", "concat"), labels=4):
    torch.manual_seed(0)
    return COMBINERS.build(Choice.model_validate(settings), parts, labels)


def streams(rows=ROWS, missing=(), seed=1):
    generator = torch.Generator().manual_seed(seed)
    present = {name: torch.rand(rows, generator=generator) > (0.5 if name in missing else -1) for name in DIMS}
    return Streams({name: torch.randn(rows, 1, dim, generator=generator) for name, dim in DIMS.items()}, present)


def logits_of(model, found):
    return model(found.values, found.present)


def test_registries_have_them_all():
    assert set(STACKED) >= {"sum", "mixed", "average", "max"}
    assert set(COMBINERS) >= {"average", "max", "mlp", "residual", "s0-late"}
    assert not set(STACKED) & set(FUSIONS) and set(fusion_names()) == {*STACKED, *FUSIONS}


@every
class TestEveryStackedFusion:
    @pytest.mark.parametrize("labels", [1, 4])
    def test_gives_one_logit_a_label(self, name, labels):
        assert logits_of(make(name, labels), streams()).shape == (ROWS, labels)

    def test_gradients_reach_every_part(self, name):
        model = make(name)
        logits_of(model, streams(missing=("image", "image-2", "text", "numbers"))).square().sum().backward()
        for part, inner in model.parts.items():
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in inner.parameters()), part

    def test_one_row_alone_gives_what_it_gives_among_others(self, name):
        model, found = make(name, head="gmlp"), streams(missing=("text",))
        together = predict_logits(model, found)
        alone = torch.cat([predict_logits(model, found.rows(slice(row, row + 1))) for row in range(ROWS)])
        torch.testing.assert_close(alone, together)

    def test_rows_without_anything_give_finite_logits_and_gradients(self, name):
        model, found = make(name), streams().masked([])
        logits = logits_of(model, found)
        logits.square().sum().backward()
        assert logits.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_state_round_trip_and_seeds(self, name):
        model, same, other = make(name, seed=0), make(name, seed=0), make(name, seed=1)
        assert torch.equal(predict_logits(model, streams()), predict_logits(same, streams()))
        assert not torch.equal(predict_logits(model, streams()), predict_logits(other, streams()))
        other.load_state_dict(model.state_dict())
        assert torch.equal(predict_logits(model, streams()), predict_logits(other, streams()))

    def test_reads_all_streams(self, name):
        model, found = make(name), streams()
        assert set(model.streams) == set(DIMS)
        before = predict_logits(model, found)
        for stream in DIMS:
            changed = Streams({**found.values, stream: found.values[stream] + 1}, found.present)
            assert not torch.equal(before, predict_logits(model, changed)), stream

    def test_any_fusion_that_is_one_module_can_be_a_part(self, name):
        for part in FUSIONS:
            model = make(name, parts=("image", part) if part != "image" else ("image", "text"))
            assert logits_of(model, streams()).shape == (ROWS, 3)


class TestParts:
    def test_one_for_each_modality(self):
        assert list(make("sum").parts) == ["image", "text", "numbers"]
        assert list(make("mixed", dims={"image": 3, "text": 2}).parts) == ["image", "text", "concat"]
        assert make("sum").parts["image"].streams == ("image", "image-2")

    def test_those_that_are_named(self):
        model = make("average", parts=("text", "s4-cross-attention"))
        assert list(model.parts) == ["text", "s4-cross-attention"]
        assert reads(FusionConfig(kind="sum", parts=("text",)), ("image", "text")) == ("text",)
        assert reads(FusionConfig(kind="sum", parts=("text", "concat")), ("image", "text")) == ("image", "text")
        assert reads(FusionConfig(kind="image"), ("image", "text")) == ("image",)
        assert reads(FusionConfig(kind="concat"), ("text", "numbers")) == ("text", "numbers")

    @pytest.mark.parametrize("parts", [("image", "sum"), ("image", "image"), ()])
    def test_what_cannot_be(self, parts):
        with pytest.raises(ConfigError, match=r"fusion sum can't have .*part.*not stacked"):
            part_names(FusionConfig(kind="sum", parts=parts), ("image", "text"))

    def test_which_parts_have_an_input(self):
        model = make("mixed", dims={"image": 10, "image-2": 4, "text": 6})
        there = {
            name: torch.tensor(has) for name, has in (("image", [1, 0, 0]), ("image-2", [0, 1, 0]), ("text", [0, 0, 0]))
        }
        told = model.part_present({name: has.bool() for name, has in there.items()})
        assert told.tolist() == [[True, False, True], [True, False, True], [False, False, False]]


class TestSettings:
    @pytest.mark.parametrize(
        ("fusion", "message"),
        [
            ({"kind": "summ"}, r"unknown fusion 'summ'.*'sum'"),
            ({"kind": "sum", "part": ["image"]}, r"fusion sum: unknown setting 'part'.*'parts'"),
            ({"kind": "sum", "combiner": {"kind": "avrage"}}, r"unknown combiner 'avrage'.*'average'"),
            (
                {"kind": "sum", "combiner": {"kind": "mlp", "hiden": [3]}},
                r"combiner mlp: unknown setting 'hiden'.*'hidden'",
            ),
            ({"kind": "average", "combiner": {"kind": "average", "of": "votes"}}, r"of is 'votes'.*'probabilities'"),
            ({"kind": "gated", "wdith": 3}, r"fusion gated: unknown setting 'wdith'.*'width'"),
        ],
    )
    def test_mistakes_are_named(self, fusion, message):
        with pytest.raises(ConfigError, match=message):
            check_fusion(FusionConfig.model_validate(fusion))

    def test_a_combiner_of_ones_own(self):
        assert combiner_of(FusionConfig(kind="sum")).kind == "residual"
        model = make("sum", combiner={"kind": "mlp", "hidden": [5]})
        assert count_parameters(model.combiner) == 3 * 5 + 5 + 5 * 3 + 3

    def test_unknown_stacked_kind(self):
        with pytest.raises(UnknownName):
            part_names(FusionConfig(kind="concat"), ("image",))


@combiner
class TestEveryCombiner:
    def test_gradients_reach_every_number(self, settings):
        model = make_combiner(settings)
        if settings["kind"] == "residual":
            torch.nn.init.normal_(model.correction[-1].weight)  # it starts at zero, and stops gradients only there
        present = torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(0)) > 0.4
        model(torch.randn(ROWS, 3, 4).requires_grad_(), present).square().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name

    def test_certain_parts_stay_finite(self, settings):
        logits = torch.tensor([200.0, -200.0, 0.0])[None, :, None].expand(2, 3, 4).clone().requires_grad_()
        found = make_combiner(settings)(logits, torch.ones(2, 3).bool())
        found.sum().backward()
        assert found.isfinite().all() and logits.grad.isfinite().all()

    def test_several_at_once_are_each_alone(self, settings):
        model, logits = make_combiner(settings), torch.randn(2, ROWS, 3, 4)
        present = torch.rand(2, ROWS, 3) > 0.4
        together = torch.vmap(lambda *x: torch.func.functional_call(model, dict(model.named_parameters()), x))(
            logits, present
        )
        torch.testing.assert_close(together, torch.stack([model(*one) for one in zip(logits, present, strict=True)]))


PRESENT = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 0]]).bool()


class TestMasks:
    """Parts without an input do not count; where none has one, all do."""

    @pytest.mark.parametrize("of", ["logits", "probabilities"])
    def test_average(self, of):
        logits = torch.randn(4, 3, 5)
        found = make_combiner({"kind": "average", "of": of, "weights": "equal"}, labels=5)(logits, PRESENT)
        said = logits if of == "logits" else torch.sigmoid(logits)
        expected = torch.stack([said[0].mean(0), said[1, 0], said[2, 1:].mean(0), said[3].mean(0)])
        torch.testing.assert_close(found if of == "logits" else torch.sigmoid(found), expected)

    def test_the_average_of_probabilities_is_the_logit_of_their_mean(self):
        logits = torch.randn(50, 3, 4) * 6
        combiner = make_combiner({"kind": "average", "of": "probabilities", "weights": "equal"})
        found = combiner(logits, torch.ones(50, 3).bool())
        torch.testing.assert_close(
            found, torch.logit(torch.sigmoid(logits.double()).mean(1)).float(), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize("weights", ["parts", "labels"])
    def test_learned_weights(self, weights):
        combiner = make_combiner({"kind": "average", "weights": weights})
        logits = torch.randn(4, 3, 4)
        equal = make_combiner({"kind": "average", "weights": "equal"})(logits, PRESENT)
        torch.testing.assert_close(combiner(logits, PRESENT), equal)  # they start equal
        with torch.no_grad():
            combiner.weights.copy_(torch.randn(combiner.weights.shape))
        raw = combiner.weights.expand(3, 4)
        first = (raw.softmax(0) * logits[0]).sum(0)
        third = (raw[1:].softmax(0) * logits[2, 1:]).sum(0)
        found = combiner(logits, PRESENT)
        torch.testing.assert_close(found[[0, 2]], torch.stack([first, third]))
        torch.testing.assert_close(found[1], logits[1, 0])
        assert combiner.weights.shape == {"parts": (3, 1), "labels": (3, 4)}[weights]

    def test_max(self):
        logits = torch.randn(4, 3, 4)
        found = make_combiner({"kind": "max"})(logits, PRESENT)
        torch.testing.assert_close(
            found, torch.stack([logits[0].amax(0), logits[1, 0], logits[2, 1:].amax(0), logits[3].amax(0)])
        )

    def test_a_row_without_text_has_what_the_image_says(self):
        model, found = make("average", dims={"image": 10, "text": 6}), streams().masked(["image", "image-2"])
        torch.testing.assert_close(predict_logits(model, found), predict_logits(model.parts["image"], found))


def test_residual_starts_as_a_weighted_sum():
    logits = torch.randn(7, 3, 4)
    torch.testing.assert_close(make_combiner({"kind": "residual"})(logits, PRESENT[:1]), 1.4 / 3 * logits.sum(1))


def test_mlp_reads_the_sum_of_probabilities():
    model, logits = make_combiner({"kind": "mlp"}), torch.randn(7, 3, 4)
    torch.testing.assert_close(model(logits, PRESENT[:1]), model.layers(torch.sigmoid(logits).sum(1)))


def test_s0_late_is_the_reports():
    model, logits = make_combiner({"kind": "s0-late"}, ("image", "text")), torch.randn(7, 2, 4)
    expected = model.linear(torch.sigmoid(logits[:, 0]) + 0.5 * logits[:, 1])
    torch.testing.assert_close(model(logits, PRESENT[:1, :2]), expected)
    for parts in (("text", "image"), ("image", "text", "concat")):
        with pytest.raises(ConfigError, match=r"s0-late takes an image and a text part, not"):
            make_combiner({"kind": "s0-late"}, parts)


def test_a_stacked_model_is_its_combiner_on_its_parts():
    model, found = make("mixed").eval(), streams(missing=("text",))
    assert isinstance(model, StackedFusion)
    said = torch.stack([part(found.values, found.present) for part in model.parts.values()], dim=1)
    torch.testing.assert_close(logits_of(model, found), model.combiner(said, model.part_present(found.present)))
