"""Pictures and captions that don't fit each other, by a CLIP encoder that sees both.

A pair is judged by how many of other rows' captions fit its picture at least as well, and of other rows' pictures its
caption: of a pair that belongs together few do, of one that was put together by chance half on average, evenly spread
from none to all. So what is above one half tells how many pairs are chance's (Storey 2002, "A direct approach to false
discovery rates"), and from where on they are the majority.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clipfuse.doctor.finding import Finding, Value
from clipfuse.doctor.subject import Subject
from clipfuse_cache import FeatureTable
from clipfuse_cache.manifest import IDENTITY

OUTPUT = "projected"
"""Where CLIP encoders have pictures and captions meet."""
OTHERS = 512
"""Rows that each pair is compared with."""
_BLOCK = 4096
_SAME = ("backend", "model", "weights")


def misfits(subject: Subject) -> Finding:
    """Rows whose caption fits their picture no better than a chance caption, the worst first."""
    about = Finding(
        "misfits",
        "Pictures and captions that don't fit",
        f"By CLIP cosine: how large a share of up to {OTHERS} other rows' captions and pictures fits at least as well."
        " Of the rows that are listed most are expected to be mixed up; the weaker the encoder, the more of them are"
        " only unusual.",
        "rows",
    )
    tables = _paired_tables(subject)
    if tables is None:
        return about.without("the cache holds no projected features of pictures and captions by one CLIP encoder")
    values = []
    for table in tables:
        found = table.take(subject.samples.ids)
        values.append((found.values[:, 0].astype(np.float32), found.valid))
    rows = np.flatnonzero(values[0][1] & values[1][1])
    if len(rows) < 3:
        return about.without("too few rows have both a picture and a caption")
    pictures, captions = (_directions(one[rows]) for one, _ in values)
    shares = fitting_shares(pictures, captions)
    own = np.einsum("ij,ij->i", pictures, captions)
    chance, cut = chance_pairs(shares)
    order = np.argsort(-shares, kind="stable")
    lines: list[tuple[Value, ...]] = []
    for place in order[shares[order] >= cut].tolist():
        row = int(rows[place])
        line = (round(float(shares[place]), 4), round(float(own[place]), 4), subject.samples.ids[row])
        lines.append((*line, subject.role(row), subject.where(row), subject.labels(row), subject.caption(row)))
    columns = ("share that fits better", "cosine", "id", "role", "line", "labels", "caption")
    name = tables[0].description.encoder_name
    return about.found(columns, lines, len(rows), f"about {chance:.1%} of all pairs look like chance, by {name}")


def fitting_shares(
    pictures: NDArray[np.float32], captions: NDArray[np.float32], others: int = OTHERS
) -> NDArray[np.float64]:
    """For each row the mean of two shares: of other rows' captions that fit its picture at least as well as its own,
    and of other rows' pictures that fit its caption so, (rows,) within [0, 1].

    Args:
        pictures, captions: (rows, dim) float32 of length 1.
        others: rows to compare with, evenly spaced.
    """
    rows = len(pictures)
    some = np.unique(np.linspace(0, rows - 1, min(others, rows)).astype(int))
    own = np.einsum("ij,ij->i", pictures, captions)
    itself = np.isin(np.arange(rows), some)
    total = np.zeros(rows)
    for left, right in ((pictures, captions), (captions, pictures)):
        for start in range(0, rows, _BLOCK):
            block = slice(start, start + _BLOCK)
            better = (left[block] @ right[some].T >= own[block, None] - 1e-6).sum(axis=1) - itself[block]
            total[block] += better / (len(some) - itself[block])
    return total / 2


def chance_pairs(shares: NDArray[np.float64]) -> tuple[float, float]:
    """Which part of the rows looks as if it were put together by chance, and the share from which on those are the
    majority; above 1 where there are none."""
    chance = min(1.0, 2 * float((shares > 0.5).mean()))
    if chance == 0:
        return 0.0, np.inf
    cuts = np.unique(shares)
    listed = 1 - np.searchsorted(np.sort(shares), cuts) / len(shares)
    # two shares that hang together are spread about as evenly as one
    mostly = chance * (1 - cuts) >= 0.5 * listed
    below = np.flatnonzero(~mostly & (cuts < 0.5))
    start = below[-1] + 1 if len(below) else 0
    return chance, float(cuts[start]) if start < len(cuts) else np.inf


def _paired_tables(subject: Subject) -> tuple[FeatureTable, FeatureTable] | None:
    """Projected features of pictures and of captions by one encoder; the widest where there are several."""
    found: dict[str, dict[str, FeatureTable]] = {}
    for table in subject.cache.tables():
        about = table.description
        if (about.output, about.view, about.tokens) == (OUTPUT, IDENTITY, 1) and not about.is_imported:
            key = repr([about.encoder.get(name) for name in _SAME])
            found.setdefault(key, {})[about.modality] = table
    pairs = [(one["image"], one["text"]) for one in found.values() if {"image", "text"} <= one.keys()]
    return max(pairs, key=lambda pair: pair[0].description.dim, default=None)


def _directions(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), dtype=np.float32)
