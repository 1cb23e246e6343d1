"""``clipfuse bench``: all runs side by side."""

from __future__ import annotations

from clipfuse_cli import options as o


def bench(runs: o.Runs = None, json: o.Json = False) -> None:
    """Compare all runs: scores with intervals, training seconds, prediction speed, sizes. Ranked within one split only.

    Example: clipfuse bench --json
    """
    from dataclasses import asdict

    from clipfuse.bench import bench as run_bench
    from clipfuse.run import newest_run
    from clipfuse_cli.console import note

    folder = runs or o.project().runs
    newest_run(folder)  # says what to type where there is none
    groups, problems = run_bench(folder)
    for problem in problems:
        note(f"left out: {problem}")
    if json:
        import json as writer

        values = [
            {**asdict(group), "runs": [{**asdict(run), "total_bytes": run.total_bytes} for run in group.runs]}
            for group in groups
        ]
        print(writer.dumps(values, indent=1))
        return
    from clipfuse_cli.tables import show_bench

    for group in groups:
        show_bench(group)
