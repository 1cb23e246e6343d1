"""Which share of the work a process takes."""

import pytest

from clipfuse.errors import ConfigError
from clipfuse.worker_share import worker_share
from clipfuse_cache import Share


@pytest.mark.parametrize(
    ("environment", "share", "said"),
    [
        ({}, None, ""),
        ({"RANK": "2", "WORLD_SIZE": "8"}, Share(2, 8), "RANK=2, WORLD_SIZE=8"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "3"}, Share(0, 3), "SLURM_PROCID=0, SLURM_STEP_NUM_TASKS=3"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None, ""),
        ({"RANK": "2"}, None, ""),
        (
            {"RANK": "first", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"},
            Share(1, 2),
            "SLURM_PROCID=1",
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None, ""),  # a batch script, where nothing is shared out yet
        ({"RANK": "8", "WORLD_SIZE": "8"}, None, ""),
    ],
)
def test_what_launchers_say(environment, share, said):
    found, why = worker_share(None, None, environment)
    assert found == share
    assert why.startswith(said) and bool(why) == bool(said)


def test_flags_win():
    launcher = {"RANK": "2", "WORLD_SIZE": "8"}
    assert worker_share(0, 4, launcher) == (Share(0, 4), "")
    assert worker_share(None, 1, launcher) == (None, "")
    assert worker_share(0, 1, launcher) == (None, "")


@pytest.mark.parametrize(("index", "count"), [(1, None), (None, 4), (4, 4), (-1, 4), (0, 0), (1, 1)])
def test_what_can_not_be(index, count):
    with pytest.raises(ConfigError, match=r"worker"):
        worker_share(index, count, {})
