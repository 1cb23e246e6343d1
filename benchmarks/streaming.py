"""Peak memory and time of a training whose features fit in memory, and of the same in blocks from the disk, each in a
process of its own.

Captions are drawn, their features are those of a fake encoder: what is measured is what stage two holds and reads.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from common import in_own_process, parser, report

from clipfuse.config import SplitConfig, TableConfig
from clipfuse.data import load_dataset
from clipfuse.extract import ExtractOptions, extract
from clipfuse.splits import find_split
from clipfuse.testing import FakeFactory
from clipfuse.train_config import FitConfig, FusionConfig, TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import FeatureCache


def main() -> None:
    options = parser(__doc__ or "")
    options.set_defaults(rows=200_000)
    options.add_argument("--dim", type=int, default=768)
    options.add_argument("--limits", type=float, nargs="+", default=[1.0, 0.06], help="GB that features may take")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--in-this-process", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.in_this_process:
        print(json.dumps(measure(chosen.in_this_process, chosen.limits[0], chosen.epochs)))
        return
    if chosen.quick:
        chosen.rows, chosen.dim, chosen.limits, chosen.epochs = 600, 16, [1.0, 1e-5], 1
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        fill(cache, chosen.rows, chosen.dim)
        for limit in chosen.limits:
            if chosen.quick:
                found = measure(cache, limit, chosen.epochs)
            else:
                arguments = ("--in-this-process", cache, "--limits", limit, "--epochs", chosen.epochs)
                found = in_own_process(__file__, *arguments)
            rows.append({"limit MB": limit * 1e3, "features MB": chosen.rows * chosen.dim * 2 / 1e6, **found})
            print(rows[-1], flush=True)
    report("streaming", chosen, rows, {"rows_of_table": chosen.rows, "dim": chosen.dim, "epochs": chosen.epochs})


def fill(cache: Path, count: int, dim: int) -> None:
    table = cache.parent / "table.csv"
    rows = (f"row-{n},photo {n} of a {'dog' if n % 3 else 'cat'},{'dog' if n % 3 else 'cat'}\n" for n in range(count))
    with table.open("w") as file:
        file.write("id,caption,labels\n")
        file.writelines(rows)
    encoder = FakeFactory(dim=dim, modalities=("text",))
    extract([encoder], load_dataset(TableConfig(table=table)), FeatureCache(cache), ExtractOptions())


def measure(cache: Path, limit: float, epochs: int) -> dict[str, Any]:
    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    features = FeatureCache(cache)
    samples = features.samples()
    split = find_split(features, samples, SplitConfig(), None)
    imported, started = peak(), time.perf_counter()
    fit = FitConfig(epochs=epochs)
    config = TrainConfig(fusion=FusionConfig(kind="text"), fit=fit, memory_gb=limit)
    with tempfile.TemporaryDirectory() as runs:
        run = train_head(features, samples, split, config, runs=Path(runs))
    return {
        "before MB": imported,
        "peak MB": peak(),
        "more MB": peak() - imported,
        "train s": run.metrics["seconds"]["train"],
        "whole s": time.perf_counter() - started,
    }


if __name__ == "__main__":
    main()
