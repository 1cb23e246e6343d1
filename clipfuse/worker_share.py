"""Which share of the shards this process makes, as it was told or as its environment says."""

from __future__ import annotations

from collections.abc import Mapping

from clipfuse.errors import ConfigError
from clipfuse_cache import Share

LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))
"""Variables that launchers set for each process: its number and how many there are. Not SLURM_NTASKS, which is set in
a batch script too, where nothing is shared out yet."""


def worker_share(index: int | None, count: int | None, environment: Mapping[str, str]) -> tuple[Share | None, str]:
    """The share, None for all of it; and where it comes from, empty where ``index`` and ``count`` say it.

    Raises:
        ConfigError: one of the two without the other, or a worker that does not exist.
    """
    if index is None and count is None:
        return _from_environment(environment)
    if count == 1 and index in (None, 0):
        return None, ""
    if index is None or count is None:
        raise ConfigError(
            "--worker-index and --worker-count belong together", "Write --worker-index 0 --worker-count 4, for example"
        )
    try:
        return Share(index, count), ""
    except ValueError as error:
        raise ConfigError(f"--worker-index {index} --worker-count {count}: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> tuple[Share | None, str]:
    for number, total in LAUNCHERS:
        try:
            share = Share(int(environment[number]), int(environment[total]))
        except (KeyError, ValueError):  # not set, or set by somebody who means something else
            continue
        if share.count > 1:
            return share, f"{number}={share.index}, {total}={share.count}"
    return None, ""
