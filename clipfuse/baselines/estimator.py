"""One adapter for the shapes in which scikit-learn's estimators take labels and say what they think of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.baselines.files import dump, load
from clipfuse.baselines.kinds import BASELINES, Baseline, WordFeatures
from clipfuse.errors import ConfigError, TrainingError
from clipfuse.registry import did_you_mean
from clipfuse.settings import Choice


@dataclass(frozen=True)
class Estimator:
    """A fitted baseline.

    Attributes:
        pipeline: scikit-learn's, fitted on the labels that vary in training; None where none does.
        constant: (labels,) float64: 0 or 1 for a label that no training row or every one has; NaN for those that vary.
    """

    pipeline: Any
    constant: NDArray[np.float64]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(rows, dim) -> (rows, labels) scores in [0, 1], at 0.5 of which the estimator itself would cut.

        Probabilities where it gives such, and the logistic function of its distance from the cut otherwise (calibrate
        those where they are to be taken at their word).
        """
        varying = np.isnan(self.constant)
        found = np.tile(self.constant, (len(features), 1))
        if self.pipeline is not None and len(features):
            found[:, varying] = label_scores(self.pipeline, features, int(varying.sum()))
        return found

    @property
    def numbers(self) -> int:
        """Numbers in its fitted arrays: for kNN those of the training rows."""
        return _numbers(self.pipeline, {})

    def to_bytes(self) -> bytes:
        """For :func:`load_estimator`, without pickle. Raises TrainingError where its settings made it of something that
        :func:`load_estimator` would refuse."""
        return dump({"pipeline": self.pipeline, "constant": self.constant})


def load_estimator(content: bytes, choice: Choice) -> Estimator:
    """What :meth:`Estimator.to_bytes` gave. Raises where it is damaged, another baseline, or has types not allowed."""
    found = load(content)
    pipeline, constant = found["pipeline"], np.asarray(found["constant"], dtype=np.float64)
    expected = _pipeline(choice, 2, 2, sparse=False, seed=0).steps[-1][1]
    last = getattr(pipeline, "steps", [("", pipeline)])[-1][1]
    if pipeline is not None and not _same_kind(last, expected):
        raise TypeError(f"{type(last).__name__} is no {choice.kind}")
    return Estimator(pipeline, constant)


def check_baseline(choice: Choice) -> None:
    """Make sure that there is such a baseline and that its estimator has such parameters. Raises UnknownName,
    ConfigError."""
    baseline = BASELINES.get(choice.kind)
    estimator, (pca, options) = baseline.make(1), _options(baseline, choice)
    known = [name for name in estimator.get_params(deep=False) if name != "estimator"]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"head {choice.kind}: unknown setting {name!r}",
                did_you_mean(name, [*known, "pca"]) + f" (parameters of {type(estimator).__name__})",
            )
    if pca is not None and (type(pca) is not int or pca < 1):
        raise ConfigError(f"head {choice.kind}: pca is {pca!r}", "Give a number of components, or 0 for none")


