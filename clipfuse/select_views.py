"""Which tables of views stand beside a stream's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote

from clipfuse.errors import ConfigError
from clipfuse.views import parse_views
from clipfuse_cache import CacheMissing, FeatureTable
from clipfuse_cache.fingerprint import canonical_json
from clipfuse_cache.manifest import IDENTITY

EVERY = "all"
"""Every view that the cache holds of a stream's encoder and output."""


def select_views(
    tables: Sequence[FeatureTable], chosen: Mapping[str, FeatureTable], names: Sequence[str], modality: str
) -> dict[str, tuple[FeatureTable, ...]]:
    """Stream -> tables of the views that ``names`` ask for: the same views in the same order for every stream.

    Args:
        tables: those of the modality, views included.
        chosen: stream -> its table of the inputs as they are; all of one modality.
        names: "flip", "rotate:10", "crops:4", "all", ... or as a table is called, "crop-1".
        modality: of all of them.

    Raises:
        CacheMissing: a stream that has not got one of the views.
        ConfigError: a view of another modality, or a name that two different views have.
        UnknownName: no such view.
    """
    if not names:
        return {}
    held = {stream: _views_of(table, tables) for stream, table in chosen.items()}
    known = {key: table.description.view for views in held.values() for key, table in views.items()}
    wanted = dict.fromkeys(key for name in names for key in _keys(name, known, modality, chosen))
    found = {}
    for stream, table in chosen.items():
        lacking = next((known[key] for key in wanted if key not in held[stream]), None)
        if lacking is not None:
            raise _missing(lacking, table)
        found[stream] = tuple(held[stream][key] for key in wanted)
    return found


def _views_of(own: FeatureTable, tables: Sequence[FeatureTable]) -> dict[str, FeatureTable]:
    """Settings of a view -> its table, of those that differ from ``own`` in nothing but the view; ordered."""
    same = _without_view(own)
    found = {
        str(table.description.encoder["view"]): table
        for table in tables
        if table.description.view != IDENTITY and _without_view(table) == same
    }
    return dict(sorted(found.items()))


def _without_view(table: FeatureTable) -> bytes:
    return canonical_json({key: value for key, value in table.description.encoder.items() if key != "view"})


def _keys(name: str, known: Mapping[str, str], modality: str, chosen: Mapping[str, FeatureTable]) -> Sequence[str]:
    """Settings of the views that one name asks for."""
    first = next(iter(chosen.values()))
    if name == EVERY:
        if not known:
            raise CacheMissing(
                f"the cache holds no views of {first.description.name}",
                f"Run clipfuse extract --encoder {quote(first.description.encoder_name)} with --view",
            )
        return list(known)
    if name in known.values():
        asked = [name]
    else:
        views = parse_views([name])
        if views[0].modality != modality:
            inputs = {"image": "pictures", "text": "captions"}
            raise ConfigError(
                f"view {name} changes {inputs[views[0].modality]}, not {inputs[modality]}",
                f"Set it for {views[0].modality}: --{views[0].modality}-view {name}",
            )
        asked = [view.name for view in views]
    keys = []
    for view in asked:
        matching = [key for key, called in known.items() if called == view]
        if not matching:
            raise _missing(view, first, name)
        if len(matching) > 1:
            raise ConfigError(
                f"the cache holds several views {view} of {first.description.name} ({'; '.join(matching)})",
                "See clipfuse cache info, and drop what you don't want: clipfuse cache drop FINGERPRINT",
            )
        keys += matching
    return keys


def _missing(view: str, table: FeatureTable, typed: str | None = None) -> CacheMissing:
    encoder = quote(table.description.encoder_name)
    how = f"--view {typed}" if typed is not None else f"its view, {view}"
    return CacheMissing(
        f"the cache holds no view {view} of {table.description.name}",
        f"Run clipfuse extract --encoder {encoder} with {how}",
    )
