"""Every recipe with its report's own settings, and its layers under clipfuse's training loop; mean over seeds.

Runs are kept under --runs and not trained again: a benchmark of hours may be stopped and gone on with. "train s" is
that of the fastest seed.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import add_cache_options, chosen_streams, open_split, parser, report

from clipfuse.baselines import BASELINES
from clipfuse.bench import bench_row
from clipfuse.recipes import Recipe, recipes
from clipfuse.run import Run, list_runs, open_run
from clipfuse.train_config import FitConfig, StreamConfig, TrainConfig
from clipfuse.train_head import train_head

LOOPS = ("report", "clipfuse")
METRICS = {"micro-F1": "micro_f1", "macro-F1": "macro_f1", "samples-F1": "samples_f1", "mAP": "mean_average_precision"}


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--only", action="append", default=[], help="a recipe; all if left out")
    options.add_argument("--loop", action="append", default=[], choices=LOOPS, help="both if left out")
    options.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="the report's if left out")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--device", default="cpu")
    options.add_argument("--runs", type=Path, help="where runs are kept; nowhere if left out")
    options.add_argument("--kept-only", action="store_true", help="train nothing: show what is under --runs")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.seeds, chosen.only = 60, 1, chosen.only or ["s2-sum", "s4-fcnn-average"]
    with tempfile.TemporaryDirectory() as folder:
        cache, samples, split = open_split(chosen, Path(folder))
        streams = chosen_streams(chosen)
        rows = []
        for recipe in recipes():
            if (chosen.only and recipe.name not in chosen.only) or "numbers" in recipe.train.modalities:
                continue  # tables of pictures and captions alone have no numbers
            if recipe.source == "clipfuse":
                loops = LOOPS[1:]
            elif recipe.train.head.kind in BASELINES:
                loops = LOOPS[:1]  # they are not trained in a loop
            else:
                loops = chosen.loop or LOOPS
            own = {name: with_output(stream, getattr(recipe.train, name).output) for name, stream in streams.items()}
            if not set(own_outputs(recipe)) <= {table.description.output for table in cache.tables()}:
                print(f"{recipe.name}: left out, the cache has no {', '.join(own_outputs(recipe))}")
                continue
            for loop in loops:
                found = []
                for seed in range(chosen.seeds):
                    config = settings(recipe, loop, chosen.precision).model_copy(update={**own, "seed": seed})
                    if chosen.quick:
                        config = config.with_fits(lambda fit: fit.model_copy(update={"epochs": 1}))
                    kept = (chosen.runs or Path(folder) / "runs") / f"{recipe.name}-{loop}-{seed}"
                    done = [path for path in list_runs(kept) if (path / "metrics.json").exists()]
                    if done:
                        found.append(open_run(done[-1]))
                    elif not chosen.kept_only:
                        found.append(train_head(cache, samples, split, config, runs=kept, device=chosen.device))
                if found:
                    last = found[-1]
                    rows.append({"recipe": recipe.name, "loop": loop, **row(found)})
                    print(rows[-1], flush=True)
    report(
        "recipes", chosen, rows, {"precision": chosen.precision or "the report's", "rows_by_role": last.metrics["rows"]}
    )


def own_outputs(recipe: Recipe) -> list[str]:
    """Outputs that a recipe asks for."""
    return [stream.output for stream in (recipe.train.image, recipe.train.text) if stream.output is not None]


def with_output(stream: StreamConfig, output: str | None) -> StreamConfig:
    return stream if output is None else stream.model_copy(update={"output": output})


def settings(recipe: Recipe, loop: str, precision: str | None) -> TrainConfig:
    """The recipe, or its heads and fusion with everything else as clipfuse has it."""
    theirs = recipe.train
    if recipe.source == "clipfuse":
        return theirs
    if loop == "clipfuse":
        parts = {name: part.model_copy(update={"fit": None}) for name, part in theirs.parts.items()}
        return TrainConfig(head=theirs.head, fusion=theirs.fusion, parts=parts, modalities=theirs.modalities)
    if precision is None:
        return theirs

    def change(fit: FitConfig) -> FitConfig:
        return fit.model_copy(update={"precision": precision})

    stacking = theirs.stacking.model_copy(update={"fit": change(theirs.stacking.fit)})
    return theirs.with_fits(change).model_copy(update={"stacking": stacking})


def row(runs: Sequence[Run]) -> dict[str, Any]:
    """Means over seeds and the spread of micro-F1."""
    rows = [bench_row(run) for run in runs]
    micro = [one.scores["micro_f1"] or 0.0 for one in rows]
    means = {name: statistics.fmean(one.scores[metric] or 0.0 for one in rows) for name, metric in METRICS.items()}
    return {
        "micro-F1": means.pop("micro-F1"),
        "seeds": len(rows),
        "± seeds": statistics.stdev(micro) if len(micro) > 1 else 0.0,
        **means,
        "train s": min(one.train_seconds for one in rows),
        "parameters": rows[0].parameters,
    }


if __name__ == "__main__":
    main()
