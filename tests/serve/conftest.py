"""A served run, with and without a socket."""

from __future__ import annotations

import base64
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

pytest.importorskip("fastapi", reason="pip install 'clipfuse[serve]'")

from starlette.testclient import TestClient

from clipfuse.loaded_run import load_run
from clipfuse.serve.app import create_app
from clipfuse.serve.limits import Limits
from clipfuse.serve.server import listen, make_server

HOST = "http://127.0.0.1"
SMALL = Limits(body_bytes=200_000, pixels=1_000_000, caption_characters=100, rows=4, waiting=8)


def encoded(data):
    """A picture's file as JSON takes it."""
    return base64.b64encode(data).decode()


@pytest.fixture(scope="session")
def loaded(scenes):
    return load_run(scenes.runs["sum"].path, device="cpu", threads=1, max_pixels=SMALL.pixels)


@pytest.fixture(scope="session")
def kite(scenes):
    """A picture's file."""
    return next(path for path in sorted(scenes.images.iterdir())).read_bytes()


@contextmanager
def client_of(loaded, **options):
    """A client without a socket; what fails is answered as it would be to a stranger."""
    app = create_app(loaded, limits=options.pop("limits", SMALL), token=options.pop("token", None), **options)
    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(loaded):
    with client_of(loaded) as found:
        yield found


@dataclass
class Slow:
    """A run that says nothing before it is let go, and notes how many rows came at once."""

    inner: object

    def __post_init__(self):
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches = []
        self.fails_at = None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def predict(self, **given):
        self.batches.append(len(given["captions"]))
        self.begun.set()
        assert self.go.wait(30)
        if self.fails_at in given["captions"]:
            raise RuntimeError("secret /a/path")
        return self.inner.predict(**given)


@pytest.fixture
def slow(loaded):
    found = Slow(loaded)
    yield found
    found.go.set()


@contextmanager
def listening(app):
    """Where an application answers on a socket of its own."""
    with listen("127.0.0.1", 0) as place:
        server = make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + 30
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            yield place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture
def numbers_client(wider, monkeypatch):
    """Of a run that reads numbers."""
    from clipfuse import run_features

    monkeypatch.setattr(run_features, "find_encoder", lambda name, **_: wider.factory)
    with client_of(load_run(wider.numbers.path, device="cpu", threads=1)) as found:
        yield found
