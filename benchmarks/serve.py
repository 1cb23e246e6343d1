"""clipfuse serve under load: requests/s and latency at several numbers of clients, memory over many requests, and
what it answers to hostile ones.

The server is a process of its own, as a person starts it. Clients are threads of this one on the same machine, each
with a connection that it keeps, and ask for a picture with its caption.
"""

from __future__ import annotations

import http.client
import itertools
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import open_data, parser, report
from hostile_requests import Hostile, hostile_requests

from clipfuse.config import SplitConfig
from clipfuse.data import Dataset
from clipfuse.encoders import find_encoder
from clipfuse.extract import ExtractOptions, extract
from clipfuse.splits import find_split
from clipfuse.train_config import TrainConfig
from clipfuse.train_head import train_head
from clipfuse_cache import FeatureCache

BODY_MB = 2
BOUNDARY = "clipfuse-load"
TELLING = re.compile(rb'Traceback|File "|site-packages')
Asked = tuple[int, float]
"""An answer's status and its seconds."""


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--run", type=Path, help="a run of your own, that reads what --data has; else one is trained")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--seconds", type=float, default=15, help="of each number of clients")
    options.add_argument("--requests", type=int, default=10_000, help="while memory is watched, of 8 clients")
    options.add_argument("--hostile", type=int, default=1_000)
    chosen = options.parse_args()
    if chosen.quick:
        chosen.rows, chosen.clients, chosen.seconds, chosen.requests, chosen.hostile = 60, [1, 4], 0.2, 20, 26
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_data(chosen, Path(folder) / "data")
        run = chosen.run or train(dataset, Path(folder), quick=chosen.quick)
        bodies = form_bodies(dataset)
        with serving(run, in_this_process=chosen.quick) as port:
            for body in bodies[:32]:  # what is made once is made before
                ask(http.client.HTTPConnection("127.0.0.1", port), body)
            rows = []
            for clients in chosen.clients:
                until = time.perf_counter() + chosen.seconds
                asked, seconds = load(port, bodies, clients, lambda until=until: time.perf_counter() < until)
                rows.append(row_of(f"{clients} client{'s' * (clients > 1)}", asked, seconds, port))
            memory = [resident_mb(port)]
            long: list[Asked] = []
            started = time.perf_counter()
            for _ in range(10):
                left = itertools.count(chosen.requests // 10, -1)
                long += load(port, bodies, 8, lambda left=left: next(left) > 0)[0]
                memory.append(resident_mb(port))
            rows.append(row_of(f"{len(long)} requests", long, time.perf_counter() - started, port))
            picture = bodies[0].split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 2)[0]
            statuses, wrong, seconds = attack(port, picture, chosen.hostile)
            rows.append(row_of("hostile", seconds, sum(second for _, second in seconds), port) | {"errors": len(wrong)})
            facts = {
                "MB at each tenth": [round(mb, 1) for mb in memory],
                "hostile": {"statuses": dict(sorted(statuses.items())), "wrong": wrong[:10]},
            }
    report("serve", chosen, rows, facts)


def train(dataset: Dataset, folder: Path, *, quick: bool) -> Path:
    """A run of clipfuse train-head --fusion sum, or a smaller one."""
    cache = FeatureCache(folder / "cache")
    extract([find_encoder("mini")], dataset, cache, ExtractOptions())
    samples = cache.samples()
    split = find_split(cache, samples, SplitConfig(), None)
    settings = {"fusion": {"kind": "concat"}, "fit": {"epochs": 1}} if quick else {"fusion": {"kind": "sum"}}
    return train_head(cache, samples, split, TrainConfig.model_validate(settings), runs=folder / "runs").path


def form_bodies(dataset: Dataset) -> list[bytes]:
    """Multipart forms of rows that have a picture and a caption, at most 200."""
    both = zip(dataset.images, dataset.captions, strict=True)
    return [_form(picture.read(), caption) for picture, caption in both if picture and caption][:200]


def _form(picture: bytes, caption: str) -> bytes:
    part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    end = f"\r\n--{BOUNDARY}--\r\n"
    head, tail = f'{part}"image"; filename="a.jpg"\r\n\r\n', f'\r\n{part}"caption"\r\n\r\n{caption}{end}'
    return head.encode() + picture + tail.encode()


