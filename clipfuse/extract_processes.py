"""Several processes of one machine at work on one cache, one for each GPU, each on its share of the shards."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from clipfuse.errors import ClipfuseError, EncoderError
from clipfuse.inputs import Progress
from clipfuse_cache import Share

ShareTask = Callable[[Share, Progress], Any]
"""Encodes one share; it and what it returns have to be picklable: a partial of a function of a module, with the
settings that it needs."""

_POLL_SECONDS = 0.2
_PROGRESS_EVERY = 0.2


def run_shares(task: ShareTask, count: int, progress: Progress, *, on_gpus: bool) -> list[Any]:
    """Run ``task`` for each of ``count`` shares in a fresh process of its own, which sees one of the GPUs where it is
    to run ``on_gpus``. Returns what the tasks returned when all are through; then the tables can be completed.

    Raises:
        ClipfuseError: what the first process that failed had raised; the others are ended, finished shards are kept.
        EncoderError: a process died without a word, killed for memory perhaps.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share CUDA's state, and threads' locks
    messages: Queue[Any] = context.Queue()
    processes = [
        context.Process(target=_work, args=(task, Share(index, count), messages, on_gpus), daemon=True)
        for index in range(count)
    ]
    states: dict[int, tuple[str, int, int]] = {}
    results: dict[int, Any] = {}
    try:
        for process in processes:
            process.start()
        while len(results) < count:
            # what a process said before it ended is in the queue before it is seen to have ended
            ended = {index for index in range(count) if not processes[index].is_alive()}
            for index, kind, message in _received(messages):
                if kind == "error":
                    raise message
                if kind == "result":
                    results[index] = message
                else:
                    states[index] = message
                    _show(states, progress)
            died = ended - results.keys()
            if died:
                index = min(died)
                raise EncoderError(
                    f"process {index + 1} of {count} ended without a word (exit code {processes[index].exitcode})",
                    "Killed for memory perhaps: run the same command with a smaller --batch-size or fewer --processes",
                )
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            if process.pid is not None:
                process.join()
        messages.close()
    return [results[index] for index in range(count)]


def visible_gpu(index: int, visible: str | None) -> str:
    """What CUDA_VISIBLE_DEVICES has to be for process ``index`` to see one of those that ``visible`` (its value now,
    None where it is not set) lets this process see."""
    return visible.split(",")[index].strip() if visible else str(index)


def _received(messages: Queue[Any]) -> list[tuple[int, str, Any]]:
    """What has come, after waiting a moment for the first."""
    found: list[tuple[int, str, Any]] = []
    try:
        found.append(messages.get(timeout=_POLL_SECONDS))
        while True:
            found.append(messages.get_nowait())
    except Empty:
        return found


def _show(states: dict[int, tuple[str, int, int]], progress: Progress) -> None:
    """One bar for all processes that are at the same thing as the slowest."""
    label = min(states.values(), key=lambda state: state[1] / max(state[2], 1))[0]
    those = [state for state in states.values() if state[0] == label]
    progress(label, sum(state[1] for state in those), sum(state[2] for state in those))


def _work(task: ShareTask, share: Share, messages: Queue[Any], on_gpus: bool) -> None:  # noqa: FBT001
    """Runs in the new process."""
    if on_gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_gpu(share.index, os.environ.get("CUDA_VISIBLE_DEVICES"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it too, and ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told = [0.0]

    def progress(label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - told[0] >= _PROGRESS_EVERY or done == total:
            told[0] = now
            messages.put((share.index, "progress", (label, done, total)))

    try:
        result = task(share, progress)
    except Exception as error:
        known = error if isinstance(error, ClipfuseError) else RuntimeError(f"{type(error).__name__}: {error}")
        messages.put((share.index, "error", known))
    else:
        messages.put((share.index, "result", result))
    messages.close()
    messages.join_thread()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # killed: nobody is left to complete the tables; finished shards are kept
