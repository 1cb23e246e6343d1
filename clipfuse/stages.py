"""Both stages from Python, by paths and names: what ``clipfuse extract`` and ``clipfuse train-head`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from clipfuse.baselines import BASELINES
from clipfuse.config import ExtractConfig, SplitConfig, TableConfig
from clipfuse.data import concatenate
from clipfuse.data.ledger import write_ledger
from clipfuse.extract import extract
from clipfuse.extract_request import ExtractRequest
from clipfuse.inputs import Progress, no_progress
from clipfuse.machine import choose_device
from clipfuse.recipes import find_recipe
from clipfuse.run import Run
from clipfuse.settings import updated
from clipfuse.splits import find_split
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import FeatureCache

AnyPath = str | PathLike[str]


def extract_features(
    table: AnyPath,
    *,
    images: AnyPath | None = None,
    encoders: Sequence[str] = ("mini",),
    cache: AnyPath | None = None,
    test_table: AnyPath | None = None,
    test_images: AnyPath | None = None,
    columns: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
) -> FeatureCache:
    """Stage one: encode what is new or has changed, keep it, and write the rows that could not be used to the ledger.

    Args:
        table: CSV, TSV, JSON or JSONL.
        images: its pictures: a folder, a zip or a tar.
        encoders: names, see ``clipfuse encoders``.
        cache: the cache's folder; "features/NAME" of the table if left out.
        test_table: further rows, which will be the test rows.
        test_images: their pictures, if those are elsewhere.
        columns: more of ``TableConfig``: ``{"caption_column": "title", "separator": ","}``.
        settings: more of ``ExtractConfig``: ``{"tokens": 16, "views": ("flip",)}``.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        progress: called as progress(what, done, total).

    Returns:
        The cache; its ``ledger`` names bad rows, each with file, line and reason.

    Raises:
        TableError, ImageSourceError, ConfigError: the table, the pictures or a setting can't be used.
        UnknownName, WeightsMissing, EncoderError: an encoder can't.
        TypeError: ``encoders`` is one name, and not a list.
        CacheError, DiskFull: the cache can't be written.
    """
    if isinstance(encoders, str):
        raise TypeError("encoders should be a list of names, not str")
    stage = updated(ExtractConfig(encoders=tuple(encoders)), **(settings or {}))
    given = dict(columns or {})
    tables = [updated(TableConfig(table=Path(table), images=_path(images)), **given)]
    if test_table is not None:
        tables.append(updated(TableConfig(table=Path(test_table), images=_path(test_images or images)), **given))
    folder = Path(cache) if cache is not None else Path("features") / Path(table).stem
    request = ExtractRequest.of(stage, tables, folder, choose_device(device))
    found = FeatureCache(request.cache)
    factories = request.find_encoders()
    report = extract(factories, concatenate(request.load_datasets()), found, request.options, progress)
    write_ledger(found.ledger, report.ledger, report.notes)
    return found


def train(
    cache: FeatureCache | AnyPath,
    *,
    fusion: str | None = None,
    head: str | None = None,
    recipe: str | None = None,
    settings: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    runs: AnyPath = "runs",
    device: str = "auto",
    progress: Progress = no_progress,
) -> Run:
    """Stage two: train a head or fusion on training rows, choose by validation rows, score on test rows, and keep it.

    Args:
        cache: features, or their folder.
        fusion: sum, concat, image, text, ...; None takes the recipe's, or ``sum``.
        head: mlp, gmlp, knn, svc, ...; None takes the recipe's, or ``mlp``.
        recipe: settings to start from, see ``clipfuse recipes``.
        settings: more of ``TrainConfig``, in dictionaries: ``{"fit": {"epochs": 20}, "thresholds": "expected"}``.
        split: more of ``SplitConfig``: ``{"test": 0.3, "group_duplicates": True}``.
        runs: folder that gets the run.
        device: as of :func:`extract_features`.
        progress: called as progress(what, done, total).

    Returns:
        The run: ``run.metrics`` are its scores, ``run.path`` its folder.

    Raises:
        As ``train_head`` and ``find_split``.
    """
    where = cache if isinstance(cache, FeatureCache) else FeatureCache(Path(cache))
    samples = where.samples()
    if fusion is None and head in BASELINES and recipe is None:
        fusion = "concat"  # an estimator takes one array
    start = TrainConfig() if recipe is None else find_recipe(recipe).train
    config = updated(updated(start, fusion={"kind": fusion}, head={"kind": head}), **(settings or {}))
    found = find_split(where, samples, updated(SplitConfig(), **(split or {})), None)
    return train_head(where, samples, found, config, runs=Path(runs), device=choose_device(device), progress=progress)


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)
