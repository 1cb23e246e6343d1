"""Every benchmark's --quick works and writes what it measured."""

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
QUICK = (
    "baselines",
    "bench_overhead",
    "cache",
    "defaults",
    "doctor",
    "extract",
    "heads",
    "memory",
    "race",
    "recipes",
    "report",
    "reports",
    "serve",
    "start",
    "streaming",
    "tune",
)
NOT_QUICK = {
    "kills": "starts the command and kills it, again and again, which takes minutes; tests/faults/test_kill.py does so",
    "plain_loop": "is a part of extract",
}


@pytest.fixture
def quick(monkeypatch, tmp_path, capsys, _quick_intervals):
    """``quick(name)`` -> the JSON that a script writes, run in this process."""

    def run(name):
        out = tmp_path / "result.json"
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--out", str(out)])
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        before = set(sys.modules)
        try:
            runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
        finally:
            for module in set(sys.modules) - before:  # "common" and its like are names that others may have
                if Path(getattr(sys.modules[module], "__file__", None) or "/").is_relative_to(BENCHMARKS):
                    del sys.modules[module]
        return json.loads(out.read_text())

    return run


@pytest.mark.parametrize("name", QUICK)
def test_quick(quick, name):
    found = quick(name)
    assert found["machine"] and found["date"] and found["rows"]
    assert len({tuple(row) for row in found["rows"]}) == 1


def test_every_benchmark_is_tested_or_says_why_not():
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if '"__main__"' in path.read_text()}
    assert scripts == {*QUICK, *NOT_QUICK}
