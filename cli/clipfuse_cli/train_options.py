"""What options of stage two mean, and which of them would do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipfuse_cli.options import default_cache

if TYPE_CHECKING:
    from clipfuse.train_config import TrainConfig


def cache_of(table: Path) -> Path:
    """The cache of a table, where extract puts it; or the cache itself."""
    from clipfuse.errors import ConfigError

    found = table if (table / "samples.h5").exists() else default_cache(table)
    if not table.exists() and not (found / "samples.h5").exists():
        raise ConfigError(f"there is no table and no cache {table}", "Name the table that clipfuse extract was given")
    return found


def check_given(config: TrainConfig, given: Mapping[str, Any]) -> None:
    """Make sure that nothing that was typed would be ignored.

    Args:
        config: every setting.
        given: those that were typed, None where an option was not.

    Raises:
        ConfigError: naming the option, and what it needs.
    """
    from clipfuse.baselines import BASELINES
    from clipfuse.errors import ConfigError
    from clipfuse.fusions import STACKED, combiner_of, modalities_read, part_names

    kind = config.fusion.kind
    if kind not in STACKED:
        if _is_given(given.get("stacking")) or _is_given(given.get("parts")):
            what = "stacking (--stacking, --folds)" if _is_given(given.get("stacking")) else "parts.*"
            raise ConfigError(f"fusion {kind} has no parts, so {what} does nothing", "Leave it out, or --fusion sum")
    else:
        stacking = given.get("stacking") or {}
        combiner = combiner_of(config.fusion)
        if combiner.kind == "max" or (combiner.kind, combiner.options.get("weights")) == ("average", "equal"):
            if _is_given(stacking):
                raise ConfigError(
                    f"fusion {kind} has nothing to learn from stacking", "Leave out --stacking and --folds"
                )
        elif config.stacking.method == "joint" and _is_given(stacking.get("fit")):
            raise ConfigError(
                "stacking joint trains the combiner with all the rest: stacking.fit does nothing", "Set fit"
            )
        if config.stacking.method != "out-of-fold" and _is_given((given.get("stacking") or {}).get("folds")):
            raise ConfigError(
                f"stacking {config.stacking.method} has no folds, so --folds does nothing", "Leave it out"
            )
        names = part_names(config.fusion, config.modalities)
        strange = [name for name in given.get("parts") or {} if name not in names]
        if strange:
            raise ConfigError(f"fusion {kind} has no part {strange[0]!r}", f"Its parts are {', '.join(names)}")
    read = modalities_read(config.fusion, config.modalities)
    for modality in ("image", "text"):
        if modality not in read and _is_given(given.get(modality)):
            name = next(name for name, value in given[modality].items() if _is_given(value))
            raise ConfigError(
                f"fusion {kind} does not read {modality}, so {modality}.{name} does nothing", "Leave it out"
            )
    fit = given.get("fit") or {}
    if len(read) == 1 and _is_given(fit.get("modality_dropout")):
        raise ConfigError(
            f"fusion {kind} reads one modality, which no row can lose: --modality-dropout", "Leave it out"
        )
    needed = {"cycles": "cosine", "milestones": "multi-step", "plateau_epochs": "plateau"}
    for name, schedule in needed.items():
        if _is_given(fit.get(name)) and config.fit.schedule != schedule:
            raise ConfigError(
                f"fit.{name} is of schedule {schedule}, this one is {config.fit.schedule}",
                f"Leave it out, or --schedule {schedule}",
            )
    if _is_given(fit.get("cycles")) and config.ensemble.kind == "snapshots":
        raise ConfigError("an ensemble of snapshots has a cycle for each: --cycles does nothing", "Leave it out")
    if config.features != "embeddings" and _is_given(given.get("text")):
        name = next(name for name, value in given["text"].items() if _is_given(value))
        raise ConfigError(
            f"features {config.features} are the words of captions, so text.{name} does nothing", "Leave it out"
        )
    if config.head.kind in BASELINES and _is_given(given.get("fit")):
        name = next(name for name, value in given["fit"].items() if _is_given(value))
        raise ConfigError(
            f"head {config.head.kind} is not trained in steps, so fit.{name} does nothing", "Leave it out"
        )


def _is_given(value: Any) -> bool:
    """Whether there is anything but None in it."""
    return any(map(_is_given, value.values())) if isinstance(value, dict) else value is not None


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
