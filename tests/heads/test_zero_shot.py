"""Heads that know their labels by name, with mini's two sides."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from clipfuse import zero_shot
from clipfuse.config import SplitConfig, TableConfig
from clipfuse.data import load_dataset
from clipfuse.demo.scenes import draw_dataset
from clipfuse.encoders import find_encoder
from clipfuse.errors import ConfigError, EncoderError, FingerprintMismatch, TrainingError, WeightsMissing
from clipfuse.extract import ExtractOptions, extract
from clipfuse.heads import HEADS, ZeroShotHead, ZeroShotSettings
from clipfuse.models import build_model
from clipfuse.run import open_run
from clipfuse.select_streams import select_streams
from clipfuse.settings import Choice
from clipfuse.splits import find_split
from clipfuse.streams import Streams
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse.training.rows import RowsInMemory
from clipfuse.training.zero_shot import fit_platt, start_zero_shot
from clipfuse.zero_shot import encode_labels, find_label_vectors
from clipfuse_cache import FeatureCache


def config(fusion="image", learned="scale", **others):
    fit = {"epochs": 3, "precision": "float32"}
    head = {"kind": "zero-shot", "learned": learned}
    return TrainConfig.model_validate({"fusion": {"kind": fusion}, "head": head, "fit": fit, **others})


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """100 drawn scenes, encoded by mini."""
    folder = tmp_path_factory.mktemp("scenes")
    dataset = load_dataset(TableConfig(table=draw_dataset(folder, rows=100), images=folder / "images"))
    cache = FeatureCache(folder / "features")
    extract([find_encoder("mini")], dataset, cache, ExtractOptions(batch_size=32))
    samples = cache.samples()
    return SimpleNamespace(cache=cache, samples=samples, split=find_split(cache, samples, SplitConfig(), None))


@pytest.fixture
def train(scenes, tmp_path):
    """``train(config)`` -> Run."""
    return lambda chosen: train_head(scenes.cache, scenes.samples, scenes.split, chosen, runs=tmp_path)


class TestHead:
    def head(self, learned="scale", labels=3, **others):
        torch.manual_seed(0)
        return HEADS.build(Choice(kind="zero-shot", learned=learned, **others), 8, labels)

    def test_logits_are_scaled_cosines(self):
        head, features = self.head(), torch.randn(5, 2, 8)
        with torch.no_grad():
            head.scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
            head.offset.copy_(torch.tensor([0.0, -1.0, 4.0]))
        cosines = torch.cosine_similarity(features[:, :1], head.label_vectors[None], dim=-1)
        torch.testing.assert_close(head(features), cosines * head.scale + head.offset)
        torch.testing.assert_close(head(features), head(features * 7))
        assert torch.equal(head(torch.zeros(1, 1, 8))[0], head.offset)

    def test_what_is_learned(self):
        names = {
            learned: {name: value.numel() for name, value in self.head(learned).named_parameters()}
            for learned in ("none", "scale", "all")
        }
        assert names["none"] == {"scale": 1, "offset": 1}
        assert names["scale"] == {"scale": 3, "offset": 3}
        assert names["all"] == {"label_vectors": 24, "scale": 3, "offset": 3}
        assert all("label_vectors" in self.head(learned).state_dict() for learned in names)

    def test_rough_products_do_not_blur_it(self):
        head, features = self.head(), torch.randn(5, 1, 8)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(head.cosines(features), self.head().cosines(features))

    def test_prompts(self):
        settings = ZeroShotSettings(prompts=("a {label}", "{label}s"), words={"7": "train"})
        assert settings.prompts_of("7") == ["a train", "trains"]
        assert settings.prompts_of("traffic_light") == ["a traffic light", "traffic lights"]
        for wrong in ((), ("a photo",)):
            with pytest.raises(ConfigError, match=r"must have \{label\} in it"):
                HEADS.settings(Choice(kind="zero-shot", prompts=wrong))


class TestStart:
    def test_platt_finds_scale_and_offset(self):
        generator = torch.Generator().manual_seed(0)
        scores = 0.2 + 0.05 * torch.randn(20000, 2, generator=generator)
        chances = torch.sigmoid(scores * torch.tensor([60.0, -20.0]) + torch.tensor([-14.0, 1.0]))
        scale, offset = fit_platt(scores, (torch.rand(20000, 2, generator=generator) < chances).float())
        torch.testing.assert_close(scale, torch.tensor([60.0, -20.0]).double(), rtol=0.05, atol=1)
        torch.testing.assert_close(offset, torch.tensor([-14.0, 1.0]).double(), rtol=0.05, atol=0.3)

    @pytest.mark.parametrize("positives", [0, 1, 50])
    def test_it_has_an_answer_where_data_has_none(self, positives):
        scores = torch.linspace(-1, 1, 50)[:, None]
        targets = (torch.arange(50) >= 50 - positives).float()[:, None]
        scale, offset = fit_platt(scores, targets)
        said = torch.sigmoid(scale * scores + offset)
        assert said.isfinite().all() and abs(float(scale)) < 1e3
        assert float(said.mean()) == pytest.approx((positives + 1) / 52, abs=0.05)

    def test_it_looks_at_training_rows_that_have_the_input_only(self):
        torch.manual_seed(0)
        values, targets = torch.randn(60, 1, 8), (torch.rand(60, 2) < 0.5).float()
        present = torch.arange(60) % 5 > 0
        train, vectors = torch.arange(0, 60, 2), {"image": torch.randn(2, 8)}
        kept = train[present[train]]
        found = []
        for change in (False, True):
            changed = values.clone()
            if change:
                changed[torch.ones(60).bool().index_fill(0, kept, False)] *= -1
            rows = RowsInMemory(Streams({"image": changed}, {"image": present}), targets, vectors)
            model = build_model(config(), {"image": 8}, 2, seed=0)
            start_zero_shot(model, rows, train)
            found.append(model.fusion.head)
        expected = fit_platt(found[0].cosines(values[kept]), targets[kept])
        for head in found:
            assert torch.equal(head.label_vectors, vectors["image"])
            torch.testing.assert_close(head.scale.detach().double(), expected[0])
            torch.testing.assert_close(head.offset.detach().double(), expected[1])

    def test_without_the_text_it_is_not_trained(self):
        rows = RowsInMemory(
            Streams({"image": torch.randn(4, 1, 8)}, {"image": torch.ones(4).bool()}), torch.zeros(4, 2)
        )
        with pytest.raises(TrainingError, match="no vectors of the labels for stream image"):
            start_zero_shot(build_model(config(), {"image": 8}, 2, seed=0), rows, torch.arange(4))

    def test_it_reads_features_as_they_are(self):
        model = build_model(
            config("sum", parts={"text": {"head": {"kind": "mlp"}}}), {"image": 8, "text": 4}, 2, seed=0
        )
        inputs = {name: part.inputs for name, part in model.parts.items()}
        assert inputs["image"].scaled == frozenset() and not list(inputs["image"].parameters())
        assert inputs["text"].scaled == {"text"}


class TestLabels:
    def about(self, scenes, stream="image", output=None):
        chosen = config(stream, **({stream: {"output": output}} if output else {}))
        return select_streams(scenes.cache, chosen)[stream].description

    def test_they_are_means_of_prompts_and_of_length_1(self, scenes):
        about = self.about(scenes)
        both = encode_labels(about, ["dog", "cat"], ZeroShotSettings(prompts=("a {label}", "{label}")))
        one = [encode_labels(about, ["dog"], ZeroShotSettings(prompts=(each,))) for each in ("a {label}", "{label}")]
        assert both.shape == (2, 256) and both.dtype == torch.float32
        torch.testing.assert_close(both[:1], torch.nn.functional.normalize(one[0] + one[1], dim=-1))
        renamed = encode_labels(about, ["17"], ZeroShotSettings(prompts=("{label}",), words={"17": "dog"}))
        torch.testing.assert_close(renamed, one[1])

    def test_each_label_is_nearest_to_a_caption_that_names_it(self, scenes):
        names = ["cat", "boat", "kite", "train"]
        vectors = encode_labels(self.about(scenes, "text"), names, ZeroShotSettings())
        captions = encode_labels(self.about(scenes), names, ZeroShotSettings(prompts=("there is a {label} here",)))
        assert (captions @ vectors.T).argmax(1).tolist() == [0, 1, 2, 3]

    def test_another_output_has_no_text_beside_it(self, scenes):
        with pytest.raises(ConfigError, match=r"mini/image/pooled holds none.*--image-output projected"):
            encode_labels(self.about(scenes, output="pooled"), ["dog"], ZeroShotSettings())

    def test_an_encoder_that_is_gone(self, scenes, monkeypatch):
        def gone(name, **_):
            raise WeightsMissing(f"no weights of {name}", "Put them there")

        monkeypatch.setattr(zero_shot, "find_encoder", gone)
        with pytest.raises(EncoderError, match=r"labels' names with mini, which can't be had: no weights of mini.*Put"):
            encode_labels(self.about(scenes), ["dog"], ZeroShotSettings())

    def test_another_encoder_of_that_name(self, scenes):
        about = self.about(scenes)
        other = replace(about, fingerprint="0" * 64, encoder={**about.encoder, "weights": "0" * 64})
        with pytest.raises(FingerprintMismatch, match=r"encoder mini is not the one that .* was made with .*weights"):
            encode_labels(other, ["dog"], ZeroShotSettings())

    def test_what_it_can_not_read(self, scenes):
        tables = select_streams(scenes.cache, config("concat"))
        with pytest.raises(ConfigError, match=r"fusion concat reads image, text.*parts\.image\.head\.kind=zero-shot"):
            find_label_vectors(config("concat"), tables, ["dog"])
        part = config("sum", head={"kind": "mlp"}, parts={"image": {"head": {"kind": "zero-shot"}}})
        assert list(find_label_vectors(part, tables, ["dog"])) == ["image"]
        assert list(find_label_vectors(config("sum"), tables, ["dog"])) == ["image", "text"]
        assert find_label_vectors(config(head={"kind": "mlp"}), tables, ["dog"]) == {}


class TestRuns:
    def auc(self, run):
        """Of all rows: without anything learned of a label no row is a training row."""
        found = run.predictions()
        pairs = zip(found.targets.T, found.probabilities.T, strict=True)
        return np.mean([roc_auc_score(truth, said) for truth, said in pairs])

    def test_names_alone_beat_chance(self, train):
        run = train(config(learned="none"))
        assert run.metrics["parameters"] == 2
        assert self.auc(run) > 0.57
        assert self.auc(train(config("text", "none"))) > 0.65
        turned = dict(zip(run.labels, (*run.labels[4:], *run.labels[:4]), strict=True))
        head = {"kind": "zero-shot", "learned": "none", "words": turned}
        assert self.auc(train(config("text", head=head))) < 0.55

    @pytest.mark.parametrize("learned", ["scale", "all"])
    def test_it_is_kept_and_predicts_without_the_text_side(self, scenes, train, learned, monkeypatch):
        run = train(config("sum", learned))
        monkeypatch.setattr(zero_shot, "find_encoder", None)
        tables = select_streams(scenes.cache, run.config)
        found = run.predictions()
        values = {name: torch.from_numpy(table.take(found.ids).values) for name, table in tables.items()}
        present = {name: torch.from_numpy(table.take(found.ids).valid) for name, table in tables.items()}
        predictor = open_run(run.path).predictor()
        np.testing.assert_allclose(predictor.probabilities(Streams(values, present)), found.probabilities, atol=1e-5)
        heads = [module for module in predictor.model.modules() if isinstance(module, ZeroShotHead)]
        assert len(heads) == 2

    def test_vectors_move_only_where_they_are_learned(self, scenes, train):
        for learned, moves in (("scale", False), ("all", True)):
            run = train(config(learned=learned))
            start = find_label_vectors(run.config, select_streams(scenes.cache, run.config), run.labels)["image"]
            head = run.predictor().model.fusion.head
            assert (not torch.equal(head.label_vectors, start)) == moves
            cosines = torch.cosine_similarity(head.label_vectors, start, dim=-1)
            assert cosines.min() > 0.5
