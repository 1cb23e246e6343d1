"""``clipfuse train-head``: stage two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.config import TableConfig
    from clipfuse_cache import FeatureCache, Samples

_OTHER_OUTPUTS = "tokens-K of extract --tokens K; imported of cache import"


def train_head(
    fusion: Annotated[str | None, typer.Option(help="image, text, concat, sum or mixed.")] = None,
    head: Annotated[str | None, typer.Option(help="linear, mlp, gmlp or knn.")] = None,
    cache: o.Cache = None,
    image_encoder: Annotated[str | None, typer.Option(help="Where the cache has several.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Where the cache has several.")] = None,
    image_output: Annotated[
        str | None, typer.Option(help=f"projected or pooled (before the projection); {_OTHER_OUTPUTS}.")
    ] = None,
    text_output: Annotated[
        str | None, typer.Option(help=f"projected or pooled; mean or cls; {_OTHER_OUTPUTS}.")
    ] = None,
    stacking: Annotated[
        str | None, typer.Option(help="What sum and mixed learn from: out-of-fold, joint or in-sample.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Folds of out-of-fold stacking.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Hidden layers of the mlp head, for example 1024,512.")] = None,
    dropout: Annotated[float | None, typer.Option()] = None,
    optimizer: Annotated[str | None, typer.Option(help="adamw or adam.")] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option(help="On matrices only.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of one step.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Validation chooses the best of them.")] = None,
    neighbors: Annotated[int | None, typer.Option(help="Of knn.")] = None,
    thresholds: Annotated[
        str | None, typer.Option(help="fixed (0.5), or tuned on validation: common or per-label.")
    ] = None,
    refit: Annotated[str | None, typer.Option(help="all: train the kept model on every row in the end.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    split: Annotated[str | None, typer.Option(help="stratified, position, column, or auto.")] = None,
    validation: Annotated[
        float | None, typer.Option(help="Share of the rows that choose epoch and thresholds.")
    ] = None,
    test: Annotated[float | None, typer.Option(help="Share of the rows that are only scored.")] = None,
    split_seed: Annotated[int | None, typer.Option()] = None,
    test_table: o.TestTable = None,
    device: o.Device = None,
    runs: o.Runs = None,
) -> None:
    """Train a head or fusion on cached features and score it on rows that it has not seen.

    Example: clipfuse train-head --fusion sum
    """
    from clipfuse.baselines import BASELINES
    from clipfuse.machine import choose_device
    from clipfuse.project import updated
    from clipfuse.splits import find_split
    from clipfuse.train_head import JOINED
    from clipfuse.train_head import train_head as run_train_head
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.console import note, progress_bar
    from clipfuse_cli.tables import show_run

    config = updated(
        o.project(),
        device=device,
        runs=runs,
        split={"method": split, "validation": validation, "test": test, "seed": split_seed},
        train={
            "fusion": {"kind": fusion, "stacking": stacking, "folds": folds},
            "head": {"kind": head, "hidden": _sizes(hidden), "dropout": dropout, "neighbors": neighbors},
            "fit": {
                "optimizer": optimizer,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "batch_size": batch_size,
                "epochs": epochs,
            },
            "image": {"encoder": image_encoder, "output": image_output},
            "text": {"encoder": text_encoder, "output": text_output},
            "thresholds": thresholds,
            "refit": refit,
            "seed": seed,
        },
    )
    if head in BASELINES and fusion is None and config.train.fusion.kind not in JOINED:
        config = updated(config, train={"fusion": {"kind": "concat"}})
    where = FeatureCache(o.cache_path(config, cache))
    samples = where.samples()
    _check_age(where, samples, o.loaded_tables(config))
    test_name = test_table or (config.test.table if config.test is not None else None)
    chosen = find_split(where, samples, config.split, test_name.name if test_name is not None else None)
    with progress_bar() as progress:
        run = run_train_head(
            where,
            samples,
            chosen,
            config.train,
            runs=config.runs,
            device=choose_device(config.device),
            progress=progress,
        )
    show_run(run)
    note(f"run {run.path}; next: clipfuse bench, or clipfuse predict new.csv --run {run.path} -o labels.csv")


def _check_age(cache: FeatureCache, samples: Samples, tables: Sequence[TableConfig]) -> None:
    """Labels are read from the cache: a table that was edited since would be trained on as it was."""
    from clipfuse.errors import ConfigError

    for table in tables:
        try:
            newer = table.table.stat().st_mtime_ns > (cache.root / "samples.h5").stat().st_mtime_ns
        except OSError:  # the table is not needed any more
            continue
        if newer and table.table.name in samples.tables:
            raise ConfigError(
                f"{table.table} has changed since its features were extracted",
                "Run clipfuse extract (it encodes only what is new), then train again",
            )


def _sizes(text: str | None) -> tuple[int, ...] | None:
    from clipfuse.errors import ConfigError

    if text is None:
        return None
    try:
        return tuple(int(size) for size in text.split(",") if size.strip())
    except ValueError as error:
        raise ConfigError(
            f"--hidden is {text!r}", "Give sizes with commas between, for example --hidden 1024,512"
        ) from error
