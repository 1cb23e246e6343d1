"""What a model reads: feature tables, and what a data set's table itself holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from clipfuse.table_streams import TableStreams
from clipfuse_cache import FeatureTable, TableDescription


@dataclass(frozen=True, eq=False)
class StreamTables(Mapping[str, FeatureTable]):
    """Stream name -> the feature table of the inputs as they are.

    Attributes:
        tables: the same as a dictionary.
        views: stream -> tables of other views of its inputs; streams of one modality have the same views in the same
            order, so that one draw serves all of them.
        own: streams that are read of the data set's table itself; they come last.
    """

    tables: Mapping[str, FeatureTable]
    views: Mapping[str, tuple[FeatureTable, ...]] = field(default_factory=dict)
    own: TableStreams = field(default_factory=TableStreams)

    def __getitem__(self, stream: str) -> FeatureTable:
        return self.tables[stream]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def with_views(self, stream: str) -> tuple[FeatureTable, ...]:
        """The table of a stream's inputs as they are, then those of its views."""
        return (self.tables[stream], *self.views.get(stream, ()))

    def every_table(self) -> list[FeatureTable]:
        """Those of the views, too."""
        return [table for stream in self.tables for table in self.with_views(stream)]

    def view_descriptions(self) -> dict[str, tuple[TableDescription, ...]]:
        """Stream -> what its views' tables are."""
        return {name: tuple(table.description for table in views) for name, views in self.views.items()}
