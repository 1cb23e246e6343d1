"""Rows to look at: where a run is surest and wrong, and where it is least sure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipfuse.report.content import Card, Chip, Gallery, Section
from clipfuse.report.evidence import Evidence, Group
from clipfuse.report.row_inputs import RowInputs

_LONGEST = 400
"""Characters of a caption, and of an id."""
_CHIPS = 12


def gallery_section(group: Group, inputs: RowInputs, shown: int) -> Section:
    """``shown`` rows of each kind for each run."""
    galleries = []
    for one in group.runs:
        wrong, _ = confident_mistakes(one)
        cards = [_card(one, row, _mistake(one, row), inputs) for row in wrong[:shown].tolist()]
        beside = f"{len(wrong):,} of {len(one.ids):,} test rows have a mistake."
        galleries.append(Gallery(tuple(cards), f"{one.letter}  Most confident mistakes", beside))
        unsure, expected = least_certain(one)
        cards = [
            _card(one, row, f"expects {expected[row]:.2f} of its labels to be wrong", inputs)
            for row in unsure[:shown].tolist()
        ]
        galleries.append(Gallery(tuple(cards), f"{one.letter}  Least certain rows"))
    lead = (
        "Test rows. A mistake is a label that is chosen and not true, or true and not chosen; how confident it is: the"
        " probability of the wrong answer. Least certain: the sum over labels of the smaller of p and 1 - p. ✓ right,"
        " ✗ chosen and not true, ○ true and not chosen."
    )
    return Section(f"gallery-{group.first.number}", "Rows to look at", lead, tuple(galleries))


def confident_mistakes(one: Evidence) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Rows with a wrong label, the surest mistake first, and how sure each row's surest mistake is, (test rows,); 0
    where there is none."""
    sure = np.where(one.targets, 1.0 - one.probabilities, one.probabilities) * (one.targets != one.chosen)
    surest = sure.max(axis=1, initial=0.0)
    rows = np.flatnonzero((one.targets != one.chosen).any(axis=1))
    return rows[np.argsort(-surest[rows], kind="stable")], surest


def least_certain(one: Evidence) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """All rows, the least certain first, and how many wrong labels each expects if its probabilities are right, (test
    rows,)."""
    said = one.probabilities.astype(np.float64)
    expected = np.minimum(said, 1 - said).sum(axis=1)
    return np.argsort(-expected, kind="stable"), expected


def _mistake(one: Evidence, row: int) -> str:
    wrong = one.targets[row] != one.chosen[row]
    sure = np.where(one.targets[row], 1.0 - one.probabilities[row], one.probabilities[row]) * wrong
    label = int(np.argmax(sure))
    said = f"{one.probabilities[row, label]:.3f} for {_short(one.run.labels[label])}"
    return f"{said}, which it {'has' if one.targets[row, label] else 'does not have'}"


def _card(one: Evidence, row: int, why: str, inputs: RowInputs) -> Card:
    name = one.ids[row]
    picture, no_picture = inputs.thumbnail(name)
    caption = inputs.caption(name)
    chips = []
    for label in np.argsort(-one.probabilities[row], kind="stable").tolist():
        truth, chosen = bool(one.targets[row, label]), bool(one.chosen[row, label])
        if truth or chosen:
            kind = "right" if truth and chosen else "missed" if truth else "wrong"
            chips.append(Chip(kind, _short(one.run.labels[label]), float(one.probabilities[row, label])))
    chips.sort(key=lambda chip: chip.kind == "right")  # stable: mistakes are not cut off
    return Card(
        _short(name), None if caption is None else _short(caption), picture, no_picture, why, tuple(chips[:_CHIPS])
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
