"""How a request comes to its answer: a place in the queue, its body, its rows, the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from clipfuse.loaded_run import LoadedRun
from clipfuse.serve.answers import LabelAnswer, LabelsAnswer, LimitsAnswer
from clipfuse.serve.batching import BatchQueue, QueueClosed, QueueFull
from clipfuse.serve.limits import Limits
from clipfuse.serve.measures import Measures
from clipfuse.serve.refusal import Refusal
from clipfuse.serve.rows import ServedRow, read_body, read_rows
from clipfuse.serve.torch_threads import choose_torch_threads

_LARGE = 100_000  # bytes that take long enough to parse to do it beside other requests


class Service:
    """One run, its queue and its counts.

    Args:
        loaded: the run. Only the queue's thread uses it.
        limits: what requests may ask for.
    """

    def __init__(self, loaded: LoadedRun, limits: Limits) -> None:
        self.loaded = loaded
        self.limits = limits
        self.measures = Measures()
        self.queue: BatchQueue[ServedRow, dict[str, Any]] = BatchQueue(
            self._work,
            waiting=limits.waiting,
            batch_rows=limits.batch_rows,
            batch_seconds=limits.batch_seconds,
            on_batch=self.measures.on_batch,
            begin=lambda: choose_torch_threads(loaded),
        )
        self.measures.under_way.set_function(lambda: self.queue.under_way)

    async def predict(self, request: Request) -> list[dict[str, Any]]:
        """The answers to a request's rows. Raises Refusal."""
        try:
            with self.queue.place():
                body = await read_body(request, self.limits)
                arguments = (
                    request.headers.get("content-type", ""),
                    body,
                    self.loaded.number_columns,
                    self.limits,
                )
                large = len(body) > _LARGE
                rows = await run_in_threadpool(read_rows, *arguments) if large else read_rows(*arguments)
                answers = await self._answers(rows)
        except QueueFull as full:
            raise Refusal(
                503,
                "queue_full",
                f"{full.waiting} requests are under way",
                f"Try again in {full.retry_after} s",
                {"Retry-After": str(full.retry_after)},
            ) from None
        except QueueClosed:
            raise Refusal(503, "stopping", "the server is stopping", headers={"Retry-After": "10"}) from None
        for part in (part for row in answers for part in row["problems"]):
            self.measures.unusable.labels(part).inc()
        if all(row["without_input"] for row in answers):
            raise Refusal(422, "unusable_input", self._why(answers), f"It reads: {', '.join(self.loaded.reads)}")
        return answers

    async def _answers(self, rows: Sequence[ServedRow]) -> list[dict[str, Any]]:
        job = self.queue.submit(rows)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job.answers), self.limits.answer_seconds)
        except TimeoutError:
            seconds = f"{self.limits.answer_seconds:g} s"
            raise Refusal(504, "too_slow", f"there was no answer in {seconds}", "Ask for fewer rows") from None
        finally:
            self.queue.give_up(job)

    def _why(self, answers: Sequence[dict[str, Any]]) -> str:
        reasons = [f"row {n}: {part}: {why}" for n, row in enumerate(answers) for part, why in row["problems"].items()]
        return "; ".join(reasons[:5]) or "the run does not read what was given"

    def _work(self, rows: Sequence[ServedRow]) -> list[dict[str, Any]]:
        """Called by the queue's thread."""
        found = self.loaded.predict(
            images=[row.image for row in rows],
            captions=[row.caption for row in rows],
            numbers={name: [row.numbers.get(name) for row in rows] for name in self.loaded.number_columns},
        )
        return [
            {
                "labels": chosen,
                "probabilities": dict(zip(found.labels, values, strict=True)),
                "problems": dict(problems),
                "ignored": [part for part in row.given if part not in self.loaded.reads],
                "without_input": without,
            }
            for row, chosen, values, problems, without in zip(
                rows,
                found.chosen_labels,
                found.probabilities.tolist(),
                found.problems,
                found.without_input.tolist(),
                strict=True,
            )
        ]

    def labels(self) -> LabelsAnswer:
        """What clients need to know of the run."""
        limits, loaded = self.limits, self.loaded
        pairs = zip(loaded.labels, loaded.thresholds.tolist(), strict=True)
        return LabelsAnswer(
            run=loaded.run.name,
            labels=[LabelAnswer(name=name, threshold=threshold) for name, threshold in pairs],
            empty_rows=loaded.run.config.empty_rows,
            reads=list(loaded.reads),
            number_columns=list(loaded.number_columns),
            limits=LimitsAnswer(
                body_bytes=limits.body_bytes,
                pixels=limits.pixels,
                caption_characters=limits.caption_characters,
                rows=limits.rows,
            ),
        )
