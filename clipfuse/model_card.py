"""A run's model card: Markdown with the metadata header that model hubs read."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse.bench import BenchRow, bench_row
from clipfuse.bench_cells import UNKNOWN, score_beside
from clipfuse.bench_columns import SCORES
from clipfuse.markdown import one_line, plain, table
from clipfuse.modality import input_word
from clipfuse.run_words import rows_used, verdict
from clipfuse.streams import modality_of

if TYPE_CHECKING:
    from clipfuse.run import Run

NAME = "README.md"
"""Of its file: what hubs and code hosts show first."""
FEW = 10
"""Positive test rows under which a label's own scores say little."""

_PYTHON = """```python
import clipfuse

model = clipfuse.load_run({run})
found = model.predict({inputs})
found.probabilities, found.chosen_labels  # (rows, labels) in the order of model.labels; each row's labels by name
```"""
_SHOWN = ("micro_f1", "macro_f1", "samples_f1", "mean_average_precision")
_TASKS = {"image": "image-classification", "text": "text-classification", "numbers": "tabular-classification"}
_PLURALS = {"image": "pictures", "text": "captions", "numbers": "columns of numbers"}


def model_card(run: Run) -> str:
    """What was trained, on which rows, how it scores beside trivial predictions, its limits, and how to use it."""
    row = bench_row(run)
    sections = [
        f"---\n{_metadata(run, row)}---",
        f"# {plain(run.name)}",
        _summary(run, row),
        "## Data and split",
        "\n".join(f"- {line}" for line in _data(run)),
        "## Scores on the test rows",
        *_scores(run, row),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(run, row)),
        "## How to use",
        *_usage(run),
    ]
    return "\n\n".join(sections) + "\n"


def _modalities(run: Run) -> list[str]:
    return list(dict.fromkeys(map(modality_of, run.dims)))


def _metadata(run: Run, row: BenchRow) -> str:
    """YAML: what Hugging Face's model cards begin with."""
    from huggingface_hub import EvalResult, ModelCardData

    modalities = _modalities(run)
    data = one_line(_data_name(run)) or "data"
    task = _TASKS[modalities[0]]
    results = [
        EvalResult(
            task_type=task,
            task_name="Multi-label classification",
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type="f1" if "F1" in SCORES[metric] else "map",
            metric_name=SCORES[metric],
            metric_value=round(value, 4),
        )
        for metric in _SHOWN
        if (value := row.scores[metric]) is not None
    ]
    about = ModelCardData(
        library_name="clipfuse",
        pipeline_tag=task if len(modalities) == 1 else None,
        tags=["clipfuse", "multi-label-classification", *(["multimodal"] if len(modalities) > 1 else [])],
        metrics=["f1"],
        model_name=one_line(run.name),
        eval_results=results,
    )
    return str(about.to_yaml(line_break="\n")) + "\n"


def _summary(run: Run, row: BenchRow) -> str:
    reads = " and ".join(_PLURALS[name] for name in _modalities(run))
    kinds = {stream: _PLURALS[modality_of(stream)] for stream in row.encoders}
    encoders = ", ".join(f"{plain(name)} ({kinds[stream]})" for stream, name in row.encoders.items())
    frozen = f" from the frozen features of {encoders}" if encoders else ""
    config = run.config
    made = f"Kind **{plain(row.kind)}**, {row.parameters:,} trained parameters"
    if row.head_bytes is not None:
        made += f", {row.head_bytes / 1e6:.2f} MB as {config.storage}"
    if config.ensemble.kind != "none":
        made += f", an ensemble of {config.ensemble.size} {config.ensemble.kind}"
    return (
        f"Reads {reads} and gives each of {len(run.labels):,} labels a probability{frozen}. {made}. Trained with"
        f" clipfuse {version('clipfuse')} in {row.train_seconds:,.1f} s on {plain(row.device)},"
        f" {run.metrics['created'][:10]}."
    )


def _data_name(run: Run) -> str:
    return Path(str(run.metrics.get("cache", ""))).name


def _data(run: Run) -> Iterator[str]:
    metrics, split = run.metrics, run.metrics["split"]
    yield f"Data: {plain(_data_name(run))}; {plain(rows_used(metrics))}."
    yield "Training rows train; validation rows choose epoch, thresholds and calibration; test rows are only scored."
    yield f"Split: {plain(split['name'])} ({plain(split['method'])}), digest `{split['digest'][:12]}`."
    if metrics.get("from"):
        yield f"Trained on from {plain(metrics['from'])}."
    pseudo = metrics.get("pseudo_labels")
    if pseudo:
        yield f"{pseudo['rows']:,} rows without labels were learned from with labels that a model gave them."
    for name, stream in run.streams.items():
        precision = stream.encoder.get("precision")
        computed = f", computed in {precision}" if precision else ""
        yield f"Features {plain(name)}: {plain(stream.name)}{computed}, fingerprint `{stream.fingerprint}`."


