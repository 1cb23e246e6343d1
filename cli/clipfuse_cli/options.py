"""Options that several commands share, and how flags win over clipfuse.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clipfuse.config import ProjectConfig, TableConfig
    from clipfuse.run import Run

Table = Annotated[Path | None, typer.Argument(help="CSV, TSV, JSON or JSONL; taken from clipfuse.toml if left out.")]
Images = Annotated[Path | None, typer.Option(help="Folder, .zip or .tar of the pictures.")]
IdColumn = Annotated[str | None, typer.Option(help="Column of the ids.")]
ImageColumn = Annotated[str | None, typer.Option(help="Column that names the pictures.")]
CaptionColumn = Annotated[str | None, typer.Option(help="Column of the captions.")]
LabelColumn = Annotated[str | None, typer.Option(help="Column of the labels.")]
LabelColumns = Annotated[str | None, typer.Option(help="0/1 columns, one a label: their names, comma between.")]
Separator = Annotated[str | None, typer.Option(help="What stands between labels.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column that says train, validation or test.")]
NumberColumn = Annotated[list[str] | None, typer.Option(help="Column of numbers to keep; as often as wanted.")]
TestTable = Annotated[Path | None, typer.Option(help="Second table, whose rows are the test rows.")]
TestImages = Annotated[Path | None, typer.Option(help="Where the second table's pictures are.")]
Cache = Annotated[Path | None, typer.Option(help="The feature cache (a folder).")]
CachePath = Annotated[Path | None, typer.Argument(help="The cache (a folder); clipfuse.toml's if left out.")]
TABLE_HELP = "A feature table: its name as clipfuse cache info shows it, the start of its fingerprint, or its folder."
Runs = Annotated[Path | None, typer.Option(help="Where runs are kept.")]
RunOption = Annotated[Path | None, typer.Option("--run", help="A run's name or directory; the newest if left out.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")]
MovedEncoder = Annotated[
    list[str] | None, typer.Option(help="Where the encoder's files have moved to; of several, all in the run's order.")
]
WordList = Annotated[Path | None, typer.Option(help="Synonyms, one group a line, comma between.")]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 3 if any row or part was not usable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Rows of one forward pass.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads that read and decode.")]


def project() -> ProjectConfig:
    """The settings of the working directory."""
    from clipfuse.project import load_project

    return load_project(Path())


def with_table(
    config: ProjectConfig,
    table: Path | None,
    images: Path | None,
    *,
    id_column: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    label_column: str | None = None,
    label_columns: str | None = None,
    separator: str | None = None,
    split_column: str | None = None,
    number_column: list[str] | None = None,
    test_table: Path | None = None,
    test_images: Path | None = None,
) -> ProjectConfig:
    """``config`` with the flags about tables put over it. Another table than the file's starts afresh."""
    from clipfuse.errors import ConfigError
    from clipfuse.settings import updated

    if table is not None and (config.data is None or not same_path(config.data.table, table)):
        config = config.model_copy(update={"data": None, "test": None, "cache": None})
    data = {
        "table": table,
        "images": images,
        "id_column": id_column,
        "image_column": image_column,
        "caption_column": caption_column,
        "label_column": label_column,
        "label_columns": tuple(name.strip() for name in label_columns.split(",")) if label_columns else None,
        "separator": separator,
        "split_column": split_column,
        "number_columns": tuple(number_column) if number_column else None,
    }
    if table is None and config.data is None:
        raise ConfigError(
            "no table is named", "Give one (clipfuse extract photos.csv --images photos/), or run clipfuse init"
        )
    config = updated(config, data=data)
    if test_table is not None and config.test is not None and not same_path(config.test.table, test_table):
        config = config.model_copy(update={"test": None})
    if test_table is not None or test_images is not None:
        if test_table is None and config.test is None:
            raise ConfigError("--test-images is given and no second table is named", "Name it with --test-table")
        assert config.data is not None
        columns = config.data.model_dump(exclude={"table", "images"})
        pictures = config.test.images if config.test is not None else config.data.images
        second = {**columns, "table": test_table, "images": test_images or pictures}
        config = updated(config, test=second)
    return config


def same_path(one: Path, other: Path) -> bool:
    """Whether two paths name the same place."""
    return one.expanduser().resolve() == other.expanduser().resolve()


def open_run(run: Path | None, runs: Path) -> Run:
    """The run with that directory or that name under ``runs``; the newest for None.

    Raises:
        RunError: there is no such run, or it can't be used.
    """
    from clipfuse import run as library

    if run is None:
        return library.open_run(library.newest_run(runs, with_model=True))
    return library.open_run(runs / run if not run.is_dir() and (runs / run).is_dir() else run)


def default_cache(table: Path) -> Path:
    """Where extract puts the features of a table if nothing says otherwise."""
    return Path("features") / table.stem


def cache_path(config: ProjectConfig, cache: Path | None) -> Path:
    """The cache: the flag, the file's, or features/ and the table's name.

    Raises:
        ConfigError: nothing tells which.
    """
    from clipfuse.errors import ConfigError

    if cache is not None or config.cache is not None:
        return cache or config.cache or Path()
    if config.data is not None:
        return default_cache(config.data.table)
    found = sorted(path.parent for path in Path("features").glob("*/samples.h5"))
    if len(found) == 1:
        return found[0]
    which = f"there are several: {', '.join(map(str, found))}" if found else "there is none in features/"
    raise ConfigError(f"no feature cache is named, and {which}", "Give one with --cache, or run clipfuse extract first")


def loaded_tables(config: ProjectConfig) -> list[TableConfig]:
    """The main table and the test table, if there is one."""
    return [table for table in (config.data, config.test) if table is not None]
