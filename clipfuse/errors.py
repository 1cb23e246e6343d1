"""The error tree. Only these become one-line messages on the command line.

::

    ClipfuseError                 root (defined in clipfuse_cache, which stands alone)
    ├── CacheError
    │   ├── CacheMissing          no cache, table or split where one was expected
    │   ├── CacheCorrupt          a file that is not what its manifest says
    │   ├── FingerprintMismatch   a table of another encoder setting
    │   ├── RowsMissing           rows that the table does not hold
    │   └── DiskFull              the operating system refused to write
    ├── ConfigError               clipfuse.toml, options and their combinations
    │   └── UnknownName           a name that is not registered, with the nearest that is
    ├── DataError                 tables and pictures
    │   ├── TableError            a table that can't be read as samples
    │   ├── DuplicateId           one id on two rows
    │   └── ImageSourceError      a picture source that can't be opened
    ├── EncoderError              encoders and their weights
    │   └── WeightsMissing        no weights on disk and no way to get them
    ├── TrainingError             a model that can't be trained on these rows
    ├── RunError                  a run directory that can't be used
    └── ExportError               a run that can't be written in another form
"""

from __future__ import annotations

from clipfuse_cache.errors import (
    CacheCorrupt,
    CacheError,
    CacheMissing,
    ClipfuseError,
    DiskFull,
    FingerprintMismatch,
    RowsMissing,
)

__all__ = [
    "CacheCorrupt",
    "CacheError",
    "CacheMissing",
    "ClipfuseError",
    "ConfigError",
    "DataError",
    "DiskFull",
    "DuplicateId",
    "EncoderError",
    "ExportError",
    "FingerprintMismatch",
    "ImageSourceError",
    "RowsMissing",
    "RunError",
    "TableError",
    "TrainingError",
    "UnknownName",
    "WeightsMissing",
]


class ConfigError(ClipfuseError):
    """A setting in clipfuse.toml or on the command line that can't be used."""


class UnknownName(ConfigError):
    """A name that is not registered."""


class DataError(ClipfuseError):
    """Tables and pictures."""


class TableError(DataError):
    """A table that can't be read as samples."""


class DuplicateId(DataError):
    """One id on two rows."""


class ImageSourceError(DataError):
    """A folder or archive of pictures that can't be opened."""


class EncoderError(ClipfuseError):
    """Encoders and their weights."""


class WeightsMissing(EncoderError):
    """No weights on disk and no way to get them."""


class TrainingError(ClipfuseError):
    """A model that can't be trained on these rows."""


class RunError(ClipfuseError):
    """A run directory that can't be used."""


class ExportError(ClipfuseError):
    """A run that can't be written in another form."""
