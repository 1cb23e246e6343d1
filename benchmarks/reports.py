"""Sizes and times of the encoders in S1, table 1 and S4, table 1, beside ours for the same ones.

The encoders have random weights, which changes neither a size nor a time. "stage one" is 30,000 rows through frozen
encoders, decoding included; "train" the default head on 25,000 rows of features of that width, 5,000 more choosing the
epoch; "predict" 10,000 rows. S1's times are of fine-tuning for three epochs and of predicting from pictures and
captions, on a Colab GPU of 40 GB. S4 does not say what its "time cost" is of; it used a Colab A100. The last table has
the scores that the reports print and ours for the recipes, which are on different rows and with different encoders: no
score of the one can be compared with one of the other.

Units: S1's MB are 2^20 bytes of the model with its own last layer, and ours are counted like that in a column of their
own (batch norm's statistics left out; its fused models are 3 to 4 larger, as if each encoder were projected to 512
numbers first). S4's "Size (M)" is the published file of float32 weights, with the layer for ImageNet's 1,000 classes:
10^6 bytes for MobileNet, b1, b3, v2-s and BERT-tiny, 2^20 for b0, b2, b4 and ShuffleNet. "file MB" is the same in 10^6
bytes, and what clipfuse counts for an encoder. S4's EfficientNet-v2-s has the size of timm's efficientnetv2_rw_s, which
is a ninth larger than tf_efficientnetv2_s, the one that is measured here.

S4's F1 is a mean over the labels; S1 and S2 do not say which theirs is.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, open_data, parser, print_table, report, timed
from drawn_features import DrawnFeatures, draw_features, train_drawn
from extract import distinct_inputs, prepare_all, prepared_batches
from published import ROWS_OF, S1, S4
from random_models import random_hf, random_timm, random_torchvision
from safetensors.torch import save

from clipfuse.data import Dataset
from clipfuse.encoders import ALIASES, find_encoder
from clipfuse.precision import settle_precision
from clipfuse.probe import default_batch_size
from clipfuse.recipes import recipes
from clipfuse.train_config import FusionConfig, TrainConfig
from clipfuse.training.validation import predict_rows
from clipfuse_cache import FeatureCache

LABELS = 18

BERT = {"model_type": "bert", "vocab_size": 30522}
TEXT_MODELS: Mapping[str, Mapping[str, Any]] = {  # the sizes that they were published with
    "bert-base": BERT,
    "tinybert-4l-312": BERT | {"hidden_size": 312, "num_hidden_layers": 4, "intermediate_size": 1200},
    "bert-tiny": BERT
    | {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    "albert-base": {
        "model_type": "albert",
        "hidden_size": 768,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "vocab_size": 30000,
    },
}
OUR_SCORES = "recipes-coco18-real.json"
OUR_ROWS = "test rows of coco18; frozen mobilenet-v2, minilm"


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(rows=32)
    options.add_argument("--only", action="append", default=[], help="an encoder; all of both tables if left out")
    options.add_argument("--device", default="cpu")
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    rows = RowCounts()
    if chosen.quick:
        chosen.rows, chosen.repeats, rows = 20, 1, RowCounts(1_000, 100, 20, 50)
        chosen.only = chosen.only or ["mobilenet-v2", "bert-tiny"]
    systems = [name for name in {**S1, **S4} if not chosen.only or set(parts(name)) <= set(chosen.only)]
    names = list(dict.fromkeys(part for system in systems for part in parts(system)))
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_data(chosen, Path(folder) / "data")
        encoders = {name: measure(name, dataset, Path(folder), rows, chosen) for name in names}
    drawn = draw_features(rows.train + rows.validation, dim=max(map(width_of, names)), labels=LABELS)
    alike: dict[tuple[tuple[str, int], ...], Head] = {}  # by widths: many encoders share theirs
    heads = {}
    for system in systems:
        widths = {encoders[name].modality: width_of(name) for name in parts(system)}
        key = tuple(widths.items())
        heads[system] = alike[key] if key in alike else alike.setdefault(key, head(widths, drawn, rows, chosen))
    times = [times_row(system, encoders, heads[system], rows, chosen.device) for system in systems]
    scores = recipe_scores()
    facts = {"device": chosen.device, "row_counts": asdict(rows), "measured_rows": chosen.rows}
    sizes = [sizes_row(system, encoders, heads[system]) for system in systems]
    report("reports", chosen, sizes, {**facts, "times": times, "recipes": scores})
    print_table("seconds; F1 on the reports' own rows", times)
    print_table("recipes; theirs and ours on different rows and encoders, not to be compared", scores)


def parts(system: str) -> list[str]:
    return system.split(" + ")


def width_of(name: str) -> int:
    ((outputs,),) = [ALIASES[name].widths.values()]
    return next(iter(outputs.values()))


@dataclass(frozen=True)
class RowCounts:
    """Those of the contest that S1, S2 and S4 took part in; S2's split."""

    stage_one: int = 30_000
    train: int = 25_000
    validation: int = 5_000
    predict: int = 10_000


@dataclass(frozen=True)
class Measured:
    """One encoder: bytes of its file, and rows per second of the two steps of stage one."""

    modality: str
    file_bytes: int
    precision: str
    prepared: float
    forward: float

    def seconds(self, rows: int, device: str) -> float:
        """Of stage one: the steps share the processors, or go on side by side."""
        each = (1 / self.prepared, 1 / self.forward)
        return rows * (sum(each) if device == "cpu" else max(each))


