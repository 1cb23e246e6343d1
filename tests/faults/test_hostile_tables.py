"""Hostile tables through the real command, with limits of memory and processor time: every row is used or named, or
one clear line says why there is no table."""

from __future__ import annotations

import json

from hostile_tables import TABLES

from clipfuse_cache import FeatureCache

LIMITS = {"memory": 2 << 30, "processor": 200}


def test_rows_or_one_clear_error(nursery, amount, figures, tmp_path):
    chosen = amount.some(TABLES, 12)
    used = 0
    for number, name in enumerate(chosen):
        suffix, data, rows = TABLES[name]
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"table{suffix}").write_bytes(data)
        outcome = nursery.run("command", folder, "extract", f"table{suffix}", **LIMITS)
        assert "Traceback" not in outcome.stderr and not outcome.hung, (name, outcome)
        if rows is None:
            assert outcome.code == 1 and outcome.stdout == "", (name, outcome)
            (line,) = outcome.stderr.splitlines()
            assert line.startswith("clipfuse: error: ") and "unexpected" not in line and len(line) < 3000, name
            assert f"table{suffix}" in line, (name, line)
            assert [path.name for path in folder.iterdir()] == [f"table{suffix}"]
            continue
        assert outcome.code == 0, (name, outcome)
        cache = FeatureCache(folder / "features" / "table")
        ledger = [json.loads(line) for line in cache.ledger.read_text().splitlines()]
        lost = {entry["line"] for entry in ledger if entry["part"] == "row"}
        samples = cache.samples()
        assert len(samples) + len(lost) == rows, (name, samples.ids[:9], ledger[:9])
        without = {name for name, text in zip(samples.ids, samples.captions, strict=True) if text is None}
        assert without <= {entry["id"] for entry in ledger}, name
        assert len(cache.tables()[0].take(samples.ids).valid) == len(samples)
        used += 1
    figures(
        "f. hostile tables", f"{len(chosen)} of {len(TABLES)}: {used} read, {len(chosen) - used} refused in one line"
    )
