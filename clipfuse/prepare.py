"""What every training of a run begins with, and what is kept of each: one fold's, one model's, many models'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from clipfuse.check_config import check_config, kind_of
from clipfuse.data.split import Split
from clipfuse.errors import ConfigError, DataError
from clipfuse.labelled_rows import LabelledRows, load_rows
from clipfuse.leaks import find_leaks
from clipfuse.machine import describe_machine, device_name
from clipfuse.modality import input_word
from clipfuse.peak_memory import PeakMemory
from clipfuse.remembered_rows import LoadRows
from clipfuse.run import Run, write_run
from clipfuse.run_content import ModelAbout, Outcome
from clipfuse.select_streams import check_inputs, select_streams
from clipfuse.stage_one import stage_one
from clipfuse.stream_tables import StreamTables
from clipfuse.train_config import TrainConfig
from clipfuse.zero_shot import find_label_vectors
from clipfuse_cache import FeatureCache, Samples


@dataclass(frozen=True)
class Prepared:
    """Everything that a training needs.

    Attributes:
        cache: where the features are.
        samples: with labels.
        split: whose roles ``rows`` has.
        config: every setting, checked and written out.
        device: of the rows and the models.
        tables: what is read.
        rows: features and labels.
        peak: memory from here on.
    """

    cache: FeatureCache
    samples: Samples
    split: Split
    config: TrainConfig
    device: str
    tables: StreamTables
    rows: LabelledRows
    peak: PeakMemory

    @property
    def labels(self) -> list[str]:
        """Their names, in the order of the models' outputs."""
        return list(self.samples.label_names)

    @property
    def about(self) -> ModelAbout:
        """What a model of these settings reads and says."""
        streams = {name: table.description for name, table in self.tables.items()}
        views, own = self.tables.view_descriptions(), self.tables.own
        return ModelAbout(streams, self.samples.label_names, self.samples.layout, views, own)

    def describe(self, origin: str | None = None, folds: Sequence[Split] = ()) -> dict[str, Any]:
        """What a run's metrics say of what it is about.

        Args:
            origin: the name of the run that it starts from.
            folds: the splits of a cross-validation, of which this one is the first.
        """
        extraction, split = stage_one(self.tables.every_table()), self.split
        return {
            "created": datetime.now().astimezone().isoformat(timespec="microseconds"),
            "kind": kind_of(self.config),
            "recipe": self.config.recipe,
            "device": device_name(self.device),
            "cache": str(self.cache.root),
            "stage_one": None if extraction is None else extraction.to_dict(),
            "split": {"name": split.name, "method": split.method, "digest": split.digest, "seed": split.seed},
            "leaks": [leak.to_dict() for leak in find_leaks(self.tables, self.samples, folds or [split])],
            "from": origin,
        }

    def keep(self, folder: Path, found: Outcome) -> Run:
        """Write the run (see ``write_run``); its metrics get the peak of memory."""
        metrics: Mapping[str, Any] = {**found.metrics, "peak_memory": self.peak.stop().to_dict()}
        environment = describe_machine(self.device)
        return write_run(folder, self.config, self.about, replace(found, metrics=metrics), environment=environment)


def prepare(
    cache: FeatureCache, samples: Samples, split: Split, config: TrainConfig, device: str, load: LoadRows = load_rows
) -> Prepared:
    """Check the settings and read the rows of a split. Arguments and errors are those of ``train_head``."""
    check_config(config)
    config = config.resolved()
    tables = select_streams(cache, config)
    check_inputs(tables, samples)
    vectors = find_label_vectors(config, tables, samples.label_names)
    peak = PeakMemory.start(device)  # the encoder that made the vectors is no part of the training
    rows = load(tables, samples, split, device, vectors, memory_gb=config.memory_gb)
    check_rows(rows)
    return Prepared(cache, samples, split, config, device, tables, rows, peak)


def check_rows(rows: LabelledRows) -> None:
    """Make sure that there is something to learn, from each stream that is read and for each role.

    Raises:
        DataError: no labels.
        ConfigError: no training row has an input, or no row of another role has any of them.
    """
    if rows.rows.targets.shape[1] == 0:
        raise DataError("not one row has a label", "Name their column: clipfuse extract --label-column NAME")
    missing = rows.missing()
    for name, roles in missing.items():
        for role, count in roles.items():
            if count == len(rows.index[role]) and (role == "train" or len(missing) == 1):
                what = input_word(name)
                raise ConfigError(
                    f"not one of the {count} {role} rows has a {what}, so nothing can be said of them",
                    f"Check where clipfuse extract finds the {what}s, or choose another --fusion",
                )
