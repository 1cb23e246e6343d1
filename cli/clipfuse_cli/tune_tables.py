"""What tune prints: its trials, and the command that trains the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipfuse.metrics import MetricName
    from clipfuse.train_config import TrainConfig
    from clipfuse.tune import Search, Trial
    from clipfuse_cli.data_options import DataOptions

_SHOWN = 15
"""Rows of the table."""


def trial_line(trial: Trial, metric: MetricName) -> str:
    """What is told of a trial once it is known."""
    return f"{trial.number}: {metric} {_score(trial, metric)}, {trial.seconds:.1f} s  {_settings(trial)}"


def _score(trial: Trial, metric: MetricName) -> str:
    mean, deviation = trial.mean(metric), trial.deviation(metric)
    if mean is None:
        return f"none ({trial.error})" if trial.error else "none"
    return f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")


def _settings(trial: Trial) -> str:
    from json import dumps

    return " ".join(f"{path}={dumps(value)}" for path, value in trial.settings.items())


def show_search(found: Search, metric: MetricName, rows: int, *, json: bool) -> None:
    """Print a search, the best first; ``rows``: how many judged."""
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


def train_command(best: Trial, start: TrainConfig, data: DataOptions) -> str:
    """train-head on the same rows, with every setting that is not what it would ``start`` from."""
    from shlex import join

    words = ["clipfuse", "train-head"]
    if best.config.recipe is not None:
        words += ["--recipe", best.config.recipe]
    for path, value in _differences(start, best.config):
        words += ["--set", f"{path}={value}"]
    return join([*words, *data.places()])


def _differences(start: TrainConfig, best: TrainConfig) -> list[tuple[str, str]]:
    from json import dumps

    def walk(old: Any, new: Any, before: str) -> list[tuple[str, str]]:
        if isinstance(new, dict):
            same_kind = isinstance(old, dict) and old.get("kind") == new.get("kind")  # another one drops what was set
            inside = old if same_kind else {}
            return [pair for key, value in new.items() for pair in walk(inside.get(key), value, f"{before}{key}.")]
        return [] if new == old or new is None else [(before.removesuffix("."), dumps(new))]

    return walk(start.model_dump(mode="json"), best.model_dump(mode="json"), "")
