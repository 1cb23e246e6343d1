"""Rows that are the same thing seen twice, and what a split has to know of them."""

from __future__ import annotations

import numpy as np

from clipfuse.cache_tables import PREFERRED
from clipfuse.data.grouping import Grouping
from clipfuse.equal_inputs import caption_keys, connect_equal, picture_keys
from clipfuse.errors import ConfigError
from clipfuse.near_duplicates import Readable, connect_similar, connected
from clipfuse_cache import FeatureCache, FeatureTable, Samples
from clipfuse_cache.fingerprint import rows_digest
from clipfuse_cache.manifest import IDENTITY

MODALITIES = ("image", "text")


def group_duplicates(cache: FeatureCache, samples: Samples, similarity: float) -> Grouping:
    """Rows whose pictures are equal, whose captions are equal but for case and space, or whose features are similar.

    Features are those of :func:`tables_to_compare`. Rows are similar where every table of pictures that holds them says
    so, or every table of captions: an encoder that takes unlike things for alike is overruled by the others. Groups are
    what chains of such pairs join.

    Args:
        cache: tables that are not complete for the samples as they are now are not looked at.
        samples: the rows.
        similarity: cosine from which features are similar, within (0, 1].

    Raises:
        ConfigError: one group would hold more than half of the rows.
        CacheCorrupt: a shard is damaged.
    """
    rows = len(samples)
    edges = [connect_equal(picture_keys(samples)), connect_equal(caption_keys(samples))]
    names: list[str] = []
    for modality in MODALITIES:
        tables = tables_to_compare(cache, samples, modality)
        if tables:
            readable = [Readable.from_table(table, table.locate(samples.ids)) for table in tables]
            edges.append(connect_similar(readable, similarity))
            names.extend(table.description.name for table in tables)
    group_of = connected(np.concatenate(edges), rows)
    members = np.bincount(group_of, minlength=1)
    if members.max() > max(2, rows // 2):
        raise ConfigError(
            f"{members.max()} of {rows} rows fall into one group of near-duplicates at a similarity of {similarity:g}",
            "Raise duplicate_similarity under [split], or leave grouping out",
        )
    groups: dict[int, list[str]] = {}
    for row in np.flatnonzero(members[group_of] > 1).tolist():
        groups.setdefault(int(group_of[row]), []).append(samples.ids[row])
    return Grouping(similarity, tuple(names), tuple(map(tuple, groups.values())))


def tables_to_compare(cache: FeatureCache, samples: Samples, modality: str) -> list[FeatureTable]:
    """The feature tables in which near-duplicates are looked for: of each encoder of the modality the first that there
    is of its outputs projected, pooled, mean, cls, then any other of one token, of the inputs as they are, complete
    for the samples as they are now. The narrowest comes first."""
    of_encoder: dict[str, FeatureTable] = {}

    def rank(table: FeatureTable) -> tuple[int, str]:
        output = table.description.output
        return (PREFERRED.index(output) if output in PREFERRED else len(PREFERRED)), output

    inputs = rows_digest(samples.ids, samples.input_digests(modality))
    for table in sorted(cache.tables(), key=rank):
        about = table.description
        if (about.modality, about.view, about.tokens) == (modality, IDENTITY, 1) and table.is_complete_for(inputs):
            of_encoder.setdefault(about.encoder_name, table)
    return sorted(of_encoder.values(), key=lambda table: (table.description.dim, table.description.name))