@contextmanager
def serving(run: Path, *, in_this_process: bool) -> Iterator[int]:
    """The port at which ``clipfuse serve`` answers."""
    if in_this_process:
        with _serving_here(run) as port:
            yield port
        return
    command = [str(Path(sys.executable).with_name("clipfuse")), "serve", str(run), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen([*command, "--max-mb", str(BODY_MB)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    found = re.search(r":(\d+)/", first)
    if found is None:
        raise SystemExit(first + process.stderr.read())
    # what a server complains of must not fill the pipe and stop it
    threading.Thread(target=lambda: [print(line, end="", file=sys.stderr) for line in process.stderr or ()]).start()
    try:
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _serving_here(run: Path) -> Iterator[int]:
    from clipfuse.loaded_run import load_run
    from clipfuse.serve.app import create_app
    from clipfuse.serve.limits import Limits
    from clipfuse.serve.server import listen, make_server

    app = create_app(load_run(run, device="cpu"), limits=Limits(body_bytes=BODY_MB * 1_000_000), token=None)
    ready = threading.Event()
    server = make_server(app, on_ready=ready.set)
    with listen("127.0.0.1", 0) as place:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        ready.wait(60)
        try:
            yield place.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def load(port: int, bodies: Sequence[bytes], clients: int, more: Callable[[], bool]) -> tuple[list[Asked], float]:
    """What ``clients`` were answered, one request after the other while there is ``more``; and seconds of all."""

    def client(number: int) -> list[Asked]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        found = []
        for body in itertools.cycle(bodies[number % len(bodies) :] + bodies[: number % len(bodies)]):
            if not more():
                return found
            found.append(ask(connection, body))
        return found

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = [asked for each in pool.map(client, range(clients)) for asked in each]
    return found, time.perf_counter() - started


def ask(connection: http.client.HTTPConnection, body: bytes) -> Asked:
    """One prediction."""
    started = time.perf_counter()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        connection.request("POST", "/predict", body, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        status = answer.status if answer.status != 200 or len(found["rows"]) == 1 else -1
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        status = -1
    return status, time.perf_counter() - started


def attack(port: int, picture: bytes, count: int) -> tuple[Counter[int], list[str], list[Asked]]:
    """Statuses of hostile requests, those that were answered 500 or told too much, and each one's status and seconds;
    status 0 is a connection that the server ended."""
    statuses: Counter[int] = Counter()
    wrong, asked = [], []
    for one in hostile_requests(count, picture, body_bytes=BODY_MB * 1_000_000):
        started = time.perf_counter()
        status, body = _send(port, one)
        asked.append((status, time.perf_counter() - started))
        statuses[status] += 1
        if status >= 500 or TELLING.search(body):
            wrong.append(f"{one.kind}: {status} {body[:200]!r}")
    return statuses, wrong, asked


def _send(port: int, one: Hostile) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        own_host = any(name == "Host" for name, _ in one.headers)
        connection.putrequest(one.method, one.path, skip_host=own_host, skip_accept_encoding=True)
        for name, value in one.headers:
            connection.putheader(name, value.encode("latin-1"))
        connection.putheader("Content-Length", str(len(one.body)))
        connection.endheaders(one.body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def row_of(name: str, asked: Sequence[Asked], seconds: float, port: int) -> dict[str, Any]:
    """A line of the result."""
    times = np.array([second for _, second in asked]) * 1000
    return {
        "load": name,
        "requests": len(asked),
        "requests/s": len(asked) / seconds,
        "p50 ms": float(np.percentile(times, 50)),
        "p99 ms": float(np.percentile(times, 99)),
        "errors": sum(status != 200 for status, _ in asked),
        "MB after": resident_mb(port),
    }


def resident_mb(port: int) -> float:
    """The server's memory."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    found = re.search(rb"^process_resident_memory_bytes (\S+)", connection.getresponse().read(), re.MULTILINE)
    connection.close()
    return float(found[1]) / 1e6 if found else 0.0


if __name__ == "__main__":
    main()
