"""``FusionClassifier``: heads and fusions on features in memory, by scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from clipfuse.check_config import check_config
from clipfuse.choose import choose
from clipfuse.data.dealing import deal
from clipfuse.finish import Finished, finish
from clipfuse.inputs import no_progress
from clipfuse.labelled_rows import LabelledRows
from clipfuse.settings import updated
from clipfuse.streams import Streams, modality_of
from clipfuse.train_config import TrainConfig
from clipfuse.train_jobs import Job, train_jobs
from clipfuse.training.rows import RowsInMemory

ONLY = "image"
"""What a single array is taken for: it has no other meaning than that there is one modality."""
MODALITIES = ("image", "text", "numbers")


def side_by_side(features: Mapping[str, ArrayLike]) -> NDArray[np.void]:
    """Several modalities' features as one array that can be sliced by rows, as scikit-learn's folds do.

    Args:
        features: "image", "text", "image-2", ... -> (rows, dim).

    Returns:
        (rows,) with one float32 field of (dim,) for each.

    Raises:
        ValueError: other numbers of rows, or not two dimensions.
    """
    arrays = {name: np.asarray(value, dtype=np.float32) for name, value in features.items()}
    _check_shapes(arrays)
    rows = len(next(iter(arrays.values())))
    found = np.zeros(rows, dtype=[(name, np.float32, (array.shape[1],)) for name, array in arrays.items()])
    for name, array in arrays.items():
        found[name] = array
    return found


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Several labels per row from frozen features: an MLP head, a sum fusion, or anything else that ``train-head`` has.

    ``X`` is an array, (rows, dim), or several: a dict of "image", "text", "image-2", "numbers" -> (rows, dim), or what
    :func:`side_by_side` makes of it. In a dict a row of NaN lacks that input. ``y`` is (rows, labels) of 0 and 1, or
    (rows,) of two classes. Some of the rows are set aside to choose epoch, calibration and thresholds.

    Args:
        fusion: None takes ``sum`` for pictures and captions, and the only modality where there is one.
        head: mlp, gmlp, linear, knn, logistic, ...
        epochs: None takes the default.
        thresholds: fixed, expected, common or per-label.
        calibration: none, temperature or platt.
        settings: more of ``TrainConfig``, in dictionaries: ``{"fit": {"learning_rate": 1e-3}, "recipe": ...}``.
        validation_fraction: share of the rows that choose.
        device: "cpu" or a GPU.
        random_state: of weights, orders and the rows that choose: a number; None, or scikit-learn's, draws one.

    Attributes:
        classes_: (2,) for a ``y`` of one dimension, else a list of ``array([0, 1])``, one a label.
        thresholds_: (labels,) float64.
        history_: one dictionary an epoch and part.
        n_features_in_: columns of all modalities.
        feature_names_in_: of a data frame, whose columns have to be the same for ``predict``.
    """

    def __init__(
        self,
        *,
        fusion: str | None = None,
        head: str = "mlp",
        epochs: int | None = None,
        thresholds: str = "fixed",
        calibration: str = "none",
        settings: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.1,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.fusion = fusion
        self.head = head
        self.epochs = epochs
        self.thresholds = thresholds
        self.calibration = calibration
        self.settings = settings
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train on most rows, choose by the others.

        Raises:
            ValueError: features or labels of other shapes, or that are not finite.
            ConfigError: settings that can't be.
            TrainingError: the training diverged.
        """
        arrays = self._arrays(X, fitting=True)
        targets = self._targets(y, len(next(iter(arrays.values()))))
        config = self._config(tuple(arrays))
        check_config(config)
        config = config.resolved()
        rows = _rows(arrays, targets, self.validation_fraction, config.seed, self.device)
        (trained,) = train_jobs([Job(config, rows.index)], rows.rows, no_progress)
        self.finished_: Finished = finish(config, trained.predictor, rows)
        self.thresholds_ = self.finished_.thresholds
        self.history_ = trained.history
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(rows, labels) float64; (rows, 2) where ``y`` had one dimension."""
        found = self._probabilities(X)
        return np.column_stack([1 - found[:, 0], found[:, 0]]) if self._single else found

    def predict(self, X: Any) -> NDArray[Any]:
        """(rows, labels) of 0 and 1; (rows,) classes where ``y`` had one dimension."""
        probabilities = self._probabilities(X)
        chosen = choose(probabilities, self.thresholds_, empty_rows=self.finished_.empty_rows)
        if self._single:
            classes: NDArray[Any] = np.asarray(self.classes_)
            return np.asarray(classes[chosen[:, 0].astype(int)])
        return np.asarray(chosen.astype(np.int64))

    def __sklearn_tags__(self) -> Tags:
        """Several labels, or two classes."""
        tags = super().__sklearn_tags__()
        assert tags.classifier_tags is not None
        tags.classifier_tags.multi_label = True
        tags.classifier_tags.multi_class = False
        tags.input_tags.dict = True
        return tags

    @property
    def _single(self) -> bool:
        return not isinstance(self.classes_, list)

    def _probabilities(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self, "finished_")
        arrays = self._arrays(X, fitting=False)
        return self.finished_.predictor.probabilities(_streams(arrays, self.device))

    def _arrays(self, X: Any, *, fitting: bool) -> dict[str, NDArray[np.float32]]:
        """Modality -> (rows, dim), checked, and compared with what was fitted."""
        names = getattr(getattr(X, "dtype", None), "names", None)
        if names or (isinstance(X, Mapping) and not issparse(X)):  # one of scipy's sparse matrices is a dictionary
            if fitting:
                self.__dict__.pop("feature_names_in_", None)  # of a data frame that was fitted before
            found = {name: np.asarray(X[name], dtype=np.float32) for name in (names or X)}
            _check_shapes(found)
            _check_names(found)
        else:
            found = {ONLY: validate_data(self, X, reset=fitting, dtype=np.float32)}
        widths = {name: array.shape[1] for name, array in found.items()}
        if fitting:
            self.widths_ = widths
            self.n_features_in_ = sum(widths.values())
        elif widths != self.widths_:
            raise ValueError(f"features are {widths}, but {self.widths_} were fitted")
        return found

    def _targets(self, y: ArrayLike, rows: int) -> NDArray[np.bool_]:
        """(rows, labels) bool; sets ``classes_``."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        check_classification_targets(y)
        found = np.asarray(y)
        if found.ndim == 2 and found.shape[1] == 1:
            import warnings

            from sklearn.exceptions import DataConversionWarning

            warnings.warn(
                "A column-vector y was passed when a 1d array was expected.", DataConversionWarning, stacklevel=3
            )
            found = found[:, 0]
        if len(found) != rows:
            raise ValueError(f"Found input variables with inconsistent numbers of samples: [{rows}, {len(found)}]")
        if found.ndim == 1:
            classes = np.unique(found)
            if len(classes) != 2:
                plural = "class" if len(classes) == 1 else "classes"
                raise ValueError(
                    f"Only binary classification is supported for a y of one dimension, which has {len(classes)}"
                    f" {plural}; several labels are (rows, labels) of 0 and 1"
                )
            self.classes_: Any = classes
            return np.asarray(found == classes[1])[:, None]
        if found.ndim != 2 or not np.isin(found, (0, 1)).all():
            raise ValueError("y should be (rows, labels) of 0 and 1")
        self.classes_ = [np.array([0, 1]) for _ in range(found.shape[1])]
        return found.astype(bool)

    def _config(self, streams: tuple[str, ...]) -> TrainConfig:
        present = tuple(name for name in MODALITIES if name in {modality_of(stream) for stream in streams})
        several = "sum" if {"image", "text"} <= set(present) else "concat"
        fusion = self.fusion or (several if len(present) > 1 else present[0])
        chosen: dict[str, Any] = {
            "fusion": {"kind": fusion},
            "head": {"kind": self.head},
            "fit": {"epochs": self.epochs},
            "thresholds": self.thresholds,
            "calibration": self.calibration,
            "modalities": present,
            "seed": self._seed(),
        }
        return updated(updated(TrainConfig(), **chosen), **(self.settings or {}))

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))


def _check_shapes(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    if not arrays:
        raise ValueError("no modality is given: X should hold image, text or numbers")
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[0] for shape in shapes.values()}) > 1:
        raise ValueError(f"each modality should be (rows, dim), all with as many rows, not {shapes}")


def _check_names(arrays: Mapping[str, NDArray[np.float32]]) -> None:
    strange = [name for name in arrays if modality_of(name) not in MODALITIES]
    if strange:
        raise ValueError(f"{strange[0]!r} is no modality: image, text, numbers, or image-2, text-2, ...")
    for name, array in arrays.items():
        bad = ~np.isfinite(array)
        if modality_of(name) != "numbers" and (bad.any(axis=1) & ~np.isnan(array).all(axis=1)).any():
            raise ValueError(f"{name} holds numbers that are not finite in rows that are not NaN as a whole")


def _streams(arrays: Mapping[str, NDArray[np.float32]], device: str) -> Streams:
    """(rows, 1, dim) a stream; rows of NaN are absent."""
    absent = {name: np.isnan(array).all(axis=1) for name, array in arrays.items()}
    values = {
        name: (array if modality_of(name) == "numbers" else np.nan_to_num(array))[:, None]
        for name, array in arrays.items()
    }
    return Streams(
        {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in values.items()},
        {name: torch.from_numpy(~gone).to(device) for name, gone in absent.items()},
    )


def _rows(
    arrays: Mapping[str, NDArray[np.float32]], targets: NDArray[np.bool_], share: float, seed: int, device: str
) -> LabelledRows:
    """Rows to train on and rows to choose by, each label's share in both."""
    rows = len(targets)
    if rows < 2:
        raise ValueError(f"Found array with {rows} sample(s) while a minimum of 2 is required")
    chosen = min(max(1, round(share * rows)), rows - 1)
    part = deal(targets, [rows - chosen, chosen], seed, keep=(0, 1))
    index = {role: torch.from_numpy(np.flatnonzero(part == n)).to(device) for n, role in enumerate(_ROLES)}
    of_rows = RowsInMemory(_streams(arrays, device), torch.from_numpy(targets.astype(np.float32)).to(device), {}, None)
    return LabelledRows(tuple(map(str, range(rows))), of_rows, index)


_ROLES = ("train", "validation")
