"""Stage one by names and paths: all that another process needs to take its share of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipfuse.config import TableConfig
from clipfuse.data import Dataset, concatenate, load_dataset
from clipfuse.encoders import EncoderFactory, find_encoder
from clipfuse.errors import ConfigError
from clipfuse.extract import extract
from clipfuse.extract_plan import ExtractOptions
from clipfuse.inputs import Progress, cpu_count
from clipfuse_cache import FeatureCache, Share


@dataclass(frozen=True)
class ExtractRequest:
    """What ``clipfuse extract`` was asked for.

    Attributes:
        tables: the main table and the test table, if there is one.
        encoders: names, as often as wanted.
        weights: a file or folder to take the one encoder's weights from.
        tokens: give the last layer in so many groups as well.
        cache: where the features go.
        options: how to extract.
    """

    tables: tuple[TableConfig, ...]
    encoders: tuple[str, ...]
    cache: Path
    options: ExtractOptions
    weights: Path | None = None
    tokens: int | None = None

    def find_encoders(self) -> list[EncoderFactory]:
        """Where the encoders' weights are. Raises ConfigError, WeightsMissing, UnknownName, EncoderError."""
        names = list(dict.fromkeys(self.encoders))
        if self.weights is not None and len(names) > 1:
            raise ConfigError(
                f"--weights is given with {len(names)} encoders ({', '.join(names)})",
                "Extract them one by one, each with its own --weights",
            )
        return [find_encoder(name, weights=self.weights, tokens=self.tokens) for name in names]

    def load_datasets(self) -> list[Dataset]:
        """The tables as samples, in their order. Raises TableError, ImageSourceError."""
        return [load_dataset(table) for table in self.tables]


def extract_share(request: ExtractRequest, share: Share, progress: Progress) -> None:
    """Make one share of the shards, beside others on this machine; raises as :func:`clipfuse.extract.extract` does."""
    threads = request.options.threads or max(1, cpu_count() // share.count)
    options = replace(request.options, share=share, threads=threads)
    factories: Sequence[EncoderFactory] = request.find_encoders()
    extract(factories, concatenate(request.load_datasets()), FeatureCache(request.cache), options, progress)
