"""``clipfuse extract``: stage one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipfuse_cli import options as o


def extract(
    table: o.Table = None,
    images: o.Images = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help="mini, clip:MODEL/TAG, clip:local-dir:FOLDER, timm:…, hf:…; as often as wanted."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A file or folder with the encoder's weights.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Store the last layer in so many groups too.")] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(help="flip, rotate:10, crops:4, synonyms:2, word-dropout:0.1; each a table of its own."),
    ] = None,
    word_list: o.WordList = None,
    cache: o.Cache = None,
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
    device: o.Device = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16; auto: bfloat16 on a GPU, and where it is measured faster."),
    ] = None,
    compile: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile the encoder: slow to start, then faster.")
    ] = None,
    storage: Annotated[str | None, typer.Option(help="float16 or float32 on disk.")] = None,
    batch_size: o.BatchSize = None,
    shard_rows: Annotated[int | None, typer.Option(min=1, help="Rows of a shard: what a kill can lose.")] = None,
    threads: o.Threads = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes at work at once; one for each GPU if left out.")
    ] = None,
    worker_index: Annotated[
        int | None, typer.Option(help="Which of several workers this one is, from 0; RANK or SLURM_PROCID if left out.")
    ] = None,
    worker_count: Annotated[
        int | None, typer.Option(help="How many workers share the work; then: clipfuse cache merge.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be encoded and which rows are bad; write nothing.")
    ] = False,
    strict: o.Strict = False,
    json: o.Json = False,
) -> None:
    """Run frozen encoders once and keep their embeddings. Safe to kill; run it again and it goes on.

    Example: clipfuse extract photos.csv --images photos/ --encoder mini
    """
    import functools
    import os
    from dataclasses import replace

    from clipfuse.data import concatenate
    from clipfuse.data.ledger import write_ledger
    from clipfuse.errors import ConfigError
    from clipfuse.extract import extract as run_extract
    from clipfuse.extract_preview import preview_extraction
    from clipfuse.extract_request import ExtractRequest, extract_in_processes
    from clipfuse.machine import choose_device, gpu_count
    from clipfuse.settings import updated
    from clipfuse.worker_share import worker_share
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import note, progress_bar, report_ledger, warn
    from clipfuse_cli.extract_summary import show_preview, show_report, show_share

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
        number_column=number_column,
        test_table=test_table,
        test_images=test_images,
    )
    config = updated(
        config,
        device=device,
        extract={
            "encoders": tuple(encoder) if encoder else None,
            "weights": weights,
            "tokens": tokens,
            "views": tuple(view) if view else None,
            "word_list": word_list,
            "compile": compile,
            "precision": precision,
            "storage": storage,
            "batch_size": batch_size,
            "shard_rows": shard_rows,
            "threads": threads,
            "processes": processes,
        },
    )
    stage = config.extract
    share, because = worker_share(worker_index, worker_count, os.environ)
    if share is not None and (stage.processes or 1) > 1:
        raise ConfigError(
            f"--processes {stage.processes} and worker {share.index} of {share.count}: a worker is one process",
            "Start that many workers on this machine, each with its own --worker-index and CUDA_VISIBLE_DEVICES",
        )
    if share is not None and strict:
        raise ConfigError("one worker can't judge all rows for --strict", "Give --strict to extract after the merge")
    if dry_run:
        share, because = None, ""  # all of it, whoever would make it
    if share is not None and json:
        raise ConfigError("one worker has no tables to print as --json", "Give --json to extract after the merge")
    if share is not None and because:
        note(f"worker {share.index} of {share.count} ({because}); --worker-count 1 makes all of it here")
    request = ExtractRequest.of(
        stage, o.loaded_tables(config), o.cache_path(config, cache), choose_device(config.device)
    )
    factories = request.find_encoders()
    datasets = request.load_datasets()
    where = FeatureCache(request.cache)
    if dry_run:
        with progress_bar() as progress:
            preview = preview_extraction(factories, concatenate(datasets), where, request.options, progress)
        show_preview(preview, where.root, json=json)
        report_ledger(preview.ledger, None, strict=strict)
        return
    count = 1
    if share is None:
        count = stage.processes or (gpu_count() if request.options.device == "cuda" else 1)
    with progress_bar() as progress:
        others = functools.partial(extract_in_processes, request, count, progress) if count > 1 else None
        options = replace(request.options, share=share)
        report = run_extract(factories, concatenate(datasets), where, options, progress, others)
    if share is not None:
        show_share(report, share, where.root)
        return
    write_ledger(where.ledger, report.ledger, report.notes)
    show_report(report, where, json=json)
    for one, loaded in zip(request.tables, datasets, strict=True):
        if any(loaded.references) and not any(loaded.images):
            warn(f"warning: not one picture that {one.table} names was found; say where they are with --images")
    modalities = {one.table.description.modality for one in report.tables}
    fusion = "sum" if len(modalities) == 2 else modalities.pop()
    note(f"features in {where.root}; next: clipfuse train-head --fusion {fusion}")
    report_ledger(report.ledger, where.ledger, strict=strict)
