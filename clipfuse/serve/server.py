"""Listening: a socket, a server, and an end that is orderly."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipfuse.errors import ConfigError

_HEAD_SECONDS = 10.0
_HEAD_BYTES = 16_384
_IDLE_SECONDS = 20
_STOP_SECONDS = 5
_CONNECTIONS = 1_000


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 for any that is free. Raises ConfigError."""
    if not 0 <= port < 65_536:
        raise ConfigError(f"there is no port {port}", "Ports go from 0 to 65535")
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(place[4][:2], family=place[0], backlog=256)
        # connections inherit it; asyncio sets it for sockets of its own only, and without it a client that keeps its
        # connection waits 40 ms for the second half of each answer
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        fix = "Choose another with --port, or 0 for any that is free"
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            fix = "Give an address of this machine with --host: 127.0.0.1, or 0.0.0.0 for all of them"
        reason = str(error.strerror or error).partition(" (")[0]
        raise ConfigError(f"can't listen on {host}, port {port}: {reason}", fix) from error


def make_server(app: ASGIApp, *, on_ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """A server whose ``run(sockets=[...])`` answers until SIGINT or SIGTERM, or until ``should_exit`` is set.

    What is under way is then answered, and the signal raised again. ``on_ready`` is called when requests are answered.
    """
    for name in ("python_multipart", "uvicorn.error"):  # they warn of every odd request
        logging.getLogger(name).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        h11_max_incomplete_event_size=_HEAD_BYTES,
    )
    return _Server(config, on_ready)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class _Protocol(H11Protocol):
    """A connection whose next request has to arrive in some seconds once it has begun: uvicorn itself would wait."""

    _head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_head()

    def _watch_head(self) -> None:
        is_waiting = self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None
        if not is_waiting:
            self._forget_head()
        elif self._head_timer is None:
            self._head_timer = asyncio.get_running_loop().call_later(_HEAD_SECONDS, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
