"""Training on rows without labels: a model labels them, a fresh one is trained on both, as long as validation gains.

Lee 2013, "Pseudo-Label"; in rounds with fresh models as in Xie et al. 2020, "Self-training with Noisy Student". Rows
of the split are never among them, by their picture or by their caption: above all not those that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse.data.split import ROLES, Split
from clipfuse.errors import DataError
from clipfuse.inputs import Progress
from clipfuse.labelled_rows import LabelledRows
from clipfuse.metrics import evaluate
from clipfuse.select_streams import check_inputs, read_streams
from clipfuse.shared_inputs import are_similar, share_an_input
from clipfuse.stream_tables import StreamTables
from clipfuse.streams import Streams, concatenate
from clipfuse.train_config import PseudoLabelConfig
from clipfuse.train_jobs import Job, Trained, train_jobs
from clipfuse.training.rows import RowsInMemory, in_memory
from clipfuse_cache import FeatureCache, Samples

WHO = "training on pseudo-labels"


@dataclass(frozen=True)
class Unlabelled:
    """Rows to be labelled by a model.

    Attributes:
        cache: where they are from.
        ids: theirs.
        streams: their features, on the device.
        left_out: role -> rows that are not among these because one of that role has the same picture or caption, or is
            their near-duplicate (training rows may be).
    """

    cache: str
    ids: tuple[str, ...]
    streams: Streams
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class SelfTrained:
    """A model of the best round.

    Attributes:
        trained: the model; the seconds are those of all rounds.
        rows: the split's rows, then the unlabelled ones with the labels that it was trained on.
        labelled: (n,) positions of the unlabelled rows that it was trained on; none in round 0.
        history: one entry a round: the labels' share of sure cells, micro-F1 at 0.5 on validation.
        best_round: 0 is the model that was trained without them.
    """

    trained: Trained
    rows: LabelledRows
    labelled: torch.Tensor
    history: list[dict[str, Any]]
    best_round: int


def read_unlabelled(
    cache: FeatureCache, tables: StreamTables, samples: Samples, split: Split, device: str, similarity: float
) -> Unlabelled:
    """The rows of another cache, as the streams of ``tables``; labels that it may have are not looked at.

    Args:
        cache: with features of the same encoders.
        tables: stream -> the table that labelled rows are read from.
        samples: the labelled rows.
        split: theirs.
        device: where the features go.
        similarity: see ``PseudoLabelConfig``.

    Raises:
        CacheMissing, FingerprintMismatch: it lacks such features, or has those of other settings.
        DataError: no row is left, or features of other pictures or captions than it has now.
    """
    there = StreamTables({name: cache.table(table.description) for name, table in tables.items()})
    others = cache.samples()
    check_inputs(there, others)
    left_out: dict[str, int] = {}
    free = np.ones(len(others), dtype=np.bool_)
    for role in ROLES:
        shared = share_an_input(others, others.ids, samples, split.roles[role])
        if role != "train":
            shared |= are_similar(there, others.ids, tables, split.roles[role], similarity)
        left_out[role] = int(shared.sum())
        free &= ~shared
    ids = tuple(name for name, kept in zip(others.ids, free, strict=True) if kept)
    if not ids:
        shared_with = ", ".join(f"{count} with {role} rows" for role, count in left_out.items())
        raise DataError(
            f"each of the {len(others)} rows of {cache.root} is like a labelled row ({shared_with})",
            "Give a table of other pictures",
        )
    missing = tables.own.lacking(others)
    if missing:
        raise DataError(
            f"the samples of {cache.root} have no numbers {missing[0]!r}, which the model reads",
            "Run clipfuse extract on that table with --number-column",
        )
    streams = read_streams(there, ids, device).beside(tables.own.read(others, device, others.rows(ids)))
    return Unlabelled(str(cache.root), ids, streams, left_out)


def train_in_rounds(job: Job, rows: LabelledRows, unlabelled: Unlabelled, progress: Progress) -> SelfTrained:
    """Train on the labelled rows, then in rounds on these and the unlabelled ones, until validation stops improving.

    Args:
        job: what is trained; its settings say how cells are chosen, and how many rounds there are at most.
        rows: of the split. Validation rows decide when to end, and no others are looked at.
        unlabelled: further training rows.
        progress: called as work goes on; a round's parts have its number in front.

    Raises:
        TrainingError: a training that diverged.
    """
    config = job.config.pseudo_labels
    together = _append(rows, unlabelled.streams)
    first = len(rows.ids)
    positions = torch.arange(first, first + len(unlabelled.ids), device=rows.rows.targets.device)
    validation = rows.index["validation"]

    truth = rows.truth(validation)
    names = list(map(str, range(truth.shape[1])))

    def look(trained: Trained) -> float:
        said = rows.ask(trained.predictor, validation)
        return evaluate(said, truth, 0.5, names).micro_f1

    trained = train_jobs([job], rows.rows, progress)[0]
    seconds = trained.seconds
    best = SelfTrained(trained, rows, positions[:0], [], 0)
    history: list[dict[str, Any]] = [{"round": 0, "validation_micro_f1": look(trained)}]
    for number in range(1, config.rounds + 1):
        said = trained.predictor.probabilities(unlabelled.streams)
        targets, sure = pseudo_labels(said, config)
        labelled = replace(together, rows=_with_targets(in_memory(together.rows, WHO), positions, targets))
        train = torch.cat([job.roles["train"], positions])
        name = f"{job.name}round {number}, "
        again = replace(job, roles={**job.roles, "train": train}, name=name)
        trained = train_jobs([again], labelled.rows, progress)[0]
        seconds += trained.seconds
        history.append({"round": number, "validation_micro_f1": look(trained), "sure_cells": float(sure.mean())})
        if history[-1]["validation_micro_f1"] <= history[best.best_round]["validation_micro_f1"]:
            break
        best = SelfTrained(trained, labelled, positions, [], number)
    return replace(best, trained=replace(best.trained, seconds=seconds), history=history)


def pseudo_labels(
    probabilities: NDArray[np.float64], config: PseudoLabelConfig
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(rows, labels) float32 targets from a model's probabilities, and bool: the cells that it is sure of.

    Args:
        probabilities: (rows, labels).
        config: what makes a cell sure, and how far its target is moved to 0 or 1.
    """
    has = probabilities >= 0.5
    if config.select == "threshold":
        sure = (probabilities >= config.high) | (probabilities <= config.low)
    else:
        sure = np.zeros_like(has)
        for label in range(has.shape[1]):
            for side in (has[:, label], ~has[:, label]):
                cells = np.flatnonzero(side)
                surest = cells[np.argsort(-np.abs(probabilities[cells, label] - 0.5), kind="stable")]
                sure[surest[: round(config.share * len(cells))], label] = True
    moved = probabilities + config.weight * (has - probabilities)
    return np.where(sure, moved, probabilities).astype(np.float32), sure


def _append(rows: LabelledRows, unlabelled: Streams) -> LabelledRows:
    """The rows with unlabelled ones behind them."""
    memory = in_memory(rows.rows, WHO)
    ours, unknown = memory.streams, len(unlabelled)
    as_they_are = {name: (unlabelled.values[name],) * len(views) for name, views in ours.views.items()}
    streams = concatenate([ours, Streams(unlabelled.values, unlabelled.present, as_they_are)])
    targets = torch.cat([rows.rows.targets, rows.rows.targets.new_zeros(unknown, rows.rows.targets.shape[1])])
    groups = rows.rows.groups
    if groups is not None:
        groups = np.concatenate([groups, groups.max() + 1 + np.arange(unknown)])
    return replace(rows, rows=replace(memory, streams=streams, targets=targets, groups=groups))


def _with_targets(rows: RowsInMemory, positions: torch.Tensor, targets: NDArray[np.float32]) -> RowsInMemory:
    found = rows.targets.clone()
    found[positions] = torch.from_numpy(targets).to(found)
    return replace(rows, targets=found)
