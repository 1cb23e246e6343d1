"""``clipfuse init``: look at the data, write clipfuse.toml."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.data.summary import DatasetSummary

_LABELS_SHOWN = 30


def init(
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or JSONL with one row a picture or caption.")],
    images: o.Images = None,
    id_column: o.IdColumn = None,
    image_column: o.ImageColumn = None,
    caption_column: o.CaptionColumn = None,
    label_column: o.LabelColumn = None,
    label_columns: o.LabelColumns = None,
    separator: o.Separator = None,
    split_column: o.SplitColumn = None,
    number_column: o.NumberColumn = None,
    test_table: o.TestTable = None,
    test_images: o.TestImages = None,
    encoder: Annotated[list[str] | None, typer.Option(help="Encoders to write into the file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a clipfuse.toml that is there.")] = False,
    strict: o.Strict = False,
    json: o.Json = False,
) -> None:
    """Look at a table and its pictures, say what was found and guessed, and write clipfuse.toml.

    Example: clipfuse init photos.csv --images photos.zip
    """
    from clipfuse.config import ProjectConfig
    from clipfuse.data import load_dataset, summarize
    from clipfuse.errors import ConfigError
    from clipfuse.project import FILE_NAME, save_project
    from clipfuse.settings import updated
    from clipfuse_cli.console import note, report_ledger

    if Path(FILE_NAME).exists() and not force:
        raise ConfigError(f"{FILE_NAME} is here already", "Replace it with --force, or edit it")
    config = o.with_table(
        ProjectConfig(),
        table,
        images,
        id_column=id_column,
        image_column=image_column,
        caption_column=caption_column,
        label_column=label_column,
        label_columns=label_columns,
        separator=separator,
        split_column=split_column,
        number_column=number_column,
        test_table=test_table,
        test_images=test_images,
    )
    config = updated(
        config, extract={"encoders": tuple(encoder) if encoder else None}, cache=o.cache_path(config, None)
    )
    datasets = [load_dataset(one) for one in o.loaded_tables(config)]
    summaries = [summarize(dataset) for dataset in datasets]
    if json:
        import json as writer

        print(writer.dumps([asdict(summary) for summary in summaries], indent=1, default=str))
    else:
        for one, summary in zip(o.loaded_tables(config), summaries, strict=True):
            _show(one.table, summary)
    path = save_project(Path(), config)
    note(f"wrote {path}; next: clipfuse extract")
    report_ledger([entry for dataset in datasets for entry in dataset.ledger], None, strict=strict)


def _show(table: Path, summary: DatasetSummary) -> None:
    from rich.table import Table

    from clipfuse_cli.console import output

    console = output()
    console.print(f"{table}: {summary.rows:,} rows", markup=False)
    console.print(
        f"  without picture {summary.without_image:,} · without caption {summary.without_caption:,}"
        f" · without label {summary.without_labels:,} · captions that occur before {summary.repeated_captions:,}"
    )
    for guess in summary.guesses:
        console.print(f"  guessed: {guess}", markup=False)
    if not summary.labelled:
        console.print("  no labels: rows can be encoded and predicted, not trained on")
        return
    grid = Table(box=None, pad_edge=False, show_header=True)
    grid.add_column(f"  label ({len(summary.label_counts)})")
    grid.add_column("rows", justify="right")
    grid.add_column("share", justify="right")
    for name, count in list(summary.label_counts.items())[:_LABELS_SHOWN]:
        from rich.text import Text

        grid.add_row(Text(f"  {name}"), f"{count:,}", f"{count / max(1, summary.rows):.1%}")
    console.print(grid)
    if len(summary.label_counts) > _LABELS_SHOWN:
        console.print(f"  … and {len(summary.label_counts) - _LABELS_SHOWN} more labels")
