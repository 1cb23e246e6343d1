"""Ten bars: what an extraction survives. A small seeded sample of each; with ``--faults`` everything.

A bar says how much it tried by ``figures``; the figures stand at the end of pytest's output (``make faults``, or any
run of these tests in one process).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nursery import Nursery, contents

from clipfuse_cache.manifest import read_plan

SEED = 3
FIGURES = pytest.StashKey[dict[str, list[str]]]()


@dataclass(frozen=True)
class Amount:
    """How much of a bar to do."""

    everything: bool

    def count(self, small, all_of_it):
        return all_of_it if self.everything else small

    def some(self, population, small):
        """All of it, or ``small`` of them, always the same ones."""
        population = list(population)
        return population if self.everything else random.Random(SEED).sample(population, min(small, len(population)))


@pytest.fixture(scope="session")
def toy():
    """The toy extraction of the cache's tests."""
    import toy

    return toy


@pytest.fixture(scope="session")
def amount(request):
    return Amount(request.config.getoption("--faults"))


@pytest.fixture(scope="session")
def figures(request):
    """``figures(bar, text)`` says what a bar did."""
    said = request.config.stash.setdefault(FIGURES, {})
    return lambda bar, text: said.setdefault(bar, []).append(text)


def pytest_terminal_summary(terminalreporter, config):
    for bar, texts in sorted(config.stash.get(FIGURES, {}).items()):
        terminalreporter.write_line(f"{bar}: {'; '.join(texts)}")


@pytest.fixture(scope="session")
def nursery():
    made = Nursery()
    yield made
    made.close()


@dataclass(frozen=True)
class Whole:
    """What an extraction leaves that nothing happens to, and the fail points that it passes."""

    files: dict[str, bytes]
    points: tuple[str, ...]
    resume: Callable[[Path], Any]

    def check_state(self, root):
        """Each file is complete or absent: whole shards, samples, ledger, manifests; plans by their own seal."""
        for name, data in contents(root).items():
            path = root / name
            if path.suffix == ".tmp":
                assert path.name.startswith(".")
            elif path.name == "plan.json":
                assert read_plan(path.parent) is not None
            else:
                assert data == self.files[name], name

    def check_resume(self, root):
        """One more run ends with the bytes of the one that nothing happened to, and with no other file."""
        self.resume(root)
        assert contents(root) == self.files


@pytest.fixture(scope="session")
def whole(nursery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    nursery.run("extract", folder / "cache", fault="*=note", file=folder / "notes").ended_well()
    points = tuple((folder / "notes").read_text().split())
    found = Whole(contents(folder / "cache"), points, lambda root: nursery.run("extract", root).ended_well())
    kinds = {Path(name).name for name in found.files}
    assert kinds >= {"samples.h5", "ledger.jsonl", "manifest.json", "shard-000000.h5", "shard-000002.h5"}
    assert "plan.json" not in kinds and found.files["ledger.jsonl"]
    return found


@pytest.fixture(scope="session")
def steps(whole):
    """Each passing of each fail point, as CLIPFUSE_FAULT wants it without its action: "half:shard-000001.h5#2"."""
    seen: dict[str, int] = {}
    found = []
    for point in whole.points:
        seen[point] = seen.get(point, 0) + 1
        found.append(f"{point}#{seen[point]}")
    return tuple(found)
