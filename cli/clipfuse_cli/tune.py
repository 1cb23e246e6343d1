"""``clipfuse tune``: a search for settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipfuse_cli import data_options as d
from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.train_config import TrainConfig
    from clipfuse.tune import Space


def tune(
    fusion: d.Fusion = None,
    head: Annotated[str | None, typer.Option(help="As of train-head.", rich_help_panel="Model")] = None,
    recipe: d.Recipe = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="What is searched: a TOML file (see clipfuse/tune/space.py), or a report's study: s1-study, s2-study,"
            " s4-image-study, s4-text-study. Left out: what is sensible for the head and fusion."
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="random; optuna (an extra); stages, one after the other, each with the best so far."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Try every combination.")] = False,
    trials: Annotated[int, typer.Option(min=1, help="Settings that random and optuna try.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each, with other weights, orders and folds.")] = 3,
    metric: Annotated[
        str, typer.Option(help="What is to be high on the validation rows: micro_f1, macro_f1, samples_f1, ...")
    ] = "micro_f1",
    epoch_scale: Annotated[
        float, typer.Option(help="Multiply all numbers of epochs, say by 0.1, to search in less time.")
    ] = 1.0,
    budget_minutes: Annotated[
        float | None, typer.Option(help="Begin nothing new after so long; the same command goes on.")
    ] = None,
    search_seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    seed: d.Seed = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="As of train-head: what all settings have in common; repeatable. It is not searched then.",
        ),
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
    save: Annotated[bool, typer.Option("--save", help="Write the best settings to clipfuse.toml.")] = False,
    json: o.Json = False,
    device: o.Device = None,
    runs: o.Runs = None,
) -> None:
    """Search for settings: trained on the training rows, judged on the validation rows; test rows are not read.

    Interrupted, the same command goes on where it was. An ensemble (--recipe best) is trained and judged as one;
    --set ensemble.kind=none searches single models in less time.

    Example: clipfuse tune --fusion sum --trials 30
    """
    from clipfuse.check_config import check_config
    from clipfuse.errors import ConfigError
    from clipfuse.metrics import METRICS
    from clipfuse.project import save_project
    from clipfuse.registry import did_you_mean
    from clipfuse.tune import SearchSettings, default_space, find_space
    from clipfuse.tune import tune as run_tune
    from clipfuse_cli.assignments import merged, parse_assignments
    from clipfuse_cli.console import note, warn
    from clipfuse_cli.stage_two import open_stage_two, with_options, with_recipe
    from clipfuse_cli.tune_tables import show_search, train_command, trial_line

    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}", did_you_mean(metric, METRICS))
    if grid and sampler not in (None, "grid"):
        raise ConfigError(f"--grid tries everything, --sampler {sampler} does not", "Leave out one of them")
    if not epoch_scale > 0:
        raise ConfigError(f"--epoch-scale is {epoch_scale:g}", "Give a number above 0, for example 0.1")
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
    named = find_space(space) if space is not None else None
    flags: dict[str, Any] = {"fusion": {"kind": fusion}, "head": {"kind": head}, "seed": seed, **data.training}
    given = merged(flags, parse_assignments(assignment or ()))
    project = o.project()
    start = with_recipe(project, recipe or (named.recipe if named is not None else None))
    config = with_options(start, given, data)
    check_config(config.train)
    chosen = named or default_space(config.train, without=_paths(given))
    _check_typed(config.train, chosen, given, search_seed)
    made = open_stage_two(config, data)
    rows = made.split()
    found = run_tune(
        made.cache,
        made.samples,
        rows,
        config.train,
        chosen,
        SearchSettings(
            sampler="grid" if grid else sampler,
            trials=trials,
            seeds=seeds,
            metric=metric,
            epoch_scale=epoch_scale,
            budget_seconds=None if budget_minutes is None else 60 * budget_minutes,
            seed=search_seed,
        ),
        runs=config.runs,
        device=made.device,
        on_trial=lambda trial: note(trial_line(trial, metric)),
    )
    show_search(found, metric, len(rows.roles["validation"]), json=json)
    if not found.complete:
        warn(f"the budget of {budget_minutes:g} minutes is used up; the same command goes on")
    best = next((trial for trial in found.trials if trial.mean(metric) is not None), None)
    if best is None:
        warn("nothing could be trained")
        raise typer.Exit(1)
    if save:
        # without the recipe's name, which would bring back its values for settings that are clipfuse's defaults
        train = best.config.model_copy(update={"recipe": None})
        path = save_project(Path(), config.model_copy(update={"train": train}))
        note(f"the best settings are in {path}; train them with: clipfuse train-head")
    else:
        start = with_recipe(project, best.config.recipe)
        note(f"train the best: {train_command(best, start.train, data)}")


def _paths(values: Mapping[str, Any], before: str = "") -> set[str]:
    """Settings that were typed, by their paths; None where an option was not."""
    found: set[str] = set()
    for key, value in values.items():
        inside = _paths(value, f"{before}{key}.") if isinstance(value, dict) else set()
        found |= inside | ({f"{before}{key}"} if inside or not isinstance(value, dict | None) else set())
    return found


def _check_typed(base: TrainConfig, space: Space, given: Mapping[str, Any], seed: int) -> None:
    """Make sure that nothing that was typed would be ignored, by the space or by every setting of it. Raises
    ConfigError."""
    from clipfuse.errors import ConfigError
    from clipfuse.tune import apply_point
    from clipfuse.tune.samplers import examples
    from clipfuse_cli.train_options import check_given

    points = [{**space.fixed, **point} for point in examples(space, seed)]
    own = {path.strip() for point in points for paths in point for path in paths.split(",")}
    both = sorted(own & _paths(given))
    if both:
        raise ConfigError(f"space {space.name} sets {both[0]} itself", "Leave that out, or give another --space")
    problem: ConfigError | None = None
    for point in points:
        try:
            check_given(apply_point(base, point, 1), given)
            return
        except ConfigError as error:
            problem = problem or error
    if problem is not None:
        raise problem
