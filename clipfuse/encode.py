"""The pass over the rows: read, decode and prepare in threads; encode; write behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, TypeVar

from clipfuse.data.dataset import Dataset
from clipfuse.errors import EncoderError
from clipfuse.inputs import Progress
from clipfuse.machine import compared_machine
from clipfuse.memory import is_out_of_memory
from clipfuse.shard_work import Batch, EncodeJob, ShardWork, TableKey
from clipfuse.stage_clock import StageClock
from clipfuse_cache import Share, faults

T = TypeVar("T")

GPU_LANES = 2


def lanes_of(device: str) -> int:
    """How many batches are encoded at once: on a GPU one is sent and fetched while another is computed."""
    return 1 if device == "cpu" else GPU_LANES


class _Encoded(NamedTuple):
    """What one forward pass gave; ``batch`` None where nothing of a task could be prepared."""

    work: ShardWork
    batch: Batch | None
    features: Mapping[str, Any]
    seconds: float
    ends_task: bool


def encode_pass(
    jobs: Sequence[EncodeJob],
    dataset: Dataset,
    digests: Sequence[bytes],
    *,
    device: str,
    threads: int,
    share: Share | None,
    clock: StageClock,
    progress: Progress,
) -> None:
    """Encode and write every missing shard, or this worker's share of them, of ``jobs``, which share one plan (see
    ``plan_key``) and one modality.

    Raises:
        EncoderError: out of memory, or features that can't be stored.
        DataError: a picture that was there is gone.
        DiskFull, CacheError: a shard can't be written.
    """
    writer = next(iter(jobs[0].writers.values()))
    todo = _shards_to_do(jobs, share)
    total = sum(len(writer.rows_of(writer.plan.first_shard + number)) for number in todo)
    kind = "captions" if jobs[0].encoder.spec.modality == "text" else "pictures"
    label = f"{' + '.join(dict.fromkeys(job.encoder.spec.name for job in jobs))}, {kind}"

    def prepare() -> Iterator[Callable[[], tuple[ShardWork, list[Batch]]]]:
        for number, missing in todo.items():
            rows = writer.rows_of(writer.plan.first_shard + number)
            work = ShardWork(number, rows, missing, jobs, dataset, digests)
            for task in work.tasks(writer.plan.batch_size):
                yield lambda work=work, task=task: (work, prepared(task))  # type: ignore[misc]

    def prepared(task: Callable[[], list[Batch]]) -> list[Batch]:
        with _memory_advice(f"preparing {kind}", writer.plan.batch_size, device):
            return task()

    def encode() -> Iterator[Callable[[], _Encoded]]:
        for work, batches in _results(readers, prepare(), threads + 2, clock):
            for batch in batches[:-1]:
                yield lambda work=work, batch=batch: run(work, batch, ends_task=False)  # type: ignore[misc]
            last = batches[-1] if batches else None
            yield lambda work=work, batch=last: run(work, batch, ends_task=True)  # type: ignore[misc]

    def run(work: ShardWork, batch: Batch | None, *, ends_task: bool) -> _Encoded:
        started = time.perf_counter()
        found = {} if batch is None else _encode(jobs[batch.job], batch, device, clock)
        return _Encoded(work, batch, found, time.perf_counter() - started, ends_task)

    done, partly, machine = 0, 0.0, compared_machine(device)
    clock.lap()  # what other passes left over
    readers, writing = ThreadPoolExecutor(threads), ThreadPoolExecutor(1)
    depth = lanes_of(device)
    lanes = _Here() if depth == 1 else ThreadPoolExecutor(depth)
    written: deque[Future[None]] = deque()
    try:
        with clock.running():
            for one in _results(lanes, encode(), depth if depth == 1 else depth + 1, None):
                work = one.work
                if one.batch is not None:
                    work.take(one.batch, one.features, one.seconds)
                    partly += one.batch.rows / len(work.jobs)
                if one.ends_task and work.finish_task():
                    done, partly = done + len(work.rows), 0.0
                    written.append(writing.submit(work.write, clock.lap(), machine))
                    with clock.waiting_for("disk"):
                        while len(written) > 2 or (written and written[0].done()):
                            written.popleft().result()
                progress(label, min(done + round(partly), total), total)
            with clock.waiting_for("disk"):
                while written:
                    written.popleft().result()
    finally:
        readers.shutdown(cancel_futures=True)
        lanes.shutdown(cancel_futures=True)
        writing.shutdown()


def _shards_to_do(jobs: Sequence[EncodeJob], share: Share | None) -> dict[int, list[TableKey]]:
    """Shard number within the plan -> the tables that lack it."""
    todo: dict[int, list[TableKey]] = {}
    for number, job in enumerate(jobs):
        for output, writer in job.writers.items():
            for index in writer.missing(share):
                todo.setdefault(index - writer.plan.first_shard, []).append((number, output))
    return dict(sorted(todo.items()))


def _encode(job: EncodeJob, batch: Batch, device: str, clock: StageClock) -> Mapping[str, Any]:
    """One forward pass: output -> (inputs, tokens, dim) float32 arrays."""
    faults.point("encode")
    planned = next(iter(job.writers.values())).plan.batch_size
    with _memory_advice(f"encoding with {job.encoder.spec.name}", planned, device), clock.encoding_now():
        return {output: features.numpy() for output, features in job.encoder.encode(batch.prepared).items()}


@contextmanager
def _memory_advice(what: str, planned: int, device: str) -> Iterator[None]:
    """Says what to change where memory runs out in the block."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = f"--batch-size {max(1, planned // 2)}, or fewer --threads" if planned > 1 else "fewer --threads"
        raise EncoderError(
            f"memory ran out while {what} on {device}, in batches of {planned}",
            f"Run the same command with {smaller}; finished shards are kept",
        ) from error


class _Here(Executor):
    """Runs at once, in the calling thread: on a processor a second thread would only share it, and the C library
    gives a thread's large blocks back to the system after each pass (see :mod:`clipfuse.memory`)."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _results(pool: Executor, tasks: Iterable[Callable[[], T]], depth: int, clock: StageClock | None) -> Iterator[T]:
    """Results of ``tasks`` in their order, with up to ``depth`` of them under way. What ``clock`` is told of, where
    there is one, is the waiting for them."""
    under_way: deque[Future[T]] = deque()

    def next_result() -> T:
        with clock.waiting_for("inputs") if clock is not None else nullcontext():
            return under_way.popleft().result()

    for task in tasks:
        under_way.append(pool.submit(task))
        if len(under_way) >= depth:
            yield next_result()
    while under_way:
        yield next_result()
