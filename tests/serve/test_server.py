"""On a socket: heads that never end, heads that are too long, places where nobody may listen."""

import json
import socket
import urllib.request

import pytest
from serve.conftest import SMALL, listening

from clipfuse.errors import ConfigError
from clipfuse.serve import server
from clipfuse.serve.app import create_app
from clipfuse.serve.server import listen


@pytest.fixture(scope="module")
def port(loaded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_HEAD_SECONDS", 0.2)
        patch.setattr(server, "_IDLE_SECONDS", 1)
        with listening(create_app(loaded, limits=SMALL, token=None)) as found:
            yield found


def talk(port, *pieces):
    """All that is answered until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for piece in pieces:
            line.sendall(piece)
        found = b""
        while part := line.recv(65536):
            found += part
    return found


def test_it_answers(port):
    body = json.dumps([{"caption": "a dog"}]).encode()
    request = urllib.request.Request(
        f"http://localhost:{port}/predict", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        assert len(json.load(answer)["rows"]) == 1 and "server" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/health"])
def test_heads_are_answered_as_gets_without_the_body(port, path):
    """What monitors ask."""
    lines = f" {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    head, _, body = talk(port, b"HEAD" + lines).partition(b"\r\n\r\n")
    expected, _, whole = talk(port, b"GET" + lines).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and whole and not body
    assert f"content-length: {len(whole)}".encode() in head
    assert [one for one in head.splitlines() if not one.startswith(b"date")] == [
        one for one in expected.splitlines() if not one.startswith(b"date")
    ]


def test_a_head_that_never_ends(port):
    assert talk(port, b"") == b""
    assert talk(port, b"GET /health HTTP/1.1\r\nHost: local") == b""
    found = talk(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /hea")
    assert found.count(b'{"status":"ok"}') == 1


def test_heads_that_are_wrong(port):
    long = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 3_000_000 + b"\r\n\r\n"
    for head in (long, b"\x16\x03\x01 TLS?\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/9\r\n\r\n"):
        try:
            assert talk(port, head).startswith(b"HTTP/1.1 4")
        except (ConnectionResetError, BrokenPipeError):  # it need not read on
            continue
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n"
    assert talk(port, head).startswith(b"HTTP/1.1 400")


def test_a_place_that_is_taken():
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match=r"in use.*--port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="no port 99999"):
        listen("127.0.0.1", 99_999)
    with pytest.raises(ConfigError, match="--host"):
        listen("no.such.host.invalid", 0)


def test_answers_are_not_held_back():
    """Their second half would wait for the client to confirm the first one: 40 ms on a connection that is kept."""
    with listen("127.0.0.1", 0) as listening_there, socket.create_connection(listening_there.getsockname()):
        accepted, _ = listening_there.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
