"""Stage one by names and paths: all that another process needs to take its share of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipfuse.config import TableConfig
from clipfuse.data import Dataset, concatenate, load_dataset
from clipfuse.encoders import EncoderFactory, find_encoder
from clipfuse.extract import extract
from clipfuse.extract_plan import ExtractOptions
from clipfuse.inputs import Progress
from clipfuse_cache import FeatureCache, Share


@dataclass(frozen=True)
class ExtractRequest:
    """What ``clipfuse extract`` was asked for.

    Attributes:
        tables: the main table and the test table, if there is one.
        encoders: names, as often as wanted.
        cache: where the features go.
        options: how to extract.
    """

    tables: tuple[TableConfig, ...]
    encoders: tuple[str, ...]
    cache: Path
    options: ExtractOptions

    def find_encoders(self) -> list[EncoderFactory]:
        """Where the encoders' weights are. Raises WeightsMissing, UnknownName, EncoderError."""
        return [find_encoder(name) for name in dict.fromkeys(self.encoders)]

    def load_datasets(self) -> list[Dataset]:
        """The tables as samples, in their order. Raises TableError, ImageSourceError."""
        return [load_dataset(table) for table in self.tables]


def extract_share(request: ExtractRequest, share: Share, progress: Progress) -> None:
    """Make one share of the shards; raises as :func:`clipfuse.extract.extract` does."""
    options = replace(request.options, share=share)
    factories: Sequence[EncoderFactory] = request.find_encoders()
    extract(factories, concatenate(request.load_datasets()), FeatureCache(request.cache), options, progress)
