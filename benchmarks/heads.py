"""Stage two: seconds and test scores of every fusion, and of kNN, on one cache; mean over seeds."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import add_cache_options, chosen_streams, open_split, parser, report

from clipfuse.bench import bench_row
from clipfuse.compare import paired
from clipfuse.run import Run
from clipfuse.train_config import FitConfig, FusionConfig, HeadConfig, TrainConfig
from clipfuse.train_head import train_head

FUSIONS = ("image", "text", "concat", "gated", "bilinear", "average", "max", "sum", "mixed")
MODELS = (*(("mlp", fusion) for fusion in FUSIONS), ("knn", "concat"))


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--thresholds", default="fixed", choices=("fixed", "expected", "common", "per-label"))
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.seeds = 120, 1
    with tempfile.TemporaryDirectory() as folder:
        cache, samples, split = open_split(chosen, Path(folder))
        rows, last = [], {}
        for head, fusion in MODELS:
            config = TrainConfig(
                head=HeadConfig(kind=head),
                fusion=FusionConfig(kind=fusion),
                fit=FitConfig(epochs=2) if chosen.quick else FitConfig(),
                **chosen_streams(chosen),
                thresholds=chosen.thresholds,
            )
            runs = [
                train_head(
                    cache,
                    samples,
                    split,
                    config.model_copy(update={"seed": seed}),
                    runs=Path(folder) / "runs",
                    device=chosen.device,
                )
                for seed in range(1 if head == "knn" else chosen.seeds)
            ]
            last[fusion if head == "mlp" else head] = runs[0]
            rows.append(row(f"{fusion}" if head == "mlp" else f"{head} {fusion}", runs))
        trivial = max(runs[0].metrics["trivial"], key=lambda one: one["scores"]["micro_f1"])
        differences = {
            f"{fused} minus {single}": paired(last[fused], last[single])
            for fused in ("concat", "sum", "mixed")
            for single in ("image", "text")
        }
    facts = {
        "rows_by_role": runs[0].metrics["rows"],
        "seeds": chosen.seeds,
        "thresholds": chosen.thresholds,
        "best_trivial": {"name": trivial["name"], "micro_f1": trivial["scores"]["micro_f1"]},
        "differences_of_seed_0": {name: asdict(one) for name, one in differences.items()},
    }
    report("heads", chosen, rows, facts)
    print(f"best trivial row: {trivial['name']}, micro-F1 {trivial['scores']['micro_f1']:.4f}")
    for name, one in differences.items():
        print(f"{name}: {one.observed:+.4f} micro-F1, 95% interval {one.low:+.4f} to {one.high:+.4f} (paired, seed 0)")


def row(name: str, runs: list[Run]) -> dict[str, Any]:
    """Means over seeds; the spread of micro-F1, and the interval of the first seed."""
    rows = [bench_row(run) for run in runs]

    def mean(metric: str) -> float:
        return statistics.fmean(one.scores[metric] or 0.0 for one in rows)

    micro = [one.scores["micro_f1"] or 0.0 for one in rows]
    low, high = rows[0].intervals["micro_f1"]
    return {
        "model": name,
        "micro-F1": mean("micro_f1"),
        "± seeds": statistics.stdev(micro) if len(micro) > 1 else 0.0,
        "95% low": low,
        "95% high": high,
        "macro-F1": mean("macro_f1"),
        "samples-F1": mean("samples_f1"),
        "mAP": mean("mean_average_precision"),
        "train s": statistics.fmean(one.train_seconds for one in rows),
        "rows/s": statistics.fmean(one.rows_per_second for one in rows),
        "parameters": rows[0].parameters,
        "head MB": rows[0].head_bytes / 1e6,
    }


if __name__ == "__main__":
    main()