def _scores(run: Run, row: BenchRow) -> Iterator[str]:
    metrics = run.metrics
    heads = ["model", *(SCORES[metric] for metric in _SHOWN)]
    trivial = [[plain(one["name"]), *_cells(one["scores"], one["intervals"], {})] for one in metrics["trivial"]]
    repeats = f", mean of {row.repeats}" if row.repeats > 1 else ""
    own = [f"**{plain(row.kind)}**{repeats}", *_cells(row.scores, row.intervals, row.deviations)]
    yield table(heads, [*trivial, own])
    yield (
        f"{plain(verdict(metrics['trivial'], row))} The rows above it look at nothing."
        " Behind a score stands its 95% bootstrap interval over the test rows, or ± its standard deviation over several"
        " trainings. micro-F1 counts all cells (row and label) alike, macro-F1 is the mean over labels, samples-F1 over"
        " rows; mAP is the mean average precision over labels that occur."
    )
    alone = metrics.get("modalities") or {}
    if alone:
        lines = [[plain(name), *_cells(one["scores"], one["intervals"], {})] for name, one in alone.items()]
        yield table(["test rows with", *heads[1:]], lines)
    thresholds = dict(zip(run.labels, run.thresholds(), strict=True))
    lines = []
    for label in metrics["scores"]["test"]["scores"]["labels"]:
        values = [_number(label[key]) for key in ("precision", "recall", "f1", "average_precision")]
        lines.append([plain(label["name"]), *values, f"{label['support']:,}", f"{thresholds[label['name']]:.3f}"])
    yield table(["label", "precision", "recall", "F1", "AP", "positive test rows", "threshold"], lines)


def _limits(run: Run, row: BenchRow) -> Iterator[str]:
    from clipfuse.leaks import Leak, describe_leaks

    metrics, labels = run.metrics, run.metrics["scores"]["test"]["scores"]["labels"]
    leaks = describe_leaks([Leak(**leak) for leak in metrics.get("leaks", [])])
    if leaks:
        yield f"The scores may flatter: {plain(leaks)}."
    rare = [plain(label["name"]) for label in labels if label["support"] < FEW]
    if rare:
        few = f"{len(rare):,} of {len(labels):,} labels" if len(rare) > FEW else f"Of {', '.join(rare)}"
        yield f"{few}: fewer than {FEW} positive test rows, so that their own scores say little."
    for stream, roles in metrics.get("missing", {}).items():
        if any(roles.values()):
            word = input_word(stream)
            yield f"{plain(stream)}: {roles['train']:,} training and {roles['test']:,} test rows had no {word}."
    if run.config.refit == "all":
        yield "The kept model was trained again on all rows in the end; the scores are those from before."
    if metrics.get("storage"):
        full = metrics["storage"]["full_scores"]["scores"]["micro_f1"]
        yield f"Weights are rounded to {metrics['storage']['kind']}; in full they score {full:.3f} micro-F1."
    yield "It knows these labels only, in data like its training rows; a probability elsewhere is a guess."
    if run.streams:
        yield "What the encoders have learned of their own data, and under which licences, comes with them."
    yield "Not known here, for those who know the data to write: its source, its licence, whom it shows, its purpose."


def _usage(run: Run) -> Iterator[str]:
    if not run.keeps_model:
        yield "A cross-validation scores a way to train and keeps no model. Train one with the settings in config.toml."
        return
    imported = any(stream.is_imported for stream in run.streams.values())
    pictures = "image" in _modalities(run)
    yield (
        f"`{_code(run.name)}` is this folder: its path, or its name where clipfuse finds it in `runs/`. The table has"
        f" the columns {', '.join(_columns(run))}; cells may be empty."
        + (" The features were imported: they have to be in a cache for these rows." if imported else "")
    )
    options = f"{' --images pictures/' if pictures else ''} --run {shlex.quote(run.name)}"
    options += " --cache FOLDER" if imported else ""
    yield f"```sh\npip install clipfuse\nclipfuse predict new.csv{options} -o labels.csv\n```"
    if not imported:
        yield _PYTHON.format(run=json.dumps(run.name), inputs=", ".join(_inputs(run)))
    rule = "; a row with none gets its most probable one" if run.config.empty_rows == "most-probable" else ""
    yield (
        f"A label is given where its probability is at least its threshold ({plain(run.config.thresholds)}){rule}."
        " Every setting is in config.toml. `clipfuse export` makes an ONNX file, or a bundle that holds the encoders'"
        " weights too and predicts without a network."
    )


def _inputs(run: Run) -> Iterator[str]:
    """Arguments of ``LoadedRun.predict`` for one row."""
    modalities = _modalities(run)
    if "image" in modalities:
        yield 'images=["pictures/new.jpg"]'
    if "text" in modalities:
        yield 'captions=["a caption"]'
    if run.own.numbers:
        yield f"numbers={json.dumps({name: [1.0] for name in run.own.numbers})}"


def _columns(run: Run) -> Iterator[str]:
    modalities = _modalities(run)
    for modality, name in (("image", run.layout.image_column), ("text", run.layout.caption_column)):
        if modality in modalities and name is not None:
            yield f"`{_code(name)}` ({_PLURALS[modality]})"
    for name in run.own.numbers:
        yield f"`{_code(name)}` (a number)"


def _cells(
    scores: Mapping[str, Any], intervals: Mapping[str, Sequence[float]], deviations: Mapping[str, float]
) -> list[str]:
    return [f"{_number(scores[metric])} {score_beside(metric, intervals, deviations)}".rstrip() for metric in _SHOWN]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.3f}"


def _code(text: str) -> str:
    """For between backticks."""
    return one_line(text).replace("`", "'")
