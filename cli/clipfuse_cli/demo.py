"""``clipfuse demo``: the main job on a data set that is drawn on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o


def demo(
    folder: Annotated[Path, typer.Option(help="Where to draw and work.")] = Path("demo"),
    rows: Annotated[int, typer.Option(min=60, help="How many scenes.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing.")] = 7,
    json: o.Json = False,
) -> None:
    """Draw scenes with captions and labels, encode them with mini, train six models, compare them.

    Everything stays in one folder; run it again and what is there is used.

    Example: clipfuse demo --folder demo
    """
    import time

    from clipfuse.budget import NO_LIMITS
    from clipfuse.demo.pipeline import run_demo
    from clipfuse_cli.bench_formats import as_json
    from clipfuse_cli.bench_tables import show_bench
    from clipfuse_cli.console import note, progress_bar, report_ledger

    started = time.perf_counter()
    with progress_bar() as progress:
        result = run_demo(folder, rows=rows, seed=seed, progress=progress)
    note(f"{result.rows:,} scenes in {folder}, encoded at {result.rows_per_second:,.0f} rows/s")
    report_ledger(result.ledger, result.cache / "ledger.jsonl", strict=False)
    if json:
        print(as_json([result.group], NO_LIMITS))
        return
    show_bench(result.group)
    best = result.group.runs[0]
    print(
        f"Best by micro-F1 on the test rows: {best.kind} ({best.name}). "
        "Trust differences that are wider than the intervals."
    )
    print(f"""
Next, with this data:
  cd {folder}
  clipfuse bench
  clipfuse evaluate --run runs/{best.name}
  clipfuse predict scenes.csv --images images --run runs/{best.name} -o predicted.csv
Next, with your own:
  clipfuse init photos.csv --images photos/
  clipfuse extract
  clipfuse train-head --fusion sum""")
    note(f"done in {time.perf_counter() - started:.0f} s")
