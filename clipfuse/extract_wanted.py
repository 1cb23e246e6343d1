"""What an extraction is about: the data set's inputs, and every feature table that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipfuse.data.dataset import Dataset, LedgerEntry
from clipfuse.encoders import EncoderFactory, Modality
from clipfuse.errors import CacheError, DataError
from clipfuse.extract_plan import MODALITIES, ExtractOptions, WantedStream, wanted_streams
from clipfuse.inputs import Progress, describe_samples
from clipfuse_cache import FeatureCache, Samples
from clipfuse_cache.columns import Digests, places_of


@dataclass(frozen=True)
class Wanted:
    """Rows and streams of an extraction.

    Attributes:
        samples: the cache's record of the data set.
        is_new: whether the cache has another one, or none.
        unreadable: pictures that could not be read at all.
        removed: ids that the cache knows and the data set no longer has.
        digests: modality -> a digest a row.
        streams: what is asked for; at least one.
    """

    samples: Samples
    is_new: bool
    unreadable: Sequence[LedgerEntry]
    removed: tuple[str, ...]
    digests: Mapping[Modality, Digests]
    streams: Sequence[WantedStream]


def find_wanted(
    factories: Sequence[EncoderFactory],
    dataset: Dataset,
    cache: FeatureCache,
    options: ExtractOptions,
    progress: Progress,
) -> Wanted:
    """Read the inputs and compare them with what the cache is about. Nothing is written.

    Raises:
        DataError: the data set has nothing that any of the encoders reads.
        CacheError: the cache is about other samples, or can't be read.
        ConfigError: as ``wanted_streams``.
    """
    previous = cache.samples() if (cache.root / "samples.h5").exists() else None
    removed = () if previous is None else _removed(previous, dataset, cache)
    samples, unreadable = describe_samples(dataset, previous, progress)
    is_new = previous is None or samples != previous
    del previous  # it has all captions once more
    digests = {modality: samples.input_digests(modality) for modality in MODALITIES}
    streams = wanted_streams(factories, digests, cache, options)
    if not streams:
        present = [modality for modality, those in digests.items() if those.array.any()]
        raise DataError(
            f"these encoders read nothing that the table has ({' and '.join(present) or 'no pictures, no captions'})",
            "Check --images, --image-column and --caption-column",
        )
    return Wanted(samples, is_new, unreadable, removed, digests, streams)


def _removed(previous: Samples, dataset: Dataset, cache: FeatureCache) -> tuple[str, ...]:
    """Ids that the cache knows and the data set no longer has."""
    found = places_of(dataset.ids).find(previous.ids)
    gone = tuple(previous.ids[row] for row in np.flatnonzero(found < 0).tolist())
    if len(previous) and len(gone) == len(previous.ids):
        raise CacheError(
            f"{cache.root} is about other samples: {len(gone)} of {', '.join(previous.tables)}, none of them here",
            "Name another place with --cache, or delete that one",
        )
    return gone
