"""``clipfuse serve`` as a process, and what it refuses before it begins."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

CLIPFUSE = Path(sys.executable).with_name("clipfuse")


def ask(place, path, body=None, **headers):
    request = urllib.request.Request(place + path, body, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_it_answers_beyond_loopback_with_a_token_until_it_is_interrupted(scenes):
    run = scenes.runs["sum"]
    command = [CLIPFUSE, "serve", run.path, "--host", "0.0.0.0", "--port", "0", "--max-caption", "50"]
    environment = {**os.environ, "CLIPFUSE_TOKEN": ""}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        first = process.stderr.readline()
        found = re.fullmatch(r"(\S+) at http://0\.0\.0\.0:(\d+)/#token=(\S{20,}) \(Ctrl-C ends it\)\n", first)
        assert found and found[1] == run.name, first
        place, token = f"http://127.0.0.1:{found[2]}", f"Bearer {found[3]}"
        assert process.stderr.readline() == f"programs send: Authorization: {token}\n"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(place, "/labels")
        labels = ask(place, "/labels", Authorization=token)
        assert labels["run"] == run.name and labels["limits"]["caption_characters"] == 50
        answer = ask(place, "/predict", b'[{"caption": "a dog"}]', Authorization=token)
        assert set(answer["rows"][0]["probabilities"]) == set(run.labels)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "stopped\n")
    finally:
        process.kill()
        process.wait()


def test_what_is_refused(cli, scenes, monkeypatch):
    for arguments, code, words in (
        (["none"], 1, "none is not a run directory"),
        (["--token", "short"], 2, "8 or more ASCII characters"),
        (["--port", "99999"], 2, "no port 99999"),
        (["--host", "no.such.host.invalid"], 2, "can't listen on no.such.host.invalid"),
        (["--device", "tpu"], 2, "unknown device"),
        (["--image-encoder", "mini", "--image-encoder", "mini"], 2, "2 --image-encoder"),
    ):
        run = [] if arguments == ["none"] else [scenes.runs["image"].path]
        found = cli("serve", *run, *arguments)
        assert found.exit_code == code and words in found.stderr, found.stderr
        assert found.stdout == "" and found.stderr.count("\n") == 1
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("clipfuse.serve")]:
        monkeypatch.delitem(sys.modules, name)
    found = cli("serve", scenes.runs["image"].path)
    assert found.exit_code == 2 and "needs fastapi. Type: pip install 'clipfuse[serve]'" in found.stderr
