"""Extracting with several processes and several workers, and what is said of it."""

import pytest

from clipfuse.stage_clock import StageClock
from clipfuse_cli.extract_summary import describe_stages


def features(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.h5")}


@pytest.fixture
def captions(tmp_path):
    lines = "".join(f"{n},a picture of thing {n}\n" for n in range(40))
    (tmp_path / "texts.csv").write_text("id,caption\n" + lines)
    return ["extract", "texts.csv", "--shard-rows", "8", "--threads", "1"]


def test_workers_and_merge(cli, captions, tmp_path):
    assert cli(*captions, "--cache", "whole").exit_code == 0
    for index in (1, 0):
        done = cli(*captions, "--cache", "shared", "--worker-index", str(index), "--worker-count", "2")
        assert done.exit_code == 0 and done.stdout == ""
        assert f"worker {index} of 2: {(6, 4)[index]} shards made" in done.stderr
        assert "clipfuse cache merge shared" in done.stderr
    assert cli("cache", "merge", "shared").exit_code == 0
    assert features(tmp_path / "shared") == features(tmp_path / "whole")
    again = cli(*captions, "--cache", "shared")
    assert "nothing to do" in again.stderr


def test_the_environment_is_announced(cli, captions, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    done = cli(*captions)
    assert done.stderr.startswith("worker 1 of 2 (SLURM_PROCID=1, SLURM_STEP_NUM_TASKS=2); --worker-count 1 makes all")
    whole = cli(*captions, "--worker-count", "1")
    assert "40" in whole.stdout


def test_what_a_worker_can_not_do(cli, captions):
    worker = [*captions, "--worker-index", "0", "--worker-count", "2"]
    for flags, said in ((["--strict"], "--strict"), (["--processes", "2"], "a worker is one process")):
        refused = cli(*worker, *flags)
        assert refused.exit_code == 2 and said in refused.stderr


def test_more_processes_than_gpus(monkeypatch):
    from pathlib import Path

    from clipfuse import extract_request
    from clipfuse.errors import ConfigError
    from clipfuse.extract import ExtractOptions

    request = extract_request.ExtractRequest((), ("mini",), Path("nowhere"), ExtractOptions(device="cuda"))
    monkeypatch.setattr(extract_request, "gpu_count", lambda: 2)
    with pytest.raises(ConfigError, match="--processes 3, and there are 2 GPUs"):
        extract_request.extract_in_processes(request, 3, lambda *_: None)


def test_processes(cli, captions, tmp_path):
    """The real command in two processes, which find their work by themselves."""
    done = cli(*captions, "--cache", "two", "--processes", "2")
    assert done.exit_code == 0, done.stderr
    assert "40 rows in" in done.stderr and "captions: the encoder was busy" in done.stderr
    assert cli(*captions, "--cache", "one").exit_code == 0
    assert features(tmp_path / "two") == features(tmp_path / "one")


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ((10, 9, 0.5, 0), "pictures: the encoder was busy 90% of 10.0 s and is the bottleneck"),
        (
            (10, 4, 5, 1),
            "pictures: the encoder was busy 40% of 10.0 s and waited 50% for pictures: reading and decoding",
        ),
        ((10, 4, 1, 5), "pictures: the encoder was busy 40% of 10.0 s and waited 50% for the disk"),
    ],
)
def test_the_bottleneck_is_named(times, said):
    clock = StageClock()
    clock.total, clock.encoding, clock.inputs, clock.disk = times
    assert describe_stages("pictures", clock).startswith(said)