@dataclass(frozen=True)
class Head:
    """The default head on a system's features: bytes as stored, and seconds, medians of the repeats."""

    stored: int
    train: float
    predict: float


def measure(name: str, dataset: Dataset, folder: Path, rows: RowCounts, options: Any) -> Measured:
    """In the precision that extract would choose for so many rows."""
    factory = find_encoder(random_model(name, folder / name, dataset))
    (spec,) = factory.specs
    wanted = {spec.modality: rows.stage_one}
    empty = FeatureCache(folder / "empty")
    (spec,) = settle_precision(factory, [spec], wanted, empty, "float16", options.device, alone=not options.quick)
    (encoder,) = factory.load(options.device, [spec])
    inputs = distinct_inputs(encoder, dataset)[: 4 if options.quick else options.rows]
    batches = prepared_batches(encoder, inputs, default_batch_size(spec.pixels))
    encoder.encode(batches[0])
    prepared, forward = [], []
    for _ in range(options.repeats):
        prepared.append(timed(lambda: prepare_all(encoder, inputs)))
        forward.append(timed(lambda: [encoder.encode(batch) for batch in batches]))
    rates = [len(inputs) / statistics.median(seconds) for seconds in (prepared, forward)]
    return Measured(spec.modality, spec.weights_bytes, spec.precision, *rates)


def random_model(name: str, folder: Path, dataset: Dataset) -> str:
    backend, _, target = ALIASES[name].target.partition(":")
    if backend == "timm":
        return random_timm(folder, target)
    if backend == "torchvision":
        return random_torchvision(folder, target)
    captions = " ".join(caption.lower() for caption in dataset.captions if caption)
    return random_hf(folder, TEXT_MODELS[name], sorted(set(re.findall(r"\w+|[^\w\s]", captions))))


def head(widths: Mapping[str, int], drawn: DrawnFeatures, rows: RowCounts, options: Any) -> Head:
    """Trained on drawn features of these widths."""
    every = {"image": drawn.image, "text": drawn.text}
    streams = {modality: every[modality][..., :width] for modality, width in widths.items()}
    config = TrainConfig(fusion=FusionConfig(kind="concat" if len(streams) > 1 else next(iter(streams))))
    if options.quick:
        config = config.with_fits(lambda fit: fit.model_copy(update={"epochs": 1}))
    trained, predicted, stored = [], [], 0
    asked = torch.arange(rows.predict, device=options.device)
    for _ in range(options.repeats):
        started = time.perf_counter()
        model, features = train_drawn(config, streams, drawn.targets, rows.train, options.device)
        done = time.perf_counter()
        torch.sigmoid(predict_rows(model, features, asked)).cpu()
        trained.append(done - started)
        predicted.append(time.perf_counter() - done)
        stored = len(save({name: value.contiguous() for name, value in model.state_dict().items()}))
    return Head(stored, statistics.median(trained), statistics.median(predicted))


def sizes_row(system: str, encoders: Mapping[str, Measured], own: Head) -> dict[str, Any]:
    names = parts(system)
    file_bytes = sum(encoders[name].file_bytes for name in names)
    parameters = sum(ALIASES[name].parameters for name in names)
    layer = (sum(map(width_of, names)) + 1) * LABELS
    s1, s4 = S1.get(system), S4.get(system)
    return {
        "encoder": system,
        "M parameters": parameters / 1e6,
        "file MB": file_bytes / 1e6,
        "head MB": own.stored / 1e6,
        "total MB": (file_bytes + own.stored) / 1e6,
        "counted as S1 does, MiB": 4 * (parameters + layer) / 2**20,
        "S1 says MB": s1 and s1.size,
        "S4 says M": s4 and s4.size,
    }


def times_row(system: str, encoders: Mapping[str, Measured], own: Head, rows: RowCounts, device: str) -> dict[str, Any]:
    names = parts(system)
    (alone,) = [encoders[name] for name in names] if len(names) == 1 else [None]
    stage_one = {
        count: sum(encoders[name].seconds(count, device) for name in names) for count in (rows.stage_one, rows.predict)
    }
    s1, s4 = S1.get(system), S4.get(system)
    return {
        "encoder": system,
        "precision": " + ".join(dict.fromkeys(encoders[name].precision for name in names)),
        "prepare/s": alone and alone.prepared,
        "forward/s": alone and alone.forward,
        "stage one": stage_one[rows.stage_one],
        "train": own.train,
        "S1 trains": s1 and s1.seconds,
        "S4's time cost": s4 and s4.seconds,
        "predict from features": own.predict,
        "predict from inputs": stage_one[rows.predict] + own.predict,
        "S1 predicts": s1 and s1.predict,
        "S1's F1": s1 and s1.f1,
        "S4's F1": s4 and s4.f1,
    }


def recipe_scores() -> list[dict[str, Any]]:
    """What each recipe's report says that it scored, and what was measured on coco18 where that is written down."""
    path = RESULTS / OUR_SCORES
    ours = {}
    if path.exists():
        ours = {(one["recipe"], one["loop"]): one["micro-F1"] for one in json.loads(path.read_text())["rows"]}
    return [
        {
            "recipe": recipe.name,
            "the report says": recipe.reported,
            "on": ROWS_OF[recipe.source],
            "micro-F1, the report's loop": ours.get((recipe.name, "report")),
            "micro-F1, clipfuse's loop": ours.get((recipe.name, "clipfuse")),
            "ours on": OUR_ROWS if (recipe.name, "report") in ours else "not measured",
        }
        for recipe in recipes()
        if recipe.source in ROWS_OF
    ]


if __name__ == "__main__":
    main()
