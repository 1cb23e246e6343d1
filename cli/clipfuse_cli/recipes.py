"""``clipfuse recipes``: the systems of published reports."""

from __future__ import annotations

from clipfuse_cli import options as o

_WIDE = 150
"""Columns of a terminal that take what the reports scored as well."""


def recipes(json: o.Json = False) -> None:
    """List the recipes: systems of published reports, and clipfuse's best, as settings for train-head --recipe.

    Example: clipfuse recipes --json
    """
    from clipfuse.recipes import recipes as all_recipes

    if json:
        import json as writer

        rows = [
            {
                "name": one.name,
                "source": one.source,
                "description": one.description,
                "reported": one.reported,
                "train": one.train.model_dump(mode="json", exclude_none=True),
            }
            for one in all_recipes()
        ]
        print(writer.dumps(rows, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import note, output

    console = output()
    wide = console.width >= _WIDE
    grid = Table(box=None, pad_edge=False)
    grid.add_column("recipe", no_wrap=True)
    grid.add_column("source", no_wrap=True)
    grid.add_column("layers")
    if wide:
        grid.add_column("reported")
    for one in all_recipes():
        cells = [one.name, one.source, one.description, *([one.reported] if wide else [])]
        grid.add_row(*map(Text, cells))
    console.print(grid)
    note("the scores of the reports are on other rows and features than yours; next: clipfuse train-head --recipe NAME")
