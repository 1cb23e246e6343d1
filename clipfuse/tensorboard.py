"""A run's history for TensorBoard; the history itself is in ``history.jsonl``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from clipfuse.errors import ConfigError, RunError
from clipfuse.metrics import METRICS
from clipfuse.run import Run

_NOT_VALUES = ("repeat", "part", "epoch", "epochs")


def check_tensorboard() -> None:
    """Make sure that what writes its files is installed. Raises ConfigError."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError("--tensorboard needs tensorboard", "pip install 'clipfuse[tensorboard]'") from error


def write_tensorboard(run: Run, folder: Path) -> Path:
    """Write a run's curves (a folder for each part) and its test scores under ``folder``; returns where.

    Raises:
        ConfigError: tensorboard is not installed.
        RunError: the run has no history, or the files can't be written.
    """
    check_tensorboard()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        from torch.utils.tensorboard import SummaryWriter

    target = folder / run.name
    try:
        lines = (run.path / "history.jsonl").read_text(encoding="utf-8").splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        writers: dict[str, Any] = {}
        for record in records:
            part = str(record["part"])
            if "repeat" in record:  # of a cross-validation
                part = f"fold {record['repeat']}, {part}"
            if part not in writers:
                writers[part] = SummaryWriter(str(target / _folder_name(part)))
            for name, value in record.items():
                if name not in _NOT_VALUES and isinstance(value, (int, float)) and not isinstance(value, bool):
                    writers[part].add_scalar(name, value, record["epoch"])
        scores = SummaryWriter(str(target))
        for role, found in run.metrics["scores"].items():
            for metric in METRICS:
                if found["scores"][metric] is not None:
                    scores.add_scalar(f"{role}/{metric}", found["scores"][metric], 0)
        for writer in (*writers.values(), scores):
            writer.close()
    except OSError as error:
        raise RunError(f"can't write {target}: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise RunError(f"{run.path / 'history.jsonl'} is damaged ({error})", "Train the run again") from error
    return target


def _folder_name(part: str) -> str:
    """ "member-1-image" for "member 1, image"."""
    return "-".join("".join(c if c.isalnum() else " " for c in part).split()) or "model"
