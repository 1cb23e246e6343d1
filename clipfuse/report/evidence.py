"""What is read of each run for a report."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.choose import choose
from clipfuse.run import Run


@dataclass(frozen=True)
class Evidence:
    """One run and what it said of its rows.

    Attributes:
        number: its place in the report, from 0.
        run: settings, labels, metrics.
        ids: of the test rows; in a cross-validation all rows are.
        targets, probabilities, chosen: (test rows, labels) bool, float32, bool.
        thresholds: (labels,).
        tuned: (rows, labels) probabilities and truth of the validation rows; None where there are none.
        history: one record an epoch of each part.
    """

    number: int
    run: Run
    ids: tuple[str, ...]
    targets: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    chosen: NDArray[np.bool_]
    thresholds: NDArray[np.float64]
    tuned: tuple[NDArray[np.float32], NDArray[np.bool_]] | None
    history: tuple[Mapping[str, Any], ...]

    @property
    def letter(self) -> str:
        """What it is called in figures."""
        letters = string.ascii_uppercase
        return letters[self.number] if self.number < len(letters) else str(self.number + 1)

    @property
    def is_cross_validation(self) -> bool:
        """Whether its scores are means over folds."""
        return bool(self.run.metrics["split"]["method"] == "cross-validation")

    @property
    def label_scores(self) -> Sequence[Mapping[str, Any]]:
        """What its metrics say of each label on the test rows."""
        found: Sequence[Mapping[str, Any]] = self.run.metrics["scores"]["test"]["scores"]["labels"]
        return found


@dataclass(frozen=True)
class Group:
    """Runs that were scored on the same rows, with the same truth: only these are compared."""

    runs: tuple[Evidence, ...]

    @property
    def first(self) -> Evidence:
        """The one that speaks for what they share."""
        return self.runs[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names."""
        return self.first.run.labels


def gather(runs: Sequence[Run]) -> list[Group]:
    """The runs, in the order given, by the rows that they were scored on. Raises RunError where one is damaged."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for number, run in enumerate(runs):
        key = (run.metrics["split"]["digest"], run.metrics["truth"])
        groups.setdefault(key, []).append(_read(number, run))
    return [Group(tuple(members)) for members in groups.values()]


def _read(number: int, run: Run) -> Evidence:
    found, thresholds = run.predictions(), run.thresholds()
    test, validation = found.of_role("test"), found.of_role("validation")
    probabilities = found.probabilities[test]
    return Evidence(
        number,
        run,
        tuple(found.ids[row] for row in test),
        found.targets[test],
        probabilities,
        choose(probabilities, thresholds, empty_rows=run.config.empty_rows),
        thresholds,
        (found.probabilities[validation], found.targets[validation]) if len(validation) else None,
        tuple(_history(run)),
    )


def _history(run: Run) -> list[Mapping[str, Any]]:
    """The epochs; none where the file is missing, and lines that are none are passed over: nothing hangs on them."""
    try:
        lines = (run.path / "history.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("epoch"), int):
            found.append(record)
    return found
