"""Every default of stage two beside what else it could be: what chose it, and what it costs or gains on your data.

Folds over the labelled rows that are not test rows: each is scored by a model that has not seen it, whose epoch and
thresholds are chosen on --choose of its other rows. Test rows are not looked at. All models have the same folds and
seeds, so differences are paired: ± is their standard error over folds.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import add_cache_options, chosen_streams, open_split, parser, report  # before torch

# isort: split
import torch

from clipfuse.finish import finish
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.metrics import Scores
from clipfuse.select_streams import select_streams
from clipfuse.settings import updated
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, train_jobs

OTHERS: dict[str, list[Any]] = {
    "fusion.kind": ["mixed", "average", "max", "concat", "gated", "bilinear"],
    "head.hidden": [[256], [1024], [2048], [2048, 512]],
    "head.dropout": [0.2, 0.35, 0.65],
    "head.activation": ["relu"],
    "fit.learning_rate": [3e-4, 3e-3],
    "fit.epochs": [4, 16],
    "fit.batch_size": [64, 1024],
    "fit.weight_decay": [0.0, 0.1],
    "fit.schedule": ["constant"],
    "fit.optimizer": ["adam", "adafactor"],
    "fit.ema": [0.99],
    "fit.label_smoothing": [0.05, 0.1],
    "fit.loss.kind": ["focal", "asymmetric"],
    "fit.label_weights": ["log-frequency", "effective-number"],
    "fit.modality_dropout": [0.1],
    "fit.precision": ["float32"],
    "bias": ["random"],
    "scale": [False],
    "stacking.method": ["joint", "in-sample", "validation"],
    "stacking.folds": [3, 5],
    "stacking.fit.learning_rate": [5e-3, 5e-2],
    "stacking.fit.epochs": [6, 24],
    "thresholds": ["expected", "common", "per-label"],
}
"""Setting -> what else it could be."""


@dataclass(frozen=True)
class Outcome:
    """Scores of each fold, and seconds of one training."""

    scores: list[Scores]
    seconds: float


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--only", action="append", default=[], help="a setting; all if left out")
    options.add_argument("--folds", type=int, default=4)
    options.add_argument("--choose", type=float, default=0.12, help="share of a fold's other rows that choose")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.folds, chosen.only = 60, 2, chosen.only or ["bias", "thresholds"]
    with tempfile.TemporaryDirectory() as folder:
        cache, samples, split = open_split(chosen, Path(folder))
        plain = updated(TrainConfig(**chosen_streams(chosen)), **({"fit": {"epochs": 1}} if chosen.quick else {}))
        rows = load_rows(select_streams(cache, plain), samples, split, "cpu", roles=("train", "validation"))
        labels = list(samples.label_names)
        first = outcome(plain, rows, labels, chosen.folds, chosen.choose)
        found = [row("all defaults", "", first, first)]
        print(found[-1], flush=True)
        for name, values in OTHERS.items():
            for value in values if not chosen.only or name in chosen.only else ():
                config = updated(plain, **nested(name, value))
                found.append(row(name, str(value), outcome(config, rows, labels, chosen.folds, chosen.choose), first))
                print(found[-1], flush=True)
    report("defaults", chosen, found, {"folds": chosen.folds, "rows": len(rows.ids)})


def nested(path: str, value: Any) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b"."""
    first, _, rest = path.partition(".")
    return {first: nested(rest, value) if rest else value}


def outcome(config: TrainConfig, rows: LabelledRows, labels: list[str], folds: int, share: float) -> Outcome:
    """Each fold's score by a model that was trained on the others."""
    generator = torch.Generator().manual_seed(5)
    parts = torch.randperm(len(rows.ids), generator=generator).chunk(folds)
    jobs, roles = [], []
    for number, test in enumerate(parts):
        others = torch.cat([part for part in parts if part is not test])
        choose = max(2, round(share * len(others)))
        of_fold = {
            "train": others[choose:].sort().values,
            "validation": others[:choose].sort().values,
            "test": test.sort().values,
        }
        roles.append(of_fold)
        seeded = config.resolved().model_copy(update={"seed": number})
        jobs.append(Job(seeded, {name: of_fold[name] for name in ("train", "validation")}, name=f"{number} "))
    started = time.perf_counter()
    trained = train_jobs(jobs, rows.rows, no_progress)
    seconds = (time.perf_counter() - started) / folds
    scores = []
    for one, of_fold in zip(trained, roles, strict=True):
        finished = finish(config, one.predictor, replace(rows, index=of_fold))
        said = rows.ask(finished.predictor, of_fold["test"])
        scores.append(finished.evaluate(said, rows.truth(of_fold["test"]), labels))
    return Outcome(scores, seconds)


def row(name: str, value: str, found: Outcome, plain: Outcome) -> dict[str, Any]:
    gains = [one.micro_f1 - other.micro_f1 for one, other in zip(found.scores, plain.scores, strict=True)]
    return {
        "setting": name,
        "value": value,
        "micro-F1": statistics.fmean(one.micro_f1 for one in found.scores),
        "minus default": statistics.fmean(gains),
        "±": statistics.stdev(gains) / math.sqrt(len(gains)),
        "mAP": statistics.fmean(one.mean_average_precision or 0.0 for one in found.scores),
        "macro-F1": statistics.fmean(one.macro_f1 for one in found.scores),
        "seconds, times default": found.seconds / plain.seconds,
    }


if __name__ == "__main__":
    main()
