"""The pass over the rows: read, decode and prepare in threads; encode here; write behind."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import Dataset
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.encoders import Encoder
from clipfuse.errors import DataError, EncoderError
from clipfuse.inputs import Progress
from clipfuse_cache import Shard, TableWriter
from clipfuse_cache.fingerprint import NO_DIGEST

T = TypeVar("T")


NOT_FINITE = "its features are not finite"


@dataclass(frozen=True)
class EncodeJob:
    """One encoder and the writers of those of its outputs' tables that share one plan."""

    encoder: Encoder
    writers: Mapping[str, TableWriter]

    @property
    def plan_key(self) -> tuple[object, ...]:
        """Jobs with equal keys can share a pass: the same rows in the same shards and batches."""
        plan = next(iter(self.writers.values())).plan
        return plan.rows_digest, plan.shard_rows, plan.batch_size


@dataclass
class _Part:
    """One table's shard, as far as it has come. A table depends on its own encoder alone, never on the others that
    share the pass: each has its own failures."""

    values: NDArray[Any]
    valid: NDArray[np.bool_]
    failures: dict[int, str] = field(default_factory=dict)


@dataclass
class _Work:
    """One shard's rows and what has come of them so far, by (number of the job, output) for each table that lacks it.

    ``inputs``: for each distinct input, in encoding order, the rows (positions in the shard) that have it.
    """

    number: int
    rows: list[int]
    inputs: list[list[int]]
    parts: dict[tuple[int, str], _Part]
    batches_left: int = 0

    @property
    def jobs(self) -> list[int]:
        """The jobs that have something to do here."""
        return sorted({number for number, _ in self.parts})

    def fail(self, places: list[int], reason: str, job: int | None = None) -> None:
        """Note rows that can't be used, by one job or by all of them."""
        for (number, _), part in self.parts.items():
            if job is None or number == job:
                part.failures |= dict.fromkeys(places, reason)


@dataclass(frozen=True)
class _Batch:
    """Some of a shard's inputs. For each job the ones that it could prepare, and these collated (nothing of none)."""

    work: _Work
    rows: int
    inputs: Mapping[int, list[list[int]]]
    prepared: Mapping[int, Mapping[str, Any]]


def encode_pass(
    jobs: Sequence[EncodeJob],
    dataset: Dataset,
    digests: Sequence[bytes],
    threads: int,
    progress: Progress,
) -> float:
    """Encode and write every missing shard of ``jobs``, which share one plan (see ``plan_key``) and one modality.

    Batches never cross a shard and hold its distinct inputs in an order that depends on them alone, so a shard's
    bytes do not depend on where an earlier run stopped.

    Returns:
        Seconds spent in forward passes.
    """
    writers = {(n, output): writer for n, job in enumerate(jobs) for output, writer in job.writers.items()}
    first = next(iter(writers.values()))
    for writer in writers.values():
        writer.begin()
    todo = _shards_to_do(writers)
    text = jobs[0].encoder.spec.modality == "text"
    total = sum(len(first.rows_of(first.plan.first_shard + number)) for number in todo)
    label = " + ".join(job.encoder.spec.name for job in jobs) + (", captions" if text else ", pictures")

    def tasks() -> Iterator[Callable[[], _Batch]]:
        for number, missing in todo.items():
            work = _begin(number, first.rows_of(first.plan.first_shard + number), missing, jobs, dataset, digests)
            size = first.plan.batch_size
            parts = [work.inputs[start : start + size] for start in range(0, len(work.inputs), size)] or [[]]
            work.batches_left = len(parts)
            for part in parts:
                yield lambda work=work, part=part: _prepare(work, part, jobs, dataset)  # type: ignore[misc]

    done, forward_seconds = 0, 0.0
    with ThreadPoolExecutor(threads) as readers, ThreadPoolExecutor(1) as writing:
        written: deque[Future[None]] = deque()
        try:
            for batch in _ahead(readers, tasks(), depth=threads + 2):
                started = time.perf_counter()
                _encode(batch, jobs)
                forward_seconds += time.perf_counter() - started
                batch.work.batches_left -= 1
                done += batch.rows
                if batch.work.batches_left == 0:
                    done += len(batch.work.rows) - sum(map(len, batch.work.inputs))
                    written.append(writing.submit(_write, batch.work, writers, dataset, digests))
                while written and (written[0].done() or len(written) > 2):
                    written.popleft().result()
                progress(label, done, total)
            while written:
                written.popleft().result()
        except BaseException:
            readers.shutdown(wait=False, cancel_futures=True)
            raise
    return forward_seconds


def _shards_to_do(writers: Mapping[tuple[int, str], TableWriter]) -> dict[int, list[tuple[int, str]]]:
    """Shard number within the plan -> the tables that lack it."""
    todo: dict[int, list[tuple[int, str]]] = {}
    for key, writer in writers.items():
        for index in writer.missing():
            todo.setdefault(index - writer.plan.first_shard, []).append(key)
    return dict(sorted(todo.items()))


