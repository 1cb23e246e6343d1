"""Named splits beside the cache: made once, then used by every run that asks for the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipfuse.config import SplitConfig
from clipfuse.data.grouping import Grouping
from clipfuse.data.split import Split
from clipfuse.data.splits import cross_validation_splits, make_split, split_by_column, split_by_position
from clipfuse.duplicates import group_duplicates
from clipfuse.errors import CacheError, ConfigError
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.atomic import write_bytes


def find_split(cache: FeatureCache, samples: Samples, config: SplitConfig, test_table: str | None) -> Split:
    """The split that ``config`` describes: read where it exists and still fits, made and kept otherwise.

    A kept split fits if it divides exactly these rows, and names the test rows that the second table or the split
    column names now. Stratified ones stay as they were dealt when labels are corrected, and grouped ones as they were
    grouped when features are added.

    Args:
        cache: where splits are kept.
        samples: its samples; all of them are divided.
        config: how.
        test_table: file name of the table whose rows are the test rows; None takes the cache's second table, if any.

    Raises:
        ConfigError: the samples can't be divided like that, or that table is not in the cache.
        CacheCorrupt: a kept split is damaged, or the features of near-duplicates.
    """
    config, table = _resolved(cache, samples, config, test_table)
    base = _name(config, table)
    fixed = _fixed_roles(samples, config, table)
    for n in range(1, 1000):
        path = cache.splits / f"{base if n == 1 else f'{base}-{n}'}.json"
        if not path.exists():
            split = _make(cache, samples, config, fixed, path.stem)
            write_bytes(path, split.to_json())
            return split
        split = read_split(path)
        if _fits(split, samples, fixed):
            return split
    raise _too_many(cache, base)


def find_cross_validation(
    cache: FeatureCache, samples: Samples, k: int, config: SplitConfig, test_table: str | None
) -> list[Split]:
    """``k`` splits whose test roles hold each row once; read where they exist and still fit, made and kept otherwise.

    Rows that a second table or the split column gives to test are in none of them: they stay unseen.

    Args:
        cache: where splits are kept.
        samples: its samples.
        k: number of splits, at least 2.
        config: its share of validation rows is of those that are not in test; its share of test rows is not looked at.
        test_table: as in :func:`find_split`.

    Raises:
        ConfigError, CacheCorrupt: as :func:`find_split`; fewer than 2 splits, or fewer rows than splits.
    """
    config, table = _resolved(cache, samples, config, test_table)
    unseen = set() if config.method == "position" else set(_fixed_roles(samples, config, table).get("test", ()))
    rows = np.array([row for row, name in enumerate(samples.ids) if name not in unseen], dtype=np.intp)
    ids = [samples.ids[row] for row in rows]
    base = f"cross-validation-{k}-v{config.validation:g}-s{config.seed}{_grouped(config)}"
    for n in range(1, 1000):
        name = base if n == 1 else f"{base}-{n}"
        paths = [cache.splits / f"{name}-{number}-of-{k}.json" for number in range(1, k + 1)]
        if not any(path.exists() for path in paths):
            grouping = _grouping(cache, samples, config)
            splits = cross_validation_splits(
                ids,
                _labels(samples)[rows],
                k,
                name=name,
                validation=config.validation,
                seed=config.seed,
                groups=None if grouping is None else grouping.of(ids),
            )
            splits = [replace(split, grouping=grouping) for split in splits]
            for path, split in zip(paths, splits, strict=True):
                write_bytes(path, split.to_json())
            return splits
        if all(path.exists() for path in paths):
            splits = [read_split(path) for path in paths]
            tested = [name for split in splits for name in split.roles["test"]]
            if len(tested) == len(ids) and set(tested) == set(ids) and all(_divides(split, ids) for split in splits):
                return splits
    raise _too_many(cache, base)


def read_split(path: Path) -> Split:
    """A kept split. Raises CacheError or CacheCorrupt where it can't be read."""
    try:
        return Split.from_json(path.read_bytes())
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error


