"""Tables of samples and their pictures: reading, checking, writing predictions."""

from __future__ import annotations

from clipfuse.data.dataset import (
    Dataset,
    ImageRef,
    ImageSource,
    LabelForm,
    LedgerEntry,
    Part,
    TableLayout,
    concatenate,
)
from clipfuse.data.images import open_images
from clipfuse.data.load import load_dataset
from clipfuse.data.origins import Origin, Origins
from clipfuse.data.summary import DatasetSummary, summarize
from clipfuse.data.write import write_predictions

__all__ = [
    "Dataset",
    "DatasetSummary",
    "ImageRef",
    "ImageSource",
    "LabelForm",
    "LedgerEntry",
    "Origin",
    "Origins",
    "Part",
    "TableLayout",
    "concatenate",
    "load_dataset",
    "open_images",
    "summarize",
    "write_predictions",
]
