"""Search: settings per minute, side by side as one batched model against one at a time, on one space."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import add_cache_options, open_split, parser, report

from clipfuse.train_config import TrainConfig
from clipfuse.tune import Search, SearchSettings, parse_space, tune

VARIED = {
    "fit.learning_rate": {"low": 5e-4, "high": 1e-2, "log": True},
    "fit.weight_decay": {"low": 1e-3, "high": 1.0, "log": True},
    "head.dropout": {"low": 0.1, "high": 0.8},
}
"""What differs among settings that can be one batched model."""


def main() -> None:
    options = parser(__doc__ or "")
    add_cache_options(options)
    options.add_argument("--fusion", default="text")
    options.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 512], help="a row each")
    options.add_argument("--trials", type=int, default=8)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=4)
    options.add_argument("--repeats", type=int, default=3, help="of each way, in turn; the median counts")
    options.add_argument("--device", default="cpu")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.trials, chosen.seeds, chosen.epochs = 120, 3, 1, 1
        chosen.hidden, chosen.repeats = [16], 1
    with tempfile.TemporaryDirectory() as folder:
        cache, samples, split = open_split(chosen, Path(folder))
        settings = SearchSettings(trials=chosen.trials, seeds=chosen.seeds)
        count = 0

        def once(hidden: int, *, side_by_side: bool) -> tuple[float, Search]:
            """Seconds of one whole search, reading left out."""
            nonlocal count
            count += 1
            fit = {"epochs": chosen.epochs}
            values = {"fusion": {"kind": chosen.fusion}, "head": {"hidden": [hidden]}, "fit": fit}
            found = tune(
                cache,
                samples,
                split,
                TrainConfig.model_validate(values),
                parse_space("varied", VARIED, "varied"),
                replace(settings, side_by_side=side_by_side),
                runs=Path(folder) / f"runs-{count}",
                device=chosen.device,
            )
            return sum(trial.seconds for trial in found.trials), found

        started = time.perf_counter()
        once(chosen.hidden[0], side_by_side=True)  # imports and caches
        print(f"warm after {time.perf_counter() - started:.0f} s")
        rows = [row(hidden, chosen.repeats, once) for hidden in chosen.hidden]
    facts = {
        "fusion": chosen.fusion,
        "train_rows": len(split.roles["train"]),
        "trials": chosen.trials,
        "seeds": chosen.seeds,
        "epochs": chosen.epochs,
        "repeats": chosen.repeats,
    }
    report("tune", chosen, rows, facts)


def row(hidden: int, repeats: int, once: Any) -> dict[str, Any]:
    """One width: both ways in turn, so that both meet the same load."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    best: dict[bool, float] = {}
    for _ in range(repeats):
        for side_by_side in (True, False):
            took, found = once(hidden, side_by_side=side_by_side)
            seconds[side_by_side].append(took)
            best[side_by_side] = found.trials[0].mean("micro_f1") or 0.0
    trials = len(found.trials)
    ratios = [alone / together for alone, together in zip(seconds[False], seconds[True], strict=True)]
    return {
        "hidden": str(hidden),
        "parameters": found.trials[0].parameters,
        "settings/min side by side": 60 * trials / statistics.median(seconds[True]),
        "settings/min one at a time": 60 * trials / statistics.median(seconds[False]),
        "ratio": statistics.median(ratios),
        "lowest ratio": min(ratios),
        "highest ratio": max(ratios),
        "best micro-F1 side by side": best[True],
        "best micro-F1 one at a time": best[False],
    }


if __name__ == "__main__":
    main()
