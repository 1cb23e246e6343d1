"""``clipfuse serve``: from its start to Ctrl-C, and what it refuses before it begins."""

import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest


def ask(place, path, body=None, **headers):
    request = urllib.request.Request(place + path, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture
def meanwhile():
    """``meanwhile(port, work)``: when a server answers there, ``work(place)``, and then Ctrl-C; what work gave."""
    threads, found = [], {}

    def start(port, work):
        def run():
            place, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
            try:
                while True:
                    try:
                        ask(place, "/health")
                        break
                    except OSError:
                        assert time.monotonic() < until
                        time.sleep(0.02)
                found["found"] = work(place)
            except BaseException as error:
                found["error"] = error
            os.kill(os.getpid(), signal.SIGINT)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        return found

    yield start
    for thread in threads:
        thread.join(60)


def test_it_answers_beyond_loopback_with_a_token_until_it_is_interrupted(cli, scenes, monkeypatch, meanwhile):
    run = scenes.runs["sum"]
    monkeypatch.setattr(secrets, "token_urlsafe", lambda length: f"made-up-{length}")
    token = {"Authorization": "Bearer made-up-24"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def work(place):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(place, "/labels")
        return ask(place, "/labels", **token), ask(place, "/predict", b'[{"caption": "a dog"}]', **token)

    found = meanwhile(port, work)
    result = cli("serve", run.path, "--host", "0.0.0.0", "--port", port, "--device", "cpu", "--max-caption", "50")
    assert "error" not in found, found["error"]
    labels, answer = found["found"]
    assert labels["run"] == run.name and labels["limits"]["caption_characters"] == 50
    assert set(answer["rows"][0]["probabilities"]) == set(run.labels)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        f"{run.name} at http://0.0.0.0:{port}/#token=made-up-24 (Ctrl-C ends it)\n"
        "programs send: Authorization: Bearer made-up-24\n"
        "stopped\n"
    )


REFUSED = (
    (["--token", "short"], 2, "8 or more ASCII characters"),
    (["--port", "99999"], 2, "no port 99999"),
    (["--host", "no.such.host.invalid"], 2, "can't listen on no.such.host.invalid"),
    (["--device", "tpu"], 2, "unknown device"),
    (["--image-encoder", "mini", "--image-encoder", "mini"], 2, "2 --image-encoder"),
)


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED)
def test_what_is_refused(cli, scenes, arguments, code, words):
    found = cli("serve", scenes.runs["image"].path, "--port", "0", *arguments)
    assert found.exit_code == code and words in found.stderr, found.stderr
    assert found.stdout == "" and found.stderr.count("\n") == 1


def test_without_what_it_needs(cli, scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("clipfuse.serve")]:
        monkeypatch.delitem(sys.modules, name)
    found = cli("serve", scenes.runs["image"].path)
    assert found.exit_code == 2 and "needs fastapi. Type: pip install 'clipfuse[serve]'" in found.stderr
    assert cli("serve", "none").exit_code == 2
