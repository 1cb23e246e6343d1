"""``clipfuse train-head``: stage two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.inputs import Progress
    from clipfuse.run import Run
    from clipfuse.train_config import TrainConfig

ALL_BASELINES = "all-baselines"
"""The name of all of them, each a run of its own."""

_OTHER_OUTPUTS = "tokens-K of extract --tokens K; imported of cache import"


def _model(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Model", show_default=default or False)


def _training(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Training", show_default=default or False)


def _data(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Data", show_default=default or False)


def _choosing(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Choosing", show_default=default or False)


def train_head(
    fusion: Annotated[
        str | None,
        _model(
            "One modality: image, text, numbers. Joint: concat, gated, bilinear, cross-attention, s4-cross-attention,"
            " s0-dependent. Stacked: sum, mixed, average, max.",
            "sum",
        ),
    ] = None,
    head: Annotated[
        str | None,
        _model(
            "linear, mlp, gmlp, binary-rnn, chain, label-query, zero-shot (CLIP). scikit-learn's: knn, svc, linear-svc,"
            " logistic, ridge, random-forest, extra-trees, decision-tree, bagging, boosting, multinomial-nb,"
            " complement-nb, label-powerset-svc, classifier-chain; all-baselines: each of these.",
            "mlp",
        ),
    ] = None,
    recipe: Annotated[
        str | None, _model("A report's system with its settings (see clipfuse recipes); other options win over it.")
    ] = None,
    hidden: Annotated[str | None, _model("Hidden layers of mlp and chain, for example 1024,512.", "512")] = None,
    dropout: Annotated[float | None, _model("Of the head.", "0.5 for mlp")] = None,
    activation: Annotated[str | None, _model("Of mlp and chain: gelu, relu, leaky_relu.", "gelu")] = None,
    neighbors: Annotated[int | None, _model("Of knn.", "15")] = None,
    stacking: Annotated[
        str | None,
        _model(
            "What a stacked fusion's combiner learns from: out-of-fold, validation, in-sample, joint.", "out-of-fold"
        ),
    ] = None,
    folds: Annotated[int | None, _model("Folds of out-of-fold stacking.", "2")] = None,
    ensemble: Annotated[
        str | None, _model("Average several models: seeds, folds or snapshots, and how many, as in seeds:5.", "none")
    ] = None,
    from_run: Annotated[
        Path | None, typer.Option("--from", help="Train on from this run's weights.", rich_help_panel="Model")
    ] = None,
    loss: Annotated[str | None, _training("bce, focal, asymmetric.", "bce")] = None,
    optimizer: Annotated[str | None, _training("adamw, adam, adafactor.", "adamw")] = None,
    schedule: Annotated[
        str | None, _training("Of the learning rate: cosine, constant, multi-step, plateau.", "cosine")
    ] = None,
    learning_rate: Annotated[float | None, _training("At most.", "0.001")] = None,
    weight_decay: Annotated[float | None, _training("On matrices only.", "0.01")] = None,
    batch_size: Annotated[str | None, _training("Rows of one step, or all.", "a 32nd of the rows, 16 to 256")] = None,
    epochs: Annotated[int | None, _training("Validation chooses the best of them.", "8")] = None,
    patience: Annotated[int | None, _training("Stop after so many epochs without a gain.")] = None,
    ema: Annotated[float | None, _training("Keep a running mean of the weights with this decay, say 0.99.")] = None,
    modality_dropout: Annotated[
        float | None, _training("Chance that a row loses one of its modalities in a step.", "0.0")
    ] = None,
    label_weights: Annotated[
        str | None, _training("none, log-frequency, inverse-frequency, effective-number.", "none")
    ] = None,
    oversample: Annotated[
        float | None, _training("Draw rows more often whose rarest label is rarer than this share of rows.")
    ] = None,
    undersample: Annotated[
        float | None, _training("Draw rows less often whose labels are all more frequent than this share.")
    ] = None,
    seed: Annotated[int | None, _training("Of weights, orders, dropout and folds.", "0")] = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Any other setting of \\[train] in clipfuse.toml, repeatable: --set head.blocks=3"
            " --set fusion.combiner.kind=average --set stacking.fit.epochs=20",
            rich_help_panel="Training",
        ),
    ] = None,
    cycles: Annotated[int | None, _training("Of a cosine schedule.", "1")] = None,
    unlabelled: Annotated[
        Path | None, _training("A table (or its cache) without labels to learn from; extract it first.")
    ] = None,
    cache: o.Cache = None,
    features: Annotated[
        str | None,
        _data(
            "What estimators read of captions: embeddings, or counts or tfidf of words.",
            "embeddings",
        ),
    ] = None,
    modalities: Annotated[
        str | None, _data("What a fusion of several reads; numbers: the table's numeric columns.", "image,text")
    ] = None,
    image_encoder: Annotated[list[str] | None, _data("Where the cache has several; repeatable.")] = None,
    text_encoder: Annotated[list[str] | None, _data("Where the cache has several; repeatable.")] = None,
    image_output: Annotated[
        str | None, _data(f"projected or pooled (before the projection); {_OTHER_OUTPUTS}.")
    ] = None,
    text_output: Annotated[str | None, _data(f"projected or pooled; mean or cls; {_OTHER_OUTPUTS}.")] = None,
    image_view: Annotated[
        list[str] | None,
        _data("View of pictures that training draws from, as extract has it, or all; repeatable."),
    ] = None,
    text_view: Annotated[list[str] | None, _data("The same of captions.")] = None,
    average_views: Annotated[bool, _data("Predict from the mean over the inputs and their views.")] = False,
    memory_gb: Annotated[
        float | None, _data("Features that take more are read in blocks.", "half of the memory")
    ] = None,
    split: Annotated[str | None, _data("stratified, position, column, or auto.", "auto")] = None,
    validation: Annotated[float | None, _data("Share of the rows that choose epoch and thresholds.", "0.1")] = None,
    test: Annotated[float | None, _data("Share of the rows that are only scored.", "0.2")] = None,
    split_seed: Annotated[int | None, _data("Of a stratified split.", "0")] = None,
    group_duplicates: Annotated[
        bool, _data("Keep equal and nearly equal rows on one side of the split, and in one fold.")
    ] = False,
    test_table: o.TestTable = None,
    thresholds: Annotated[
        str | None,
        _choosing("fixed (0.5), or by validation: expected (steady), common, or per-label.", "fixed"),
    ] = None,
    empty_rows: Annotated[
        str | None, _choosing("A row with no label above its threshold gets nothing, or most-probable.", "nothing")
    ] = None,
    calibration: Annotated[
        str | None, _choosing("Of probabilities, on validation: none, temperature, platt.", "none")
    ] = None,
    refit: Annotated[str | None, _choosing("all: train the kept model on every row in the end.", "none")] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="Train with so many seeds and report their mean and deviation.",
            rich_help_panel="Choosing",
            show_default="1",
        ),
    ] = 1,
    cross_validate: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Score every row with models that have not seen it, in so many folds.",
            rich_help_panel="Choosing",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Write the history there for TensorBoard, too.", show_default=False)
    ] = None,
    storage: Annotated[str | None, _choosing("Of the kept weights: float32, float16, int8.", "float32")] = None,
    device: o.Device = None,
    runs: o.Runs = None,
) -> None:
    """Train a head or fusion on cached features and score it on rows that it has not seen.

    Example: clipfuse train-head --fusion sum
    """
    from clipfuse.baselines import BASELINES
    from clipfuse.bench import bench_group
    from clipfuse.cross_validate import cross_validate as run_cross_validation
    from clipfuse.errors import ConfigError, TrainingError
    from clipfuse.leaks import Leak, describe_leaks
    from clipfuse.machine import choose_device
    from clipfuse.settings import updated
    from clipfuse.splits import find_cross_validation, find_split
    from clipfuse.tensorboard import check_tensorboard, write_tensorboard
    from clipfuse.train_head import JOINED, check_config
    from clipfuse.train_head import train_head as run_train_head
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.assignments import merged, parse_assignments
    from clipfuse_cli.bench_tables import show_bench
    from clipfuse_cli.console import note, progress_bar
    from clipfuse_cli.tables import show_run
    from clipfuse_cli.train_notes import say_what_is_special
    from clipfuse_cli.train_options import (
        cache_of,
        check_age,
        check_given,
        parse_batch_size,
        parse_ensemble,
        parse_sizes,
        with_recipe,
    )

    if tensorboard is not None:
        check_tensorboard()
    every = head == ALL_BASELINES
    flags = {
        "fusion": {"kind": fusion},
        "head": {
            "kind": None if every else head,
            "hidden": parse_sizes(hidden),
            "dropout": dropout,
            "activation": activation,
            "n_neighbors": neighbors,
        },
        "stacking": {"method": stacking, "folds": folds},
        "ensemble": parse_ensemble(ensemble),
        "fit": {
            "loss": {"kind": loss},
            "optimizer": optimizer,
            "schedule": schedule,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "batch_size": parse_batch_size(batch_size),
            "epochs": epochs,
            "patience": patience,
            "ema": ema,
            "modality_dropout": modality_dropout,
            "label_weights": label_weights,
            "oversample": oversample,
            "undersample": undersample,
            "cycles": cycles,
        },
        "features": features,
        "modalities": tuple(name.strip() for name in modalities.split(",")) if modalities else None,
        "image": {"encoder": image_encoder or None, "output": image_output, "views": image_view or None},
        "text": {"encoder": text_encoder or None, "output": text_output, "views": text_view or None},
        "average_views": average_views or None,
        "memory_gb": memory_gb,
        "thresholds": thresholds,
        "empty_rows": empty_rows,
        "calibration": calibration,
        "refit": refit,
        "storage": storage,
        "seed": seed,
    }
    given = merged(flags, parse_assignments(assignment or ()))
    if from_run is not None and recipe is not None:
        raise ConfigError("--from takes the earlier run's settings, --recipe others", "Leave out one of them")
    project = with_recipe(o.project(), recipe)
    initial = None if from_run is None else o.open_run(from_run, runs or project.runs)
    if initial is not None:
        project = project.model_copy(update={"train": initial.config})
    config = updated(
        project,
        device=device,
        runs=runs,
        split={
            "method": split,
            "validation": validation,
            "test": test,
            "seed": split_seed,
            "group_duplicates": group_duplicates or None,
        },
        train=given,
    )
    if (every or head in BASELINES) and fusion is None and config.train.fusion.kind not in JOINED:
        reads_words = config.train.features != "embeddings"
        config = updated(config, train={"fusion": {"kind": "text" if reads_words else "concat"}})
    kinds = list(BASELINES) if every else [None]
    trainings = [updated(config.train, head={"kind": kind}) for kind in kinds]
    for training in trainings:
        check_config(training)
        check_given(training, given)
    where = FeatureCache(o.cache_path(config, cache))
    samples = where.samples()
    check_age(where, samples, o.loaded_tables(config))
    test_name = test_table or (config.test.table if config.test is not None else None)
    test_file = test_name.name if test_name is not None else None
    chosen_device = choose_device(config.device)
    if cross_validate is not None and (initial is not None or unlabelled is not None):
        raise ConfigError("--cross-validate trains fresh models", "Leave out --from and --unlabelled")

    if cross_validate is None:
        only_split = find_split(where, samples, config.split, test_file)
    else:
        deals = [
            find_cross_validation(
                where,
                samples,
                cross_validate,
                config.split.model_copy(update={"seed": config.split.seed + n}),
                test_file,
            )
            for n in range(seeds)
        ]

    for training in trainings:
        say_what_is_special(training, where, samples, deals[0][0] if cross_validate else only_split, chosen_device)

    def train(training: TrainConfig, progress: Progress) -> Run:
        if cross_validate is not None:
            return run_cross_validation(
                where, samples, deals, training, runs=config.runs, device=chosen_device, progress=progress
            )
        return run_train_head(
            where,
            samples,
            only_split,
            training,
            runs=config.runs,
            device=chosen_device,
            initial=initial,
            unlabelled=None if unlabelled is None else FeatureCache(cache_of(unlabelled)),
            seeds=seeds,
            progress=progress,
        )

    found = []
    with progress_bar() as progress:
        for number, training in enumerate(trainings):
            try:
                found.append(train(training, progress))
            except TrainingError as error:
                if not every:
                    raise
                note(f"left out: {error}")
            if every:
                progress("baselines", number + 1, len(trainings))
    if not found:
        raise TrainingError("not one baseline could be fitted")
    if tensorboard is not None:
        for one in found:
            note(f"for TensorBoard: {write_tensorboard(one, tensorboard)}")
    if every:
        show_bench(bench_group(found))
    else:
        show_run(found[0])
    run = found[0]
    leaks = describe_leaks([Leak(**leak) for leak in run.metrics.get("leaks", [])])
    if leaks:
        note(f"scores may flatter: {leaks}")
    keeps_model = cross_validate is None or config.train.refit == "all"
    then = f", or clipfuse predict new.csv --run {run.path} -o labels.csv" if keeps_model and not every else ""
    note(f"{len(found)} runs in {config.runs}" if every else f"run {run.path}; next: clipfuse bench{then}")
