"""The application: routes, and how a request comes to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from clipfuse.loaded_run import LoadedRun
from clipfuse.serve.answers import (
    REQUEST_BODY,
    HealthAnswer,
    LabelAnswer,
    LabelsAnswer,
    LimitsAnswer,
    PredictAnswer,
)
from clipfuse.serve.batching import BatchQueue, QueueClosed, QueueFull
from clipfuse.serve.guard import Access, Guard, is_loopback
from clipfuse.serve.limits import Limits
from clipfuse.serve.measures import Measures
from clipfuse.serve.refusal import ErrorAnswer, Refusal, add_handlers
from clipfuse.serve.rows import ServedRow, read_body, read_rows
from clipfuse.serve.torch_threads import choose_torch_threads

PAGE = Path(__file__).parent / "page"
_FILES = {"/": "index.html"} | {f"/{name}": name for name in ("app.js", "table.js", "style.css", "icon.svg")}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_LARGE = 100_000  # bytes that take long enough to parse to do it beside other requests
_REFUSED = {400: "not readable", 401: "no token", 403: "a foreign site", 408: "the body came too slowly"}
_REFUSED |= {413: "beyond a limit", 415: "another kind of body", 422: "not what was expected, or no usable input"}
_REFUSED |= {503: "busy: see Retry-After", 504: "no answer in time"}


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


def create_app(
    loaded: LoadedRun, *, limits: Limits | None = None, host: str = "127.0.0.1", token: str | None
) -> ASGIApp:
    """An ASGI application that answers for one run.

    Args:
        loaded: the run; it must be used by nobody else.
        limits: what requests may ask for.
        host: where it will listen: on loopback it answers only to this machine's own names.
        token: that requests have to carry; None for none.
    """
    service = Service(loaded, limits or Limits())
    app = _routes(service, secured=token is not None)
    hosts = {host.lower(), "localhost", "127.0.0.1", "::1"} if is_loopback(host) else None
    paths = {*_FILES, "/predict", "/labels", "/health", "/metrics", "/openapi.json"}
    access = Access(hosts, token, {*_FILES, "/health", "/openapi.json"})
    return Guard(app, access, service.measures, paths)


def _routes(service: Service, *, secured: bool) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(service.queue.start)
        yield
        await run_in_threadpool(service.queue.close, service.limits.answer_seconds)

    app = FastAPI(
        title="clipfuse",
        version=version("clipfuse"),
        description=f"Several labels per picture and caption, by run {service.loaded.run.name}.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    add_handlers(app)
    # the guard checks it; this is for the description
    api = APIRouter(dependencies=[Depends(HTTPBearer(auto_error=False))] if secured else [])
    refused: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorAnswer, "description": words} for status, words in _REFUSED.items()
    }

    @api.post("/predict", response_model=PredictAnswer, responses=refused, openapi_extra=REQUEST_BODY)
    async def predict(request: Request) -> Response:
        """Labels of a picture and caption (a form), or of several rows (a JSON list)."""
        rows = await service.predict(request)
        return JSONResponse({"run": service.loaded.run.name, "rows": rows})

    @api.get("/labels")
    async def labels() -> LabelsAnswer:
        """The labels with their thresholds, and what the run reads."""
        return service.labels()

    @api.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times, in the text format of Prometheus."""
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4")

    @app.get("/health", responses={503: {"model": ErrorAnswer}})
    async def health() -> HealthAnswer:
        """Whether predictions are answered."""
        if not service.queue.is_alive:
            raise Refusal(503, "stopping", "the server is stopping", headers={"Retry-After": "10"})
        return HealthAnswer()

    app.include_router(api)
    for path, name in _FILES.items():
        app.get(path, include_in_schema=False)(_page(PAGE / name))
    return app


def _page(path: Path) -> Any:
    content, kind = path.read_bytes(), _TYPES[path.suffix]

    async def answer() -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer
