"""``clipfuse compare``: two runs on the same test rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o


def compare(
    first: Annotated[Path, typer.Argument(help="A run's name or directory.")],
    second: Annotated[Path, typer.Argument(help="The run that it is compared with.")],
    runs: o.Runs = None,
    json: o.Json = False,
) -> None:
    """Tell whether one run is better than another on the test rows that both were scored on, in all and by label.

    Example: clipfuse compare 20260131-120000-sum 20260131-120100-text
    """
    from dataclasses import asdict

    from clipfuse.compare import compare as run_comparison

    folder = runs or o.project().runs
    found = run_comparison(o.open_run(first, folder), o.open_run(second, folder))
    if json:
        import json as writer

        print(writer.dumps(asdict(found), indent=1))
        return
    from clipfuse_cli.comparison_tables import show_comparison

    show_comparison(found)
