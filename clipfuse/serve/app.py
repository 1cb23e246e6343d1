"""The application: routes, in front of a service and behind a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
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
from clipfuse.serve.answers import REQUEST_BODY, HealthAnswer, LabelsAnswer, PredictAnswer
from clipfuse.serve.guard import Access, Guard, is_loopback
from clipfuse.serve.limits import Limits
from clipfuse.serve.refusal import ErrorAnswer, Refusal, add_handlers
from clipfuse.serve.service import Service

PAGE = Path(__file__).parent / "page"
_FILES = {"/": "index.html"} | {f"/{name}": name for name in ("app.js", "table.js", "style.css", "icon.svg")}
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_REFUSED = {400: "not readable", 401: "no token", 403: "a foreign site", 408: "the body came too slowly"}
_REFUSED |= {413: "beyond a limit", 415: "another kind of body", 422: "not what was expected, or no usable input"}
_REFUSED |= {503: "busy: see Retry-After", 504: "no answer in time"}


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
        redirect_slashes=False,
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
