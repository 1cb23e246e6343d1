"""SIGKILL at any moment: each file is complete or absent, and the next run ends with the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import time


def test_at_random_moments(nursery, whole, amount, figures, tmp_path):
    chance, root = random.Random(0), tmp_path / "cache"
    started = time.monotonic()
    whole.resume(root)
    seconds = time.monotonic() - started  # only where to aim
    shutil.rmtree(root)
    kills, runs = amount.count(8, 200), 0
    for _ in range(kills):
        # it stands still at its very end: however slow or quick the machine is, there is something to kill
        child = nursery.start("extract", root, fault="folder:ledger.jsonl=stop", file=tmp_path / "stopped")
        time.sleep(chance.random() * seconds)
        child.send(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
        (tmp_path / "stopped").unlink(missing_ok=True)
        whole.check_state(root)
        if chance.random() < 0.5:  # else the next one is killed on top of it
            whole.check_resume(root)
            shutil.rmtree(root)
            runs += 1
    whole.check_resume(root)
    figures("a. SIGKILL", f"{kills} at random moments, {runs + 1} runs gone on with, 0 bytes differ")


def test_at_each_named_step(nursery, whole, steps, amount, figures, tmp_path):
    chosen = amount.some(steps, 8)
    for number, step in enumerate(chosen):
        root = tmp_path / str(number)
        assert nursery.run("extract", root, fault=f"{step}=kill").code == -signal.SIGKILL, step
        whole.check_state(root)
        whole.check_resume(root)
    figures("a. SIGKILL", f"{len(chosen)} of {len(steps)} named steps of writing {len(whole.files)} files and plans")


def test_a_kill_loses_no_finished_shard(nursery, whole, tmp_path):
    """Killed in the third shard, it makes no more than that one again."""
    root, notes = tmp_path / "cache", tmp_path / "notes"
    nursery.run("extract", root, fault="half:shard-000002.h5#1=kill")
    nursery.run("extract", root, fault="temporary:shard-*=note", file=notes).ended_well()
    assert len(notes.read_text().split()) == sum("shard-" in name for name in whole.files) - 2
