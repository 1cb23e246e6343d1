"""Everything that is answered in place of a prediction: one JSON shape, no traceback, no path.

::

    {"error": {"code": "queue_full", "message": "64 requests are under way", "fix": "Try again in 1 s"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str = Field(description="For programs: one of a fixed set.")
    message: str = Field(description="For people: what is wrong, and what was expected.")
    fix: str = Field(default="", description="What to do about it.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


class Refusal(Exception):
    """An answer that is not a prediction. ``headers``: to be sent with it."""

    def __init__(
        self, status: int, code: str, message: str, fix: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.fix = fix
        self.headers = headers
        super().__init__(message)

    def response(self) -> JSONResponse:
        """As it is sent."""
        detail = ErrorDetail(code=self.code, message=self.message, fix=self.fix)
        return JSONResponse(ErrorAnswer(error=detail).model_dump(), self.status, self.headers)


def add_handlers(app: FastAPI) -> None:
    """Answer refusals, what the framework refuses, and mistakes of ours in the one shape."""

    async def refused(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return error.response()

    async def refused_by_framework(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_")
        return Refusal(error.status_code, code, phrase, headers=error.headers).response()

    async def failed(_request: Request, _error: Exception) -> JSONResponse:
        # the server logs the error where it runs; who asked learns nothing about the machine
        return Refusal(500, "internal", "the server failed at this request", "Its log says why").response()

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, refused_by_framework)
    app.add_exception_handler(Exception, failed)
