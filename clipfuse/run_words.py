"""What is said of a run in sentences, wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipfuse.modality import input_word

if TYPE_CHECKING:
    from clipfuse.bench import BenchRow


def verdict(trivial: Sequence[Mapping[str, Any]], model: BenchRow) -> str:
    """Whether a model beats every trivial row by micro-F1, as a sentence."""
    best = max(trivial, key=lambda row: row["scores"]["micro_f1"])
    value, bar = model.scores["micro_f1"] or 0.0, best["scores"]["micro_f1"]
    against = f"the best trivial row ({best['name']}, micro-F1 {bar:.3f})"
    if value <= bar:
        return f"{model.kind} does NOT beat {against}."
    spread = "its standard deviation" if model.deviations else "its interval"
    low = value - model.deviations["micro_f1"] if model.deviations else model.intervals["micro_f1"][0]
    if low <= bar:
        return f"{model.kind} is above {against}, but by less than {spread}."
    return f"{model.kind} beats {against} by more than {spread}."


def rows_used(metrics: Mapping[str, Any]) -> str:
    """Which rows did what, as a sentence."""
    rows, split = metrics["rows"], metrics["split"]
    gaps = ", ".join(
        dict.fromkeys(
            f"{roles['test']:,} of the test rows without {input_word(stream)}"
            for stream, roles in metrics.get("missing", {}).items()
            if roles["test"]
        )
    )
    return (
        f"{rows['test']:,} test rows, trained on {rows['train']:,}, tuned on {rows['validation']:,}"
        f" (split {split['name']}){'; ' + gaps if gaps else ''}"
    )
