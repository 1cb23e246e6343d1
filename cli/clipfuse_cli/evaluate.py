"""``clipfuse evaluate``: a run's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clipfuse_cli import options as o


def evaluate(
    table: Annotated[Path | None, typer.Argument(help="A labelled table; the run's own test rows if left out.")] = None,
    run: o.RunOption = None,
    images: o.Images = None,
    cache: Annotated[Path | None, typer.Option(help="Read features from this cache, which has the rows.")] = None,
    id_column: o.IdColumn = None,
    image_column: o.ImageColumn = None,
    caption_column: o.CaptionColumn = None,
    label_column: o.LabelColumn = None,
    image_encoder: o.MovedEncoder = None,
    text_encoder: o.MovedEncoder = None,
    word_list: o.WordList = None,
    device: o.Device = None,
    batch_size: o.BatchSize = None,
    threads: o.Threads = None,
    runs: o.Runs = None,
    strict: o.Strict = False,
    json: o.Json = False,
) -> None:
    """Show a run's scores on its own test rows, or score it on another labelled table.

    Example: clipfuse evaluate more.csv --images more/ --run runs/20260131-120000-sum
    """
    import json as writer

    from clipfuse.evaluation import score_rows, score_trivial
    from clipfuse_cli.console import report_ledger
    from clipfuse_cli.predict import predict_table
    from clipfuse_cli.tables import show_labels, show_run, show_scores

    if table is None:
        loaded = o.open_run(run, runs or o.project().runs)
        if json:
            print(writer.dumps(dict(loaded.metrics), indent=1))
        else:
            show_run(loaded)
        return
    loaded, dataset, found = predict_table(
        table,
        run=run,
        images=images,
        cache=cache,
        columns={
            "id_column": id_column,
            "image_column": image_column,
            "caption_column": caption_column,
            "label_column": label_column,
        },
        encoders={"image": image_encoder, "text": text_encoder},
        word_list=word_list,
        device=device,
        batch_size=batch_size,
        threads=threads,
        runs=runs,
        labelled=True,
    )
    assert dataset.labels is not None
    seen = len(loaded.seen().intersection(dataset.ids)) if loaded.keeps_predictions else None
    rule = loaded.config.empty_rows
    scores: dict[str, Any] = score_rows(
        found.probabilities, dataset.labels, loaded.thresholds(), loaded.labels, empty_rows=rule
    )
    trivial = score_trivial(loaded.trivial_rows(), dataset.labels, loaded.labels)
    if json:
        about = {"run": loaded.name, "table": str(table), "rows": len(dataset), "rows_seen_in_training": seen}
        result = {**about, **scores, "trivial": trivial}
        print(writer.dumps(result, indent=1))
    else:
        title = f"{loaded.name} on {len(dataset):,} rows of {table}"
        if seen is None:
            title += "; a bundle does not know whether they trained or tuned it"
        elif seen:
            title += f"; by their ids {seen:,} of them trained or tuned it, which flatters it"
        show_scores(title, trivial, [(str(loaded.metrics["kind"]), scores)])
        show_labels(scores["scores"]["labels"])
    report_ledger(found.ledger, None, strict=strict)
