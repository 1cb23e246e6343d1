"""Named splits beside the cache: made once, then used by every run that asks for the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipfuse.config import SplitConfig
from clipfuse.data.splits import Split, make_split, split_by_column, split_by_position
from clipfuse.errors import CacheError, ConfigError
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.atomic import write_bytes


def find_split(cache: FeatureCache, samples: Samples, config: SplitConfig, test_table: str | None) -> Split:
    """The split that ``config`` describes: read where it exists and still fits, made and kept otherwise.

    A kept split fits if it divides exactly these rows, and names the test rows that the second table or the split
    column names now. Stratified ones stay as they were dealt when labels are corrected.

    Args:
        cache: where splits are kept.
        samples: its samples; all of them are divided.
        config: how.
        test_table: file name of the table whose rows are the test rows; None takes the cache's second table, if any.

    Raises:
        ConfigError: the samples can't be divided like that, or that table is not in the cache.
        CacheCorrupt: a kept split is damaged.
    """
    if samples.labels is None:
        raise ConfigError("the cache's table is unlabelled", "Name its label column with --label-column in extract")
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
    base = _name(config, table)
    fixed = _fixed_roles(samples, config, table)
    for n in range(1, 1000):
        path = cache.splits / f"{base if n == 1 else f'{base}-{n}'}.json"
        if not path.exists():
            split = _make(samples, samples.labels, config, fixed, path.stem)
            write_bytes(path, split.to_json())
            return split
        split = read_split(path)
        if _fits(split, samples, fixed):
            return split
    raise CacheError(f"{cache.splits} holds a thousand splits named {base}", "Delete those that no run uses")


def read_split(path: Path) -> Split:
    """A kept split. Raises CacheError or CacheCorrupt where it can't be read."""
    try:
        return Split.from_json(path.read_bytes())
    except OSError as error:
        raise CacheError(f"can't read {path}: {error.strerror or error}") from error


def _name(config: SplitConfig, table: str | None) -> str:
    shares = f"v{config.validation:g}" if table is not None else f"v{config.validation:g}-t{config.test:g}"
    if table is not None:
        return f"test-table-{shares}-s{config.seed}"
    if config.method == "stratified":
        return f"stratified-{shares}-s{config.seed}"
    return "column" if config.method == "column" else f"position-{shares}"


def _fixed_roles(samples: Samples, config: SplitConfig, table: str | None) -> dict[str, tuple[str, ...]]:
    """Role -> ids, for the roles in which chance has no part."""
    if table is not None:
        place = 1 + samples.tables[1:].index(table)  # two tables can have one name
        return {"test": tuple(samples.ids[row] for row in np.flatnonzero(samples.table_of == place))}
    if config.method == "column":
        if not any(samples.splits):
            raise ConfigError("the cache knows of no split column", "Name it in extract: --split-column COLUMN")
        return dict(split_by_column(samples.ids, samples.splits).roles)
    if config.method == "position":
        return dict(split_by_position(samples.ids, config.validation, config.test).roles)
    return {}


def _fits(split: Split, samples: Samples, fixed: Mapping[str, Sequence[str]]) -> bool:
    divided = {name for ids in split.roles.values() for name in ids}
    return divided == set(samples.ids) and all(set(split.roles[role]) == set(ids) for role, ids in fixed.items())


def _make(
    samples: Samples,
    labels: NDArray[np.bool_],
    config: SplitConfig,
    fixed: Mapping[str, Sequence[str]],
    name: str,
) -> Split:
    if "train" in fixed and config.method == "column":
        return split_by_column(samples.ids, samples.splits, name=name)
    if "train" in fixed:
        return split_by_position(samples.ids, config.validation, config.test, name=name)
    return make_split(
        samples.ids,
        labels,
        name=name,
        validation=config.validation,
        test=config.test,
        seed=config.seed,
        fixed_test=fixed.get("test"),
    )
