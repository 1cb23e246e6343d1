"""What is measured of a finished model: the content of ``metrics.json``, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clipfuse import evaluation
from clipfuse.bootstrap import paired_difference
from clipfuse.data.split import ROLES
from clipfuse.evaluation import score_calibration, score_trivial, threshold_gain
from clipfuse.finish import Finished, finish
from clipfuse.labelled_rows import LabelledRows
from clipfuse.metrics import METRICS
from clipfuse.predictor import EnsemblePredictor, Predictor
from clipfuse.streams import modality_of
from clipfuse.timing import IN_PASSING, MANY_ROWS, time_prediction
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Trained
from clipfuse.trivial import trivial_rows


def measure(
    config: TrainConfig,
    trained: Trained,
    finished: Finished,
    rows: LabelledRows,
    said: NDArray[np.float64],
    labels: list[str],
) -> dict[str, Any]:
    """Scores of the validation and test rows, of the trivial rows beside them, of one modality alone, of an ensemble's
    members, of the model before it was stored; costs. ``said``: (rows of the split, labels), by the finished model."""
    test = rows.index["test"]
    of_role = {role: said[rows.index[role].cpu().numpy()] for role in ROLES}
    truths = {role: rows.truth(rows.index[role]) for role in ROLES}
    truth = truths["test"]
    metrics: dict[str, Any] = {
        "rows": {role: len(rows.index[role]) for role in ROLES},
        "truth": rows.truth_digest(labels),
        "missing": rows.missing(),
        "scores": {role: finished.score(of_role[role], truths[role], labels) for role in ("validation", "test")},
        "trivial": score_trivial(trivial_rows(truths["train"], labels), truth, labels),
        "thresholds": config.thresholds,
        "threshold_gain": threshold_gain(of_role["test"], truth, finished.thresholds, empty_rows=config.empty_rows),
        "best_epochs": trained.best_epochs,
        "seconds": {"train": trained.seconds},
        "prediction": time_rows(finished.predictor, rows, test),
        "parameters": finished.predictor.parameters,
        "refit": config.refit,
    }
    metrics["modalities"] = with_all_modalities(
        {name: finished.score(one, truth, labels) for name, one in ask_modalities(finished, rows).items()},
        metrics["scores"]["test"],
    )
    if config.calibration != "none":
        before = rows.ask(finished.uncalibrated, test)
        metrics["calibration"] = {
            "kind": config.calibration,
            "before": score_calibration(before, truth),
            "after": score_calibration(of_role["test"], truth),
        }
    if config.storage != "float32":
        metrics["storage"] = _storage(config, trained.predictor, finished, rows, labels)
    if isinstance(trained.predictor, EnsemblePredictor):
        metrics["ensemble"] = _ensemble(config, finished, of_role["test"], trained.predictor.members, rows, labels)
    return metrics


def time_rows(predictor: Predictor, rows: LabelledRows, positions: torch.Tensor) -> dict[str, Any]:
    """How fast it predicts the rows there, or the first of them, from features in memory."""
    return time_prediction(predictor, rows.some(positions[:MANY_ROWS]), IN_PASSING).to_dict()


def stored_bytes(predictor: Predictor) -> int:
    """Bytes of the files that it is stored in."""
    return sum(map(len, predictor.files().values()))


def ask_modalities(finished: Finished, rows: LabelledRows) -> dict[str, NDArray[np.float64]]:
    """ "image only", ... -> (test rows, labels) probabilities as if the test rows had that modality alone: what a fused
    model says of rows that lack the others. Empty for a model of one modality."""
    modalities = list(dict.fromkeys(map(modality_of, finished.predictor.streams)))
    if len(modalities) < 2:
        return {}
    return {f"{name} only": rows.ask(finished.predictor, rows.index["test"], [name]) for name in modalities}


def with_all_modalities(alone: Mapping[str, dict[str, Any]], together: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Scores of each modality alone, and behind them those of the same rows as they are; nothing for one modality."""
    return {**alone, "both" if len(alone) == 2 else "all": together} if alone else {}


def _storage(
    config: TrainConfig, full: Predictor, finished: Finished, rows: LabelledRows, labels: list[str]
) -> dict[str, Any]:
    """The model before it was stored beside what is left of it; both with thresholds of their own."""
    before = finish(config.model_copy(update={"storage": "float32"}), full, rows)
    test = rows.index["test"]
    return {
        "kind": config.storage,
        "bytes": stored_bytes(finished.predictor),
        "full_bytes": stored_bytes(before.predictor),
        "full_scores": before.score(rows.ask(before.predictor, test), rows.truth(test), labels),
    }


def _ensemble(
    config: TrainConfig,
    finished: Finished,
    said: NDArray[np.float64],
    members: Sequence[Predictor],
    rows: LabelledRows,
    labels: list[str],
) -> dict[str, Any]:
    """Scores of every member, each with a calibration and thresholds of its own. ``difference`` is the ensemble's
    micro-F1 on the test rows less that of the member with the highest one on validation, and its 95% interval.
    ``said``: the ensemble's, (test rows, labels)."""
    rule, truths = config.empty_rows, {role: rows.truth(rows.index[role]) for role in ("validation", "test")}
    each = [finish(config, member, rows) for member in members]
    asked = [{role: rows.ask(one.predictor, rows.index[role]) for role in truths} for one in each]
    scores: list[dict[str, Any]] = []
    for one, own in zip(each, asked, strict=True):
        values = {role: one.evaluate(own[role], truths[role], labels) for role in truths}
        scores.append({role: {metric: getattr(values[role], metric) for metric in METRICS} for role in truths})
    best = int(np.argmax([one["validation"]["micro_f1"] for one in scores]))
    difference = paired_difference(
        said,
        finished.thresholds,
        asked[best]["test"],
        each[best].thresholds,
        truths["test"],
        replicates=evaluation.REPLICATES,
        seed=evaluation.SEED,
        empty_rows=(rule, rule),
    )
    return {
        "kind": config.ensemble.kind,
        "size": len(members),
        "members": scores,
        "best_member": best + 1,
        "difference": asdict(difference),
    }
