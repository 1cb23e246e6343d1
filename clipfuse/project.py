"""Reading and writing ``clipfuse.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from clipfuse.config import ProjectConfig
from clipfuse.errors import ConfigError
from clipfuse.settings import build_settings

FILE_NAME = "clipfuse.toml"


def load_project(folder: Path) -> ProjectConfig:
    """The settings in ``folder``'s clipfuse.toml; the defaults where there is none.

    Raises:
        ConfigError: not TOML, an unknown key (the nearest one is named), or a value that can't be.
    """
    path = folder / FILE_NAME
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ProjectConfig()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} can't be read ({error})", "Mend it, or make a new one with clipfuse init") from error
    return build_settings(ProjectConfig, values, str(path))


def save_project(folder: Path, config: ProjectConfig) -> Path:
    """Write clipfuse.toml, complete or not at all, with what differs from the defaults. Returns its path."""
    import tomli_w

    from clipfuse_cache.atomic import write_bytes

    values = config.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    write_bytes(folder / FILE_NAME, tomli_w.dumps(values).encode())
    return folder / FILE_NAME
