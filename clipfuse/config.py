"""Settings: frozen models, read from ``clipfuse.toml`` and from the command line's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from clipfuse.settings import Settings
from clipfuse.train_config import TrainConfig


class TableConfig(Settings):
    """One table of samples and where its pictures are. Columns that are None are found by name, but for the split and
    the numbers: those are never guessed."""

    table: Path
    images: Path | None = None
    id_column: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    separator: str | None = Field(default=None, min_length=1)
    split_column: str | None = None
    number_columns: tuple[str, ...] | None = None


class SplitConfig(Settings):
    """How samples are divided; auto: by the second table where there is one, by the split column where there is one,
    stratified otherwise. ``validation`` and ``test`` are shares of the rows that are to be divided.
    ``group_duplicates``: rows with equal pictures or captions, or with features of at least ``duplicate_similarity``
    (cosine), stay on one side."""

    method: Literal["auto", "stratified", "position", "column"] = "auto"
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    group_duplicates: bool = False
    duplicate_similarity: float = Field(default=0.9, gt=0, le=1)


class ExtractConfig(Settings):
    """Stage one. ``weights``: a file or folder to take the (one) encoder's weights from. ``tokens``: store the last
    layer in so many groups as well. ``views``: "flip", "rotate:10", "crops:4", "synonyms:2", "word-dropout:0.1"."""

    encoders: tuple[str, ...] = ("mini",)
    weights: Path | None = None
    tokens: int | None = Field(default=None, ge=1)
    views: tuple[str, ...] = ()
    word_list: Path | None = None
    compile: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    storage: Literal["float16", "float32"] = "float16"
    shard_rows: int = Field(default=2048, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    processes: int | None = Field(default=None, ge=1)


class ProjectConfig(Settings):
    """``clipfuse.toml``: what the commands take where an argument is left out. Paths are relative to its folder."""

    data: TableConfig | None = None
    test: TableConfig | None = None
    extract: ExtractConfig = ExtractConfig()
    split: SplitConfig = SplitConfig()
    train: TrainConfig = TrainConfig()
    cache: Path | None = None
    runs: Path = Path("runs")
    device: str = "auto"
