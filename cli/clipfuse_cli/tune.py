"""``clipfuse tune``: a search for settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.metrics import MetricName
    from clipfuse.train_config import TrainConfig
    from clipfuse.tune import Search, Trial

_SHOWN = 15
"""Rows of the table."""


def tune(
    fusion: Annotated[str | None, typer.Option(help="As of train-head.")] = None,
    head: Annotated[str | None, typer.Option(help="As of train-head.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe to start from; a study has its own.")] = None,
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
    seed: Annotated[int | None, typer.Option(help="The first of the trainings' seeds.")] = None,
    assignment: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="As of train-head: what all settings have in common; repeatable. It is not searched then.",
        ),
    ] = None,
    cache: o.Cache = None,
    image_encoder: Annotated[list[str] | None, typer.Option(help="Where the cache has several; repeatable.")] = None,
    text_encoder: Annotated[list[str] | None, typer.Option(help="Where the cache has several; repeatable.")] = None,
    split: Annotated[str | None, typer.Option(help="stratified, position, column, or auto.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the rows that judge.")] = None,
    test: Annotated[float | None, typer.Option(help="Share of the rows that are not looked at.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of a stratified split.")] = None,
    test_table: o.TestTable = None,
    save: Annotated[bool, typer.Option("--save", help="Write the best settings to clipfuse.toml.")] = False,
    json: o.Json = False,
    device: o.Device = None,
    runs: o.Runs = None,
) -> None:
    """Search for settings: trained on the training rows, judged on the validation rows; test rows are not read.

    Interrupted, the same command goes on where it was.

    Example: clipfuse tune --fusion sum --trials 30
    """
    from clipfuse.check_config import check_config
    from clipfuse.errors import ConfigError
    from clipfuse.machine import choose_device
    from clipfuse.metrics import METRICS
    from clipfuse.project import save_project
    from clipfuse.registry import did_you_mean
    from clipfuse.settings import updated
    from clipfuse.splits import find_split
    from clipfuse.tune import SearchSettings, default_space, find_space
    from clipfuse.tune import tune as run_tune
    from clipfuse_cache import FeatureCache
    from clipfuse_cli.assignments import merged, parse_assignments
    from clipfuse_cli.console import note
    from clipfuse_cli.train_options import check_age, with_recipe

    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}", did_you_mean(metric, METRICS))
    if grid and sampler not in (None, "grid"):
        raise ConfigError(f"--grid tries everything, --sampler {sampler} does not", "Leave out one of them")
    if not epoch_scale > 0:
        raise ConfigError(f"--epoch-scale is {epoch_scale:g}", "Give a number above 0, for example 0.1")
    project = o.project()
    named = find_space(space) if space is not None else None
    flags: dict[str, Any] = {
        "fusion": {"kind": fusion},
        "head": {"kind": head},
        "image": {"encoder": image_encoder or None},
        "text": {"encoder": text_encoder or None},
        "seed": seed,
    }
    assigned = parse_assignments(assignment or ())
    config = updated(
        with_recipe(project, recipe or (named.recipe if named is not None else None)),
        device=device,
        runs=runs,
        split={"method": split, "validation": validation, "test": test, "seed": split_seed},
        train=merged(flags, assigned),
    )
    check_config(config.train)
    where = FeatureCache(o.cache_path(config, cache))
    samples = where.samples()
    check_age(where, samples, o.loaded_tables(config))
    test_name = test_table or (config.test.table if config.test is not None else None)
    chosen = find_split(where, samples, config.split, test_name.name if test_name is not None else None)
    found = run_tune(
        where,
        samples,
        chosen,
        config.train,
        named or default_space(config.train, without=_paths(assigned)),
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
        device=choose_device(config.device),
        on_trial=lambda trial: note(_line(trial, metric)),
    )
    _show(found, metric, len(chosen.roles["validation"]), json=json)
    if not found.complete:
        note(f"the budget of {budget_minutes:g} minutes is used up; the same command goes on")
    best = next((trial for trial in found.trials if trial.mean(metric) is not None), None)
    if best is None:
        note("nothing could be trained")
        raise typer.Exit(1)
    if save:
        # without the recipe's name, which would bring back its values for settings that are clipfuse's defaults
        train = best.config.model_copy(update={"recipe": None})
        path = save_project(Path(), config.model_copy(update={"train": train}))
        note(f"the best settings are in {path}; train them with: clipfuse train-head")
    else:
        start = with_recipe(project, best.config.recipe).train
        places = {
            "--cache": cache,
            "--split": split,
            "--validation": validation,
            "--test": test,
            "--split-seed": split_seed,
            "--test-table": test_table,
            "--runs": runs,
        }
        note(f"train the best: {_command(best, start, places)}")


def _paths(values: dict[str, Any], before: str = "") -> set[str]:
    """What --set has set."""
    inside = [_paths(value, f"{before}{key}.") for key, value in values.items() if isinstance(value, dict)]
    return {f"{before}{key}" for key in values}.union(*inside)


def _line(trial: Trial, metric: MetricName) -> str:
    return f"{trial.number}: {metric} {_score(trial, metric)}, {trial.seconds:.1f} s  {_settings(trial)}"


def _score(trial: Trial, metric: MetricName) -> str:
    mean, deviation = trial.mean(metric), trial.deviation(metric)
    if mean is None:
        return f"none ({trial.error})" if trial.error else "none"
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _settings(trial: Trial) -> str:
    from json import dumps

    return " ".join(f"{path}={dumps(value)}" for path, value in trial.settings.items())


def _show(found: Search, metric: MetricName, rows: int, *, json: bool) -> None:
    if json:
        from json import dumps

        values = {
            "folder": str(found.folder),
            "metric": metric,
            "validation_rows": rows,
            "complete": found.complete,
            "trained": found.trained,
            "seconds": found.seconds,
            "trials": [
                {
                    "number": trial.number,
                    "settings": trial.settings,
                    "mean": trial.mean(metric),
                    "deviation": trial.deviation(metric),
                    "scores": [result.scores for result in trial.results],
                    "seeds": [result.seed for result in trial.results],
                    "seconds": trial.seconds,
                    "parameters": trial.parameters,
                    "error": trial.error,
                }
                for trial in found.trials
            ],
        }
        print(dumps(values, indent=1))
        return
    from rich.table import Table
    from rich.text import Text

    from clipfuse_cli.console import output

    grid = Table(box=None, pad_edge=False)
    for name in (f"{metric} ± sd", "train s", "params"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("settings")
    for trial in found.trials[:_SHOWN]:
        cells = (_score(trial, metric), f"{trial.seconds:.1f}", f"{trial.parameters:,}", _settings(trial))
        grid.add_row(*map(Text, cells))
    console = output()
    seeds = len(found.trials[0].results) if found.trials else 0
    console.print(
        f"{len(found.trials)} settings, {seeds} seeds each, on {rows:,} validation rows (the best of many"
        f" promises too much: train it to see its test scores); all in {found.folder}",
        markup=False,
    )
    console.print(grid)


def _command(best: Trial, start: TrainConfig, options: Mapping[str, Any]) -> str:
    """train-head on the same rows, with every setting that is not what it would ``start`` from. ``options`` are those
    that were typed, None where one was not."""
    from shlex import quote

    words = ["clipfuse", "train-head"]
    if best.config.recipe is not None:
        words += ["--recipe", best.config.recipe]
    for path, value in _differences(start, best.config):
        words += ["--set", quote(f"{path}={value}")]
    for option, value in options.items():
        words += [] if value is None else [option, quote(str(value))]
    return " ".join(words)


def _differences(start: TrainConfig, best: TrainConfig) -> list[tuple[str, str]]:
    from json import dumps

    def walk(old: Any, new: Any, before: str) -> list[tuple[str, str]]:
        if isinstance(new, dict):
            same_kind = isinstance(old, dict) and old.get("kind") == new.get("kind")  # another one drops what was set
            inside = old if same_kind else {}
            return [pair for key, value in new.items() for pair in walk(inside.get(key), value, f"{before}{key}.")]
        return [] if new == old or new is None else [(before.removesuffix("."), dumps(new))]

    return walk(start.model_dump(mode="json"), best.model_dump(mode="json"), "")
