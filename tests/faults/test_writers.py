"""Eight processes that extract the same data into one cache at once, some of them killed."""

from __future__ import annotations

import random
import signal
import time

WRITERS = 8


def test_they_get_along(nursery, whole, tmp_path):
    children = [nursery.start("extract", tmp_path) for _ in range(WRITERS)]
    for child in children:
        child.wait().ended_well()
    whole.check_resume(tmp_path)


def test_some_of_them_are_killed(nursery, whole, steps, amount, figures, tmp_path):
    chance, killed, rounds = random.Random(1), 0, amount.count(2, 40)
    for number in range(rounds):
        root = tmp_path / str(number)
        doomed = chance.sample(steps, 3)
        children = [nursery.start("extract", root, fault=f"{step}=kill") for step in doomed]
        children += [nursery.start("extract", root) for _ in range(WRITERS - len(doomed))]
        time.sleep(chance.random() * 0.1)
        children[-1].send(signal.SIGKILL)
        outcomes = [child.wait() for child in children]
        for outcome in outcomes:
            if outcome.code != -signal.SIGKILL:
                outcome.ended_well()
            killed += outcome.code == -signal.SIGKILL
        whole.check_state(root)
        whole.check_resume(root)
    assert killed
    figures("g. writers", f"{rounds} times {WRITERS} at once, {killed} of them killed, 0 bytes differ")