def _begin(
    number: int,
    rows: list[int],
    missing: list[tuple[int, str]],
    jobs: Sequence[EncodeJob],
    dataset: Dataset,
    digests: Sequence[bytes],
) -> _Work:
    same: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        if digests[row] != NO_DIGEST:
            same.setdefault(digests[row], []).append(place)
    inputs = list(same.values())
    if jobs[0].encoder.spec.modality == "text":  # captions of like length together: less padding
        inputs.sort(key=lambda places: (len(dataset.captions[rows[places[0]]] or ""), digests[rows[places[0]]]))
    parts = {}
    for job, output in missing:
        table = jobs[job].writers[output].plan.table
        values = np.zeros((len(rows), table.tokens, table.dim), dtype=table.dtype)
        parts[job, output] = _Part(values, np.zeros(len(rows), dtype=np.bool_))
    return _Work(number, rows, inputs, parts)


def _prepare(work: _Work, inputs: list[list[int]], jobs: Sequence[EncodeJob], dataset: Dataset) -> _Batch:
    """Runs in a thread. A row whose input can't be used is noted and left out."""
    text = jobs[0].encoder.spec.modality == "text"
    kept: dict[int, list[list[int]]] = {number: [] for number in work.jobs}
    items: dict[int, list[Any]] = {number: [] for number in work.jobs}
    for places in inputs:
        row = work.rows[places[0]]
        try:
            item: Any = dataset.captions[row] if text else decode_picture(_read_again(dataset, row))
        except PictureError as error:
            work.fail(places, str(error))
            continue
        for number in work.jobs:
            try:
                ready = jobs[number].encoder.prepare(item)
            except Exception as error:  # a library's transform or tokenizer: one odd row never ends a run
                work.fail(places, f"can't be prepared ({error or type(error).__name__})", number)
            else:
                kept[number].append(places)
                items[number].append(ready)
    return _Batch(
        work,
        sum(map(len, inputs)),
        kept,
        {number: jobs[number].encoder.collate(ready) for number, ready in items.items() if ready},
    )


def _read_again(dataset: Dataset, row: int) -> bytes:
    """A picture that was there when its digest was taken. A failure now is the disk's and not the row's: noted as
    the row's it would stay, because a table is never made again for the same input."""
    picture = dataset.images[row]
    assert picture is not None
    try:
        return picture.read()
    except OSError as error:
        raise DataError(
            f"{picture.key} ({dataset.ids[row]}) could be read before and can't be now ({error.strerror or error})",
            "Run the same command again; finished shards are kept",
        ) from error


def _encode(batch: _Batch, jobs: Sequence[EncodeJob]) -> None:
    for number, prepared in batch.prepared.items():
        inputs = batch.inputs[number]
        places = [place for same in inputs for place in same]
        input_of = [n for n, same in enumerate(inputs) for _ in same]
        for output, features in jobs[number].encoder.encode(prepared).items():
            part = batch.work.parts.get((number, output))
            if part is None:
                continue
            found = features.numpy()
            finite = np.isfinite(found).all(axis=(1, 2))
            with np.errstate(over="ignore"):
                stored = found.astype(part.values.dtype)
            if not np.isfinite(stored[finite]).all():
                name, largest = jobs[number].encoder.spec.table_name(output), np.abs(found[finite]).max()
                raise EncoderError(
                    f"{name} gave values up to {largest:.3g}, which {part.values.dtype} can't hold",
                    "Run clipfuse extract with --storage float32",
                )
            stored[~finite] = 0
            part.values[places] = stored[input_of]
            part.valid[places] = finite[input_of]
            for n in np.flatnonzero(~finite):
                part.failures |= dict.fromkeys(inputs[n], NOT_FINITE)


def _write(
    work: _Work,
    writers: Mapping[tuple[int, str], TableWriter],
    dataset: Dataset,
    digests: Sequence[bytes],
) -> None:
    """Runs in the writing thread."""
    digest_rows = np.frombuffer(b"".join(digests[row] for row in work.rows), dtype=np.uint8)
    for key, part in work.parts.items():
        shard = Shard(
            ids=tuple(dataset.ids[row] for row in work.rows),
            digests=digest_rows.reshape(-1, len(NO_DIGEST)),
            values=part.values,
            valid=part.valid,
            failures=part.failures,
        )
        writers[key].write(writers[key].plan.first_shard + work.number, shard)


def _ahead(pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], depth: int) -> Iterator[T]:
    """Results of ``tasks`` in their order, with up to ``depth`` of them under way."""
    under_way: deque[Future[T]] = deque()
    for task in tasks:
        under_way.append(pool.submit(task))
        if len(under_way) >= depth:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
