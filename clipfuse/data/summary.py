"""What a dataset holds, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from clipfuse.data.dataset import Dataset


@dataclass(frozen=True)
class DatasetSummary:
    """Counts of one dataset; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        rows: rows that were kept.
        label_counts: rows by label, in the dataset's order; empty for an unlabelled table.
        labelled: whether the table has labels at all.
        without_image, without_caption: rows that lack the part, whether or not the table has it anywhere.
        without_labels: rows to which no label applies; 0 for an unlabelled table.
        labels_per_row: mean; 0.0 for an unlabelled table.
        repeated_captions: rows whose caption, letter by letter, an earlier row has too.
        guesses: what was found out about the table, as fragments of sentences.
        ledger_counts: entries of the ledger by part; "row" are rows left out.
    """

    rows: int
    labelled: bool
    label_counts: dict[str, int]
    without_image: int
    without_caption: int
    without_labels: int
    labels_per_row: float
    repeated_captions: int
    guesses: tuple[str, ...]
    ledger_counts: dict[str, int]


def summarize(dataset: Dataset) -> DatasetSummary:
    """Count what ``dataset`` holds."""
    labels = dataset.labels
    captions = [caption for caption in dataset.captions if caption is not None]
    return DatasetSummary(
        rows=len(dataset),
        labelled=labels is not None,
        label_counts=(
            {} if labels is None else dict(zip(dataset.label_names, (int(n) for n in labels.sum(axis=0)), strict=True))
        ),
        without_image=sum(image is None for image in dataset.images),
        without_caption=len(dataset) - len(captions),
        without_labels=0 if labels is None else int((~labels.any(axis=1)).sum()),
        labels_per_row=0.0 if labels is None or not len(dataset) else float(labels.sum() / len(dataset)),
        repeated_captions=len(captions) - len(set(captions)),
        guesses=dataset.layout.guesses,
        ledger_counts=dict(Counter(entry.part for entry in dataset.ledger)),
    )