def _resolved(
    cache: FeatureCache, samples: Samples, config: SplitConfig, test_table: str | None
) -> tuple[SplitConfig, str | None]:
    """The settings with the method that auto stands for, and the table whose rows are the test rows, if any."""
    _labels(samples)
    table = test_table or (samples.tables[1] if len(samples.tables) > 1 else None)
    if table is not None and table not in samples.tables[1:]:
        raise ConfigError(
            f"the rows of {table} are not in {cache.root}", f"Run clipfuse extract with --test-table {table} first"
        )
    if table is not None and config.method != "auto":
        raise ConfigError(
            f"the test rows are those of {table}, so split {config.method} has nothing to divide",
            "Leave out --split, or extract without a second table",
        )
    if config.method == "auto":
        config = config.model_copy(update={"method": "column" if any(samples.splits) else "stratified"})
    return config, table


def _labels(samples: Samples) -> NDArray[np.bool_]:
    if samples.labels is None:
        raise ConfigError("the cache's table is unlabelled", "Name its label column with --label-column in extract")
    return samples.labels


def _too_many(cache: FeatureCache, base: str) -> CacheError:
    return CacheError(f"{cache.splits} holds a thousand splits named {base}", "Delete those that no run uses")


def _name(config: SplitConfig, table: str | None) -> str:
    shares = f"v{config.validation:g}" if table is not None else f"v{config.validation:g}-t{config.test:g}"
    if table is not None:
        how = f"test-table-{shares}-s{config.seed}"
    elif config.method == "stratified":
        how = f"stratified-{shares}-s{config.seed}"
    else:
        how = "column" if config.method == "column" else f"position-{shares}"
    return how + _grouped(config)


def _grouped(config: SplitConfig) -> str:
    return f"-grouped{config.duplicate_similarity:g}" if config.group_duplicates else ""


def _fixed_roles(samples: Samples, config: SplitConfig, table: str | None) -> dict[str, tuple[str, ...]]:
    """Role -> ids, for the roles in which chance has no part."""
    if table is not None:
        place = 1 + samples.tables[1:].index(table)  # two tables can have one name
        return {"test": tuple(samples.ids[row] for row in np.flatnonzero(samples.table_of == place).tolist())}
    if config.method == "column":
        if not any(samples.splits):
            raise ConfigError("the cache knows of no split column", "Name it in extract: --split-column COLUMN")
        return dict(split_by_column(samples.ids, samples.splits).roles)
    if config.method == "position":
        return dict(split_by_position(samples.ids, config.validation, config.test).roles)
    return {}


def _fits(split: Split, samples: Samples, fixed: Mapping[str, Sequence[str]]) -> bool:
    return _divides(split, samples.ids) and all(set(split.roles[role]) == set(ids) for role, ids in fixed.items())


def _divides(split: Split, ids: Sequence[str]) -> bool:
    return {name for members in split.roles.values() for name in members} == set(ids)


def _grouping(cache: FeatureCache, samples: Samples, config: SplitConfig) -> Grouping | None:
    return group_duplicates(cache, samples, config.duplicate_similarity) if config.group_duplicates else None


def _make(
    cache: FeatureCache, samples: Samples, config: SplitConfig, fixed: Mapping[str, Sequence[str]], name: str
) -> Split:
    grouping = _grouping(cache, samples, config)
    if "train" in fixed and config.method == "column":
        split = split_by_column(samples.ids, samples.splits, name=name)
    elif "train" in fixed:
        split = split_by_position(samples.ids, config.validation, config.test, name=name)
    else:
        split = make_split(
            samples.ids,
            _labels(samples),
            name=name,
            validation=config.validation,
            test=config.test,
            seed=config.seed,
            fixed_test=fixed.get("test"),
            groups=None if grouping is None else grouping.of(samples.ids),
        )
    return replace(split, grouping=grouping)
