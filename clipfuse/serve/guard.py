"""What every request passes before anything looks at it: who may ask, and what every answer says to a browser."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipfuse.serve.measures import Measures
from clipfuse.serve.refusal import Refusal

SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: names by which the server may be called; None for any. A page of another site whose name was made to mean
            this machine (DNS rebinding) calls it by its own.
        token: that requests have to carry; None where none is needed.
        open_paths: for which none is needed.
    """

    hosts: Collection[str] | None
    token: str | None
    open_paths: Collection[str] = ()

    def refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Why a request is refused, None where it is not."""
        host = headers.get("host", "")
        if self.hosts is not None and _name_of(host) not in self.hosts:
            return Refusal(
                403, "foreign_host", "this server does not answer to that name", f"Call it {_listed(self.hosts)}"
            )
        origin = headers.get("origin")
        if origin is not None and method not in ("GET", "HEAD") and _place_of(origin) != host.lower():
            return Refusal(403, "foreign_origin", "a page of another site may not ask this server")
        if self.token is not None and path not in self.open_paths and not self._knows_token(headers):
            return Refusal(
                401,
                "no_token",
                "the token is missing or wrong",
                "Send Authorization: Bearer TOKEN; the server printed it when it started",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    def _knows_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        # in the same time whatever is given: how long it takes must not tell how much of it is right
        is_right = hmac.compare_digest(given.strip().encode(), (self.token or "").encode())
        return is_right and kind.lower() == "bearer"


class Guard:
    """The ASGI application ``app`` behind ``access``. Every request is counted under one of ``paths``, or "other"."""

    def __init__(self, app: ASGIApp, access: Access, measures: Measures, paths: Collection[str]) -> None:
        self._app = app
        self._access = access
        self._measures = measures
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        known = path if path in self._paths else "other"
        started, status = time.perf_counter(), 500

        async def send_safely(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._access.refusal(method, path, Headers(scope=scope))
        # the same head as of a GET; what monitors ask, and the server that listens leaves the body out
        asked = {**scope, "method": "GET"} if method == "HEAD" else scope
        try:
            await (refusal.response() if refusal is not None else self._app)(asked, receive, send_safely)
        finally:
            method = method if method in ("GET", "HEAD", "POST") else "other"
            self._measures.requests.labels(method, known, str(status)).inc()
            self._measures.seconds.labels(known).observe(time.perf_counter() - started)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name_of(host: str) -> str | None:
    """Of a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _listed(hosts: Collection[str]) -> str:
    return " or ".join(sorted(hosts))
