"""The features that a run reads: where a cache holds them, and which encoders make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clipfuse.encoders import Encoder, EncoderFactory, EncoderSpec, Precision, Storage, find_encoder, tokens_of
from clipfuse.errors import DataError, FingerprintMismatch
from clipfuse.run import Run
from clipfuse.stream_tables import StreamTables
from clipfuse.views import View, find_view
from clipfuse_cache import FeatureCache, TableDescription
from clipfuse_cache.fingerprint import difference


def views_read(run: Run) -> Mapping[str, tuple[TableDescription, ...]]:
    """The tables of views that a prediction needs: training draws from views, but few runs average over them."""
    return run.views if run.config.average_views else {}


def run_tables(run: Run, cache: FeatureCache) -> StreamTables:
    """What a prediction reads of ``cache``. Raises CacheMissing, FingerprintMismatch where it has no such features."""
    plain = {name: cache.table(stream) for name, stream in run.streams.items()}
    views = {name: tuple(map(cache.table, those)) for name, those in views_read(run).items()}
    return StreamTables(plain, views, run.own)


def run_views(run: Run, word_list: Path | None) -> tuple[View, ...]:
    """The views that a prediction averages over. Raises ConfigError where one can't be made as it was."""
    names = {(view.view, str(view.encoder["view"])): None for those in views_read(run).values() for view in those}
    return tuple(find_view(name, settings, word_list) for name, settings in names)


def run_encoders(run: Run, names: Mapping[str, str]) -> dict[Storage, list[EncoderFactory]]:
    """The encoders of the run's streams by how their features are stored, each reduced to what the run reads and
    checked against its fingerprint. ``names``: stream -> encoder name, where its files are no longer where they were.

    Raises:
        DataError: features that were imported.
        FingerprintMismatch, WeightsMissing, EncoderError: see each message.
    """
    wanted: dict[tuple[str, Precision, int | None, Storage], list[TableDescription]] = {}
    for stream, description in run.streams.items():
        if description.is_imported:
            raise DataError(
                f"{run.name} was trained on features that were imported ({description.name}), which nothing here makes",
                "Predict from a cache that holds them for these rows: clipfuse predict --cache FOLDER",
            )
        name = names.get(stream, description.encoder_name)
        precision: Precision = description.encoder["precision"]
        storage: Storage = "float32" if description.dtype == "float32" else "float16"
        wanted.setdefault((name, precision, tokens_of(description.output), storage), []).append(description)
    found: dict[Storage, list[EncoderFactory]] = {}
    for (name, precision, tokens, storage), descriptions in wanted.items():
        factory = find_encoder(name, precision=precision, tokens=tokens)
        specs = tuple(_matching_spec(factory, description, storage, run) for description in descriptions)
        found.setdefault(storage, []).append(_Reduced(factory, specs))
    return found


def _matching_spec(factory: EncoderFactory, description: TableDescription, storage: Storage, run: Run) -> EncoderSpec:
    for spec in factory.specs:
        if spec.modality == description.modality:
            if spec.fingerprint(description.output, storage) == description.fingerprint:
                return spec
            fields = difference(spec.fields(description.output, storage), description.encoder)
            raise FingerprintMismatch(
                f"encoder {spec.name} is not the one that {run.name} was trained on ({fields})",
                f"Give that one: --{description.modality}-encoder NAME",
            )
    raise DataError(
        f"encoder {factory.specs[0].name} reads no {description.modality}, which {run.name} was trained on",
        f"Give one that does: --{description.modality}-encoder NAME",
    )


@dataclass(frozen=True)
class _Reduced:
    """A factory that offers only the modalities that a run reads."""

    factory: EncoderFactory
    specs: tuple[EncoderSpec, ...]

    def load(self, device: str, specs: Sequence[EncoderSpec], *, compiled: bool = False) -> list[Encoder]:
        """Load those of ``specs``."""
        return self.factory.load(device, specs, compiled=compiled)
