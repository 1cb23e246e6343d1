"""``clipfuse predict``: labels for new rows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.data.dataset import Dataset
    from clipfuse.predict import Prediction
    from clipfuse.run import Run


def predict(
    table: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or JSONL with pictures and captions.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to write: .csv, .tsv, .json or .jsonl.")],
    run: o.RunOption = None,
    images: o.Images = None,
    cache: Annotated[Path | None, typer.Option(help="Read features from this cache, which has the rows.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write them too.")] = False,
    id_column: o.IdColumn = None,
    image_column: o.ImageColumn = None,
    caption_column: o.CaptionColumn = None,
    image_encoder: o.MovedEncoder = None,
    text_encoder: o.MovedEncoder = None,
    word_list: o.WordList = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    threads: o.Threads = None,
    runs: o.Runs = None,
    strict: o.Strict = False,
) -> None:
    """Predict the labels of new rows, written in the layout of the training table.

    Example: clipfuse predict new.csv --images new/ -o labels.csv
    """
    from clipfuse.data.ledger import write_ledger
    from clipfuse.data.write import check_suffix, write_predictions
    from clipfuse.errors import CacheError, ConfigError
    from clipfuse_cli.console import note, report_ledger, warn

    check_suffix(out)
    if out.resolve() == table.resolve():
        raise ConfigError(f"--out is {table} itself, which would be replaced", "Name another file")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"can't write {out}: {error.strerror or error}") from error
    if not os.access(out.parent, os.W_OK):
        raise CacheError(f"can't write {out}: no permission", "Name another place with --out")
    loaded, dataset, found = predict_table(
        table,
        run=run,
        images=images,
        cache=cache,
        columns={"id_column": id_column, "image_column": image_column, "caption_column": caption_column},
        encoders={"image": image_encoder, "text": text_encoder},
        word_list=word_list,
        device=device,
        batch_size=batch_size,
        threads=threads,
        runs=runs,
    )
    write_predictions(
        out,
        loaded.layout,
        ids=dataset.ids,
        references=dataset.references if loaded.layout.image_column is not None else None,
        captions=dataset.captions if loaded.layout.caption_column is not None else None,
        label_names=loaded.labels,
        predicted=found.chosen,
        probabilities=found.probabilities if probabilities else None,
    )
    ledger_path = out.with_name(out.name + ".ledger.jsonl") if found.ledger else None
    if ledger_path is not None:
        write_ledger(ledger_path, found.ledger)
    empty = int(found.without_input.sum())
    if empty:
        warn(f"{empty:,} rows have nothing that {loaded.name} reads: their prediction is the same for all of them")
    note(f"{len(dataset):,} rows predicted by {loaded.name} in {out}")
    report_ledger(found.ledger, ledger_path, strict=strict)


def predict_table(
    table: Path,
    *,
    run: Path | None,
    images: Path | None,
    cache: Path | None,
    columns: dict[str, str | None],
    encoders: dict[str, list[str] | None],
    word_list: Path | None,
    device: str | None,
    batch_size: int | None,
    threads: int | None,
    runs: Path | None,
    labelled: bool = False,
) -> tuple[Run, Dataset, Prediction]:
    """Open the run, read the table as the training table was read, predict. ``labelled``: refuse it without labels."""
    from clipfuse.data import load_dataset
    from clipfuse.errors import TableError
    from clipfuse.extract import ExtractOptions
    from clipfuse.machine import choose_device
    from clipfuse.predict import like_training_table
    from clipfuse.predict import predict as run_predict
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import progress_bar

    project = o.project()
    loaded = o.open_run(run, runs or project.runs)
    if images is None:
        known = [one for one in o.loaded_tables(project) if one.table.resolve() == table.resolve()]
        images = next((one.images for one in (*known, project.data) if one is not None), None)
    config = like_training_table(loaded, table, images, {k: v for k, v in columns.items() if v is not None})
    dataset = load_dataset(config, loaded.labels)
    if labelled and dataset.labels is None:
        raise TableError(f"{table} has no labels to score against", "Name their column with --label-column")
    with progress_bar() as progress:
        prediction = run_predict(
            loaded,
            dataset,
            cache=FeatureCache(cache) if cache is not None else None,
            encoders=streams_of_names(loaded, encoders),
            word_list=word_list or project.extract.word_list,
            options=ExtractOptions(
                device=choose_device(device or project.device), batch_size=batch_size, threads=threads
            ),
            progress=progress,
        )
    return loaded, dataset, prediction


def streams_of_names(run: Run, given: dict[str, list[str] | None]) -> dict[str, str]:
    """Stream -> encoder name, of modality -> names in the order of its streams."""
    from clipfuse.errors import ConfigError
    from clipfuse.streams import modality_of

    found: dict[str, str] = {}
    for modality, names in given.items():
        streams = [stream for stream in run.streams if modality_of(stream) == modality]
        if names and len(names) != len(streams):
            known = " ".join(f"--{modality}-encoder {run.streams[stream].encoder_name}" for stream in streams)
            raise ConfigError(
                f"{len(names)} --{modality}-encoder, and {run.name} reads {len(streams)}",
                f"Name all of them, in this order: {known}" if streams else "Leave it out",
            )
        found |= dict(zip(streams, names or (), strict=False))
    return found
