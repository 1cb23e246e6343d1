"""From the options of train-head and tune to what is trained: one way for both, so that they mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipfuse_cli import options as o

if TYPE_CHECKING:
    from clipfuse.config import ProjectConfig, TableConfig
    from clipfuse.data.split import Split
    from clipfuse_cache import FeatureCache, Samples
    from clipfuse_cli.data_options import DataOptions


@dataclass(frozen=True)
class StageTwo:
    """Features and rows, as a command's options name them.

    Attributes:
        config: every setting.
        cache: where the features are.
        samples: whose.
        device: to train on.
        test_table: file name of the table whose rows are the test rows; None takes the cache's second one, if any.
    """

    config: ProjectConfig
    cache: FeatureCache
    samples: Samples
    device: str
    test_table: str | None

    def split(self) -> Split:
        """The split that the settings ask for. Raises as ``find_split``."""
        from clipfuse.splits import find_split

        return find_split(self.cache, self.samples, self.config.split, self.test_table)

    def folds(self, k: int, deals: int) -> list[list[Split]]:
        """The splits of a cross-validation, dealt so often with other seeds. Raises as ``find_cross_validation``."""
        from clipfuse.splits import find_cross_validation

        own = self.config.split
        seeded = [own.model_copy(update={"seed": own.seed + n}) for n in range(deals)]
        return [find_cross_validation(self.cache, self.samples, k, one, self.test_table) for one in seeded]


def with_options(start: ProjectConfig, given: Mapping[str, Any], data: DataOptions) -> ProjectConfig:
    """``start`` with what was typed over it.

    A scikit-learn estimator without a fusion takes one array: of all modalities, or of the captions' words.

    Args:
        start: the file's settings, or those of a recipe or an earlier run.
        given: settings of the training, None where an option was not typed; those of ``data`` among them.
        data: the options about rows and features.

    Raises:
        ConfigError: a setting that there is not, or a value that can't be.
    """
    from clipfuse.baselines import BASELINES
    from clipfuse.check_config import JOINED
    from clipfuse.settings import updated

    config = updated(start, device=data.device, runs=data.runs, split=data.division, train=dict(given))
    kinds = {name: (given.get(name) or {}).get("kind") for name in ("head", "fusion")}
    if kinds["head"] in BASELINES and kinds["fusion"] is None and config.train.fusion.kind not in JOINED:
        reads_words = config.train.features != "embeddings"
        config = updated(config, train={"fusion": {"kind": "text" if reads_words else "concat"}})
    return config


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


def open_stage_two(config: ProjectConfig, data: DataOptions) -> StageTwo:
    """The cache, its samples and the device.

    Raises:
        ConfigError: no cache is named, a table is newer than its features, or there is no such device.
        CacheError: the cache can't be read.
    """
    from clipfuse.machine import choose_device
    from clipfuse_cache import FeatureCache

    cache = FeatureCache(o.cache_path(config, data.cache))
    samples = cache.samples()
    check_age(cache, samples, o.loaded_tables(config))
    test_table = data.test_table or (config.test.table if config.test is not None else None)
    name = None if test_table is None else test_table.name
    return StageTwo(config, cache, samples, choose_device(config.device), name)


def check_age(cache: FeatureCache, samples: Samples, tables: Sequence[TableConfig]) -> None:
    """Labels are read from the cache: a table that was edited since would be trained on as it was. Raises
    ConfigError."""
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
