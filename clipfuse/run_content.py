"""What is written of a run: what its model reads and says, and what came of its training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.predictions import Predictions
from clipfuse.table_streams import TableStreams
from clipfuse_cache import TableDescription

if TYPE_CHECKING:  # bench opens runs without torch
    from clipfuse.predictor import Predictor


@dataclass(frozen=True)
class ModelAbout:
    """What a model reads and says: the content of model.json.

    Attributes:
        streams: stream name -> the feature table that it is read from.
        labels: label names, in the order of the model's outputs.
        layout: how the training table was written, as samples.h5 has it.
        views: stream -> the tables of other views of its inputs that training drew from.
        own: what the model reads of a table itself.
    """

    streams: Mapping[str, TableDescription]
    labels: tuple[str, ...]
    layout: Mapping[str, Any]
    views: Mapping[str, tuple[TableDescription, ...]] = field(default_factory=dict)
    own: TableStreams = field(default_factory=TableStreams)

    def to_dict(self) -> dict[str, Any]:
        """For :meth:`from_dict`, as JSON values."""
        return {
            "streams": {name: asdict(stream) for name, stream in self.streams.items()},
            "views": {name: [asdict(view) for view in those] for name, those in self.views.items()},
            **self.own.to_dict(),
            "labels": list(self.labels),
            "layout": dict(self.layout),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ModelAbout:
        """The opposite of :meth:`to_dict`. Raises KeyError, TypeError, AttributeError: the content is another."""
        return ModelAbout(
            {name: TableDescription(**stream) for name, stream in value["streams"].items()},
            tuple(value["labels"]),
            value["layout"],
            {name: tuple(TableDescription(**view) for view in those) for name, those in value["views"].items()},
            TableStreams.from_dict(value),
        )


@dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Attributes:
        predictor: what predicts from now on; None where no model is kept.
        thresholds: (labels,) float64.
        predictions: of every row of the split.
        metrics: the content of metrics.json.
        history: one record an epoch.
        seen: ids outside of ``predictions`` that the predictor was trained on.
    """

    predictor: Predictor | None
    thresholds: NDArray[np.float64]
    predictions: Predictions
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    seen: Collection[str] = ()
