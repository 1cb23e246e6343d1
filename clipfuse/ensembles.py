"""Which models an ensemble consists of."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from clipfuse.errors import ConfigError
from clipfuse.train_config import FitConfig, TrainConfig
from clipfuse.training.rows import Rows, fold_rows


@dataclass(frozen=True)
class EnsembleMember:
    """One model of an ensemble.

    Attributes:
        name: put before the names of its parts.
        config: with its own seed.
        train: (n,) int64 positions of its training rows, rising.
        outside: places in the ensemble's training rows that it does not see; None where it sees all.
    """

    name: str
    config: TrainConfig
    train: torch.Tensor
    outside: torch.Tensor | None = None


def check_ensemble(config: TrainConfig) -> None:
    """Make sure that the ensemble's settings go with the others. Raises ConfigError."""
    if config.ensemble.kind != "snapshots":
        return
    fits = {"the model": config.fit, **{name: config.fit_of(name) for name in config.parts}}
    for name, fit in fits.items():
        if fit.schedule != "cosine":
            raise ConfigError(
                f"snapshots are taken where the learning rate is zero; schedule {fit.schedule} of {name} has no cycles",
                "Choose --schedule cosine, or another --ensemble",
            )
        if fit.epochs < config.ensemble.size:
            raise ConfigError(
                f"{fit.epochs} epochs of {name} are too few for {config.ensemble.size} snapshots",
                f"Raise --epochs to {4 * config.ensemble.size}, or take fewer snapshots",
            )
        if fit.patience is not None:
            raise ConfigError(
                f"snapshots need all epochs; {name} stops early (patience {fit.patience})", "Leave out --patience"
            )


def ensemble_members(config: TrainConfig, train: torch.Tensor, rows: Rows) -> list[EnsembleMember]:
    """The members of an ensemble of seeds or folds; the model itself without an ensemble.

    Args:
        config: its ensemble says which.
        train: (n,) int64 positions of the training rows, rising.
        rows: where they come from.
    """
    kind, size = config.ensemble.kind, config.ensemble.size
    if kind == "none":
        return [EnsembleMember("", config, train)]
    configs = [config.model_copy(update={"seed": config.seed + n}) for n in range(size)]
    names = [f"member {n + 1}, " for n in range(size)]
    if kind == "seeds":
        return [EnsembleMember(name, own, train) for name, own in zip(names, configs, strict=True)]
    dealt = [
        [torch.from_numpy(places).to(train.device) for places in pair]
        for pair in fold_rows(rows, train, size, config.seed)
    ]
    if len(dealt) < size:
        fewer = f"Take fewer: --ensemble folds:{len(dealt)}"
        raise ConfigError(f"{len(train)} training rows are too few for {size} folds", fewer)
    return [
        EnsembleMember(name, own, train[inside], outside)
        for name, own, (inside, outside) in zip(names, configs, dealt, strict=True)
    ]


def with_cycles(config: TrainConfig) -> TrainConfig:
    """The settings of the one training that leaves snapshots: every fit, but the combiner's, in cycles."""

    def cyclic(fit: FitConfig) -> FitConfig:
        return fit.model_copy(update={"cycles": config.ensemble.size})

    return config.with_fits(cyclic)
