"""``clipfuse cache import``: features that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from clipfuse_cli import options as o


def import_(
    features: Annotated[
        Path, typer.Argument(help="An array of (rows, dim) or (rows, tokens, dim) in .npy, or our own .npz or .h5.")
    ],
    name: Annotated[str, typer.Option(help="What to call the encoder that made them.")],
    ids: Annotated[
        Path | None, typer.Option(help="For .npy: a file of one id a line, in the order of the rows.")
    ] = None,
    modality: Annotated[Literal["image", "text"], typer.Option(help="What they are features of.")] = "image",
    storage: Annotated[Literal["float16", "float32"], typer.Option(help="How to keep them on disk.")] = "float16",
    cache: o.Cache = None,
) -> None:
    """Put features that were made elsewhere into the cache, as an encoder of their own.

    Samples that the file does not hold are masked. The cache must have been made by clipfuse extract before.

    Example: clipfuse cache import features.npy --ids ids.txt --name resnet && clipfuse train-head --fusion image
    """
    from clipfuse_cache import FeatureCache
    from clipfuse_cache.imported import import_features, read_foreign
    from clipfuse_cli.console import note

    where = FeatureCache(o.cache_path(o.project(), cache))
    given = read_foreign(features, ids)
    table = import_features(where, given, name=name, modality=modality, storage=storage)
    about, lacking = table.description, len(table.failures())
    note(f"{about.name}: {len(given.ids):,} rows of width {about.dim}, fingerprint {about.fingerprint[:12]}")
    if lacking:
        note(f"{lacking:,} samples are not in {features}: their features are masked")
    others = [other.description for other in where.tables() if other.description.name == about.name]
    for other in others:
        if other.fingerprint != about.fingerprint:
            note(f"there is another {other.name} with other numbers; clipfuse cache drop {other.fingerprint[:12]}")
    note(f"next: clipfuse train-head --fusion {modality} --{modality}-encoder {quote(name)}")
