"""Options of train-head and tune that say which features are read, and how rows are divided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

_OTHER_OUTPUTS = "tokens-K of extract --tokens K; imported of cache import"


def _option(text: str, default: str = "", *, panel: str = "Data") -> Any:
    return typer.Option(help=text, rich_help_panel=panel, show_default=default or False)


Fusion = Annotated[
    str | None,
    _option(
        "One modality: image, text, numbers. Joint: concat, gated, bilinear, cross-attention, s4-cross-attention,"
        " s0-dependent. Stacked: sum, mixed, average, max.",
        "sum",
        panel="Model",
    ),
]
Recipe = Annotated[
    str | None,
    _option("A report's system with its settings (see clipfuse recipes); other options win over it.", panel="Model"),
]
Seed = Annotated[int | None, _option("Of weights, orders, dropout and folds.", "0", panel="Training")]
Features = Annotated[
    str | None,
    _option("What estimators read of captions: embeddings, or counts or tfidf of words.", "embeddings"),
]
Modalities = Annotated[
    str | None, _option("What a fusion of several reads; numbers: the table's numeric columns.", "image,text")
]
Encoder = Annotated[list[str] | None, _option("Where the cache has several; repeatable.")]
ImageOutput = Annotated[str | None, _option(f"projected or pooled (before the projection); {_OTHER_OUTPUTS}.")]
TextOutput = Annotated[str | None, _option(f"projected or pooled; mean or cls; {_OTHER_OUTPUTS}.")]
ImageView = Annotated[
    list[str] | None, _option("View of pictures that training draws from, as extract has it, or all; repeatable.")
]
TextView = Annotated[list[str] | None, _option("The same of captions.")]
AverageViews = Annotated[bool, _option("Predict from the mean over the inputs and their views.")]
MemoryGb = Annotated[float | None, _option("Features that take more are read in blocks.", "half of the memory")]
Split = Annotated[str | None, _option("stratified, position, column, or auto.", "auto")]
Validation = Annotated[float | None, _option("Share of the rows that choose epoch and thresholds.", "0.1")]
Test = Annotated[float | None, _option("Share of the rows that are only scored.", "0.2")]
SplitSeed = Annotated[int | None, _option("Of a stratified split.", "0")]
GroupDuplicates = Annotated[
    bool, _option("Keep equal and nearly equal rows on one side of the split, and in one fold.")
]


@dataclass(frozen=True)
class DataOptions:
    """What was typed of them; None, or False, where an option was not."""

    cache: Path | None
    features: str | None
    modalities: str | None
    image_encoder: list[str] | None
    text_encoder: list[str] | None
    image_output: str | None
    text_output: str | None
    image_view: list[str] | None
    text_view: list[str] | None
    average_views: bool
    memory_gb: float | None
    split: str | None
    validation: float | None
    test: float | None
    split_seed: int | None
    group_duplicates: bool
    test_table: Path | None
    device: str | None
    runs: Path | None

    @property
    def training(self) -> dict[str, Any]:
        """As settings of a training, None where nothing was typed."""
        return {
            "features": self.features,
            "modalities": tuple(name.strip() for name in self.modalities.split(",")) if self.modalities else None,
            "image": _stream(self.image_encoder, self.image_output, self.image_view),
            "text": _stream(self.text_encoder, self.text_output, self.text_view),
            "average_views": self.average_views or None,
            "memory_gb": self.memory_gb,
        }

    @property
    def division(self) -> dict[str, Any]:
        """As settings of a split, None where nothing was typed."""
        return {
            "method": self.split,
            "validation": self.validation,
            "test": self.test,
            "seed": self.split_seed,
            "group_duplicates": self.group_duplicates or None,
        }

    def places(self) -> Iterator[str]:
        """The words of a command line for what settings of a training do not hold: where, and which rows."""
        typed = {
            "--cache": self.cache,
            "--split": self.split,
            "--validation": self.validation,
            "--test": self.test,
            "--split-seed": self.split_seed,
            "--test-table": self.test_table,
            "--runs": self.runs,
        }
        if self.group_duplicates:
            yield "--group-duplicates"
        for option, value in typed.items():
            if value is not None:
                yield from (option, str(value))


def _stream(encoder: list[str] | None, output: str | None, views: list[str] | None) -> dict[str, Any]:
    return {"encoder": encoder or None, "output": output, "views": views or None}
