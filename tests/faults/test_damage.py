"""Damage to every kind of file: never a wrong value, a hang, a crash, or another error than the documented ones.

The readers run in children with limits of memory and processor time.
"""

from __future__ import annotations

import pytest

LIMITS = {"memory": 512 << 20, "processor": 200}
BATCH = 250
FILES = ("shard", "shard of an unfinished table", "manifest.json", "plan.json", "samples.h5")


@pytest.mark.parametrize("file", FILES)
def test_damage_is_refused(nursery, amount, figures, tmp_path, file):
    total = amount.count(120, 3000)
    found = {"refused": 0, "the same": 0}
    for start in range(0, total, BATCH):
        seeds = [start, min(start + BATCH, total)]
        one = nursery.run("damage_file", tmp_path / str(start), file, seeds, **LIMITS).ended_well()
        found = {key: found[key] + one[key] for key in found}
    assert sum(found.values()) == total
    assert found["the same"] <= (total / 20 if file.endswith(".json") else 0)  # a blank in JSON may change
    figures("c. damage", f"{file}: {found['refused']} refused, {found['the same']} unchanged, 0 wrong")


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_short_is_refused(nursery, tmp_path, file):
    assert nursery.run("cut_file", tmp_path / "cut", file, **LIMITS).ended_well() > 20
