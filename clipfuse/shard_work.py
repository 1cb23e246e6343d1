"""One shard on its way: its rows, their prepared inputs in batches, and what has come of them so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipfuse.data.dataset import Dataset
from clipfuse.data.pictures import PictureError, decode_picture
from clipfuse.encoders import Encoder, EncoderSpec, Prepared
from clipfuse.errors import DataError, EncoderError
from clipfuse.views import View
from clipfuse_cache import Shard, ShardTime, TableWriter
from clipfuse_cache.columns import take
from clipfuse_cache.fingerprint import NO_DIGEST, input_digest

TOKENS_OF_A_ROW = 32
"""A batch of captions holds as many tokens, padding included, as ``batch_size`` captions of this length."""

CAPTION_BATCHES = 8
"""A task prepares as many captions as this many batches have: enough to sort, few enough to encode beside it."""

NOT_FINITE = "its features are not finite"

_AGAIN = "Run the same command again; finished shards are kept"

TableKey = tuple[int, str]
"""(number of the job, output)."""


@dataclass(frozen=True)
class EncodeJob:
    """One encoder reading one view, and the writers of those of its outputs' tables that share one plan.

    ``spec`` is the encoder's, with that view; ``view`` None is the input as it is.
    """

    encoder: Encoder
    spec: EncoderSpec
    view: View | None
    writers: Mapping[str, TableWriter]

    def with_writers(self, writers: Mapping[str, TableWriter]) -> EncodeJob:
        """The same with more of its outputs' tables."""
        return replace(self, writers={**self.writers, **writers})

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
    notes: dict[str, set[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """One job's inputs of one forward pass. ``inputs``: for each distinct input the rows (positions in the shard)
    that have it."""

    job: int
    inputs: list[list[int]]
    prepared: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """How many rows it is about."""
        return sum(map(len, self.inputs))


class ShardWork:
    """One shard's rows and what has come of them so far, for each table that lacks it.

    Its ``tasks`` run in threads: each reads, decodes and prepares some of the distinct inputs, and gives batches to
    encode. Batches never cross a shard and hold its inputs in an order that depends on them alone, so a shard's bytes
    do not depend on where an earlier run stopped.
    """

    def __init__(
        self,
        number: int,
        rows: list[int],
        missing: Sequence[TableKey],
        jobs: Sequence[EncodeJob],
        dataset: Dataset,
        digests: Sequence[bytes],
    ) -> None:
        self.rows = rows
        self._number = number
        self._jobs = jobs
        self._dataset = dataset
        self._digests = take(digests, rows)  # by position in the shard, as what follows
        self._captions = take(dataset.captions, rows) if jobs[0].encoder.spec.modality == "text" else []
        self._parts: dict[TableKey, _Part] = {}
        for job, output in missing:
            table = jobs[job].writers[output].plan.table
            values = np.zeros((len(rows), table.tokens, table.dim), dtype=table.dtype)
            self._parts[job, output] = _Part(values, np.zeros(len(rows), dtype=np.bool_))
        self.jobs = sorted({job for job, _ in missing})
        self._tasks_left = 0
        self._encoding = dict.fromkeys(self.jobs, 0.0)

    def tasks(self, batch_size: int) -> Iterator[Callable[[], list[Batch]]]:
        """What is to be run in threads: a batch of pictures each, or some batches of captions of like length."""
        inputs = self._distinct_inputs()
        text = self._jobs[0].encoder.spec.modality == "text"
        size = batch_size * CAPTION_BATCHES if text else batch_size
        if text:  # by characters, which are known; within a task they will be sorted by tokens
            inputs.sort(key=lambda places: (len(self._caption(places)), self._digests[places[0]]))
        chunks = [inputs[start : start + size] for start in range(0, len(inputs), size)] or [[]]
        self._tasks_left = len(chunks)
        for chunk in chunks:
            if text:
                yield lambda chunk=chunk: self._prepare_captions(chunk, batch_size * TOKENS_OF_A_ROW)  # type: ignore[misc]
            else:
                yield lambda chunk=chunk: self._prepare_pictures(chunk)  # type: ignore[misc]

    def take(self, batch: Batch, found: Mapping[str, NDArray[np.float32]], seconds: float) -> None:
        """Note one forward pass's features: output -> (inputs, tokens, dim), and the ``seconds`` that it took.

        Raises:
            EncoderError: a value that the table's dtype can't hold.
        """
        self._encoding[batch.job] += seconds
        places = [place for same in batch.inputs for place in same]
        input_of = [n for n, same in enumerate(batch.inputs) for _ in same]
        for output, features in found.items():
            part = self._parts.get((batch.job, output))
            if part is None:
                continue
            finite: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=(1, 2)))
            with np.errstate(over="ignore"):
                stored = features.astype(part.values.dtype)
            if not np.isfinite(stored[finite]).all():
                name = self._jobs[batch.job].spec.table_name(output)
                raise EncoderError(
                    f"{name} gave values up to {np.abs(features[finite]).max():.3g}, "
                    f"which {part.values.dtype} can't hold",
                    "Run clipfuse extract with --storage float32",
                )
            stored[~finite] = 0
            part.values[places] = stored[input_of]
            part.valid[places] = finite[input_of]
            for n in np.flatnonzero(~finite):
                part.failures |= dict.fromkeys(batch.inputs[n], NOT_FINITE)

    def finish_task(self) -> bool:
        """Note that all batches of one task are taken; True where it was the last one."""
        self._tasks_left -= 1
        return self._tasks_left == 0

    def write(self, seconds: float, machine: Mapping[str, Any]) -> None:
        """Write the shard of every table. Raises DiskFull, CacheError.

        The ``seconds`` that all of it took on ``machine`` are shared out to the encoders by the time of their forward
        passes: each has its part of the reading and decoding that was done for all of them.
        """
        whole = sum(self._encoding.values())
        ids = tuple(take(self._dataset.ids, self.rows))
        digests = np.frombuffer(b"".join(self._digests), dtype=np.uint8)
        for (job, output), part in self._parts.items():
            notes = {note: tuple(sorted(places)) for note, places in part.notes.items()}
            shard = Shard(ids, digests.reshape(-1, len(NO_DIGEST)), part.values, part.valid, part.failures, notes)
            writer = self._jobs[job].writers[output]
            part_of = self._encoding[job] / whole if whole else 1 / len(self.jobs)
            time = ShardTime(len(ids), round(seconds * part_of, 6), machine)
            writer.write(writer.plan.first_shard + self._number, shard, time)

    def _distinct_inputs(self) -> list[list[int]]:
        same: dict[bytes, list[int]] = {}
        for place, digest in enumerate(self._digests):
            if digest != NO_DIGEST:
                same.setdefault(digest, []).append(place)
        return list(same.values())

    def _prepare_pictures(self, inputs: list[list[int]]) -> list[Batch]:
        kept: dict[int, list[tuple[list[int], Prepared]]] = {job: [] for job in self.jobs}
        for places in inputs:
            try:
                picture = decode_picture(self._read_again(places[0]))
            except PictureError as error:
                self._fail(places, str(error))
                continue
            for job in self.jobs:
                self._prepare(job, places, picture.image, picture.treatments, kept[job])
        return [self._batch(job, ready) for job, ready in kept.items() if ready]

    def _caption(self, places: list[int]) -> str:
        return self._captions[places[0]] or ""

    def _prepare_captions(self, inputs: list[list[int]], most_tokens: int) -> list[Batch]:
        batches = []
        for job in self.jobs:
            kept: list[tuple[list[int], Prepared]] = []
            for places in inputs:
                self._prepare(job, places, self._caption(places), (), kept)
            # captions of like length together: less padding
            kept.sort(key=lambda each: (each[1].length, self._digests[each[0][0]]))
            batch: list[tuple[list[int], Prepared]] = []
            for each in kept:
                if batch and (len(batch) + 1) * each[1].length > most_tokens:
                    batches.append(self._batch(job, batch))
                    batch = []
                batch.append(each)
            if batch:
                batches.append(self._batch(job, batch))
        return batches

    def _prepare(
        self,
        job: int,
        places: list[int],
        item: Any,
        notes: Sequence[str],
        kept: list[tuple[list[int], Prepared]],
    ) -> None:
        """An input that can't be used is noted and left out. ``notes``: what was done to it already."""
        view = self._jobs[job].view
        try:
            seen = item if view is None else view.apply(item, self._digests[places[0]])
            prepared = self._jobs[job].encoder.prepare(seen)
        except MemoryError:
            raise  # the machine's trouble and not the row's
        except Exception as error:  # a library's transform or tokenizer: one odd row never ends a run
            self._fail(places, f"can't be prepared ({error or type(error).__name__})", job)
            return
        kept.append((places, prepared))
        for note in (*notes, *prepared.notes):
            for part in self._parts_of(job):
                part.notes.setdefault(note, set()).update(places)

    def _batch(self, job: int, ready: list[tuple[list[int], Prepared]]) -> Batch:
        collated = self._jobs[job].encoder.collate([prepared for _, prepared in ready])
        return Batch(job, [places for places, _ in ready], collated)

    def _fail(self, places: list[int], reason: str, job: int | None = None) -> None:
        """Note rows that can't be used, by one job or by all of them."""
        for part in self._parts_of(job):
            part.failures |= dict.fromkeys(places, reason)

    def _parts_of(self, job: int | None) -> list[_Part]:
        """The tables' parts of one job, or of all."""
        return [part for (number, _), part in self._parts.items() if job is None or number == job]

    def _read_again(self, place: int) -> bytes:
        """A picture that was there when its digest was taken. A failure now is the disk's and not the row's, and other
        bytes are another row's: noted under that digest either would stay, because a table is never made again for the
        same input."""
        row = self.rows[place]
        picture, name = self._dataset.images[row], self._dataset.ids[row]
        assert picture is not None
        try:
            data = picture.read()
        except OSError as error:
            raise DataError(
                f"{picture.key} ({name}) could be read before and can't be now ({error.strerror or error})", _AGAIN
            ) from error
        if input_digest(data) != self._digests[place]:
            raise DataError(f"{picture.key} ({name}) has changed since this extraction began", _AGAIN)
        return data
