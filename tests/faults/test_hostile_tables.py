"""Hostile tables through the real command, with limits of memory and processor time: every row is used or named, or
one clear line says why there is no table."""

from __future__ import annotations

import json

from hostile_tables import TABLES

from clipfuse_cache import FeatureCache

LIMITS = {"memory": 2 << 30, "processor": 200}


def check(name, folder, outcome):
    """True where its rows were used or named, False where it was refused in one clear line."""
    suffix, _, rows = TABLES[name]
    assert "Traceback" not in outcome.stderr and not outcome.hung, outcome
    if rows is None:
        assert (outcome.code, outcome.stdout) == (1, ""), outcome
        (line,) = outcome.stderr.splitlines()
        assert line.startswith("clipfuse: error: ") and "unexpected" not in line and len(line) < 3000, line
        assert f"table{suffix}" in line, line
        assert [path.name for path in folder.iterdir()] == [f"table{suffix}"]
        return False
    assert outcome.code == 0, outcome
    cache = FeatureCache(folder / "features" / "table")
    samples = cache.samples()
    ledger = [json.loads(line) for line in cache.ledger.read_text().splitlines()]
    lost = {entry["line"] for entry in ledger if entry["part"] == "row"}
    assert len(samples) + len(lost) == rows, (samples.ids[:9], ledger[:9])
    without = {name for name, text in zip(samples.ids, samples.captions, strict=True) if text is None}
    assert without <= {entry["id"] for entry in ledger}
    assert len(cache.tables()[0].take(samples.ids).valid) == len(samples)
    return True


def test_rows_or_one_clear_error(nursery, amount, figures, tmp_path):
    chosen, used, wrong = amount.some(TABLES, 12), 0, {}
    for number, name in enumerate(chosen):
        suffix, data, _ = TABLES[name]
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"table{suffix}").write_bytes(data)
        outcome = nursery.run("command", folder, "extract", f"table{suffix}", **LIMITS)
        try:
            used += check(name, folder, outcome)
        except AssertionError as error:
            wrong[name] = str(error)
    assert not wrong
    figures("f. hostile tables", f"{used} of {len(chosen)} read, {len(chosen) - used} refused in one line")
