"""Whether the settings of a training go together, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping

from clipfuse.baselines import BASELINES
from clipfuse.ensembles import check_ensemble
from clipfuse.errors import ConfigError
from clipfuse.fusions import SINGLE, STACKED
from clipfuse.models import check_models, heads_of
from clipfuse.recipes import recipe_kind
from clipfuse.train_config import TrainConfig

JOINED = (*SINGLE, "concat")
"""Fusions that an estimator can take: one array of features."""


def check_config(config: TrainConfig) -> None:
    """Make sure that settings go together.

    Raises:
        UnknownName, ConfigError: no such head, fusion, loss or recipe, or settings that it does not have.
    """
    kind_of(config)
    check_models(config)
    check_ensemble(config)
    if config.stacking.method == "validation" and config.fusion.kind in STACKED:
        if config.refit == "all":
            raise ConfigError(
                "after a refit on all rows none are left that a combiner could learn from: stacking validation",
                "Choose --stacking out-of-fold, or leave out --refit",
            )
        if config.thresholds != "fixed" or config.calibration != "none":
            raise ConfigError(
                "the validation rows train the combiner (stacking validation): they can't choose thresholds or"
                " calibration",
                "Choose --stacking out-of-fold, or leave thresholds and calibration as they are",
            )
    estimators = {name: head.kind for name, head in heads_of(config).items() if head.kind in BASELINES}
    if estimators:
        _check_estimators(config, estimators)
    if config.features != "embeddings":
        _check_words(config)


def _check_words(config: TrainConfig) -> None:
    """Make sure that only estimators read words, and that there is one that does."""
    reading = {name: head for name, head in heads_of(config).items() if name not in SINGLE or name == "text"}
    for name, head in reading.items():
        if name != "text":
            raise ConfigError(
                f"fusion {name} reads embeddings of captions, not their words (features {config.features})",
                "Choose --fusion text, or sum, or leave out --features",
            )
        if head.kind not in BASELINES:
            option = "--head" if config.fusion.kind == "text" else "--set parts.text.head.kind="
            raise ConfigError(
                f"head {head.kind} reads embeddings of captions, not their words (features {config.features})",
                f"Choose one of scikit-learn's: {option}{'' if option.endswith('=') else ' '}multinomial-nb",
            )
    if not reading:
        raise ConfigError(
            f"fusion {config.fusion.kind} reads no captions, so features {config.features} does nothing",
            "Leave it out, or choose --fusion text",
        )


def _check_estimators(config: TrainConfig, estimators: Mapping[str, str]) -> None:
    """Make sure that nothing is asked of scikit-learn's estimators that needs training in steps. ``estimators``: fusion
    -> kind."""
    fusion, head = next(iter(estimators.items()))
    for name, kind in estimators.items():
        if name not in JOINED:
            raise ConfigError(
                f"head {kind} reads one array of features, fusion {name} has layers of its own",
                f"Choose --fusion {', '.join(JOINED)}, or one that is stacked of these: {', '.join(STACKED)}",
            )
    if config.fusion.kind in STACKED and config.stacking.method == "joint":
        raise ConfigError(
            f"head {head} is not trained in steps, so nothing can be trained jointly with it",
            "Choose --stacking out-of-fold",
        )
    if config.ensemble.kind == "snapshots":
        raise ConfigError(f"head {head} is not trained in steps: there are no snapshots", "Choose --ensemble seeds:5")
    if config.storage != "float32" and fusion == config.fusion.kind:
        raise ConfigError(f"head {head} is kept as scikit-learn made it", "Leave out --storage")
    if (config.image.views or config.text.views) and not config.average_views:
        raise ConfigError(
            f"head {head} draws no views: it is not trained by epochs",
            "Leave the views out, or average over them: --average-views",
        )


def kind_of(config: TrainConfig) -> str:
    """What a run is called: its recipe; otherwise its fusion (or what it counts of captions), with the
    estimator in front where it is one."""
    recipe = recipe_kind(config)
    if recipe is not None:
        return recipe
    read = config.fusion.kind
    if config.features != "embeddings":
        read = config.features if read == "text" else f"{read}-{config.features}"
    return f"{config.head.kind}-{read}" if config.head.kind in BASELINES else read
