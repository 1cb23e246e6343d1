"""``clipfuse train-head``: stage two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipfuse_cli import data_options as d
from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.inputs import Progress
    from clipfuse.run import Run
    from clipfuse.train_config import TrainConfig

ALL_BASELINES = "all-baselines"
"""The name of all of them, each a run of its own."""


def _model(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Model", show_default=default or False)


def _training(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Training", show_default=default or False)


def _choosing(text: str, default: str = "") -> Any:
    return typer.Option(help=text, rich_help_panel="Choosing", show_default=default or False)


def train_head(
    fusion: d.Fusion = None,
    head: Annotated[
        str | None,
        _model(
            "linear, mlp, gmlp, binary-rnn, chain, label-query, zero-shot (CLIP). scikit-learn's: knn, svc, linear-svc,"
            " logistic, ridge, random-forest, extra-trees, decision-tree, bagging, boosting, multinomial-nb,"
            " complement-nb, label-powerset-svc, classifier-chain; all-baselines: each of these.",
            "mlp",
        ),
    ] = None,
    recipe: d.Recipe = None,
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
    seed: d.Seed = None,
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
    features: d.Features = None,
    modalities: d.Modalities = None,
    image_encoder: d.Encoder = None,
    text_encoder: d.Encoder = None,
    image_output: d.ImageOutput = None,
    text_output: d.TextOutput = None,
    image_view: d.ImageView = None,
    text_view: d.TextView = None,
    average_views: d.AverageViews = False,
    memory_gb: d.MemoryGb = None,
    split: d.Split = None,
    validation: d.Validation = None,
    test: d.Test = None,
    split_seed: d.SplitSeed = None,
    group_duplicates: d.GroupDuplicates = False,
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
    json: o.Json = False,
    device: o.Device = None,
    runs: o.Runs = None,
) -> None:
    """Train a head or fusion on cached features and score it on rows that it has not seen.

    Example: clipfuse train-head --fusion sum
    """
    from clipfuse.baselines import BASELINES
    from clipfuse.bench import bench_group
    from clipfuse.check_config import check_config
    from clipfuse.cross_validate import cross_validate as run_cross_validation
    from clipfuse.errors import ConfigError, TrainingError
    from clipfuse.leaks import Leak, describe_leaks
    from clipfuse.remembered_rows import RememberedRows
    from clipfuse.tensorboard import check_tensorboard, write_tensorboard
    from clipfuse.train_head import train_head as run_train_head
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.assignments import merged, parse_assignments
    from clipfuse_cli.bench_tables import show_bench
    from clipfuse_cli.console import note, progress_bar, warn
    from clipfuse_cli.stage_two import open_stage_two, with_options, with_recipe
    from clipfuse_cli.tables import show_run
    from clipfuse_cli.train_notes import say_what_is_special
    from clipfuse_cli.train_options import cache_of, check_given, parse_batch_size, parse_ensemble, parse_sizes

    if tensorboard is not None:
        check_tensorboard()
    data = d.DataOptions(
        cache=cache,
        features=features,
        modalities=modalities,
        image_encoder=image_encoder,
        text_encoder=text_encoder,
        image_output=image_output,
        text_output=text_output,
        image_view=image_view,
        text_view=text_view,
        average_views=average_views,
        memory_gb=memory_gb,
        split=split,
        validation=validation,
        test=test,
        split_seed=split_seed,
        group_duplicates=group_duplicates,
        test_table=test_table,
        device=device,
        runs=runs,
    )
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
        **data.training,
        "thresholds": thresholds,
        "empty_rows": empty_rows,
        "calibration": calibration,
        "refit": refit,
        "storage": storage,
        "seed": seed,
    }
    given = merged(flags, parse_assignments(assignment or ()))
    if every and (not isinstance(given["head"], dict) or given["head"]["kind"] is not None):
        raise ConfigError(f"--head {ALL_BASELINES} and another one by --set are given", "Choose one of them")
    if from_run is not None and recipe is not None:
        raise ConfigError("--from takes the earlier run's settings, --recipe others", "Leave out one of them")
    if cross_validate is not None and (from_run is not None or unlabelled is not None):
        raise ConfigError("--cross-validate trains fresh models", "Leave out --from and --unlabelled")
    start = with_recipe(o.project(), recipe)
    initial = None if from_run is None else o.open_run(from_run, runs or start.runs)
    if initial is not None:
        start = start.model_copy(update={"train": initial.config})
    each = [merged(given, {"head": {"kind": kind}}) for kind in BASELINES] if every else [given]
    configs = [with_options(start, one, data) for one in each]
    for one, own in zip(configs, each, strict=True):
        check_config(one.train)
        check_given(one.train, own)
    config, trainings = configs[0], [one.train for one in configs]
    made = open_stage_two(config, data)
    deals = [[made.split()]] if cross_validate is None else made.folds(cross_validate, seeds)
    load = RememberedRows().load  # what is tried, and every baseline, reads the same rows
    for training in trainings:
        often = seeds * (cross_validate or 1) + (training.refit == "all")
        say_what_is_special(training, made.cache, made.samples, deals[0][0], made.device, load, trainings=often)

    def train(training: TrainConfig, progress: Progress) -> Run:
        if cross_validate is not None:
            return run_cross_validation(
                made.cache,
                made.samples,
                deals,
                training,
                runs=config.runs,
                device=made.device,
                progress=progress,
                load=load,
            )
        return run_train_head(
            made.cache,
            made.samples,
            deals[0][0],
            training,
            runs=config.runs,
            device=made.device,
            initial=initial,
            unlabelled=None if unlabelled is None else FeatureCache(cache_of(unlabelled)),
            seeds=seeds,
            progress=progress,
            load=load,
        )

    found = []
    with progress_bar() as progress:
        for number, training in enumerate(trainings):
            try:
                found.append(train(training, progress))
            except TrainingError as error:
                if not every:
                    raise
                warn(f"left out: {error}")
            if every:
                progress("baselines", number + 1, len(trainings))
    if not found:
        raise TrainingError("not one baseline could be fitted")
    if tensorboard is not None:
        for run in found:
            note(f"for TensorBoard: {write_tensorboard(run, tensorboard)}")
    if json:
        from json import dumps

        print(dumps([{"path": str(run.path), **run.metrics} for run in found], indent=1))
    elif every:
        show_bench(bench_group(found))
    else:
        show_run(found[0])
    run = found[0]
    leaks = describe_leaks([Leak(**leak) for leak in run.metrics.get("leaks", [])])
    if leaks:
        warn(f"scores may flatter: {leaks}")
    keeps_model = cross_validate is None or config.train.refit == "all"
    then = f", or clipfuse predict new.csv --run {run.path} -o labels.csv" if keeps_model and not every else ""
    note(f"{len(found)} runs in {config.runs}" if every else f"run {run.path}; next: clipfuse bench{then}")
