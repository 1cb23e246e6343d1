"""Captions as counts of their words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.pipeline import Pipeline

from clipfuse.baselines.kinds import WordFeatures
from clipfuse.table_streams import decode_captions


class CaptionReader(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """(rows, bytes) of stream "text" (see ``clipfuse.table_streams``) to captions."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, codes: NDArray[np.float32], targets: Any = None) -> CaptionReader:
        """There is nothing to learn."""
        return self

    def transform(self, codes: NDArray[np.float32]) -> list[str]:
        """(rows, bytes) -> one caption a row."""
        return decode_captions(codes)


def count_words(words: WordFeatures) -> Pipeline:
    """Unfitted: (rows, bytes) -> sparse (rows, words of the captions that it is fitted on) float64.

    "counts": how often each word occurs; "tfidf": these times the inverse document frequency, rows of length one.
    Words are runs of two or more letters and digits, in lower case.
    """
    make = CountVectorizer if words == "counts" else TfidfVectorizer
    return Pipeline([("captions", CaptionReader()), ("words", make(dtype=np.float64))])
