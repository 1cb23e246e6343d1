"""Settings: frozen models, read from ``clipfuse.toml`` and from the command line's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableConfig(Settings):
    """One table of samples and where its pictures are. Columns that are None are found by name."""

    table: Path
    images: Path | None = None
    id_column: str | None = None
    image_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    label_columns: tuple[str, ...] | None = None
    separator: str | None = Field(default=None, min_length=1)
    split_column: str | None = None


class HeadConfig(Settings):
    """A head: features of one stream (or several, joined) to logits. ``hidden`` and what follows it are for MLPs."""

    kind: str = "mlp"
    hidden: tuple[PositiveInt, ...] = (512,)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    activation: Literal["gelu", "relu", "leaky_relu"] = "gelu"
    neighbors: int = Field(default=15, ge=1)


class FusionConfig(Settings):
    """How streams become one prediction. ``stacking`` and what follows it are for sum and mixed."""

    kind: str = "sum"
    stacking: Literal["out-of-fold", "joint", "in-sample"] = "out-of-fold"
    folds: int = Field(default=3, ge=2)
    meta: Literal["residual", "mlp"] = "residual"
    meta_hidden: tuple[PositiveInt, ...] = (64,)
    meta_dropout: float = Field(default=0.0, ge=0, lt=1)
    meta_learning_rate: float = Field(default=2e-2, gt=0, le=10)
    meta_epochs: int = Field(default=12, ge=1)


class FitConfig(Settings):
    """The training loop. ``batch_size`` None takes a 32nd of the rows, between 16 and 256: small sets need steps."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=1e-2, ge=0, le=10)
    schedule: Literal["cosine", "constant"] = "cosine"
    batch_size: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=8, ge=1)


class StreamConfig(Settings):
    """Which feature table a modality is read from; None takes the only encoder there is, and its default output."""

    encoder: str | None = None
    output: str | None = None


class TrainConfig(Settings):
    """Everything that decides a run, apart from the rows."""

    head: HeadConfig = HeadConfig()
    fusion: FusionConfig = FusionConfig()
    fit: FitConfig = FitConfig()
    image: StreamConfig = StreamConfig()
    text: StreamConfig = StreamConfig()
    thresholds: Literal["fixed", "common", "per-label"] = "fixed"
    refit: Literal["none", "all"] = "none"
    seed: int = Field(default=0, ge=0)


class SplitConfig(Settings):
    """How samples are divided; auto: by the second table where there is one, by the split column where there is one,
    stratified otherwise. ``validation`` and ``test`` are shares of the rows that are to be divided."""

    method: Literal["auto", "stratified", "position", "column"] = "auto"
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


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
