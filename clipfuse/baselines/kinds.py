"""The baselines: scikit-learn's estimators with settings that suit frozen features. Adding one is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from clipfuse.registry import Registry

WordFeatures = Literal["counts", "tfidf"]
"""What an estimator can make of captions (see ``clipfuse.baselines.captions``)."""


@dataclass(frozen=True)
class Baseline:
    """An estimator, and how it is put to use.

    Attributes:
        make: the width of the features -> an unfitted estimator with the defaults that are used here. Linear ones hold
            each of many weights closer to zero than each of few, as if the features were standardised and the sum of
            squares of all weights were what is known.
        labels: how it meets several labels: all, it takes them at once; each, one of it a label (one-vs-rest); chain,
            one a label that also sees the labels before it; powerset, each combination of labels is a class.
        pca: components that features are reduced to first; None leaves them. ``pca`` among the settings wins.
        threads: whether labels may be fitted side by side, where it is one a label. liblinear draws from one generator
            for all threads, so that two runs would differ.
        unit: whether features are scaled to [0, 1] first, because it takes no negative ones.
        faster: another one that is much faster and of the same kind; None where this one is fast.
    """

    make: Callable[[int], Any]
    labels: Literal["all", "each", "chain", "powerset"]
    pca: int | None = None
    threads: bool = True
    unit: bool = False
    faster: str | None = None


BASELINES: Registry[Baseline] = Registry("baseline")


def _knn(dim: int) -> Any:
    """The share of the nearest rows (by cosine, weighted by closeness) that have a label."""
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(15, weights="distance", metric="cosine", algorithm="brute")


def _svc(dim: int) -> Any:
    """A support vector machine with a Gaussian kernel."""
    from sklearn.svm import SVC

    return SVC(C=3.0, cache_size=500)


def _linear_svc(dim: int) -> Any:
    """A linear support vector machine."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=1.6 / dim, dual=True, max_iter=3000)


def _logistic(dim: int) -> Any:
    """Logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=5 / dim, max_iter=300)


def _ridge(dim: int) -> Any:
    """Least squares to +1 and -1."""
    from sklearn.linear_model import RidgeClassifier

    return RidgeClassifier(alpha=0.6 * dim)


def _random_forest(dim: int) -> Any:
    """Trees on random rows, with the best of random features at each split."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(min_samples_leaf=3, n_jobs=-1)


def _extra_trees(dim: int) -> Any:
    """Trees on all rows, with random splits of random features."""
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(min_samples_leaf=3, n_jobs=-1)


def _decision_tree(dim: int) -> Any:
    """One tree."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(min_samples_leaf=10)


def _bagging(dim: int) -> Any:
    """Trees on random rows, with the best of all features at each split."""
    from sklearn.ensemble import BaggingClassifier

    return BaggingClassifier()


def _boosting(dim: int) -> Any:
    """Trees that each mend what those before them got wrong, on histograms of the features."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(learning_rate=0.1, max_iter=60, max_leaf_nodes=15)


def _multinomial_nb(dim: int) -> Any:
    """Naive Bayes for counts, also of TF-IDF."""
    from sklearn.naive_bayes import MultinomialNB

    return MultinomialNB()


def _complement_nb(dim: int) -> Any:
    """Naive Bayes from the counts of the rows that a class does not have (Rennie et al. 2003)."""
    from sklearn.naive_bayes import ComplementNB

    return ComplementNB()


BASELINES.register("knn")(Baseline(_knn, "all"))
BASELINES.register("svc")(Baseline(_svc, "each", pca=256, faster="linear-svc"))
BASELINES.register("linear-svc")(Baseline(_linear_svc, "each", threads=False))
BASELINES.register("logistic")(Baseline(_logistic, "each"))
BASELINES.register("ridge")(Baseline(_ridge, "all"))
BASELINES.register("random-forest")(Baseline(_random_forest, "all"))
BASELINES.register("extra-trees")(Baseline(_extra_trees, "all"))
BASELINES.register("decision-tree")(Baseline(_decision_tree, "all"))
BASELINES.register("bagging")(Baseline(_bagging, "each", pca=64, faster="random-forest"))
BASELINES.register("boosting")(Baseline(_boosting, "each", pca=64, faster="extra-trees"))
BASELINES.register("multinomial-nb")(Baseline(_multinomial_nb, "each", unit=True))
BASELINES.register("complement-nb")(Baseline(_complement_nb, "each", unit=True))
BASELINES.register("label-powerset-svc")(Baseline(_svc, "powerset", pca=256, faster="linear-svc"))
BASELINES.register("classifier-chain")(Baseline(_logistic, "chain"))