def fit_estimator(
    choice: Choice,
    features: NDArray[np.float32],
    targets: NDArray[np.bool_],
    *,
    words: WordFeatures | None = None,
    seed: int = 0,
) -> Estimator:
    """Fit a baseline.

    Args:
        choice: which, with parameters by scikit-learn's names.
        features: (rows, dim).
        targets: (rows, labels).
        words: what is made of captions, where the features are these (see ``clipfuse.table_streams``).
        seed: of what is random in it.

    Raises:
        ConfigError: a parameter of a value that can't be.
        TrainingError: scikit-learn could not fit it, or not ask it.
    """
    from joblib import parallel_config
    from sklearn.exceptions import ConvergenceWarning

    constant = np.where(targets.all(0), 1.0, np.where(targets.any(0), np.nan, 0.0)) if len(targets) else np.zeros(0)
    varying = targets[:, np.isnan(constant)].astype(np.int64)
    if not varying.shape[1]:
        return Estimator(None, constant)
    try:
        front = None
        if words is not None:
            from clipfuse.baselines.captions import count_words

            front = count_words(words)
            features = front.fit_transform(features)
        pipeline = _pipeline(choice, *features.shape, sparse=words is not None, seed=seed)
        with parallel_config(backend="threading"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline stops where it is told to
            warnings.simplefilter("ignore", FutureWarning)  # of parameters that are to be called otherwise one day
            warnings.filterwarnings("ignore", "cannot use tree with sparse input")  # kNN looks at all rows then
            warnings.filterwarnings("ignore", "The number of unique classes")  # combinations of labels are many
            one_column = varying.shape[1] == 1 and BASELINES.get(choice.kind).labels in ("all", "each")
            pipeline.fit(features, varying[:, 0] if one_column else varying)
            label_scores(pipeline, features[:1], varying.shape[1])  # some settings fail only here
    except (ValueError, TypeError, IndexError) as error:
        if type(error).__name__ == "InvalidParameterError":
            raise ConfigError(f"head {choice.kind}: {' '.join(str(error).split())}") from error
        raise TrainingError(f"head {choice.kind} can't be fitted: {' '.join(str(error).split())}") from error
    if "n_jobs" in pipeline.steps[-1][1].get_params(deep=False):  # threads add up in any order: sums would differ
        pipeline.set_params(estimator__n_jobs=None)
    if front is not None:
        pipeline.steps = [*front.steps, *pipeline.steps]
    return Estimator(pipeline, constant)


def label_scores(estimator: Any, features: Any, labels: int) -> NDArray[np.float64]:
    """What an estimator that was fitted on ``labels`` labels, each with rows of either kind, says of each.

    ``predict_proba`` of several outputs is a list of (rows, classes) arrays; of one output such an array; of
    one-vs-rest and chains one (rows, labels) array. ``decision_function`` is (rows, labels), or (rows,) for one label.

    Returns:
        (rows, labels) float64 in [0, 1].
    """
    if not hasattr(estimator, "predict_proba"):
        decision = np.asarray(estimator.decision_function(features), dtype=np.float64).reshape(-1, labels)
        return 0.5 * (1 + np.tanh(0.5 * decision))
    found = estimator.predict_proba(features)
    if isinstance(found, list):
        found = np.stack([probabilities[:, 1] for probabilities in found], axis=1)
    elif labels == 1:
        found = found[:, -1:]
    return np.clip(np.asarray(found, dtype=np.float64), 0, 1)


def _options(baseline: Baseline, choice: Choice) -> tuple[Any, dict[str, Any]]:
    """Components that features are reduced to, and the estimator's own parameters."""
    options = choice.options
    pca = options.pop("pca", baseline.pca)
    return pca or None, options


def _pipeline(choice: Choice, rows: int, dim: int, *, sparse: bool, seed: int) -> Any:
    """What is fitted: steps before the estimator, and it, for one label or several.

    Sparse features are words: few of them occur in a row, so they are not standardised, whatever their number; nor are
    they below zero.
    """
    from sklearn.decomposition import PCA, TruncatedSVD
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import ClassifierChain
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import MinMaxScaler

    check_baseline(choice)
    baseline = BASELINES.get(choice.kind)
    pca, options = _options(baseline, choice)
    steps: list[tuple[str, Any]] = []
    if pca is not None and sparse:
        steps.append(("svd", TruncatedSVD(min(pca, rows, dim), random_state=seed)))
    elif pca is not None and pca < min(rows, dim):
        steps.append(("pca", PCA(pca, random_state=seed)))
    inner = baseline.make(1 if sparse else pca if steps and pca is not None else dim)
    known = inner.get_params(deep=False)
    if "random_state" in known:
        options.setdefault("random_state", seed)
    inner.set_params(**options)
    if isinstance(known.get("n_neighbors"), int) and isinstance(inner.n_neighbors, int):
        inner.set_params(n_neighbors=min(inner.n_neighbors, rows))
    if baseline.unit and (steps or not sparse):
        steps.append(("unit", MinMaxScaler(clip=True)))
    if baseline.labels == "each":
        inner = OneVsRestClassifier(inner, n_jobs=-1 if baseline.threads else None)
    elif baseline.labels == "chain":
        inner = ClassifierChain(inner)
    elif baseline.labels == "powerset":
        from clipfuse.baselines.label_powerset import LabelPowerset

        inner = LabelPowerset(inner)
    return Pipeline([*steps, ("estimator", inner)])


def _same_kind(one: Any, other: Any) -> bool:
    """Whether two estimators are of one class, and what they are made of, too."""
    if type(one) is not type(other):
        return False
    inner = getattr(other, "estimator", None)
    return inner is None or isinstance(inner, str) or type(getattr(one, "estimator", None)) is type(inner)


def _numbers(value: Any, seen: dict[int, Any]) -> int:
    """Numbers in the arrays that ``value`` is made of. ``seen`` holds what was counted, so that no id is used again."""
    if id(value) in seen:
        return 0
    seen[id(value)] = value
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return sum(_numbers(one, seen) for one in value.flat)
        return value.size * max(1, len(value.dtype.names or ()))
    if isinstance(value, dict):
        return sum(_numbers(one, seen) for one in value.values())
    if isinstance(value, list | tuple):
        return sum(_numbers(one, seen) for one in value)
    if type(value).__module__ == "sklearn.tree._tree":
        return _numbers(value.__getstate__(), seen)
    if hasattr(value, "data") and hasattr(value, "indptr"):  # sparse
        return int(value.data.size)
    return _numbers(vars(value), seen) if hasattr(value, "__dict__") else 0
