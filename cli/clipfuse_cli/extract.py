"""``clipfuse extract``: stage one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.extract import ExtractReport


def extract(
    table: o.Table = None,
    images: o.Images = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="mini, clip:MODEL/TAG, clip:local-dir:FOLDER, timm:…, hf:…; as often as wanted."),
    ] = None,
    cache: o.Cache = None,
    id_column: o.IdColumn = None,
    image_column: o.ImageColumn = None,
    caption_column: o.CaptionColumn = None,
    label_column: o.LabelColumn = None,
    label_columns: o.LabelColumns = None,
    separator: o.Separator = None,
    split_column: o.SplitColumn = None,
    test_table: o.TestTable = None,
    test_images: o.TestImages = None,
    device: o.Device = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 or bfloat16; auto: bfloat16 on a GPU, float32 elsewhere.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="float16 or float32 on disk.")] = None,
    batch_size: o.BatchSize = None,
    shard_rows: Annotated[int | None, typer.Option(help="Rows of a shard: what a kill can lose.")] = None,
    threads: o.Threads = None,
    strict: o.Strict = False,
) -> None:
    """Run frozen encoders once and keep their embeddings. Safe to kill; run it again and it goes on.

    Example: clipfuse extract photos.csv --images photos/ --encoder mini
    """
    from clipfuse.data import concatenate, load_dataset
    from clipfuse.data.ledger import write_ledger
    from clipfuse.encoders import find_encoder
    from clipfuse.extract import ExtractOptions
    from clipfuse.extract import extract as run_extract
    from clipfuse.machine import choose_device
    from clipfuse.project import updated
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import note, progress_bar, report_ledger

    config = o.with_table(
        o.project(),
        table,
        images,
        id_column=id_column,
        image_column=image_column,
        caption_column=caption_column,
        label_column=label_column,
        label_columns=label_columns,
        separator=separator,
        split_column=split_column,
        test_table=test_table,
        test_images=test_images,
    )
    config = updated(
        config,
        device=device,
        extract={
            "encoders": tuple(encoder) if encoder else None,
            "precision": precision,
            "storage": storage,
            "batch_size": batch_size,
            "shard_rows": shard_rows,
            "threads": threads,
        },
    )
    stage = config.extract
    chosen = choose_device(config.device)
    factories = [find_encoder(name) for name in dict.fromkeys(stage.encoders)]
    datasets = [load_dataset(one) for one in o.loaded_tables(config)]
    dataset = concatenate(datasets)
    where = FeatureCache(o.cache_path(config, cache))
    extract_options = ExtractOptions(
        device=chosen,
        storage=stage.storage,
        precision=stage.precision,
        shard_rows=stage.shard_rows,
        batch_size=stage.batch_size,
        threads=stage.threads,
    )
    with progress_bar() as progress:
        report = run_extract(factories, dataset, where, extract_options, progress)
    write_ledger(where.ledger, report.ledger, report.notes)
    _show(report)
    for one, loaded in zip(o.loaded_tables(config), datasets, strict=True):
        if any(loaded.references) and not any(loaded.images):
            note(f"warning: not one picture that {one.table} names was found; say where they are with --images")
    note(f"features in {where.root}; next: clipfuse train-head --fusion {_fusion(report)}")
    report_ledger(report.ledger, where.ledger, strict=strict)


def _fusion(report: ExtractReport) -> str:
    """The fusion that reads what there is."""
    modalities = {table.table.description.modality for table in report.tables}
    return "sum" if len(modalities) == 2 else modalities.pop()


def _show(report: ExtractReport) -> None:
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import note, output

    if report.removed:
        note(f"{len(report.removed):,} rows are no longer in the table, the first is {report.removed[0]!r}")
    grid = Table(box=None, pad_edge=False)
    for name, side in (("features", "left"), ("width", "right"), ("rows", "right"), ("encoded now", "right")):
        grid.add_column(name, justify=side)  # type: ignore[arg-type]
    grid.add_column("failed", justify="right")
    for table in report.tables:
        about = table.table.description
        grid.add_row(Text(about.name), str(about.dim), f"{table.rows:,}", f"{table.encoded:,}", f"{table.failed:,}")
        if table.stale:
            note(f"{about.name}: {len(table.stale)} rows had changed, the first is {table.stale[0]!r}")
        if table.damaged:
            note(f"{about.name}: damaged shards made again: {', '.join(table.damaged)}")
    output().print(grid)
    encoded = max(table.encoded for table in report.tables)
    if encoded == 0:
        note("nothing to do: every row is there already")
    else:
        seconds = report.encode_seconds
        note(
            f"{encoded:,} rows in {seconds:.1f} s ({encoded / seconds:,.0f} rows/s), "
            f"weights loaded in {report.load_seconds:.1f} s"
        )
