"""Stage one by names and paths: all that another process needs to take its share of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipfuse.config import ExtractConfig, TableConfig
from clipfuse.data import Dataset, concatenate, load_dataset
from clipfuse.encoders import EncoderFactory, Modality, find_encoder
from clipfuse.errors import ConfigError
from clipfuse.extract import extract
from clipfuse.extract_plan import ExtractOptions
from clipfuse.extract_processes import run_shares
from clipfuse.inputs import Progress, cpu_count
from clipfuse.machine import gpu_count
from clipfuse.stage_clock import Seconds, StageClock
from clipfuse.views import parse_views
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

    @classmethod
    def of(cls, stage: ExtractConfig, tables: Sequence[TableConfig], cache: Path, device: str) -> ExtractRequest:
        """What the settings of stage one ask for. Raises ConfigError: a view that there is not."""
        options = ExtractOptions(
            device=device,
            storage=stage.storage,
            precision=stage.precision,
            shard_rows=stage.shard_rows,
            batch_size=stage.batch_size,
            compiled=stage.compile,
            threads=stage.threads,
            views=parse_views(stage.views, stage.word_list),
        )
        return cls(tuple(tables), stage.encoders, cache, options, stage.weights, stage.tokens)

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


def extract_in_processes(request: ExtractRequest, count: int, progress: Progress) -> dict[Modality, StageClock]:
    """Make the shards in ``count`` processes of this machine, on a GPU each where that is the device; says where the
    time of all of them went. Raises ConfigError where there are fewer GPUs, and as ``run_shares`` does."""
    on_gpus = request.options.device != "cpu"
    if on_gpus and count > gpu_count():
        raise ConfigError(f"--processes {count}, and there are {gpu_count()} GPUs", f"Write --processes {gpu_count()}")
    clocks: dict[Modality, StageClock] = {}
    for seconds in run_shares(functools.partial(extract_share, request), count, progress, on_gpus=on_gpus):
        for modality, those in seconds.items():
            clocks.setdefault(modality, StageClock()).add(those)
    return clocks


def extract_share(request: ExtractRequest, share: Share, progress: Progress) -> dict[Modality, Seconds]:
    """Make one share of the shards, beside others on this machine; raises as :func:`clipfuse.extract.extract` does."""
    threads = request.options.threads or max(1, cpu_count() // share.count)
    options = replace(request.options, share=share, threads=threads)
    dataset = concatenate(request.load_datasets())
    report = extract(request.find_encoders(), dataset, FeatureCache(request.cache), options, progress)
    return {modality: clock.seconds() for modality, clock in report.stages.items()}
