"""What train-head and tune make of their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipfuse.config import ProjectConfig, TableConfig
    from clipfuse_cache import FeatureCache, Samples


def with_recipe(config: ProjectConfig, recipe: str | None) -> ProjectConfig:
    """The recipe's settings in place of the file's. A recipe that is named here takes streams and seed of the file
    only; one that the file names takes what the file sets besides."""
    from clipfuse.recipes import find_recipe
    from clipfuse.settings import updated

    chosen = recipe or config.train.recipe
    if chosen is None:
        return config
    own = config.train.model_dump(exclude_unset=True)
    if recipe is not None:
        own = {name: value for name, value in own.items() if name in ("image", "text", "seed", "memory_gb")}
    return config.model_copy(update={"train": updated(find_recipe(chosen).train, **own)})


def check_age(cache: FeatureCache, samples: Samples, tables: Sequence[TableConfig]) -> None:
    """Labels are read from the cache: a table that was edited since would be trained on as it was."""
    from clipfuse.errors import ConfigError

    for table in tables:
        try:
            newer = table.table.stat().st_mtime_ns > (cache.root / "samples.h5").stat().st_mtime_ns
        except OSError:  # the table is not needed any more
            continue
        if newer and table.table.name in samples.tables:
            raise ConfigError(
                f"{table.table} has changed since its features were extracted",
                "Run clipfuse extract (it encodes only what is new), then train again",
            )


def cache_of(table: Path) -> Path:
    """The cache of a table, where extract puts it; or the cache itself."""
    return table if (table / "samples.h5").exists() else Path("features") / table.stem


def parse_ensemble(text: str | None) -> dict[str, Any]:
    """Of --ensemble: a kind, or KIND:SIZE. Raises ConfigError."""
    from clipfuse.errors import ConfigError

    if text is None:
        return {}
    kind, _, size = text.partition(":")
    if size and not size.isdigit():
        raise ConfigError(f"--ensemble is {text!r}", "Give seeds, folds or snapshots, and how many: --ensemble seeds:5")
    return {"kind": kind, "size": int(size) if size else None}


def parse_batch_size(text: str | None) -> int | str | None:
    """Of --batch-size: a number of rows, "all", or None. Raises ConfigError."""
    from clipfuse.errors import ConfigError

    if text is None or text == "all":
        return text
    if not text.removeprefix("-").isdigit():
        raise ConfigError(f"--batch-size is {text!r}", "Give a number of rows, or all")
    return int(text)


def parse_sizes(text: str | None) -> list[int] | None:
    """Of --hidden: sizes with commas between. Raises ConfigError."""
    from clipfuse.errors import ConfigError

    if text is None:
        return None
    try:
        return [int(size) for size in text.split(",") if size.strip()]
    except ValueError as error:
        raise ConfigError(
            f"--hidden is {text!r}", "Give sizes with commas between, for example --hidden 1024,512"
        ) from error
